//! Calls of frameworks and the events they get: `scheduler.proto`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::call::{
    Accept, Acknowledge, AnswerInverseOffers, Call, Decline, Kill, Message, Operation,
    REFUSE_FOR_DEFAULT, REFUSE_FOR_MAX, ReconcileTask, Shutdown, Subscribe,
};
use model::constraints::Constraints;
use model::event::SchedulerEvent;
use model::framework::{Capabilities, Framework};
use model::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use model::payload::Payload;
use model::role::Role;
use model::task::{InvalidTask, TaskSpec};

use super::task::Launched;
use super::{Malformed, constraints, duration, framework, offer, operation, task, update_id};
use crate::mesos::v1::offer::Operation as WireOperation;
use crate::mesos::v1::offer::operation::{LaunchGroup, Type as OperationType};
use crate::mesos::v1::scheduler::call::{self, Type};
use crate::mesos::v1::scheduler::{self, OfferConstraints, event};
use crate::mesos::v1::{ExecutorInfo, Filters, MasterInfo, OfferId, TaskInfo};

mod allocation;
mod client;
mod operations;

pub use allocation::allocate;
pub use client::{call_to_wire, event_from_wire, kill_policy, subscribe_to_wire};

/// A call as it is understood.
#[derive(Clone, Debug, PartialEq)]
pub enum SchedulerCall {
    /// Subscribe.
    Subscribe(Box<Subscribe>),
    /// Subscribe, but not like that: answered by a stream with an ERROR event, since that is where
    /// clients look.
    SubscribeRefused {
        /// The text of that event.
        why: String,
        /// Who the framework says to be.
        principal: Option<Arc<str>>,
    },
    /// Anything else, of this framework.
    Call(FrameworkId, Call),
}

/// Why a call is answered with an error status.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CallError {
    /// 400.
    #[error("Failed to validate scheduler::Call: {0}")]
    Invalid(String),
    /// 400: an id that none can have.
    #[error("Framework cannot be found")]
    UnknownFramework,
    /// 501.
    #[error("{0} is not implemented")]
    NotImplemented(&'static str),
}

/// Reads a call.
pub fn call_from_wire(call: scheduler::Call) -> Result<SchedulerCall, CallError> {
    // A type that nobody here knows reads as none.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present"))?;
    if kind == Type::Subscribe {
        return subscribe_from_wire(call);
    }
    let given = call.framework_id.as_ref().map_or("", |id| &id.value);
    if given.is_empty() {
        return Err(invalid("Expecting 'framework_id' to be present"));
    }
    let id = FrameworkId::new(given);
    let understood = body_from_wire(kind, call, id.as_ref().ok())?;
    match (understood, id) {
        (_, Err(_)) => Err(CallError::UnknownFramework),
        (understood, Ok(id)) => Ok(SchedulerCall::Call(id, understood)),
    }
}

fn invalid(text: impl Into<String>) -> CallError {
    CallError::Invalid(text.into())
}

fn body<T>(body: Option<T>, name: &str) -> Result<T, CallError> {
    body.ok_or_else(|| invalid(format!("Expecting '{name}' to be present")))
}

fn subscribe_from_wire(call: scheduler::Call) -> Result<SchedulerCall, CallError> {
    let subscribe = body(call.subscribe, "subscribe")?;
    let outer = call.framework_id.map_or(String::new(), |id| id.value);
    let inner = subscribe.framework_info.id.as_ref().map_or("", |id| &id.value);
    if outer != inner {
        return Err(invalid("'framework_id' differs from 'subscribe.framework_info.id'"));
    }
    let principal = subscribe.framework_info.principal.as_deref().map(Arc::from);
    Ok(match framework::from_wire(subscribe.framework_info) {
        Ok(framework) => SchedulerCall::Subscribe(Box::new(wishing(
            framework,
            &subscribe.suppressed_roles,
            subscribe.offer_constraints.as_ref(),
        ))),
        Err(Malformed(why)) => SchedulerCall::SubscribeRefused { why, principal },
    })
}

/// What UPDATE_FRAMEWORK says; an error is what its sender is answered.
fn renewal(wire: call::UpdateFramework) -> Result<Subscribe, String> {
    let framework = framework::from_wire(wire.framework_info)
        .map_err(|Malformed(why)| format!("Supplied FrameworkInfo is not valid: {why}"))?;
    Ok(wishing(framework, &wire.suppressed_roles, wire.offer_constraints.as_ref()))
}

