//! All masters are replaced, one after the other, and leaders are killed, one after the other, under a
//! framework whose tasks come and go.
//!
//! `cargo xtask endure` runs these with more tasks and for longer, by what the environment says.

use crate::harness::{Daemon, PATIENCE, World, until, until_async, wanted};
use framework_sdk::builders::{TaskBuilder, framework};
use framework_sdk::calls::launch;
use framework_sdk::client::Submitted;
use framework_sdk::matching::{Available, Needs};
use framework_sdk::{Client, ClientOptions, EventStream, Handle, SessionEvent};
use proto::mesos::v1::scheduler::Event;
use proto::mesos::v1::{Offer, TaskId, TaskState, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Tasks that run at the same time.
fn at_once() -> usize {
    wanted("AGORA_TEST_TASKS", 50)
}

/// Leaders that are killed.
fn kills() -> usize {
    wanted("AGORA_TEST_LEADER_KILLS", 3)
}

/// From one kill of a leader to the next.
const KILL_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether all tasks have ended, which is less than patience lasts.
const LOOKS_MAX: u32 = 1_000;

/// What became of one task.
#[derive(Debug, Default)]
struct Story {
    has_run: bool,
    latest: Option<TaskState>,
    /// Why, in the words of whoever said so.
    message: String,
}

impl Story {
    /// Whether nothing more is to come, as far as is known. Of one that never ran, that nobody knows it
    /// is an end too: the word to launch it was lost with a leader.
    fn is_over(&self) -> bool {
        let is_unknown = self.latest == Some(TaskState::TaskUnknown) && !self.has_run;
        is_unknown || self.has_ended()
    }

    fn has_ended(&self) -> bool {
        let state = self.latest.and_then(|it| model::task::TaskState::from_number(it.into()));
        state.is_some_and(model::task::TaskState::is_terminal)
    }
}

/// What the framework has seen.
#[derive(Default)]
struct Seen {
    tasks: BTreeMap<String, Story>,
    resubscribed: usize,
    /// Tasks whose launch a master has said to take.
    taken: BTreeSet<String>,
    /// What must not happen.
    wrong: Vec<String>,
    is_enough: bool,
}

impl Seen {
    fn live(&self) -> Vec<String> {
        let live = self.tasks.iter().filter(|(_, story)| !story.is_over());
        live.map(|(id, _)| id.clone()).collect()
    }

    fn finished(&self) -> usize {
        let is_finished = |story: &&Story| story.latest == Some(TaskState::TaskFinished);
        self.tasks.values().filter(is_finished).count()
    }

    /// How many tasks have not run to their end, by what was said of them last.
    fn ends_of_others(&self) -> BTreeMap<(Option<TaskState>, &str), usize> {
        let mut ends = BTreeMap::new();
        for story in self.tasks.values().filter(|it| it.latest != Some(TaskState::TaskFinished)) {
            *ends.entry((story.latest, story.message.as_str())).or_default() += 1;
        }
        ends
    }

    /// Tasks that were taken, never ran, and that nobody knows of any more.
    fn lost(&self) -> Vec<String> {
        let is_lost = |id: &&String| {
            let story = self.tasks.get(*id);
            story.is_some_and(|it| !it.has_run && it.latest == Some(TaskState::TaskUnknown))
        };
        self.taken.iter().filter(is_lost).cloned().collect()
    }

    fn note(&mut self, status: &TaskStatus) {
        let (id, state) = (&status.task_id.value, status.state());
        let Some(story) = self.tasks.get_mut(id) else {
            return self.wrong.push(format!("{id} was never launched: {state:?}"));
        };
        if story.has_ended() {
            // Who asked for its state a moment before is told that nobody knows it any more.
            return;
        }
        story.has_run |= state == TaskState::TaskRunning;
        story.latest = Some(state);
        story.message = status.message.clone().unwrap_or_default();
        if story.is_over() && story.has_run && state != TaskState::TaskFinished {
            let message = status.message.clone().unwrap_or_default();
            self.wrong.push(format!("{id} ran and is lost: {state:?} {message}"));
        }
    }
}

/// A framework that keeps short tasks running. Each leaves a line in a file of its own in `marks`
/// whenever it begins.
async fn keep_running(
    handle: Handle,
    mut events: EventStream,
    seen: Arc<Mutex<Seen>>,
    marks: PathBuf,
) {
    while let Some(event) = events.next().await {
        match event {
            SessionEvent::Subscribed { again, .. } => {
                seen.lock().expect("not poisoned").resubscribed += usize::from(again);
                reconcile(&handle, &seen);
            }
            SessionEvent::Disconnected { .. } => {}
            SessionEvent::Event(event) => take(&handle, *event, &seen, &marks),
            SessionEvent::Ended(end) => {
                seen.lock().expect("not poisoned").wrong.push(format!("it ended: {end}"));
            }
        }
    }
}

fn take(handle: &Handle, event: Event, seen: &Arc<Mutex<Seen>>, marks: &Path) {
    if let Some(update) = event.update {
        seen.lock().expect("not poisoned").note(&update.status);
    }
    for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
        let (tasks, submitted) =
            answer(handle, &offer, &mut seen.lock().expect("not poisoned"), marks);
        // What becomes of a call while leaders change is told by reconciling.
        let seen = seen.clone();
        tokio::spawn(async move {
            if submitted.await.is_ok() {
                seen.lock().expect("not poisoned").taken.extend(tasks);
            }
        });
    }
}

