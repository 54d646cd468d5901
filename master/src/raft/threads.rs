//! The two threads around the node and the disk, and how everything is started and ended.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::admin::RaftAdminService;
use super::disk::{Beginning, Disk, Write, is_in, may_pass};
use super::error::{RaftError, chain};
use super::handle::{Handle, PROPOSED_BYTES_MAX, Published, Shared};
use super::links::{Book, Links};
use super::members::Members;
use super::meters::Meters;
use super::node::{Input, Node, Output};
use super::service::RaftService;
use super::{Join, RaftEvent, RaftOptions, Services, StateMachine};

/// Inputs taken in before outputs are done, so that one write to the disk serves them all.
const BATCH_MAX: usize = 8_192;

/// Writes joined to one transaction.
const WRITES_MAX: usize = 256;

/// The wait before a write that failed is tried again. It doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest one: what a person who has made space waits for at most.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What is put into the one inbox.
pub(crate) enum Mail {
    Input(Input),
    /// The disk failed.
    Failed(RaftError),
    Stop,
}

/// The way into the inbox. It is not bounded itself: whoever fills it holds room taken elsewhere.
pub(crate) type Mailbox = Sender<Mail>;

/// The running threads.
pub(crate) struct Threads {
    raft: JoinHandle<()>,
    disk: JoinHandle<()>,
    crashed: Arc<AtomicBool>,
}

impl Threads {
    /// Has what waits for the disk left undone.
    pub(crate) fn crash(&self) {
        self.crashed.store(true, Ordering::Release);
    }

    /// Waits until both have ended.
    pub(crate) fn join(self) {
        for thread in [self.raft, self.disk] {
            // Panics inside are caught and told as failures.
            let _ = thread.join();
        }
    }
}

/// Takes part as `options` say, applying what is agreed on to `machine` and telling `events` who leads.
///
/// Reads all of the store first, so it may take a moment. `events` and `machine` are called by the raft
/// thread and must not wait for anything. Must be called within a tokio runtime, which then carries
/// the messages. The services must be served at the own address.
pub fn start<M: StateMachine>(
    options: RaftOptions,
    machine: M,
    events: impl FnMut(RaftEvent) + Send + 'static,
) -> Result<(Handle, Services), RaftError> {
    check(&options)?;
    let beginning = match &options.join {
        Some(Join { cluster_id }) => Beginning::Joining(cluster_id.clone()),
        None => Beginning::Founding(Members::new(&options.own, &options.peers)?),
    };
    let (disk, mut found) = Disk::open(&options.dir, &options.own, &beginning)?;
    let identity = found.identity.clone();
    let (shown, gate) = (options.identity.clone(), options.gate.clone());

    let (mailbox, inbox) = channel();
    let start = Instant::now();
    let published = Arc::new(Published::default());
    let meters = Meters::new(&options.own);
    let stopping = CancellationToken::new();
    let met = std::mem::take(&mut found.met);
    let book = Arc::new(Book::new(identity, options.own.clone(), met));
    let (entry_bytes_max, snapshot_bytes_max, tick) =
        (options.entry_bytes_max, options.snapshot_bytes_max, options.tick);
    let node =
        Node::new(options, found, machine, Box::new(events), published.clone(), meters.clone())?;
    let links = Links::new(&book, &mailbox, &meters, &stopping, snapshot_bytes_max, tick, &shown);
    let links = Arc::new(links);
    let spawned = spawn(node, disk, inbox, &mailbox, &links, start, meters.clone());
    let threads = spawned.inspect_err(|_| stopping.cancel())?;
    let shared = Arc::new(Shared {
        cluster_id: book.identity.cluster_id.clone(),
        start,
        mailbox,
        published,
        room: Arc::new(Semaphore::new(PROPOSED_BYTES_MAX)),
        entry_bytes_max,
        meters,
        stopping,
        threads: Mutex::new(Some(threads)),
    });
    let raft = RaftService::new(shared.clone(), book.clone(), links, snapshot_bytes_max);
    let handle = Handle(shared);
    let admin = RaftAdminService::new(handle.clone(), book, shown, gate);
    Ok((handle, Services { raft, admin }))
}

/// Whether there is a log in `dir` already, so that this master has begun before.
pub fn has_begun(dir: &Path) -> bool {
    is_in(dir)
}

fn check(options: &RaftOptions) -> Result<(), RaftError> {
    let bad = |reason: &str| Err(RaftError::BadSetting { reason: reason.to_owned() });
    if options.tick.is_zero() {
        return bad("the tick must not be zero");
    }
    if options.election_ticks < 5 || options.heartbeat_ticks == 0 {
        return bad("an election takes 5 ticks or more, and a heartbeat 1 or more");
    }
    if options.heartbeat_ticks * 2 > options.election_ticks {
        return bad("two heartbeats must fit into the time of an election");
    }
    if options.entry_bytes_max > PROPOSED_BYTES_MAX / 2 {
        return bad("entries are too long");
    }
    if options.snapshot_every == 0 {
        return bad("a snapshot is made after 1 entry or more");
    }
    Ok(())
}

