//! The way of status updates to the master.
//!
//! One line per task: in order, one under way at a time, repeated until it is acknowledged, kept on
//! disk before anybody hears of it. Nothing is sent while no master has this agent registered; all
//! lines move again at once when one has.

use crate::agent::{Agent, Link};
use crate::due::Due;
use crate::master_messages::drain;
use crate::output::{Change, Event, Output};
use crate::record::{Key, Record, UpdatesRecord};
use crate::state::End;
use model::ids::{FrameworkId, TaskId, UpdateId};
use model::link::FromAgent;
use model::step::{Now, Time};
use model::task::{Source, Status, TaskState};
use std::collections::VecDeque;
use std::time::Duration;

/// How long to wait for the first acknowledgement before the report is repeated.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(10);

/// The wait doubles up to this.
pub(crate) const REPEAT_AFTER_MAX: Duration = Duration::from_secs(600);

/// Reports kept for one task until they are acknowledged.
///
/// A task reports a handful of states in its life, but a flapping health check reports every flip.
/// A framework this far behind can act on the latest only, so those between may go.
const PENDING_MAX: usize = 64;

/// Report ids remembered for one task. Executors repeat what they have not heard taken, which is
/// the last few.
const SEEN_MAX: usize = 64;

/// The reports of one task.
pub(crate) struct Line {
    pub(crate) record: UpdatesRecord,
    /// When the first pending one is to be sent again; absent while it is not under way.
    repeat_at: Option<Time>,
    wait: Duration,
}

impl Line {
    pub(crate) fn new(record: UpdatesRecord) -> Self {
        Self { record, repeat_at: None, wait: REPEAT_AFTER }
    }

    fn empty(framework: FrameworkId, task: TaskId) -> Self {
        Self::new(UpdatesRecord {
            framework,
            task,
            latest: TaskState::Staging,
            statuses: Vec::new(),
            pending: VecDeque::new(),
            seen: VecDeque::new(),
        })
    }

    fn push(&mut self, status: Status) {
        let record = &mut self.record;
        record.latest = status.state;
        record.statuses.retain(|old| old.state != status.state);
        // Only the report that is under way needs its data.
        record.statuses.push(status.clone().without_data());
        if let Some(uuid) = status.uuid {
            record.seen.push_back(uuid);
            if record.seen.len() > SEEN_MAX {
                record.seen.pop_front();
            }
        }
        if record.pending.len() == PENDING_MAX {
            // The first is on its way and may be acknowledged any moment: it stays.
            record.pending.remove(1);
        }
        record.pending.push_back(status);
    }
}

pub(crate) fn line<'a>(
    agent: &'a Agent,
    framework: &FrameworkId,
    task: &TaskId,
) -> Option<&'a Line> {
    agent.lines.get(framework)?.get(task)
}

/// A report that the agent itself makes.
pub(crate) fn own(agent: &mut Agent, task: &TaskId, end: &End, now: Now) -> Status {
    let mut status = Status::new(task.clone(), end.state, Source::Agent, now.wall);
    status.reason = Some(end.reason);
    status.message = Some(end.message.clone());
    status.agent.clone_from(&agent.id);
    status.uuid = Some(agent.new_update_id());
    status
}

/// Keeps a report, and sends it if nothing is before it. The caller has checked that it is new and
/// may follow what was said of the task before.
pub(crate) fn report(
    agent: &mut Agent,
    framework: &FrameworkId,
    mut status: Status,
    now: Now,
    out: &mut Vec<Output>,
) {
    drain::explain(agent, framework, &mut status);
    let task_id = status.task.clone();
    let lines = agent.lines.entry(framework.clone()).or_default();
    let line = lines
        .entry(task_id.clone())
        .or_insert_with(|| Line::empty(framework.clone(), task_id.clone()));
    line.push(status.clone());
    out.push(Output::Append(Record::Updates(line.record.clone())));
    if let Some(task) =
        agent.frameworks.get_mut(framework).and_then(|state| state.tasks.get_mut(&task_id))
    {
        task.state = status.state;
        if status.state.is_terminal() {
            agent.used.subtract(&task.spec.resources);
        }
    }
    out.push(Output::Note(Event::TaskReported {
        framework: framework.clone(),
        task: task_id.clone(),
        state: status.state,
        reason: status.reason,
    }));
    let status = status.without_data();
    out.push(Output::View(Change::TaskStatus { framework: framework.clone(), status }));
    send_first(agent, framework, &task_id, now, out);
}

/// Sends the first pending report, unless it is under way or nobody listens.
fn send_first(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    now: Now,
    out: &mut Vec<Output>,
) {
    if !matches!(agent.link, Link::Registered { .. }) {
        return;
    }
    let Some(line) = agent.lines.get_mut(framework).and_then(|lines| lines.get_mut(task)) else {
        return;
    };
    let Some(first) = line.record.pending.front() else { return };
    if line.repeat_at.is_some() {
        return;
    }
    out.push(Output::ToMaster(FromAgent::StatusUpdate {
        framework: framework.clone(),
        status: first.clone(),
        latest: line.record.latest,
    }));
    let at = now.time + line.wait;
    line.repeat_at = Some(at);
    line.wait = (line.wait * 2).min(REPEAT_AFTER_MAX);
    agent.due.insert((at, Due::Repeat(framework.clone(), task.clone())));
}

