//! The way of the reports of operations to the master.
//!
//! An operation here is done at once or never, so there is one report of each. If its framework gave it
//! an id the report is kept on disk and repeated until it is acknowledged; else it is said once.

use crate::agent::{Agent, Link};
use crate::due::Due;
use crate::output::{Change, Event, Output};
use crate::record::{Key, Record};
use crate::updates::{REPEAT_AFTER, REPEAT_AFTER_MAX};
use model::ids::{OperationUuid, UpdateId};
use model::link::{FromAgent, LiveOperation};
use model::operation::{Operation, OperationState, OperationStatus};
use model::step::{Now, Time};
use std::time::Duration;

/// The report of one operation.
pub(crate) struct OperationLine {
    pub(crate) live: LiveOperation,
    /// When it is to be sent again; absent while it is not under way.
    repeat_at: Option<Time>,
    wait: Duration,
}

/// What is to be said of an operation.
pub(crate) fn outcome(
    agent: &mut Agent,
    operation: Operation,
    state: OperationState,
    why: Option<String>,
) -> LiveOperation {
    let mut status = OperationStatus::new(operation.id.clone(), state);
    status.message = why.map(Into::into);
    status.agent.clone_from(&agent.id);
    status.uuid = operation.id.is_some().then(|| agent.new_update_id());
    LiveOperation { operation, status }
}

/// Sends a report. If somebody waits for it, it must be on its way to the disk.
pub(crate) fn tell(agent: &mut Agent, live: LiveOperation, now: Now, out: &mut Vec<Output>) {
    let uuid = live.operation.uuid;
    out.push(Output::Note(Event::OperationReported {
        operation: uuid,
        kind: live.operation.conversion.name(),
        state: live.status.state,
        why: live.status.message.clone(),
    }));
    if live.status.uuid.is_some() {
        put_back(agent, live, out);
        send(agent, uuid, now, out);
    } else {
        out.push(Output::ToMaster(FromAgent::OperationUpdate {
            operation: uuid,
            framework: live.operation.framework,
            status: live.status,
        }));
    }
}

/// Reports an operation that is not carried out.
pub(crate) fn drop_one(
    agent: &mut Agent,
    operation: Operation,
    why: String,
    now: Now,
    out: &mut Vec<Output>,
) {
    let live = outcome(agent, operation, OperationState::Dropped, Some(why));
    if live.status.uuid.is_some() {
        out.push(Output::Append(Record::Operation(live.clone())));
    }
    tell(agent, live, now, out);
}

/// Takes up an operation whose report waits to be acknowledged.
pub(crate) fn put_back(agent: &mut Agent, live: LiveOperation, out: &mut Vec<Output>) {
    out.push(Output::View(Change::Operation(Box::new(live.clone()))));
    let uuid = live.operation.uuid;
    agent.operations.insert(uuid, OperationLine { live, repeat_at: None, wait: REPEAT_AFTER });
}

/// Reports operations that the master waits for and that never got here.
pub(crate) fn drop_unknown(
    agent: &mut Agent,
    expected: Vec<Operation>,
    now: Now,
    out: &mut Vec<Output>,
) {
    for operation in expected {
        if !agent.operations.contains_key(&operation.uuid) {
            drop_one(agent, operation, "Operation is unknown to the agent".to_owned(), now, out);
        }
    }
}

/// Sends a report, unless it is under way or nobody listens.
fn send(agent: &mut Agent, uuid: OperationUuid, now: Now, out: &mut Vec<Output>) {
    if !matches!(agent.link, Link::Registered { .. }) {
        return;
    }
    let Some(line) = agent.operations.get_mut(&uuid) else { return };
    if line.repeat_at.is_some() {
        return;
    }
    out.push(Output::ToMaster(FromAgent::OperationUpdate {
        operation: uuid,
        framework: line.live.operation.framework.clone(),
        status: line.live.status.clone(),
    }));
    let at = now.time + line.wait;
    line.repeat_at = Some(at);
    line.wait = (line.wait * 2).min(REPEAT_AFTER_MAX);
    agent.due.insert((at, Due::RepeatOperation(uuid)));
}

/// The wait for an acknowledgement is over.
pub(crate) fn repeat(agent: &mut Agent, uuid: OperationUuid, now: Now, out: &mut Vec<Output>) {
    let Some(line) = agent.operations.get_mut(&uuid) else { return };
    if line.repeat_at.is_none_or(|at| at > now.time) {
        return;
    }
    line.repeat_at = None;
    if matches!(agent.link, Link::Registered { .. }) {
        out.push(Output::Note(Event::OperationRepeated { operation: uuid }));
        send(agent, uuid, now, out);
    }
}

/// A master has the agent registered: whatever waits goes out now.
pub(crate) fn resume(agent: &mut Agent, now: Now, out: &mut Vec<Output>) {
    let waiting: Vec<OperationUuid> = agent.operations.keys().copied().collect();
    for uuid in waiting {
        if let Some(line) = agent.operations.get_mut(&uuid) {
            if let Some(at) = line.repeat_at.take() {
                agent.due.remove(&(at, Due::RepeatOperation(uuid)));
            }
            line.wait = REPEAT_AFTER;
        }
        send(agent, uuid, now, out);
    }
}

/// A report has been kept. Anything but what was reported is ignored.
pub(crate) fn acknowledge(
    agent: &mut Agent,
    uuid: OperationUuid,
    status: UpdateId,
    out: &mut Vec<Output>,
) {
    let Some(line) = agent.operations.get(&uuid) else { return };
    if line.live.status.uuid != Some(status) {
        return;
    }
    if let Some(at) = line.repeat_at {
        agent.due.remove(&(at, Due::RepeatOperation(uuid)));
    }
    agent.operations.remove(&uuid);
    out.push(Output::Append(Record::Forget(Key::Operation(uuid))));
    out.push(Output::View(Change::OperationOver(uuid)));
}