fn spawn<M: StateMachine>(
    node: Node<M>,
    disk: Disk,
    inbox: Receiver<Mail>,
    mailbox: &Mailbox,
    links: &Arc<Links>,
    start: Instant,
    meters: Meters,
) -> Result<Threads, RaftError> {
    let crashed = Arc::new(AtomicBool::new(false));
    let (writes, to_do) = channel();
    let thread = |source| RaftError::Thread { source };
    let disk_thread = Writer {
        disk,
        to_write: to_do,
        later: VecDeque::new(),
        mailbox: mailbox.clone(),
        links: links.clone(),
        crashed: crashed.clone(),
        meters,
    };
    let disk = thread::Builder::new()
        .name("raft-disk".to_owned())
        .spawn(move || disk_thread.run())
        .map_err(thread)?;
    let looped = Loop { node, inbox, writes, links: links.clone(), start };
    let raft = thread::Builder::new()
        .name("raft".to_owned())
        .spawn(move || looped.run())
        .map_err(thread)?;
    Ok(Threads { raft, disk, crashed })
}

/// The raft thread.
struct Loop<M> {
    node: Node<M>,
    inbox: Receiver<Mail>,
    writes: Sender<Write>,
    links: Arc<Links>,
    start: Instant,
}

impl<M: StateMachine> Loop<M> {
    fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.turns()));
        let error = match ended {
            Ok(Ok(())) => return self.node.end(),
            Ok(Err(error)) => error,
            Err(panic) => RaftError::Panicked { message: message_of(&*panic) },
        };
        self.node.fail(error);
    }

    fn turns(&mut self) -> Result<(), RaftError> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        loop {
            let stop = !self.collect(&mut inputs)?;
            self.node.turn(&mut inputs, self.start.elapsed(), &mut outputs)?;
            for output in outputs.drain(..) {
                match output {
                    Output::Send(messages) => self.links.send(messages),
                    // The writer ends early only after it has put its failure into the inbox.
                    Output::Persist(write) => drop(self.writes.send(write)),
                    Output::Members(members) => self.links.set(members),
                }
            }
            if stop {
                return Ok(());
            }
        }
    }

    /// Waits for input, or until the node must be woken, and takes all there is. Whether to go on.
    fn collect(&mut self, inputs: &mut Vec<Input>) -> Result<bool, RaftError> {
        let wait = self.node.next_deadline().saturating_sub(self.start.elapsed());
        let mut mail = match self.inbox.recv_timeout(wait) {
            Ok(mail) => Some(mail),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        };
        while let Some(taken) = mail {
            match taken {
                Mail::Input(input) => inputs.push(input),
                Mail::Failed(error) => return Err(error),
                Mail::Stop => return Ok(false),
            }
            mail = if inputs.len() < BATCH_MAX { self.inbox.try_recv().ok() } else { None };
        }
        Ok(true)
    }
}

/// The disk thread.
struct Writer {
    disk: Disk,
    to_write: Receiver<Write>,
    /// Taken from there already. Few: a master whose disk fails takes nothing in.
    later: VecDeque<Write>,
    mailbox: Mailbox,
    links: Arc<Links>,
    crashed: Arc<AtomicBool>,
    meters: Meters,
}

impl Writer {
    fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.writes()));
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => RaftError::Panicked { message: message_of(&*panic) },
        };
        let _ = self.mailbox.send(Mail::Failed(error));
    }

    fn writes(&mut self) -> Result<(), RaftError> {
        let mut batch = Vec::new();
        while let Some(first) = self.next() {
            batch.push(first);
            while batch.len() < WRITES_MAX
                && let Some(more) = self.later.pop_front().or_else(|| self.to_write.try_recv().ok())
            {
                batch.push(more);
            }
            if self.crashed.load(Ordering::Acquire) {
                return Ok(());
            }
            let began = Instant::now();
            if !self.write(&batch)? {
                return Ok(());
            }
            self.meters.persist.record(began.elapsed());
            // The acknowledgement first: what answers the messages must find it handled.
            let number = batch.iter().map(|write| write.number).max().unwrap_or(0);
            if number > 0 {
                let _ = self.mailbox.send(Mail::Input(Input::Persisted(number)));
            }
            for write in batch.drain(..) {
                self.links.send(write.messages);
            }
        }
        Ok(())
    }
}

impl Writer {
    /// The next write in line; none once there will be no more.
    fn next(&mut self) -> Option<Write> {
        self.later.pop_front().or_else(|| self.to_write.recv().ok())
    }

    /// Writes `batch`, again and again if the disk fails. Whether it is durable now: it is not if this
    /// master is being stopped meanwhile.
    fn write(&mut self, batch: &[Write]) -> Result<bool, RaftError> {
        let mut wait = RETRY_FIRST;
        let mut told: Option<String> = None;
        loop {
            let error = match self.disk.write(batch) {
                Ok(()) => break,
                Err(error) if may_pass(&error) => chain(&error),
                Err(error) => return Err(error),
            };
            if told.is_none() {
                let _ = self.mailbox.send(Mail::Input(Input::StoreFailed));
            }
            if told.as_ref() != Some(&error) {
                let path = self.disk.path().display();
                tracing::error!(
                    %path,
                    error,
                    "cannot write the log: this master takes no part until it can; make space, or \
                     see to the disk"
                );
                told = Some(error);
            }
            if !self.wait(wait) {
                return Ok(false);
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
        if told.is_some() {
            let path = self.disk.path().display();
            tracing::info!(%path, "the log can be written again: this master takes part");
            let _ = self.mailbox.send(Mail::Input(Input::StoreWorks));
        }
        Ok(true)
    }

    /// Waits, taking in what is to be written later. Whether to go on.
    fn wait(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            match self.to_write.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(write) => self.later.push_back(write),
                Err(RecvTimeoutError::Timeout) => return !self.crashed.load(Ordering::Acquire),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
