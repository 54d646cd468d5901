//! Operations on resources, and what their frameworks are told of them.

use super::timers::Due;
use super::{Books, Turn};
use crate::io::{Done, Refusal};
use crate::note::Note;
use crate::view::{OperationView, ViewChange};
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId, OperationUuid, RequestId};
use model::link::ToAgent;
use model::operation::{self, Conversion, OperationState, OperationStatus};
use std::sync::Arc;
use std::time::Duration;

/// How long the report of an operation waits for a framework that is over or not known: it may have
/// been declared so by a mistake that somebody is about to mend.
pub(crate) const ORPHAN_KEPT_FOR: Duration = Duration::from_secs(600);

/// Why nobody knows of an operation whether its agent has done it.
const DISCONNECTED: &str = "The agent has disconnected";

/// An operation that is not over for everybody.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) what: Arc<operation::Operation>,
    pub(crate) agent: AgentId,
    /// How far it is, as far as is known here.
    pub(crate) status: OperationStatus,
    /// Whether nobody is waited for any longer to keep its report.
    pub(crate) is_forsaken: bool,
    /// Whom to answer once its agent has done it: an operator.
    pub(crate) request: Option<RequestId>,
}

impl Operation {
    /// A report by the master itself.
    pub(crate) fn report(&self, state: OperationState, message: &str) -> OperationStatus {
        let mut status = OperationStatus::new(self.what.id.clone(), state);
        status.message = Some(message.into());
        status.agent = Some(self.agent.clone());
        status
    }

    fn view(&self) -> OperationView {
        OperationView {
            operation: self.what.clone(),
            agent: self.agent.clone(),
            status: self.status.clone(),
        }
    }
}

impl Books {
    /// Books an operation as done and hands it to its agent, which is connected. `request` is answered when
    /// the agent has done it.
    pub(crate) fn begin_operation(
        &mut self,
        agent: &AgentId,
        what: operation::Operation,
        request: Option<RequestId>,
        turn: &mut Turn<'_>,
    ) {
        self.convert_total(agent, &what.conversion);
        self.send(agent, ToAgent::Apply(Box::new(what.clone())), turn);
        let mut status = OperationStatus::new(what.id.clone(), OperationState::Pending);
        status.agent = Some(agent.clone());
        let (what, agent) = (Arc::new(what), agent.clone());
        let operation = Operation { what, agent, status, is_forsaken: false, request };
        self.insert_operation(operation, turn);
    }

    /// A name for an operation.
    pub(crate) fn operation_uuid(&mut self) -> OperationUuid {
        OperationUuid(self.rng.uuid())
    }

    fn convert_total(&mut self, agent: &AgentId, conversion: &Conversion) {
        let Some(agent) = self.agents.get_mut(agent) else { return };
        // An agent that came back smaller than what is booked on it may have too little: it says so.
        agent.total = agent.total.minus(&conversion.consumed()).plus(&conversion.converted());
        self.unpublished.agent(&agent.id);
    }

    /// Puts an operation in the books.
    pub(crate) fn insert_operation(&mut self, operation: Operation, turn: &mut Turn<'_>) {
        let uuid = operation.what.uuid;
        turn.view(ViewChange::PutOperation(Arc::new(operation.view())));
        if let Some(agent) = self.agents.get_mut(&operation.agent) {
            agent.operations.insert(uuid);
        }
        if let Some(id) = &operation.what.framework {
            match (self.frameworks.get_mut(id), &operation.what.id) {
                (Some(framework), Some(id)) => {
                    framework.operations.insert(id.clone(), uuid);
                }
                (None, Some(_)) => {
                    let at = turn.now.time + ORPHAN_KEPT_FOR;
                    self.timers.set(Due::OrphanOperation(uuid), at);
                }
                (Some(_) | None, None) => {}
            }
        }
        self.operations.insert(uuid, operation);
    }

    /// Answers whoever waits for an operation.
    pub(crate) fn answer_for_operation(
        &mut self,
        uuid: OperationUuid,
        result: Result<Done, Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let operation = self.operations.get_mut(&uuid);
        if let Some(request) = operation.and_then(|operation| operation.request.take()) {
            turn.answer(request, result);
        }
    }

