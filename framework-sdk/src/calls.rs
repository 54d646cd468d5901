//! The calls of a framework, ready to send. The client adds the framework's id.

use std::time::Duration;

use bytes::Bytes;
use proto::mesos::v1::offer::Operation;
use proto::mesos::v1::offer::operation;
use proto::mesos::v1::scheduler::{Call, call};
use proto::mesos::v1::{
    AgentId, DurationInfo, ExecutorId, ExecutorInfo, Filters, FrameworkInfo, KillPolicy, OfferId,
    OperationId, OperationStatus, TaskGroupInfo, TaskId, TaskInfo, TaskStatus,
};

fn of_type(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

fn filters(refuse_for: Option<Duration>) -> Option<Filters> {
    refuse_for.map(|wait| Filters { refuse_seconds: Some(wait.as_secs_f64()) })
}

/// Takes offers and launches, reserves, … on them. What is left over is not offered again for
/// `refuse_for`; absent means five seconds.
pub fn accept(
    offers: impl IntoIterator<Item = OfferId>,
    operations: Vec<Operation>,
    refuse_for: Option<Duration>,
) -> Call {
    let accept = call::Accept {
        offer_ids: offers.into_iter().collect(),
        operations,
        filters: filters(refuse_for),
    };
    Call { accept: Some(accept), ..of_type(call::Type::Accept) }
}

/// The operation that launches tasks, each by itself.
pub fn launch(tasks: Vec<TaskInfo>) -> Operation {
    Operation {
        r#type: Some(operation::Type::Launch.into()),
        launch: Some(operation::Launch { task_infos: tasks }),
        ..Operation::default()
    }
}

/// The operation that launches tasks on one executor, all or none.
pub fn launch_group(executor: ExecutorInfo, tasks: Vec<TaskInfo>) -> Operation {
    let group = operation::LaunchGroup { executor, task_group: TaskGroupInfo { tasks } };
    Operation {
        r#type: Some(operation::Type::LaunchGroup.into()),
        launch_group: Some(group.into()),
        ..Operation::default()
    }
}

/// Gives offers back.
pub fn decline(offers: impl IntoIterator<Item = OfferId>, refuse_for: Option<Duration>) -> Call {
    let offer_ids = offers.into_iter().collect();
    let decline = call::Decline { offer_ids, filters: filters(refuse_for) };
    Call { decline: Some(decline), ..of_type(call::Type::Decline) }
}

/// Agrees to leave agents by the time they are to be away.
pub fn accept_inverse(
    offers: impl IntoIterator<Item = OfferId>,
    refuse_for: Option<Duration>,
) -> Call {
    let inverse_offer_ids = offers.into_iter().collect();
    let accept = call::AcceptInverseOffers { inverse_offer_ids, filters: filters(refuse_for) };
    Call { accept_inverse_offers: Some(accept), ..of_type(call::Type::AcceptInverseOffers) }
}

/// Tells what a framework says of itself from now on, and in which roles it wants no offers.
pub fn update_framework(framework: FrameworkInfo, suppressed_roles: Vec<String>) -> Call {
    let framework_id = framework.id.clone();
    let update = call::UpdateFramework {
        framework_info: framework,
        suppressed_roles,
        ..call::UpdateFramework::default()
    };
    Call { framework_id, update_framework: Some(update), ..of_type(call::Type::UpdateFramework) }
}

/// Ends a task. Without `grace` its own grace period holds.
pub fn kill(task: TaskId, agent: Option<AgentId>, grace: Option<Duration>) -> Call {
    let kill_policy = grace.map(|grace| KillPolicy { grace_period: Some(duration(grace)) });
    let kill = call::Kill { task_id: task, agent_id: agent, kill_policy };
    Call { kill: Some(kill), ..of_type(call::Type::Kill) }
}

/// Ends an executor and all its tasks.
pub fn shutdown(executor: ExecutorId, agent: AgentId) -> Call {
    let shutdown = call::Shutdown { executor_id: executor, agent_id: agent };
    Call { shutdown: Some(shutdown), ..of_type(call::Type::Shutdown) }
}

/// Confirms a status update; absent where there is nothing to confirm.
pub fn acknowledge(status: &TaskStatus) -> Option<Call> {
    let uuid = status.uuid.clone().filter(|uuid| !uuid.is_empty())?;
    let agent_id = status.agent_id.clone()?;
    let acknowledge = call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid };
    Some(Call { acknowledge: Some(acknowledge), ..of_type(call::Type::Acknowledge) })
}

/// Asks for the state of these tasks; of all live ones, if there are none.
pub fn reconcile(tasks: impl IntoIterator<Item = (TaskId, Option<AgentId>)>) -> Call {
    let tasks = tasks.into_iter();
    let tasks = tasks.map(|(task_id, agent_id)| call::reconcile::Task { task_id, agent_id });
    let reconcile = call::Reconcile { tasks: tasks.collect() };
    Call { reconcile: Some(reconcile), ..of_type(call::Type::Reconcile) }
}

/// Confirms the report of an operation; absent where there is nothing to confirm.
pub fn acknowledge_operation(status: &OperationStatus) -> Option<Call> {
    let acknowledge = call::AcknowledgeOperationStatus {
        agent_id: Some(status.agent_id.clone()?),
        resource_provider_id: status.resource_provider_id.clone(),
        uuid: status.uuid.clone().map(|uuid| uuid.value).filter(|uuid| !uuid.is_empty())?,
        operation_id: status.operation_id.clone()?,
    };
    let call = of_type(call::Type::AcknowledgeOperationStatus);
    Some(Call { acknowledge_operation_status: Some(acknowledge), ..call })
}

/// Asks how far these operations are; all that there are, if none is named. Who names the agent as well
/// is told more than that the operation is unknown.
pub fn reconcile_operations(
    operations: impl IntoIterator<Item = (OperationId, Option<AgentId>)>,
) -> Call {
    let one = |(operation_id, agent_id)| call::reconcile_operations::Operation {
        operation_id,
        agent_id,
        resource_provider_id: None,
    };
    let operations = operations.into_iter().map(one).collect();
    let reconcile = call::ReconcileOperations { operations };
    let call = of_type(call::Type::ReconcileOperations);
    Call { reconcile_operations: Some(reconcile), ..call }
}

/// Asks for offers to these roles again and forgets their filters; none means all.
pub fn revive(roles: Vec<String>) -> Call {
    Call { revive: Some(call::Revive { roles }), ..of_type(call::Type::Revive) }
}

/// Asks for no more offers to these roles; none means all.
pub fn suppress(roles: Vec<String>) -> Call {
    Call { suppress: Some(call::Suppress { roles }), ..of_type(call::Type::Suppress) }
}

/// Hands bytes to an executor. They may get lost.
pub fn message(agent: AgentId, executor: ExecutorId, data: Bytes) -> Call {
    let message = call::Message { agent_id: agent, executor_id: executor, data };
    Call { message: Some(message), ..of_type(call::Type::Message) }
}

/// Ends the framework and all its tasks.
pub fn teardown() -> Call {
    of_type(call::Type::Teardown)
}

/// Opens a subscription.
pub fn subscribe(framework: FrameworkInfo, suppressed_roles: Vec<String>) -> Call {
    let framework_id = framework.id.clone();
    let subscribe = call::Subscribe {
        framework_info: framework,
        suppressed_roles,
        ..call::Subscribe::default()
    };
    Call { framework_id, subscribe: Some(subscribe), ..of_type(call::Type::Subscribe) }
}

/// A duration as the wire has it.
pub fn duration(duration: Duration) -> DurationInfo {
    DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
}
