//! Whatever happened and whenever it is killed, an agent that comes back keeps its promises.

use super::*;
use crate::input::Exit;
use crate::output::ExecutorEvent;
use model::rng::Rng;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The world around an agent: a master that keeps what it is told, containers, a store.
struct World {
    story: Story,
    rng: Rng,
    link: u64,
    names: u32,
    alive: BTreeSet<ContainerId>,
    /// Which executor is in which container.
    inside: BTreeMap<ContainerId, ExecutorId>,
    /// What executors were told that their reports were taken.
    taken: BTreeSet<UpdateId>,
    /// Reports that have reached the master.
    heard: BTreeSet<UpdateId>,
    /// The latest report of each task that the master has heard, in order.
    latest: BTreeMap<TaskId, TaskState>,
    /// Tasks the agent has said on disk that it has.
    accepted: BTreeSet<TaskId>,
    /// Reports to be acknowledged.
    to_acknowledge: Vec<(TaskId, UpdateId)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            story: Story::restarted(Vec::new(), Recovered::default(), seed),
            rng: Rng::new(seed ^ 0xABCD),
            link: 0,
            names: 0,
            alive: BTreeSet::new(),
            inside: BTreeMap::new(),
            taken: BTreeSet::new(),
            heard: BTreeSet::new(),
            latest: BTreeMap::new(),
            accepted: BTreeSet::new(),
            to_acknowledge: Vec::new(),
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.link += 1;
        let link = ConnectionId(self.link);
        self.input(Input::LinkUp { link }, None);
        let message = match self.story.agent.id().cloned() {
            None => {
                ToAgent::Registered { agent: aid(), ping_timeout: Duration::from_secs(1 << 30) }
            }
            Some(agent) => ToAgent::Reregistered {
                agent,
                ping_timeout: Duration::from_secs(1 << 30),
                expected: self.unended().map(|task| (fid(), task.clone())).collect(),
                completed: Vec::new(),
                operations: Vec::new(),
            },
        };
        self.say(message, None);
    }

    /// Tasks that the master does not know to be over.
    fn unended(&self) -> impl Iterator<Item = &TaskId> {
        let is_over = |task| self.latest.get(task).is_some_and(|state| state.is_terminal());
        self.accepted.iter().filter(move |task| !is_over(*task))
    }

    fn say(&mut self, message: ToAgent, crash_after: Option<usize>) {
        let link = ConnectionId(self.link);
        self.input(Input::FromMaster { link, term: Term(1), message }, crash_after);
    }

    /// Lets `input` happen. With `crash_after` the agent dies after so many of its outputs.
    fn input(&mut self, input: Input, crash_after: Option<usize>) {
        let mut out = Vec::new();
        let now = self.story.now();
        self.story.agent.step(input, now, &mut out);
        self.perform(out, crash_after);
    }

    fn perform(&mut self, mut out: Vec<Output>, crash_after: Option<usize>) {
        if let Some(after) = crash_after {
            out.truncate(after.min(out.len()));
        }
        for output in self.story.keep(out) {
            match output {
                Output::Append(Record::Task(task)) => {
                    self.accepted.insert(task.spec.id);
                }
                Output::LaunchContainer(launch) => {
                    self.inside.insert(launch.container.clone(), launch.executor.id);
                    self.alive.insert(launch.container);
                }
                Output::ToExecutor { event: ExecutorEvent::Acknowledged { uuid, .. }, .. } => {
                    self.taken.insert(uuid);
                }
                Output::ToMaster(FromAgent::StatusUpdate { status, .. }) => {
                    let uuid = status.uuid.expect("agents' reports have ids");
                    if self.heard.insert(uuid) {
                        let before = self.latest.insert(status.task.clone(), status.state);
                        assert!(
                            !before.is_some_and(TaskState::is_terminal),
                            "{} was over and is {:?}",
                            status.task,
                            status.state
                        );
                    }
                    self.to_acknowledge.push((status.task, uuid));
                }
                _ => {}
            }
        }
        if crash_after.is_some() {
            self.restart();
        }
    }

    fn restart(&mut self) {
        // What nothing waits for may have been written, or some of it.
        let written = below(&mut self.rng, self.story.unwritten.len() + 1);
        self.story.unwritten.truncate(written);
        self.story.write();
        let store = std::mem::take(&mut self.story.store);
        let secs = self.story.secs;
        self.story = Story { secs, ..Story::with_store(store, self.rng.next_u64()) };
        let recovered = Recovered {
            records: self.story.store.clone(),
            alive: self.alive.iter().cloned().collect(),
            ..Recovered::default()
        };
        self.input(Input::Recovered(recovered), None);
        // Executors come back, some of them too late.
        for (container, executor) in self.inside.clone() {
            if self.alive.contains(&container) && self.rng.chance(80) {
                self.subscribe(&executor);
            }
        }
        self.story.secs += 3;
        let mut out = Vec::new();
        let now = self.story.now();
        self.story.agent.wake(now, &mut out);
        self.perform(out, None);
        self.connect();
    }

    fn subscribe(&mut self, executor: &ExecutorId) {
        let known: Vec<TaskId> = self.accepted.iter().cloned().collect();
        let connection = ConnectionId(self.rng.next_u64());
        let mut call = subscribe(executor.as_str(), connection);
        call.unacknowledged_tasks = known.into_iter().filter(|_| self.rng.chance(80)).collect();
        self.input(Input::Subscribe(call), None);
    }

    /// Something happens, drawn at random; perhaps the agent dies over it.
    fn happen(&mut self) {
        let crash_after = if self.rng.chance(25) { Some(below(&mut self.rng, 8)) } else { None };
        self.story.secs += self.rng.below(5);
        let containers: Vec<ContainerId> = self.alive.iter().cloned().collect();
        let some = |rng: &mut Rng, len: usize| below(rng, len.max(1));
        match self.rng.below(8) {
            0 | 1 => {
                self.names += 1;
                let task = task(&format!("t{}", self.names), 100);
                let order = if self.rng.chance(50) {
                    command(task)
                } else {
                    let name = format!("e{}", self.rng.below(2));
                    on_executor(executor(&name, 100), vec![task], self.rng.chance(30))
                };
                self.say(order, crash_after);
            }
            2 => {
                if let Some(container) = containers.get(some(&mut self.rng, containers.len())) {
                    let executor = self.inside[container].clone();
                    self.subscribe(&executor);
                }
            }
            3 | 4 => {
                let live: Vec<TaskId> =
                    self.story.agent.live_tasks().map(|(_, task)| task.clone()).collect();
                let Some(task) = live.get(some(&mut self.rng, live.len())) else { return };
                let owner = self.story.agent.frameworks[&fid()].tasks[task].executor.clone();
                let states = [TaskState::Running, TaskState::Finished, TaskState::Failed];
                let state = states[some(&mut self.rng, states.len())];
                let mut report = status(task.as_str(), state, 0);
                report.uuid = Some(UpdateId(self.rng.uuid()));
                let update = Input::Update {
                    request: REQUEST,
                    framework: fid(),
                    executor: owner,
                    status: report,
                };
                self.input(update, crash_after);
            }
            5 => {
                if self.to_acknowledge.is_empty() {
                    return;
                }
                let at = some(&mut self.rng, self.to_acknowledge.len());
                let (task, uuid) = self.to_acknowledge.swap_remove(at);
                self.say(ToAgent::Acknowledge { framework: fid(), task, uuid }, crash_after);
            }
            6 => {
                if let Some(container) = containers.get(some(&mut self.rng, containers.len())) {
                    self.alive.remove(container);
                    let container = container.clone();
                    self.input(Input::Exited { container, exit: Exit::default() }, crash_after);
                }
            }
            _ => {
                self.names += 1;
                let task = tid(&format!("t{}", 1 + self.rng.below(u64::from(self.names))));
                // A master does not kill what it knows to be over.
                if self.latest.get(&task).is_some_and(|state| state.is_terminal()) {
                    return;
                }
                self.say(ToAgent::Kill { framework: fid(), task, grace: None }, crash_after);
            }
        }
        self.check_books();
    }

    /// What the agent counts as used is what it has.
    fn check_books(&self) {
        let mut used = Resources::none();
        for state in self.story.agent.frameworks.values() {
            for executor in state.executors.values() {
                used.add(&executor.spec.resources);
            }
            for task in state.tasks.values().filter(|task| !task.state.is_terminal()) {
                used.add(&task.spec.resources);
            }
        }
        assert_eq!(*self.story.agent.used(), used);
    }

    /// All containers end and all reports are acknowledged: then nothing is left, and everything
    /// was told.
    fn settle(&mut self) {
        for container in std::mem::take(&mut self.alive) {
            self.input(Input::Exited { container, exit: Exit::default() }, None);
        }
        for container in self.story.agent.containers.keys().cloned().collect::<Vec<_>>() {
            self.input(Input::Exited { container, exit: Exit::default() }, None);
        }
        for _ in 0..1_000 {
            for (task, uuid) in std::mem::take(&mut self.to_acknowledge) {
                self.say(ToAgent::Acknowledge { framework: fid(), task, uuid }, None);
            }
            self.story.secs += 600;
            let mut out = Vec::new();
            let now = self.story.now();
            self.story.agent.wake(now, &mut out);
            self.perform(out, None);
            if self.story.agent.is_idle() {
                break;
            }
        }
        assert!(self.story.agent.is_idle(), "everything was told and acknowledged");
        self.story.write();
        assert!(self.story.agent.used().is_empty());
        assert_eq!(self.story.store.len(), 1, "{:?}", self.story.store);
        for task in &self.accepted {
            let latest = self.latest.get(task);
            assert!(latest.is_some_and(|state| state.is_terminal()), "{task}: {latest:?}");
        }
        assert!(self.taken.is_subset(&self.heard), "what was taken was passed on");
    }
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).expect("below a size")
}

