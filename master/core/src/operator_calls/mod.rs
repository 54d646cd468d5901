//! What operators ask for: one file for each call, and here the checks that several share.

mod convert;
mod deactivate_agent;
mod drain_agent;
mod maintenance;
mod mark_agent_gone;
mod reactivate_agent;
mod teardown_framework;
mod update_quota;
mod update_schedule;
mod update_weights;

use crate::authorize;
use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::ids::{AgentId, RequestId};
use model::link::AgentDescription;
use model::operator::OperatorCall;
use model::role::Role;
use std::sync::Arc;

/// Carries out a call; answered when the masters have agreed on it.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    principal: Option<&Arc<str>>,
    call: OperatorCall,
    turn: &mut Turn<'_>,
) {
    if let Err(refusal) = authorize::change(books, principal.map(|name| &**name), &call) {
        turn.answer(request, Err(refusal));
        return;
    }
    match call {
        OperatorCall::TeardownFramework(framework) => {
            teardown_framework::apply(books, request, &framework, turn);
        }
        OperatorCall::MarkAgentGone(agent) => mark_agent_gone::apply(books, request, agent, turn),
        OperatorCall::UpdateWeights(weights) => {
            update_weights::apply(books, request, weights, turn);
        }
        OperatorCall::SetQuota { role, quota, force } => {
            update_quota::set(books, request, role, quota, force, turn);
        }
        OperatorCall::RemoveQuota(role) => update_quota::remove(books, request, role, turn),
        OperatorCall::UpdateQuota { quotas, force } => {
            update_quota::apply(books, request, quotas, force, turn);
        }
        OperatorCall::DeactivateAgent(agent) => {
            deactivate_agent::apply(books, request, agent, turn);
        }
        OperatorCall::ReactivateAgent(agent) => {
            reactivate_agent::apply(books, request, agent, turn);
        }
        OperatorCall::DrainAgent { agent, drain } => {
            drain_agent::apply(books, request, agent, drain, turn);
        }
        OperatorCall::Convert { agent, conversion } => {
            convert::apply(books, request, &agent, conversion, principal, turn);
        }
        OperatorCall::UpdateSchedule(windows) => {
            update_schedule::apply(books, request, windows, turn);
        }
        OperatorCall::StartMaintenance(machines) => {
            maintenance::start(books, request, machines, turn);
        }
        OperatorCall::StopMaintenance(machines) => {
            maintenance::stop(books, request, machines, turn);
        }
    }
}

/// How an agent described itself that belongs to the cluster, in contact or not.
fn check_known<'a>(books: &'a Books, agent: &AgentId) -> Result<&'a AgentDescription, Refusal> {
    books.members.description_of(agent).ok_or_else(|| Refusal::Invalid("Unknown agent".to_owned()))
}

/// Why nothing is begun on an agent that is about to leave the cluster.
fn being_removed() -> Refusal {
    Refusal::Conflict("Agent is being removed or marked".to_owned())
}

/// Whether a role may be used at all.
fn check_allowed(books: &Books, role: &Role) -> Result<(), String> {
    match &books.config.roles {
        Some(allowed) if !allowed.contains(role) => Err(format!("Unknown role '{role}'")),
        Some(_) | None => Ok(()),
    }
}