/// A framework, and what it wants to be offered beside its roles.
fn wishing(
    framework: Framework,
    suppressed_roles: &[String],
    offer_constraints: Option<&OfferConstraints>,
) -> Subscribe {
    let constraints = offer_constraints.map_or(Ok(Constraints::new()), constraints::from_wire);
    Subscribe {
        framework,
        suppressed: suppressed_roles.iter().map(|role| role.as_str().into()).collect(),
        constraints: constraints.map_err(|Malformed(why)| why),
    }
}

/// The roles; absent if one of them is none.
fn roles(texts: &[String]) -> Option<BTreeSet<Role>> {
    texts.iter().map(|text| Role::new(text.as_str()).ok()).collect()
}

/// Ids that break the rules are the ids of nothing: such calls are accepted and without effect, as
/// they would be for ids of what is long gone.
fn body_from_wire(
    kind: Type,
    call: scheduler::Call,
    framework: Option<&FrameworkId>,
) -> Result<Call, CallError> {
    Ok(match kind {
        Type::Subscribe | Type::Unknown => return Err(CallError::NotImplemented("UNKNOWN")),
        Type::Teardown => Call::Teardown,
        Type::Accept => accept(body(call.accept, "accept")?, framework),
        Type::Decline => {
            let decline = body(call.decline, "decline")?;
            Call::Decline(Decline {
                offers: decline.offer_ids.iter().filter_map(|id| id.try_into().ok()).collect(),
                refuse_for: refuse_for(decline.filters.as_ref()),
            })
        }
        Type::Revive => {
            roles(&call.revive.unwrap_or_default().roles).map_or(Call::Request, Call::Revive)
        }
        Type::Suppress => {
            roles(&call.suppress.unwrap_or_default().roles).map_or(Call::Request, Call::Suppress)
        }
        Type::Kill => kill(&body(call.kill, "kill")?),
        Type::Shutdown => {
            let shutdown = body(call.shutdown, "shutdown")?;
            match ((&shutdown.executor_id).try_into(), (&shutdown.agent_id).try_into()) {
                (Ok(executor), Ok(agent)) => Call::Shutdown(Shutdown { executor, agent }),
                _ => Call::Request,
            }
        }
        Type::Acknowledge => acknowledge(&body(call.acknowledge, "acknowledge")?)?,
        Type::Reconcile => Call::Reconcile(
            body(call.reconcile, "reconcile")?.tasks.iter().map(reconcile_task).collect(),
        ),
        Type::Message => {
            let message = body(call.message, "message")?;
            match ((&message.executor_id).try_into(), (&message.agent_id).try_into()) {
                (Ok(executor), Ok(agent)) => {
                    let data = Payload::new(&message.data[..]);
                    Call::Message(Message { agent, executor, data })
                }
                _ => Call::Request,
            }
        }
        Type::Request => body(call.request, "request").map(|_| Call::Request)?,
        Type::AcceptInverseOffers => {
            let call = body(call.accept_inverse_offers, "accept_inverse_offers")?;
            answer_inverse_offers(&call.inverse_offer_ids, true, call.filters.as_ref())
        }
        Type::DeclineInverseOffers => {
            let call = body(call.decline_inverse_offers, "decline_inverse_offers")?;
            answer_inverse_offers(&call.inverse_offer_ids, false, call.filters.as_ref())
        }
        Type::ReconcileOperations => {
            let call = body(call.reconcile_operations, "reconcile_operations")?;
            operations::reconcile(&call.operations)
        }
        Type::AcknowledgeOperationStatus => {
            let name = "acknowledge_operation_status";
            operations::acknowledge(body(call.acknowledge_operation_status, name)?)?
        }
        Type::UpdateFramework => {
            let update = body(call.update_framework, "update_framework")?;
            let inner = update.framework_info.id.as_ref().map(|id| &id.value);
            if inner != call.framework_id.as_ref().map(|id| &id.value) {
                let text = "'framework_id' differs from 'update_framework.framework_info.id'";
                return Err(invalid(text));
            }
            Call::UpdateFramework(Box::new(renewal(update)))
        }
    })
}