    /// An agent's link has ended: whoever waits for what it was to do is not kept waiting for its return.
    pub(crate) fn interrupt_operations_on(&mut self, agent: &AgentId, turn: &mut Turn<'_>) {
        let all = self.agents.get(agent).map(|agent| agent.operations.clone());
        for uuid in all.unwrap_or_default() {
            self.answer_for_operation(uuid, Err(Refusal::Interrupted(DISCONNECTED)), turn);
        }
    }

    /// Takes an operation out of the books.
    pub(crate) fn take_operation(
        &mut self,
        uuid: OperationUuid,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        // Who knows better has answered before.
        self.answer_for_operation(uuid, Err(Refusal::Interrupted(DISCONNECTED)), turn);
        let operation = self.operations.remove(&uuid)?;
        if let Some(agent) = self.agents.get_mut(&operation.agent) {
            agent.operations.remove(&uuid);
        }
        let owner = operation.what.framework.as_ref().and_then(|id| self.frameworks.get_mut(id));
        if let (Some(framework), Some(id)) = (owner, &operation.what.id) {
            framework.operations.remove(id);
        }
        self.timers.cancel(&Due::OrphanOperation(uuid));
        turn.view(ViewChange::RemoveOperation(uuid));
        Some(operation)
    }

    /// Takes in how far an operation is.
    pub(crate) fn set_operation_status(
        &mut self,
        uuid: OperationUuid,
        status: OperationStatus,
        turn: &mut Turn<'_>,
    ) {
        let Some(operation) = self.operations.get_mut(&uuid) else { return };
        operation.status = status;
        turn.view(ViewChange::PutOperation(Arc::new(operation.view())));
        turn.note(Note::OperationUpdated {
            operation: operation.what.clone(),
            agent: operation.agent.clone(),
            state: operation.status.state,
        });
    }

    /// Ends all operations on an agent that is not reached any more: frameworks that wait are told.
    pub(crate) fn end_operations_on(
        &mut self,
        agent: &AgentId,
        state: OperationState,
        message: &str,
        turn: &mut Turn<'_>,
    ) {
        let all = self.agents.get(agent).map(|agent| agent.operations.clone());
        for uuid in all.unwrap_or_default() {
            self.end_operation(uuid, state, message, turn);
        }
    }

    /// Ends an operation by the master's own word.
    pub(crate) fn end_operation(
        &mut self,
        uuid: OperationUuid,
        state: OperationState,
        message: &str,
        turn: &mut Turn<'_>,
    ) {
        if state != OperationState::Unreachable {
            self.answer_for_operation(uuid, Err(Refusal::Conflict(message.to_owned())), turn);
        }
        let Some(operation) = self.take_operation(uuid, turn) else { return };
        turn.note(Note::OperationUpdated {
            operation: operation.what.clone(),
            agent: operation.agent.clone(),
            state,
        });
        // One that has ended keeps its end.
        if !operation.status.state.is_terminal() {
            let status = operation.report(state, message);
            self.tell_operation(operation.what.framework.as_ref(), status, turn);
        }
    }

    /// Tells a framework of an operation, if it is connected and asked to be told.
    pub(crate) fn tell_operation(
        &mut self,
        framework: Option<&FrameworkId>,
        status: OperationStatus,
        turn: &mut Turn<'_>,
    ) {
        if let (Some(framework), Some(_)) = (framework, &status.id) {
            self.tell(framework, SchedulerEvent::UpdateOperation(status), turn);
        }
    }

    /// A framework is over: its operations wait for a while for somebody to keep their reports.
    pub(crate) fn orphan_operations_of(&mut self, framework: &FrameworkId, turn: &Turn<'_>) {
        let Some(owner) = self.frameworks.get_mut(framework) else { return };
        for uuid in std::mem::take(&mut owner.operations).into_values() {
            self.timers.set(Due::OrphanOperation(uuid), turn.now.time + ORPHAN_KEPT_FOR);
        }
    }

    /// Keeps the report of a forsaken operation in its framework's place, once there is one.
    pub(crate) fn settle_forsaken(&mut self, uuid: OperationUuid, turn: &mut Turn<'_>) {
        let Some(operation) = self.operations.get(&uuid).filter(|it| it.is_forsaken) else {
            return;
        };
        let (agent, status) = (operation.agent.clone(), operation.status.clone());
        let Some(report) = status.uuid.filter(|_| status.state.is_terminal()) else { return };
        let message = ToAgent::AcknowledgeOperation { operation: uuid, status: report };
        if self.send(&agent, message, turn) {
            self.take_operation(uuid, turn);
        }
    }
}