proptest! {
    #[test]
    fn a_crash_at_any_moment_loses_no_promise(seed: u64, steps in 1_usize..120) {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.happen();
        }
        world.settle();
    }
}

#[test]
fn a_built_in_executor_whose_task_never_reached_it_is_ended_by_the_next_agent() {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.write();
    let alive = Recovered { alive: vec![story.container()], ..Recovered::default() };
    // It died between writing that the executor is there and giving it its task.
    let mut story = Story::restarted(story.store, alive, 2);
    let out = story.subscribed("t");
    assert_eq!(
        short(&out),
        ["answer Ok(())", "event Subscribed", "append Updates(f, t)", "event Shutdown", "Connect"]
    );
}

#[test]
fn tasks_that_were_sent_before_that_was_written_are_sent_once_more_if_they_were_not_heard_of() {
    let mut story = Story::registered();
    let tasks =
        ["a", "b"].map(|name| on_executor(executor("e", 100), vec![task(name, 100)], false));
    story.hear_all(tasks);
    let out = story.subscribed("e");
    assert!(short(&out).contains(&"event Launch".to_owned()), "{out:?}");
    // It dies before the next write, and the executor has heard of one of them.
    let alive = Recovered { alive: vec![story.container()], ..Recovered::default() };
    let mut story = Story::restarted(story.store, alive, 2);
    let mut call = subscribe("e", STREAM);
    call.unacknowledged_tasks = vec![tid("a")];
    let out = story.step(Input::Subscribe(call));
    let launched: Vec<_> = out.iter().filter_map(launched).collect();
    assert_eq!(launched, [tid("b")]);
}

