//! Whether a framework may be offered what is free on an agent, and if not, why not.

use crate::allocator::{Agent, Framework};
use crate::filters::Filters;
use crate::settings::Settings;
use model::amount::Milli;
use model::resources::Resources;
use model::role::Role;
use model::step::Time;

/// Why a framework is passed over at an agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The framework or the agent is not known here.
    Unknown,
    /// The framework is not connected.
    FrameworkInactive,
    /// It is not in the role.
    NotInRole,
    /// It wants no offers for the role.
    Suppressed,
    /// The agent is not connected.
    AgentInactive,
    /// All that is free there is reserved for other roles, or nothing is free.
    NothingForRole,
    /// What is free there is less than is worth an offer.
    TooLittle,
    /// The agent has GPUs and the framework does not say that it can use them.
    GpuAgent,
    /// What is left after taking out what the framework does not understand is too little.
    NotUnderstood,
    /// The framework has declined it, until.
    Filtered(Time),
}

/// What `framework` may be offered of `agent` for `role`.
pub(crate) fn offerable(
    agent: &Agent,
    framework: &Framework,
    role: &Role,
    filters: Option<&Filters>,
    settings: &Settings,
    now: Time,
) -> Result<Resources, Why> {
    if agent.free.is_empty() {
        return Err(Why::NothingForRole);
    }
    let for_role = agent.free.filtered(|key, _| key.kind.is_offerable_to(role));
    if for_role.is_empty() {
        return Err(Why::NothingForRole);
    }
    if !settings.min_allocatable.is_met_by(&for_role) {
        return Err(Why::TooLittle);
    }
    let understands = &framework.capabilities;
    if settings.keeps_gpus_apart && agent.has_gpus && !understands.gpu_resources {
        return Err(Why::GpuAgent);
    }
    let understood = for_role.filtered(|key, _| {
        (!key.kind.is_revocable || understands.revocable_resources)
            && (!key.kind.is_shared || understands.shared_resources)
            && (key.kind.reservations.len() < 2 || understands.reservation_refinement)
    });
    if !settings.min_allocatable.is_met_by(&understood) {
        return Err(Why::NotUnderstood);
    }
    match filters.and_then(|filters| filters.keep_away(&understood, now)) {
        Some(until) => Err(Why::Filtered(until)),
        None => Ok(understood),
    }
}

/// Whether an agent of `total` has GPUs.
pub(crate) fn has_gpus(total: &Resources) -> bool {
    total.scalar("gpus") > Milli::ZERO
}