fn uuid(bytes: &[u8]) -> Result<UpdateId, CallError> {
    update_id(bytes).ok_or_else(|| invalid("Not a valid UUID"))
}

fn acknowledge(wire: &call::Acknowledge) -> Result<Call, CallError> {
    let uuid = uuid(&wire.uuid)?;
    Ok(match ((&wire.agent_id).try_into(), (&wire.task_id).try_into()) {
        (Ok(agent), Ok(task)) => Call::Acknowledge(Acknowledge { agent, task, uuid }),
        _ => Call::Request,
    })
}

fn kill(wire: &call::Kill) -> Call {
    // It cannot be where the framework believes it to be.
    let Ok(agent) = agent_if_any(wire.agent_id.as_ref()) else { return Call::Request };
    let grace = wire.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    Call::Kill(Kill {
        // A task of that name cannot be, and the answer will say so.
        task: TaskId::as_given(wire.task_id.value.as_str()),
        agent,
        grace: grace.and_then(duration),
    })
}

fn agent_if_any(wire: Option<&crate::mesos::v1::AgentId>) -> Result<Option<AgentId>, ()> {
    match wire {
        Some(id) if !id.value.is_empty() => AgentId::try_from(id).map(Some).map_err(|_| ()),
        Some(_) | None => Ok(None),
    }
}

fn reconcile_task(wire: &call::reconcile::Task) -> ReconcileTask {
    ReconcileTask {
        task: TaskId::as_given(wire.task_id.value.as_str()),
        agent: agent_if_any(wire.agent_id.as_ref()).unwrap_or(None),
    }
}

fn answer_inverse_offers(ids: &[OfferId], accepts: bool, filters: Option<&Filters>) -> Call {
    Call::AnswerInverseOffers(AnswerInverseOffers {
        offers: ids.iter().filter_map(|id| id.try_into().ok()).collect(),
        accepts,
        refuse_for: refuse_for(filters),
    })
}

/// For how long what is declined, or left over, is not to be offered again.
fn refuse_for(filters: Option<&Filters>) -> Duration {
    let Some(secs) = filters.and_then(|filters| filters.refuse_seconds) else {
        return REFUSE_FOR_DEFAULT;
    };
    Duration::try_from_secs_f64(secs)
        .ok()
        // Longer ones overflow the nanoseconds that other masters count in.
        .filter(|refuse_for| refuse_for.as_secs() < 9_200_000_000)
        .map_or(REFUSE_FOR_DEFAULT, |refuse_for| refuse_for.min(REFUSE_FOR_MAX))
}

fn accept(wire: call::Accept, framework: Option<&FrameworkId>) -> Call {
    let Some(framework) = framework else { return Call::Request };
    Call::Accept(Accept {
        offers: wire.offer_ids.iter().map(|id| id.value.as_str().into()).collect(),
        operations: wire
            .operations
            .into_iter()
            .map(|operation| operation_from_wire(operation, framework))
            .collect(),
        refuse_for: refuse_for(wire.filters.as_ref()),
    })
}

fn operation_from_wire(wire: WireOperation, framework: &FrameworkId) -> Operation {
    let has_id = wire.id.is_some();
    let kind = wire.r#type();
    match kind {
        OperationType::Launch => {
            let tasks = wire.launch.unwrap_or_default().task_infos;
            Operation::Launch(tasks_from_wire(tasks, has_id, framework, Launched::Alone))
        }
        OperationType::LaunchGroup => {
            let group = wire.launch_group.unwrap_or_default();
            group_from_wire(*group, has_id, framework)
        }
        OperationType::Unknown
        | OperationType::Reserve
        | OperationType::Unreserve
        | OperationType::Create
        | OperationType::Destroy
        | OperationType::GrowVolume
        | OperationType::ShrinkVolume
        | OperationType::CreateDisk
        | OperationType::DestroyDisk => operations::from_wire(&wire),
    }
}

fn tasks_from_wire(
    tasks: Vec<TaskInfo>,
    has_id: bool,
    framework: &FrameworkId,
    launched: Launched,
) -> Vec<Result<TaskSpec, InvalidTask>> {
    let one = |info: TaskInfo| {
        if has_id {
            let why = "The 'id' of an operation that launches tasks must not be set".to_owned();
            return Err(task::invalid(&info, why));
        }
        task::from_wire(info, framework, launched)
    };
    tasks.into_iter().map(one).collect()
}