fn answer(
    handle: &Handle,
    offer: &Offer,
    seen: &mut Seen,
    marks: &Path,
) -> (Vec<String>, Submitted) {
    let mut available = Available::of(offer);
    let (mut tasks, mut ids) = (Vec::new(), Vec::new());
    let mut room = if seen.is_enough { 0 } else { at_once().saturating_sub(seen.live().len()) };
    // A dozen or two begin and end in a second, however many there are.
    let secs = at_once() / 16;
    while room > 0
        && let Some(taken) = available.take(&Needs::new(0.02, 8.0))
    {
        let id = format!("task-{}", seen.tasks.len());
        let command = format!("echo >> {}/{id} && exec sleep {secs}", marks.display());
        tasks.push(TaskBuilder::shell(&id, &command).build(&offer.agent_id, taken.resources));
        ids.push(id.clone());
        seen.tasks.insert(id, Story::default());
        room -= 1;
    }
    let filter = Some(Duration::from_millis(100));
    let call = framework_sdk::calls::accept([offer.id.clone()], vec![launch(tasks)], filter);
    (ids, handle.submit(call))
}

fn reconcile(handle: &Handle, seen: &Arc<Mutex<Seen>>) {
    let live = seen.lock().expect("not poisoned").live();
    let tasks = live.into_iter().map(|value| (TaskId { value }, None));
    drop(handle.submit(framework_sdk::calls::reconcile(tasks)));
}

/// What tasks have left that says otherwise than what was said of them: each that began did so once, and
/// the framework heard of its end.
fn contradictions(marks: &Path, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    for mark in std::fs::read_dir(marks).expect("it is there").flatten() {
        let id = mark.file_name().to_string_lossy().into_owned();
        let begun = std::fs::read_to_string(mark.path()).expect("a file").lines().count();
        let latest = seen.tasks.get(&id).and_then(|story| story.latest);
        if begun != 1 || latest != Some(TaskState::TaskFinished) {
            found.push(format!(
                "{id} began {begun} times, and what was said of it last is {latest:?}"
            ));
        }
    }
    found
}

/// Everything that a test of these needs beside its masters.
pub(crate) struct Load {
    handle: Handle,
    seen: Arc<Mutex<Seen>>,
    framework: JoinHandle<()>,
    marks: PathBuf,
    _agents: [Daemon; 2],
}