/// The wait for an acknowledgement is over.
pub(crate) fn repeat(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(line) = agent.lines.get_mut(framework).and_then(|lines| lines.get_mut(task)) else {
        return;
    };
    if line.repeat_at.is_none_or(|at| at > now.time) {
        return;
    }
    line.repeat_at = None;
    if matches!(agent.link, Link::Registered { .. }) {
        out.push(Output::Note(Event::UpdateRepeated {
            framework: framework.clone(),
            task: task.clone(),
        }));
        send_first(agent, framework, task, now, out);
    }
}

/// A master has the agent registered: whatever waits goes out now.
pub(crate) fn resume(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    let all: Vec<_> = agent.lines.keys().cloned().collect();
    for framework in all {
        resume_of(agent, &framework, now, out);
    }
}

/// Whatever of `framework` waits goes out now.
pub(crate) fn resume_of(
    agent: &mut Agent,
    framework: &FrameworkId,
    now: Now,
    out: &mut Vec<Output>,
) {
    let waiting: Vec<_> =
        agent.lines.get(framework).into_iter().flat_map(|lines| lines.keys()).cloned().collect();
    for task in waiting {
        if let Some(line) = agent.lines.get_mut(framework).and_then(|lines| lines.get_mut(&task)) {
            if let Some(at) = line.repeat_at.take() {
                agent.due.remove(&(at, Due::Repeat(framework.clone(), task.clone())));
            }
            line.wait = REPEAT_AFTER;
        }
        send_first(agent, framework, &task, now, out);
    }
}

/// The framework has kept a report. Anything but the one under way is ignored.
pub(crate) fn acknowledge(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    uuid: UpdateId,
    now: Now,
    out: &mut Vec<Output>,
) {
    let is_known_task =
        agent.frameworks.get(framework).is_some_and(|state| state.tasks.contains_key(task));
    let Some(line) = agent.lines.get_mut(framework).and_then(|lines| lines.get_mut(task)) else {
        return;
    };
    if line.record.pending.front().is_none_or(|first| first.uuid != Some(uuid)) {
        return;
    }
    line.record.pending.pop_front();
    if let Some(at) = line.repeat_at.take() {
        agent.due.remove(&(at, Due::Repeat(framework.clone(), task.clone())));
    }
    line.wait = REPEAT_AFTER;
    let all_told = line.record.pending.is_empty();
    if all_told && (line.record.latest.is_terminal() || !is_known_task) {
        forget(agent, framework, task, out);
        forget_if_idle(agent, framework, out);
        return;
    }
    // Should that be lost, the next agent sends what was acknowledged once more.
    out.push(Output::AppendLazily(Record::Updates(line.record.clone())));
    send_first(agent, framework, task, now, out);
}

/// Forgets a task and its reports.
pub(crate) fn forget(
    agent: &mut Agent,
    framework: &FrameworkId,
    task: &TaskId,
    out: &mut Vec<Output>,
) {
    if let Some(lines) = agent.lines.get_mut(framework) {
        if let Some(line) = lines.remove(task) {
            if let Some(at) = line.repeat_at {
                agent.due.remove(&(at, Due::Repeat(framework.clone(), task.clone())));
            }
            // The task goes first: reports without a task are read as such, but a task without its
            // reports would be taken for one that has not begun.
            if !agent.frameworks.get(framework).is_some_and(|state| state.tasks.contains_key(task))
            {
                let key = Key::Updates(framework.clone(), task.clone());
                out.push(Output::AppendLazily(Record::Forget(key)));
            }
        }
        if lines.is_empty() {
            agent.lines.remove(framework);
        }
    }
    if let Some(state) = agent.frameworks.get_mut(framework)
        && let Some(gone) = state.tasks.remove(task)
    {
        if !gone.state.is_terminal() {
            agent.used.subtract(&gone.spec.resources);
        }
        let key = Key::Task(framework.clone(), task.clone());
        out.push(Output::AppendLazily(Record::Forget(key)));
        let key = Key::Updates(framework.clone(), task.clone());
        out.push(Output::AppendLazily(Record::Forget(key)));
    }
}

/// Forgets a framework that has nothing here any more.
pub(crate) fn forget_if_idle(agent: &mut Agent, framework: &FrameworkId, out: &mut Vec<Output>) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let is_idle = state.executors.is_empty()
        && state.tasks.is_empty()
        && !agent.lines.contains_key(framework);
    if is_idle {
        agent.frameworks.remove(framework);
        out.push(Output::AppendLazily(Record::Forget(Key::Framework(framework.clone()))));
        out.push(Output::View(Change::FrameworkOver(framework.clone())));
    }
}