fn group_from_wire(group: LaunchGroup, has_id: bool, framework: &FrameworkId) -> Operation {
    let executor = task::executor_from_wire(group.executor, framework, Launched::InGroup)
        .map_err(|Malformed(why)| why);
    let shared: Option<ExecutorInfo> = executor.as_ref().ok().map(task::executor_to_wire);
    let mut tasks = tasks_from_wire(group.task_group.tasks, has_id, framework, Launched::InGroup);
    for member in &mut tasks {
        if let (Ok(spec), Some(shared)) = (&*member, &shared)
            && task::to_wire(spec).executor.is_some_and(|own| *own != *shared)
        {
            let why = "The 'ExecutorInfo' of the task differs from that of its group".to_owned();
            *member = Err(task::invalid(&task::to_wire(spec), why));
        }
    }
    Operation::LaunchGroup { executor, tasks }
}

/// Writes an event for a framework of these capabilities, from the leading `master`.
pub fn event_to_wire(
    event: &SchedulerEvent,
    capabilities: Capabilities,
    master: &MasterInfo,
) -> scheduler::Event {
    use event::Type;
    let of = |kind: Type| scheduler::Event { r#type: Some(kind.into()), ..Default::default() };
    match event {
        SchedulerEvent::Subscribed { framework, heartbeat } => scheduler::Event {
            subscribed: Some(event::Subscribed {
                framework_id: framework.into(),
                heartbeat_interval_seconds: Some(heartbeat.as_secs_f64()),
                master_info: Some(master.clone()),
            }),
            ..of(Type::Subscribed)
        },
        SchedulerEvent::Offers(offers) => {
            let offers = offers.iter().map(|it| offer::to_wire(it, capabilities)).collect();
            scheduler::Event { offers: Some(event::Offers { offers }), ..of(Type::Offers) }
        }
        SchedulerEvent::Rescind(id) => scheduler::Event {
            rescind: Some(event::Rescind { offer_id: id.into() }),
            ..of(Type::Rescind)
        },
        SchedulerEvent::InverseOffers(offers) => {
            let inverse_offers = offers.iter().map(offer::inverse_to_wire).collect();
            let inverse_offers = Some(event::InverseOffers { inverse_offers });
            scheduler::Event { inverse_offers, ..of(Type::InverseOffers) }
        }
        SchedulerEvent::RescindInverseOffer(id) => {
            let inverse_offer_id = id.into();
            let rescind = Some(event::RescindInverseOffer { inverse_offer_id });
            scheduler::Event { rescind_inverse_offer: rescind, ..of(Type::RescindInverseOffer) }
        }
        SchedulerEvent::Update(status) => {
            let status = task::status_to_wire(status);
            scheduler::Event { update: Some(event::Update { status }), ..of(Type::Update) }
        }
        SchedulerEvent::UpdateOperation(status) => {
            let form = offer::form(capabilities);
            let status = operation::status_to_wire(status, form);
            let update = Some(event::UpdateOperationStatus { status });
            scheduler::Event { update_operation_status: update, ..of(Type::UpdateOperationStatus) }
        }
        SchedulerEvent::Message(message) => scheduler::Event {
            message: Some(event::Message {
                agent_id: (&message.agent).into(),
                executor_id: (&message.executor).into(),
                data: message.data.as_bytes().to_vec().into(),
            }),
            ..of(Type::Message)
        },
        SchedulerEvent::Failure { agent, executor } => scheduler::Event {
            failure: Some(event::Failure {
                agent_id: Some(agent.into()),
                executor_id: executor.as_ref().map(|(id, _)| id.into()),
                status: executor.as_ref().and_then(|(_, status)| *status),
            }),
            ..of(Type::Failure)
        },
        SchedulerEvent::Error(message) => scheduler::Event {
            error: Some(event::Error { message: message.clone() }),
            ..of(Type::Error)
        },
        SchedulerEvent::Heartbeat => of(Type::Heartbeat),
    }
}

#[cfg(test)]
mod tests;