impl Load {
    /// Starts agents and the framework, and waits until its tasks come and go.
    pub(crate) async fn start(world: &World, masters: &str) -> Self {
        let agents = [
            world.start_agent("agent-1", masters, "31000-31499").await,
            world.start_agent("agent-2", masters, "31500-31999").await,
        ];
        let info = framework("rolling", "root", Duration::from_secs(3_600));
        let masters = masters.split(',').map(str::to_owned).collect();
        let (handle, events) = Client::connect(ClientOptions::new(masters, info));
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let marks = world.path("marks");
        std::fs::create_dir(&marks).expect("a directory");
        let framework =
            tokio::spawn(keep_running(handle.clone(), events, seen.clone(), marks.clone()));
        let load = Self { handle, seen, framework, marks, _agents: agents };
        load.goes_on().await;
        load
    }

    fn look(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("not poisoned")
    }

    pub(crate) async fn goes_on(&self) {
        let before = self.look().finished();
        until("tasks go on", || (self.look().finished() >= before + 20).then_some(())).await;
    }

    /// Launches nothing more, and finds that nothing was lost, nothing ran twice, and nothing but the
    /// session was interrupted. Which launches were taken and lost without a word, as may happen when a leader
    /// dies, is returned.
    pub(crate) async fn ends_well(self) -> Vec<String> {
        self.look().is_enough = true;
        let mut looks = 0;
        until_async("every task has come to its end", PATIENCE, async || {
            looks += 1;
            if looks % 20 == 0 {
                reconcile(&self.handle, &self.seen);
            }
            let seen = self.look();
            let live: Vec<_> = seen.tasks.iter().filter(|(_, story)| !story.is_over()).collect();
            assert!(looks < LOOKS_MAX, "still live: {live:?}");
            live.is_empty().then_some(())
        })
        .await;
        self.handle.teardown().await.expect("the last leader answers");
        self.framework.abort();
        let seen = self.look();
        let (all, finished, leaders) = (seen.tasks.len(), seen.finished(), seen.resubscribed);
        println!("{finished} of {all} tasks ran, under {} leaders", leaders + 1);
        println!("of the others: {:?}", seen.ends_of_others());
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        let contradictions = contradictions(&self.marks, &seen);
        assert!(contradictions.is_empty(), "{contradictions:?}");
        assert!(finished > at_once() && leaders > 0, "{finished} tasks, {leaders} leaders");
        // What was on its way to an agent when a leader ended may never have run.
        assert!(all - finished <= at_once() * leaders, "{finished} of {all} ran");
        seen.lost()
    }
}

#[tokio::test]
async fn all_masters_are_replaced_while_tasks_come_and_go_and_none_is_lost() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let mut daemons = std::mem::take(&mut masters.daemons);
    // Nobody is told of the new masters but by masters.
    let load = Load::start(&world, &masters.peers).await;
    for number in 0..3 {
        let name = format!("master-new-{number}");
        world.replace_first(&mut daemons, &name, &masters.peers).await;
        load.goes_on().await;
    }
    let lost = load.ends_well().await;
    assert!(lost.is_empty(), "taken, and lost without a word: {lost:?}");
}

#[tokio::test]
async fn leaders_are_killed_while_tasks_come_and_go_and_none_is_lost() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let load = Load::start(&world, &masters.peers).await;
    for _ in 0..kills() {
        let since = Instant::now();
        let all: Vec<&Daemon> = masters.daemons.iter().collect();
        let leader = world.leader(&all).await;
        let mut dead = masters.daemons.remove(leader);
        dead.kill();
        let port = dead.address.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
        let back = world.start_master(&dead.name, port, &masters.peers, &[]).await;
        masters.daemons.push(back);
        until("it is time for the next", || (since.elapsed() >= KILL_EVERY).then_some(())).await;
    }
    load.goes_on().await;
    let lost = load.ends_well().await;
    println!("{} launches were taken and died with their leader", lost.len());
}
