//! The framework's side: it writes calls and reads events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::call::{
    Accept, AnswerInverseOffers, Call, Message, Operation, ReconcileTask, Subscribe,
};
use model::event::SchedulerEvent;
use model::ids::{ExecutorId, FrameworkId};
use model::payload::Payload;
use model::role::Role;
use model::task::{InvalidTask, Source, TaskSpec};

use super::operations;
use crate::convert::resources::Form;
use crate::convert::{self, Malformed, constraints, duration_info, framework, offer, task};
use crate::mesos::v1::offer::Operation as WireOperation;
use crate::mesos::v1::offer::operation::{self, Type as OperationType};
use crate::mesos::v1::scheduler::call::{self, Type};
use crate::mesos::v1::scheduler::{self, event};
use crate::mesos::v1::{self, Filters, KillPolicy, TaskGroupInfo};

/// Reads an event, as a framework does. `role`: its role, if offers do not say for which they are.
/// Absent for events that the model does not have.
pub fn event_from_wire(
    wire: scheduler::Event,
    role: &Role,
) -> Result<Option<SchedulerEvent>, Malformed> {
    use event::Type;
    fn part<T>(part: Option<T>) -> Result<T, Malformed> {
        part.ok_or_else(|| Malformed::new("An event without what its type says"))
    }
    Ok(Some(match wire.r#type() {
        Type::Subscribed => {
            let it = part(wire.subscribed)?;
            let secs = it.heartbeat_interval_seconds.unwrap_or(15.0);
            let heartbeat = Duration::try_from_secs_f64(secs)
                .map_err(|_| Malformed::new("No such heartbeat interval"))?;
            SchedulerEvent::Subscribed { framework: (&it.framework_id).try_into()?, heartbeat }
        }
        Type::Offers => {
            let offers = part(wire.offers)?.offers.into_iter();
            let offers = offers.map(|it| offer::from_wire(it, role)).collect::<Result<_, _>>()?;
            SchedulerEvent::Offers(offers)
        }
        Type::Rescind => SchedulerEvent::Rescind((&part(wire.rescind)?.offer_id).try_into()?),
        Type::Update => {
            let status = part(wire.update)?.status;
            SchedulerEvent::Update(task::status_from_wire(status, Source::Master)?)
        }
        Type::UpdateOperationStatus => {
            let status = part(wire.update_operation_status)?.status;
            SchedulerEvent::UpdateOperation(convert::operation::status_from_wire(&status)?)
        }
        Type::Message => {
            let it = part(wire.message)?;
            SchedulerEvent::Message(Message {
                agent: (&it.agent_id).try_into()?,
                executor: (&it.executor_id).try_into()?,
                data: Payload::new(&it.data[..]),
            })
        }
        Type::Failure => {
            let it = part(wire.failure)?;
            let executor = it.executor_id.as_ref().map(ExecutorId::try_from).transpose()?;
            SchedulerEvent::Failure {
                agent: (&part(it.agent_id)?).try_into()?,
                executor: executor.map(|id| (id, it.status)),
            }
        }
        Type::Error => SchedulerEvent::Error(part(wire.error)?.message),
        Type::Heartbeat => SchedulerEvent::Heartbeat,
        Type::Unknown | Type::InverseOffers | Type::RescindInverseOffer => return Ok(None),
    }))
}

/// Writes a SUBSCRIBE, as a framework does.
pub fn subscribe_to_wire(subscribe: &Subscribe) -> scheduler::Call {
    let info = framework::to_wire(&subscribe.framework);
    scheduler::Call {
        framework_id: info.id.clone(),
        r#type: Some(Type::Subscribe.into()),
        subscribe: Some(call::Subscribe {
            framework_info: info,
            suppressed_roles: texts(&subscribe.suppressed),
            offer_constraints: subscribe.constraints.as_ref().ok().map(constraints::to_wire),
        }),
        ..scheduler::Call::default()
    }
}

fn texts<T: ToString>(roles: &BTreeSet<T>) -> Vec<String> {
    roles.iter().map(ToString::to_string).collect()
}