#[test]
fn a_task_that_was_killed_while_nobody_knew_that_it_was_sent_is_ended_by_its_executor() {
    let mut story = Story::registered();
    let tasks =
        ["a", "b"].map(|name| on_executor(executor("e", 100), vec![task(name, 100)], false));
    story.hear_all(tasks);
    story.subscribed("e");
    let alive = Recovered { alive: vec![story.container()], ..Recovered::default() };
    let mut story = Story::restarted(story.store, alive, 2);
    story.step(Input::LinkUp { link: LINK });
    story.hear(ToAgent::Kill { framework: fid(), task: tid("a"), grace: None });
    let mut call = subscribe("e", STREAM);
    call.unacknowledged_tasks = vec![tid("a"), tid("b")];
    let out = story.step(Input::Subscribe(call));
    let killed = |output: &Output| match output {
        Output::ToExecutor { event: ExecutorEvent::Kill { task, .. }, .. } => Some(task.clone()),
        _ => None,
    };
    assert_eq!(out.iter().filter_map(killed).collect::<Vec<_>>(), [tid("a")]);
    assert_eq!(out.iter().find_map(launched), None, "it has both");
}

fn launched(output: &Output) -> Option<TaskId> {
    match output {
        Output::ToExecutor { event: ExecutorEvent::Launch(task), .. } => Some(task.id.clone()),
        _ => None,
    }
}

#[test]
fn an_executor_that_was_about_to_be_destroyed_is_destroyed_by_the_next_agent() {
    let mut story = Story::registered();
    story.hear(on_executor(executor("e", 100), vec![task("t", 100)], false));
    story.hear(ToAgent::Kill { framework: fid(), task: tid("t"), grace: None });
    let alive = Recovered { alive: vec![story.container()], ..Recovered::default() };
    let records = story.store.clone();
    let mut next = Story::with_store(story.store, 2);
    let out = next.step(Input::Recovered(Recovered { records, ..alive }));
    assert_eq!(short(&out), ["destroy container", "Connect"]);
}
