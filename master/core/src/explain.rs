//! Why a framework has the offers that it has, and no others.

use crate::state::Books;
use allocator::Why;
use model::amount::Milli;
use model::ids::{AgentId, FrameworkId};
use model::role::Role;
use model::rules::Quota;
use model::step::{Now, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Agents that are named for one reason; the others are only counted.
pub const AGENTS_NAMED_MAX: usize = 20;

/// How a framework stands with the allocator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// Which framework.
    pub framework: FrameworkId,
    /// Offers that it has and has not answered.
    pub offers: usize,
    /// Each of its roles.
    pub roles: Vec<OfRole>,
}

/// How a framework stands in one of its roles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OfRole {
    /// Which.
    pub role: Role,
    /// The quota of the top-level role over it; none if it has none.
    pub quota: Quota,
    /// What that role consumes.
    pub consumed: BTreeMap<Arc<str>, Milli>,
    /// What other roles lack to their guarantees: so much of what is free is kept from this one.
    pub kept_for_others: BTreeMap<Arc<str>, Milli>,
    /// How long it still comes after others because it declined what they could have used.
    pub steps_back_for: Option<Duration>,
    /// What keeps agents from it, the most frequent first. An agent with an offer for it that is
    /// not answered counts as one where nothing is free.
    pub reasons: Vec<Reason>,
    /// Agents that it is offered in a moment.
    pub about_to_be_offered: usize,
}

/// What keeps agents from a framework.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    /// For people.
    pub why: String,
    /// How many agents.
    pub count: usize,
    /// The first of them by id, at most [`AGENTS_NAMED_MAX`].
    pub agents: Vec<AgentId>,
    /// How long the first of its filters still holds, where filters are the reason.
    pub ends_in: Option<Duration>,
}

/// Explains a framework's offers; absent if it is not known.
pub(crate) fn framework(books: &Books, id: &FrameworkId, now: Now) -> Option<Explanation> {
    let framework = books.frameworks.get(id)?;
    let roles = framework.description.roles.iter().map(|role| of_role(books, id, role, now.time));
    Some(Explanation {
        framework: id.clone(),
        offers: framework.offers.len(),
        roles: roles.collect(),
    })
}

fn of_role(books: &Books, id: &FrameworkId, role: &Role, now: Time) -> OfRole {
    let mut reasons: BTreeMap<String, Reason> = BTreeMap::new();
    let mut about_to_be_offered = 0;
    for agent in books.agents.keys() {
        let Some(why) = books.allocator.why_not(id, role, agent, now) else {
            about_to_be_offered += 1;
            continue;
        };
        let text = why.to_string();
        let reason = reasons.entry(text.clone()).or_insert_with(|| Reason {
            why: text,
            count: 0,
            agents: Vec::new(),
            ends_in: None,
        });
        reason.count += 1;
        if reason.agents.len() < AGENTS_NAMED_MAX {
            reason.agents.push(agent.clone());
        }
        if let Why::Filtered(until) = why {
            let left = until.since(now);
            reason.ends_in = Some(reason.ends_in.map_or(left, |least| least.min(left)));
        }
    }
    let mut reasons: Vec<Reason> = reasons.into_values().collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    let steps_back_for = books.allocator.steps_back_until(id, role).map(|until| until.since(now));
    let top = role.components().next().and_then(|top| Role::new(top).ok());
    let top = top.unwrap_or_else(|| role.clone());
    OfRole {
        role: role.clone(),
        quota: books.rules.quotas.get(&top).cloned().unwrap_or_default(),
        consumed: books.allocator.consumed(&top),
        kept_for_others: kept_from(books, &top),
        steps_back_for,
        reasons,
        about_to_be_offered,
    }
}

/// What roles other than `own` lack to what they are guaranteed.
fn kept_from(books: &Books, own: &Role) -> BTreeMap<Arc<str>, Milli> {
    let mut kept: BTreeMap<Arc<str>, Milli> = BTreeMap::new();
    for (role, quota) in books.rules.quotas.iter().filter(|(role, _)| *role != own) {
        let consumed = books.allocator.consumed(role);
        for (name, guarantee) in &quota.guarantees {
            let has = consumed.get(name).copied().unwrap_or_default();
            if *guarantee > has {
                *kept.entry(name.clone()).or_default() += *guarantee - has;
            }
        }
    }
    kept
}
