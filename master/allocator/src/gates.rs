//! Whether a framework may be offered what is free on an agent, and if not, why not.
//!
//! Three looks, from what is asked once per agent to what is asked for each framework. A resource
//! passes all of them or is not offered.

use crate::agent::{Agent, is_hidden};
use crate::filters::Filters;
use crate::framework::Framework;
use crate::quota::Cut;
use crate::settings::{MinAllocatable, Settings};
use model::framework::Capabilities;
use model::resources::{Key, Resources};
use model::role::Role;
use model::step::Time;
use std::borrow::Cow;

/// Why a framework is passed over at an agent. Its text is for whoever asks why there is no offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Why {
    /// The framework or the agent is not known here.
    #[error("the framework or the agent is not known")]
    Unknown,
    /// The framework is not connected.
    #[error("the framework is not connected")]
    FrameworkInactive,
    /// It is not in the role.
    #[error("the framework is not in the role")]
    NotInRole,
    /// It wants no offers for the role.
    #[error("the framework has suppressed the role")]
    Suppressed,
    /// The agent is not connected.
    #[error("the agent is not connected, or is deactivated")]
    AgentInactive,
    /// The agent's machine is not on the whitelist.
    #[error("the agent is not on the whitelist")]
    NotWhitelisted,
    /// The agent is not one that the framework's offer constraints allow.
    #[error("the framework's offer constraints leave the agent out")]
    OfferConstraints,
    /// Nothing is free there, and some of what is not is in offers, be they the framework's own.
    #[error("all that is not in use on the agent is in offers that are not answered")]
    InOffers,
    /// Nothing is free there.
    #[error("all of the agent is in use")]
    InUse,
    /// All that is free there is reserved for other roles.
    #[error("nothing that is free on the agent is for the role")]
    NothingForRole,
    /// What is free there is less than is worth an offer.
    #[error("what is free on the agent is too little for an offer")]
    TooLittle,
    /// The role has so much that, up to its quota's limit, too little is left to offer.
    #[error("the role's quota leaves too little for an offer")]
    QuotaLimit,
    /// It is not known yet what the role has of its quota.
    #[error("the role has quota, and too few agents are back since the leader changed")]
    AgentsAwaited,
    /// What is free there is kept for roles that have not what their quota guarantees them.
    #[error("what is free on the agent is kept for guarantees of other roles")]
    Headroom,
    /// The agent has GPUs and the framework does not say that it can use them.
    #[error("the agent has GPUs and the framework has not said that it can use them")]
    GpuAgent,
    /// The agent is of another region and the framework does not say that it takes such.
    #[error("the agent is of another region and the framework is not region-aware")]
    OtherRegion,
    /// What is left after taking out what the framework does not understand is too little.
    #[error("what is free on the agent needs capabilities that the framework lacks")]
    NotUnderstood,
    /// The agent is too old for a framework in several roles, or for a role below another.
    #[error("the agent is too old for the framework's roles")]
    OldAgent,
    /// The framework has declined it.
    #[error("the framework has declined it, and the filter has not ended")]
    Filtered {
        /// When the filter ends.
        until: Time,
        /// The number of the offer that it has declined.
        offer: u64,
    },
}

/// What of an agent may be offered for a role, before it is known to whom.
#[derive(Debug)]
pub(crate) struct ForRole<'a> {
    /// Borrowed if it is all that is free.
    pub(crate) what: Cow<'a, Resources>,
    /// What made it less, if quota did.
    pub(crate) cut: Option<Cut>,
    /// Whether it is known already to be worth an offer by the settings.
    pub(crate) is_enough: bool,
}

/// Whether anything of `agent` may be offered to anyone.
pub(crate) fn for_anyone(agent: &Agent) -> Result<(), Why> {
    if !agent.is_active {
        return Err(Why::AgentInactive);
    }
    if !agent.is_listed {
        return Err(Why::NotWhitelisted);
    }
    Ok(())
}

/// What of `agent` is for `role` at all.
pub(crate) fn for_role<'a>(agent: &'a Agent, role: &Role) -> Result<Cow<'a, Resources>, Why> {
    let what = if agent.is_plain {
        Cow::Borrowed(&agent.free)
    } else {
        let offered = &agent.shared_offered;
        Cow::Owned(agent.free.filtered(|key, _| {
            key.kind.is_offerable_to(role)
                && !is_hidden(key)
                && !(key.kind.is_shared && offered.iter().any(|(have, _)| have == key))
        }))
    };
    if what.is_empty() { Err(Why::NothingForRole) } else { Ok(what) }
}

/// Why nothing of `agent` is for a role.
pub(crate) fn why_nothing(agent: &Agent) -> Why {
    if agent.free.iter().any(|(key, _)| !is_hidden(key)) {
        Why::NothingForRole
    } else if agent.given.values().any(|it| it.offered_at.is_some()) {
        Why::InOffers
    } else {
        Why::InUse
    }
}

/// What of `offer` a framework may be given: absent if all of it.
pub(crate) fn for_framework(
    agent: &Agent,
    framework: &Framework,
    role: &Role,
    offer: &ForRole<'_>,
    filters: Option<&Filters>,
    settings: &Settings,
    now: Time,
) -> Result<Option<Resources>, Why> {
    if framework.constraints.get(role).is_some_and(|wanted| !wanted.are_met_by(&agent.facts)) {
        return Err(Why::OfferConstraints);
    }
    let own = framework.min_allocatable.get(role);
    let least: &MinAllocatable = own.unwrap_or(&settings.min_allocatable);
    let is_known = offer.is_enough && own.is_none();
    if !is_known && !least.is_met_by(&offer.what) {
        return Err(match offer.cut {
            None => Why::TooLittle,
            Some(Cut::Limit) => Why::QuotaLimit,
            Some(Cut::Headroom) => Why::Headroom,
        });
    }
    let can = framework.capabilities;
    if settings.keeps_gpus_apart && agent.has_gpus && !can.gpu_resources {
        return Err(Why::GpuAgent);
    }
    if agent.is_remote && !can.region_aware {
        return Err(Why::OtherRegion);
    }
    let part = if agent.is_plain { None } else { understood(&offer.what, can) };
    if part.as_ref().is_some_and(|part| !least.is_met_by(part)) {
        return Err(Why::NotUnderstood);
    }
    let is_nested = || role.components().nth(1).is_some();
    if (agent.facts.lacks_multi_role && can.multi_role)
        || (agent.facts.lacks_hierarchical_roles && is_nested())
    {
        return Err(Why::OldAgent);
    }
    let what = part.as_ref().unwrap_or(&offer.what);
    match filters.and_then(|filters| filters.keep_away(what, now)) {
        Some((until, offer)) => Err(Why::Filtered { until, offer }),
        None => Ok(part),
    }
}

/// What of `what` a framework can make use of; absent if all of it.
fn understood(what: &Resources, can: Capabilities) -> Option<Resources> {
    let understands = |key: &Key| {
        (!key.kind.is_revocable || can.revocable_resources)
            && (!key.kind.is_shared || can.shared_resources)
            && (key.kind.reservations.len() < 2 || can.reservation_refinement)
    };
    let is_all = what.iter().all(|(key, _)| understands(key));
    (!is_all).then(|| what.filtered(|key, _| understands(key)))
}