/// Writes a call, as a framework does.
pub fn call_to_wire(framework: &FrameworkId, call: &Call) -> scheduler::Call {
    let of = |kind: Type| scheduler::Call {
        framework_id: Some(framework.into()),
        r#type: Some(kind.into()),
        ..scheduler::Call::default()
    };
    match call {
        Call::Accept(it) => {
            scheduler::Call { accept: Some(accept_to_wire(it)), ..of(Type::Accept) }
        }
        Call::Decline(it) => {
            let offer_ids = it.offers.iter().map(Into::into).collect();
            let decline = call::Decline { offer_ids, filters: Some(filters(it.refuse_for)) };
            scheduler::Call { decline: Some(decline), ..of(Type::Decline) }
        }
        Call::UpdateFramework(update) => {
            let update_framework = update.as_ref().as_ref().ok().map(|update| {
                let Subscribe { framework, suppressed, constraints } = update;
                call::UpdateFramework {
                    framework_info: framework::to_wire(framework),
                    suppressed_roles: texts(suppressed),
                    offer_constraints: constraints.as_ref().ok().map(constraints::to_wire),
                }
            });
            scheduler::Call { update_framework, ..of(Type::UpdateFramework) }
        }
        Call::AnswerInverseOffers(it) => inverse_answer_to_wire(it, of),
        Call::Revive(roles) => {
            let revive = call::Revive { roles: texts(roles) };
            scheduler::Call { revive: Some(revive), ..of(Type::Revive) }
        }
        Call::Suppress(roles) => {
            let suppress = call::Suppress { roles: texts(roles) };
            scheduler::Call { suppress: Some(suppress), ..of(Type::Suppress) }
        }
        Call::Kill(it) => {
            let kill = call::Kill {
                task_id: (&it.task).into(),
                agent_id: it.agent.as_ref().map(Into::into),
                kill_policy: it.grace.map(kill_policy),
            };
            scheduler::Call { kill: Some(kill), ..of(Type::Kill) }
        }
        Call::Shutdown(it) => {
            let shutdown =
                call::Shutdown { executor_id: (&it.executor).into(), agent_id: (&it.agent).into() };
            scheduler::Call { shutdown: Some(shutdown), ..of(Type::Shutdown) }
        }
        Call::Acknowledge(it) => {
            let acknowledge = call::Acknowledge {
                agent_id: (&it.agent).into(),
                task_id: (&it.task).into(),
                uuid: it.uuid.0.to_vec().into(),
            };
            scheduler::Call { acknowledge: Some(acknowledge), ..of(Type::Acknowledge) }
        }
        Call::Reconcile(tasks) => {
            let one = |it: &ReconcileTask| call::reconcile::Task {
                task_id: (&it.task).into(),
                agent_id: it.agent.as_ref().map(Into::into),
            };
            let reconcile = call::Reconcile { tasks: tasks.iter().map(one).collect() };
            scheduler::Call { reconcile: Some(reconcile), ..of(Type::Reconcile) }
        }
        Call::AcknowledgeOperation(it) => {
            let acknowledge = operations::acknowledge_to_wire(it);
            scheduler::Call {
                acknowledge_operation_status: Some(acknowledge),
                ..of(Type::AcknowledgeOperationStatus)
            }
        }
        Call::ReconcileOperations(all) => {
            let reconcile = operations::reconcile_to_wire(all);
            scheduler::Call {
                reconcile_operations: Some(reconcile),
                ..of(Type::ReconcileOperations)
            }
        }
        Call::Message(it) => {
            let message = call::Message {
                agent_id: (&it.agent).into(),
                executor_id: (&it.executor).into(),
                data: it.data.as_bytes().to_vec().into(),
            };
            scheduler::Call { message: Some(message), ..of(Type::Message) }
        }
        Call::Teardown => of(Type::Teardown),
        Call::Request => {
            scheduler::Call { request: Some(call::Request::default()), ..of(Type::Request) }
        }
    }
}

fn inverse_answer_to_wire(
    it: &AnswerInverseOffers,
    of: impl Fn(Type) -> scheduler::Call,
) -> scheduler::Call {
    let inverse_offer_ids = it.offers.iter().map(Into::into).collect();
    let filters = Some(filters(it.refuse_for));
    if it.accepts {
        let accept = call::AcceptInverseOffers { inverse_offer_ids, filters };
        scheduler::Call { accept_inverse_offers: Some(accept), ..of(Type::AcceptInverseOffers) }
    } else {
        let decline = call::DeclineInverseOffers { inverse_offer_ids, filters };
        scheduler::Call { decline_inverse_offers: Some(decline), ..of(Type::DeclineInverseOffers) }
    }
}

/// How a task is to be ended.
pub fn kill_policy(grace: Duration) -> KillPolicy {
    KillPolicy { grace_period: Some(duration_info(grace)) }
}

fn filters(refuse_for: Duration) -> Filters {
    Filters { refuse_seconds: Some(refuse_for.as_secs_f64()) }
}

fn accept_to_wire(accept: &Accept) -> call::Accept {
    let offer_id = |id: &Arc<str>| v1::OfferId { value: id.to_string() };
    call::Accept {
        offer_ids: accept.offers.iter().map(offer_id).collect(),
        operations: accept.operations.iter().map(operation_to_wire).collect(),
        filters: Some(filters(accept.refuse_for)),
    }
}

/// Tasks and executors that are not well formed are left out: nobody makes such on purpose.
fn operation_to_wire(operation: &Operation) -> WireOperation {
    let infos = |tasks: &[Result<TaskSpec, InvalidTask>]| {
        tasks.iter().flatten().map(task::to_wire).collect::<Vec<_>>()
    };
    match operation {
        Operation::Launch(tasks) => WireOperation {
            r#type: Some(OperationType::Launch.into()),
            launch: Some(operation::Launch { task_infos: infos(tasks) }),
            ..WireOperation::default()
        },
        Operation::LaunchGroup { executor, tasks } => WireOperation {
            r#type: Some(OperationType::LaunchGroup.into()),
            launch_group: Some(Box::new(operation::LaunchGroup {
                executor: executor.as_ref().map(task::executor_to_wire).unwrap_or_default(),
                task_group: TaskGroupInfo { tasks: infos(tasks) },
            })),
            ..WireOperation::default()
        },
        Operation::Convert { id, conversion, role: _ } => match conversion {
            Ok(it) => convert::operation::conversion_to_wire(it, id.as_ref(), Form::Stack),
            Err(_) => WireOperation { id: id.as_ref().map(Into::into), ..WireOperation::default() },
        },
        Operation::Unsupported { kind, id } => WireOperation {
            r#type: OperationType::from_str_name(kind).map(Into::into),
            id: id.as_ref().map(Into::into),
            ..WireOperation::default()
        },
    }
}
