//! All masters are replaced, one after the other, under a framework whose tasks come and go.

use crate::harness::{Daemon, PATIENCE, World, free_ports, until, until_async};
use crate::membership::{raft, voters_are};
use framework_sdk::builders::{TaskBuilder, framework};
use framework_sdk::calls::launch;
use framework_sdk::matching::{Available, Needs};
use framework_sdk::{Client, ClientOptions, EventStream, Handle, SessionEvent};
use proto::mesos::v1::scheduler::Event;
use proto::mesos::v1::{Offer, TaskId, TaskState, TaskStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tasks that run at the same time.
const AT_ONCE: usize = 50;

/// How often it is looked whether all tasks have ended, which is less than patience lasts.
const LOOKS_MAX: u32 = 1_000;

/// What became of one task.
#[derive(Debug, Default)]
struct Story {
    has_run: bool,
    latest: Option<TaskState>,
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
        if story.is_over() && story.has_run && state != TaskState::TaskFinished {
            let message = status.message.clone().unwrap_or_default();
            self.wrong.push(format!("{id} ran and is lost: {state:?} {message}"));
        }
    }
}

/// A framework that keeps [`AT_ONCE`] short tasks running.
async fn keep_running(handle: Handle, mut events: EventStream, seen: Arc<Mutex<Seen>>) {
    while let Some(event) = events.next().await {
        match event {
            SessionEvent::Subscribed { again, .. } => {
                seen.lock().expect("not poisoned").resubscribed += usize::from(again);
                reconcile(&handle, &seen);
            }
            SessionEvent::Disconnected { .. } => {}
            SessionEvent::Event(event) => take(&handle, *event, &seen),
            SessionEvent::Ended(end) => {
                seen.lock().expect("not poisoned").wrong.push(format!("it ended: {end}"));
            }
        }
    }
}

fn take(handle: &Handle, event: Event, seen: &Arc<Mutex<Seen>>) {
    if let Some(update) = event.update {
        seen.lock().expect("not poisoned").note(&update.status);
    }
    for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
        answer(handle, &offer, &mut seen.lock().expect("not poisoned"));
    }
}

fn answer(handle: &Handle, offer: &Offer, seen: &mut Seen) {
    let mut available = Available::of(offer);
    let mut tasks = Vec::new();
    let mut room = if seen.is_enough { 0 } else { AT_ONCE.saturating_sub(seen.live().len()) };
    while room > 0
        && let Some(taken) = available.take(&Needs::new(0.05, 16.0))
    {
        let id = format!("task-{}", seen.tasks.len());
        tasks.push(TaskBuilder::shell(&id, "sleep 3").build(&offer.agent_id, taken.resources));
        seen.tasks.insert(id, Story::default());
        room -= 1;
    }
    // What becomes of a call while leaders change is told by reconciling.
    let filter = Some(Duration::from_millis(100));
    let call = framework_sdk::calls::accept([offer.id.clone()], vec![launch(tasks)], filter);
    drop(handle.submit(call));
}

fn reconcile(handle: &Handle, seen: &Arc<Mutex<Seen>>) {
    let live = seen.lock().expect("not poisoned").live();
    let tasks = live.into_iter().map(|value| (TaskId { value }, None));
    drop(handle.submit(framework_sdk::calls::reconcile(tasks)));
}

#[tokio::test]
async fn all_masters_are_replaced_while_tasks_come_and_go_and_none_is_lost() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let mut daemons = std::mem::take(&mut masters.daemons);
    let ports = free_ports(3);
    let news: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let all = format!("{},{}", masters.peers, news.join(","));
    let _first = world.start_agent("agent-1", &all, "31000-31499").await;
    let _second = world.start_agent("agent-2", &all, "31500-31999").await;

    let info = framework("rolling", "root", Duration::from_secs(3_600));
    let masters = all.split(',').map(str::to_owned).collect();
    let (handle, events) = Client::connect(ClientOptions::new(masters, info));
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let framework = tokio::spawn(keep_running(handle.clone(), events, seen.clone()));
    let look = || seen.lock().expect("not poisoned");
    until("tasks run", || (look().finished() >= 10).then_some(())).await;

    for (at, port) in ports.iter().enumerate() {
        let addresses: Vec<_> = daemons.iter().map(|one: &Daemon| one.address.clone()).collect();
        let (port, join) = (format!("--port={port}"), format!("--join={}", addresses.join(",")));
        let args = ["master", "--ip=127.0.0.1", &port, &join];
        daemons.push(world.start(&format!("master-new-{at}"), &args).await);
        let mut addresses: Vec<_> = daemons.iter().map(|one| one.address.clone()).collect();
        voters_are(&all, &addresses).await;
        let mut old = daemons.remove(0);
        addresses.remove(0);
        let (code, _, err) = raft(&all, &["remove", &old.address]);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(old.ended("the removed master ends").await, Some(1));
        voters_are(&all, &addresses).await;
        let before = look().finished();
        until("tasks go on", || (look().finished() >= before + 20).then_some(())).await;
    }

    look().is_enough = true;
    let mut looks = 0;
    until_async("every task has come to its end", PATIENCE, async || {
        looks += 1;
        if looks % 20 == 0 {
            reconcile(&handle, &seen);
        }
        let seen = look();
        let live: Vec<_> = seen.tasks.iter().filter(|(_, story)| !story.is_over()).collect();
        assert!(looks < LOOKS_MAX, "still live: {live:?}");
        live.is_empty().then_some(())
    })
    .await;
    handle.teardown().await.expect("the last leader answers");
    framework.abort();
    let seen = look();
    let (all, finished, resubscribed) = (seen.tasks.len(), seen.finished(), seen.resubscribed);
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert!(finished > AT_ONCE && resubscribed > 0, "{finished} tasks, {resubscribed} leaders");
    assert!(all - finished <= AT_ONCE, "{finished} of {all} ran");
}
