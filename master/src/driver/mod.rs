//! The loop around the master's core.
//!
//! It makes no choices. It hands inputs to the core, tells it the time, and does what the core says,
//! in order. It has a thread to itself, so that a busy core holds up no connection.

mod counting;
mod handle;
mod notes;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use master_core::figures::Figures;
use master_core::{Input, Master, Output, Refusal};
use model::ids::{ConnectionId, Reign, RequestId, StreamId, Term};
use model::registry::{Record, ReignEntry};
use model::search::Masters;
use model::step::{Core, Now, Time, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::handle::Ask;
pub(crate) use self::handle::{Asked, Handle, Subscribed, Watching, refused};
pub(crate) use self::watchers::FellBehind;
use self::watchers::Watchers;
use crate::facts::wall_clock;
use crate::leadership::{Leadership, Leading, Standing};
use crate::meters::Meters;
use crate::registry::{FromLog, LogEvents, Proposer};
use crate::view::View;

/// Inputs taken in before outputs are performed. At a microsecond each a full batch takes about a
/// millisecond.
const BATCH_MAX: usize = 1_024;

/// How long to sleep when the core waits for nothing. Any long time will do.
const IDLE: Duration = Duration::from_secs(3_600);

/// Notes that may wait for one operator. Its stream is closed past it.
const NOTES_MAX: usize = 65_536;

type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// Owns the core.
pub(crate) struct Driver {
    pub core: Master,
    pub view: Arc<View>,
    pub proposer: Proposer,
    pub from_log: LogEvents,
    pub leadership: watch::Sender<Leadership>,
    pub standing: Standing,
    /// Where clients reach this master: `host:port`.
    pub public_address: Arc<str>,
    /// What frameworks are told that want to know.
    pub masters: watch::Sender<Masters>,
    pub meters: Arc<Meters>,
    pub stop: CancellationToken,
}

/// What runs within one thread.
struct Running {
    driver: Driver,
    handle: Handle,
    calls: HashMap<RequestId, Answer<master_core::Done>>,
    subscriptions: HashMap<RequestId, (ConnectionId, Answer<StreamId>)>,
    watches: HashMap<RequestId, oneshot::Sender<Watching>>,
    watchers: Watchers,
    /// Those who have asked for numbers since the last batch.
    counting: Vec<oneshot::Sender<Arc<Figures>>>,
    /// How long the core has just taken to do what fell due.
    woken_for: Duration,
    /// Inputs that came of performing outputs.
    next: Vec<Input>,
    /// Proposals that failed come back here.
    failed: mpsc::UnboundedSender<(Term, Vec<Record>)>,
    /// Why the core wants to go on no more, if it does not.
    given_up: Option<String>,
    /// The reign that this master has proposed to begin.
    beginning: Option<(Term, Reign, Timestamp)>,
    /// Who leads instead of this master, as masters know it, and in which term.
    following: Option<(Term, Arc<str>)>,
    /// The latest reign that was agreed on.
    latest: Option<ReignEntry>,
}

impl Driver {
    /// Starts the loop on a thread of its own, within the present runtime. The receiver gets the
    /// reason when it ends by itself.
    pub(crate) fn start(self) -> std::io::Result<(Handle, oneshot::Receiver<String>)> {
        let (handle, asks) = Handle::new(&self.standing);
        let (failed, failures) = mpsc::unbounded_channel();
        let (fatal, ended) = oneshot::channel();
        let watchers = Watchers::new(NOTES_MAX, self.standing.clone());
        let running = Running {
            driver: self,
            handle: handle.clone(),
            calls: HashMap::new(),
            subscriptions: HashMap::new(),
            watches: HashMap::new(),
            watchers,
            counting: Vec::new(),
            woken_for: Duration::ZERO,
            next: Vec::new(),
            failed,
            given_up: None,
            beginning: None,
            following: None,
            latest: None,
        };
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("master-core".to_owned()).spawn(move || {
            if let Some(why) = runtime.block_on(running.run(asks, failures)) {
                let _ = fatal.send(why);
            }
        })?;
        Ok((handle, ended))
    }
}

impl Running {
    /// Runs until a stop is asked for. `Some`: it ended by itself, and why.
    async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut failures: mpsc::UnboundedReceiver<(Term, Vec<Record>)>,
    ) -> Option<String> {
        let start = Instant::now();
        let (mut batch, mut logged) = (Vec::with_capacity(BATCH_MAX), Vec::new());
        let stop = self.driver.stop.clone();
        let why = loop {
            let deadline = self.driver.core.next_deadline();
            let deadline = deadline.map_or_else(|| Instant::now() + IDLE, |at| start + at.0);
            let mut failed = None;
            if self.next.is_empty() {
                tokio::select! {
                    taken = self.driver.from_log.recv_many(&mut logged, BATCH_MAX) => {
                        if taken == 0 {
                            break Some("the raft thread has ended".to_owned());
                        }
                    }
                    _ = asks.recv_many(&mut batch, BATCH_MAX) => {}
                    records = failures.recv() => failed = records,
                    () = sleep_until(deadline) => {}
                    () = stop.cancelled() => break None,
                }
            }
            let now = Now { time: Time(start.elapsed()), wall: wall_clock() };
            let mut out = Vec::new();
            let woken = Instant::now();
            self.driver.core.wake(now, &mut out);
            self.woken_for = woken.elapsed();
            for input in std::mem::take(&mut self.next) {
                self.driver.core.step(input, now, &mut out);
            }
            // What was proposed in an earlier reign is nothing to this one.
            let of_this = |(term, _): &(Term, _)| self.beginning.is_some_and(|it| it.0 == *term);
            if let Some((_, records)) = failed.filter(of_this) {
                self.driver.core.step(Input::ProposalFailed(records), now, &mut out);
            }
            let mut fatal = None;
            for event in logged.drain(..) {
                fatal = fatal.or(self.logged(event, now, &mut out));
            }
            for ask in batch.drain(..) {
                self.ask(ask, now, &mut out);
            }
            self.perform(out);
            self.tell_figures();
            fatal = fatal.or(self.given_up.take());
            if fatal.is_some() {
                break fatal;
            }
        };
        // Every connection ends, and with it whoever waits for an answer.
        self.handle.schedulers.close_all();
        self.handle.agents.close_all();
        let _ = self.driver.leadership.send_replace(Leadership::Electing);
        why
    }

    /// Takes in what the log says. `Some`: it is over, and why.
    fn logged(&mut self, event: FromLog, now: Now, out: &mut Vec<Output>) -> Option<String> {
        match event {
            FromLog::Leading { term } => {
                self.depose(now, out);
                // Nothing is served until the reign's first record is applied: then all that other
                // leaders agreed on before is applied too.
                let reign = Reign(*uuid::Uuid::new_v4().as_bytes());
                self.beginning = Some((term, reign, now.wall));
                let leading = Leading { term, reign: None, since: now.wall };
                self.driver.leadership.send_replace(Leadership::Leading(leading));
                let address = self.driver.public_address.clone();
                let reign = ReignEntry { id: reign, term, at: now.wall, address };
                self.propose(vec![Record::BeginReign(reign)]);
            }
            FromLog::Following { leader, term } => {
                self.depose(now, out);
                self.following = leader.map(|leader| (term, leader.into()));
                self.follow();
            }
            FromLog::Restored { reign } => {
                self.latest = reign;
                self.follow();
            }
            FromLog::ReignBegun { reign, registry } => {
                self.latest = Some(reign.clone());
                self.follow();
                if let Some((term, wanted, since)) = self.beginning
                    && wanted == reign.id
                {
                    let reign = reign.id;
                    self.driver.core.step(Input::Lead { term, reign, registry }, now, out);
                    // What the core says at first, its view above all, is there before anybody
                    // is served.
                    let first = std::mem::take(out);
                    self.perform(first);
                    let leading = Leading { term, reign: Some(reign), since };
                    self.driver.leadership.send_replace(Leadership::Leading(leading));
                }
            }
            FromLog::Applied(record) => {
                self.driver.core.step(Input::Applied(record), now, out);
            }
            FromLog::Voters(voters) => {
                self.driver.core.step(Input::SetMasters(voters), now, out);
            }
            FromLog::Failed(why) => {
                self.depose(now, out);
                return Some(why);
            }
        }
        None
    }

    /// Says who leads, if this master does not.
    fn follow(&mut self) {
        if self.beginning.is_some() {
            return;
        }
        let leadership = match &self.following {
            None => Leadership::Electing,
            Some((term, leader)) => {
                let announced = self.latest.as_ref().filter(|latest| latest.term == *term);
                let public = announced.map(|latest| latest.address.clone());
                let public = public.filter(|address| !address.is_empty());
                let public = public.unwrap_or_else(|| leader.clone());
                Leadership::Following { leader: leader.clone(), public }
            }
        };
        self.driver.leadership.send_if_modified(|known| {
            let is_new = *known != leadership;
            *known = leadership;
            is_new
        });
    }

    /// The reign is over, if there was one: nothing of it may be served any more.
    fn depose(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.beginning.take().is_none() {
            return;
        }
        self.driver.core.step(Input::Depose, now, out);
        let last = std::mem::take(out);
        self.perform(last);
        self.handle.schedulers.close_all();
        self.handle.agents.close_all();
        // Dropping an answer's other end tells whoever waits for it.
        self.calls.clear();
        self.subscriptions.clear();
        self.watches.clear();
        self.watchers.end();
    }

    /// Answers all who have asked for numbers at once.
    fn tell_figures(&mut self) {
        if self.counting.is_empty() {
            return;
        }
        let figures = Arc::new(self.driver.core.figures());
        for answer in self.counting.drain(..) {
            let _ = answer.send(figures.clone());
        }
    }

    fn ask(&mut self, ask: Ask, now: Now, out: &mut Vec<Output>) {
        if !matches!(ask, Ask::Input(_)) {
            self.handle.request_taken();
        }
        let input = match ask {
            Ask::Input(input) => input,
            Ask::Call(request, input, answer) => {
                self.calls.insert(request, answer);
                input
            }
            Ask::Subscribe(request, connection, input, answer) => {
                self.subscriptions.insert(request, (connection, answer));
                input
            }
            Ask::Explain(explaining, answer) => {
                // Nothing changes by it, so it is no input.
                let _ = answer.send(self.driver.core.explain(explaining, now));
                return;
            }
            Ask::Figures(answer) => {
                self.counting.push(answer);
                return;
            }
            Ask::Watch(request, answer) => {
                self.watches.insert(request, answer);
                Input::Watch { request }
            }
        };
        self.driver.core.step(input, now, out);
    }

    /// Does what the core says, in order.
    fn perform(&mut self, outputs: Vec<Output>) {
        // Readers see a change before anybody is told of it, unless an operator's snapshot must
        // stand exactly between two changes.
        let in_order = outputs.iter().any(|output| matches!(output, Output::OpenWatch { .. }));
        if !in_order {
            for output in &outputs {
                if let Output::View(change) = output {
                    self.driver.view.apply(change.clone());
                }
            }
        }
        for output in outputs {
            if in_order || !matches!(output, Output::View(_)) {
                self.perform_one(output);
            }
        }
    }

    fn perform_one(&mut self, output: Output) {
        match output {
            Output::Propose(records) => self.propose(records),
            Output::OpenStream { connection, request, stream } => {
                let answer = self.subscriptions.remove(&request);
                let told = answer.is_some_and(|(_, answer)| answer.send(Ok(stream)).is_ok());
                if !told {
                    // The client went while it waited.
                    self.handle.schedulers.close(connection);
                    self.next.push(Input::SchedulerGone { connection });
                }
            }
            Output::ToScheduler { connection, event } => {
                if !self.handle.schedulers.send(connection, event) {
                    self.next.push(Input::SchedulerGone { connection });
                }
            }
            Output::CloseScheduler { connection } => self.handle.schedulers.close(connection),
            Output::Answer { request, result } => {
                if let Some(answer) = self.calls.remove(&request) {
                    let _ = answer.send(result);
                } else if let Some((connection, answer)) = self.subscriptions.remove(&request) {
                    self.handle.schedulers.close(connection);
                    if let Err(refusal) = result {
                        let _ = answer.send(Err(refusal));
                    }
                } else {
                    self.watches.remove(&request);
                }
            }
            Output::ToAgent { connection, message } => {
                if !self.handle.agents.send(connection, message) {
                    self.next.push(Input::AgentGone { connection });
                }
            }
            Output::CloseAgent { connection, why } => {
                tracing::info!(connection = connection.0, ?why, "closing an agent's link");
                self.handle.agents.close(connection);
            }
            Output::Outdated { term } => {
                tracing::warn!(term = term.0, "somebody has seen a later term than ours");
                self.driver.proposer.check_leadership();
            }
            Output::GiveUp { why } => self.given_up = Some(why),
            Output::Masters(masters) => drop(self.driver.masters.send_replace(masters)),
            Output::OpenWatch { request } => self.open_watch(request),
            Output::Note(note) => {
                notes::log(&note);
                counting::count(&self.driver.meters, &note, self.woken_for);
                if !self.watchers.is_empty() && notes::is_watched(&note) {
                    self.watchers.tell(note);
                }
            }
            Output::View(change) => self.driver.view.apply(change),
        }
    }

    fn open_watch(&mut self, request: RequestId) {
        let Some(answer) = self.watches.remove(&request) else { return };
        let picture = self.driver.view.picture();
        self.watchers.admit(|notes| answer.send(Watching { picture, notes }).is_ok());
    }

    fn propose(&self, records: Vec<Record>) {
        // In the reign that they were decided in: this master may have lost leadership and have it again
        // before the core hears of either.
        let Some((term, ..)) = self.beginning else {
            tracing::warn!(
                count = records.len(),
                "the reign was over before these records could be proposed"
            );
            return;
        };
        let failed = self.failed.clone();
        self.driver.proposer.propose(term, records, move |records| {
            let _ = failed.send((term, records));
        });
    }
}
