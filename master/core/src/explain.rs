//! Why a framework has the offers that it has, and no others.

use crate::state::Books;
use crate::state::agents::{Agent, Reach};
use allocator::Why;
use model::amount::Milli;
use model::ids::{AgentId, FrameworkId, OfferId};
use model::role::Role;
use model::rules::{Quota, Standing};
use model::step::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Agents that are named for one reason; the others are only counted.
pub const AGENTS_NAMED_MAX: usize = 20;

/// Who was asked about and is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// The framework, or it is over.
    Framework,
    /// The agent, or it is out of contact.
    Agent,
}

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
    /// What that role consumes, if it has a quota.
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
    pub agents: Vec<Kept>,
    /// How long the first and the last of its filters still hold, where filters are the reason.
    pub ends_in: Option<(Duration, Duration)>,
}

/// An agent that is kept from a framework.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Which.
    pub agent: AgentId,
    /// By which filter, if one is the reason.
    pub filter: Option<Filter>,
}

/// What came of a decline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// How long it still holds.
    pub ends_in: Duration,
    /// The offer that was declined.
    pub offer: OfferId,
}

/// Questions of one agent for one role that are gone into at a time. At about a microsecond each, whoever
/// waits for the core meanwhile waits for a millisecond.
const QUESTIONS_AT_ONCE: usize = 1_000;

/// An explanation in the making, of all agents or of one. The more agents and roles there are the
/// longer it takes, so it is made in parts, and the core can do other things between two of them.
/// Agents that come meanwhile are not in it, nor are those that go before it is their turn.
#[derive(Debug)]
pub struct Explaining {
    framework: FrameworkId,
    only: Option<AgentId>,
    /// Once the core has been asked.
    begun: Option<Box<Begun>>,
}

#[derive(Debug)]
struct Begun {
    offers: usize,
    agents: Vec<AgentId>,
    /// The roles that are still to be gone into, the last one first.
    to_do: Vec<Role>,
    /// The role that is being gone into.
    at: Option<RoleSoFar>,
    done: Vec<OfRole>,
}

#[derive(Debug)]
struct RoleSoFar {
    of: OfRole,
    /// What is so on every agent.
    nowhere: Option<String>,
    reasons: BTreeMap<String, Reason>,
    /// How many agents have been gone into.
    agents: usize,
}

impl Explaining {
    /// One of a framework's offers. Absent: of all agents.
    pub fn new(framework: FrameworkId, only: Option<AgentId>) -> Self {
        Self { framework, only, begun: None }
    }

    /// Makes a part of it. The whole, once it is made.
    pub(crate) fn go_on(mut self, books: &Books, now: Time) -> Result<Progress, Unknown> {
        let Self { framework, only, begun } = &mut self;
        if !books.frameworks.contains_key(framework) {
            return Err(Unknown::Framework);
        }
        let begun = match begun {
            Some(begun) => begun,
            None => begun.insert(Box::new(Begun::new(books, framework, only.as_ref())?)),
        };
        for _ in 0..QUESTIONS_AT_ONCE {
            if !begun.go_into_one(books, framework, now) {
                let (offers, roles) = (begun.offers, std::mem::take(&mut begun.done));
                let framework = self.framework;
                return Ok(Progress::Whole(Explanation { framework, offers, roles }));
            }
        }
        Ok(Progress::Part(self))
    }
}

impl Begun {
    fn new(books: &Books, id: &FrameworkId, only: Option<&AgentId>) -> Result<Self, Unknown> {
        let framework = books.frameworks.get(id).ok_or(Unknown::Framework)?;
        let agents = match only {
            None => books.agents.keys().cloned().collect(),
            Some(agent) if books.agents.contains_key(agent) => vec![agent.clone()],
            Some(_) => return Err(Unknown::Agent),
        };
        Ok(Self {
            offers: framework.offers.len(),
            agents,
            to_do: framework.description.roles.iter().rev().cloned().collect(),
            at: None,
            done: Vec::new(),
        })
    }

    /// Goes into the next agent, or ends or begins a role. False: nothing is left to do.
    fn go_into_one(&mut self, books: &Books, framework: &FrameworkId, now: Time) -> bool {
        let Some(at) = &mut self.at else {
            let Some(role) = self.to_do.pop() else { return false };
            self.at = Some(RoleSoFar::begin(books, framework, role, now));
            return true;
        };
        match self.agents.get(at.agents) {
            Some(id) => {
                at.agents += 1;
                if let Some(agent) = books.agents.get(id) {
                    at.go_into(books, framework, agent, now);
                }
            }
            None => self.done.extend(self.at.take().map(RoleSoFar::end)),
        }
        true
    }
}

/// How far an explanation is.
#[derive(Debug)]
pub enum Progress {
    /// There is more to find out.
    Part(Explaining),
    /// All is found out.
    Whole(Explanation),
}

impl RoleSoFar {
    fn begin(books: &Books, id: &FrameworkId, role: Role, now: Time) -> Self {
        let steps_back_for =
            books.allocator.steps_back_until(id, &role).map(|until| until.since(now));
        let top = role.components().next().and_then(|top| Role::new(top).ok());
        let top = top.unwrap_or_else(|| role.clone());
        let quota = books.rules.quotas.get(&top).cloned().unwrap_or_default();
        // Of roles without quota nobody keeps count.
        let consumed = (!quota.is_empty()).then(|| books.allocator.consumed(&top));
        // What is so everywhere need not be found out of each agent.
        let nowhere = books.allocator.why_nowhere(id, &role).map(|why| why.to_string());
        let of = OfRole {
            role,
            quota,
            consumed: consumed.unwrap_or_default(),
            kept_for_others: kept_from(books, &top),
            steps_back_for,
            reasons: Vec::new(),
            about_to_be_offered: 0,
        };
        Self { of, nowhere, reasons: BTreeMap::new(), agents: 0 }
    }

    /// Finds out what keeps an agent from the framework.
    fn go_into(&mut self, books: &Books, id: &FrameworkId, agent: &Agent, now: Time) {
        let found = match &self.nowhere {
            Some(why) => Some((why.clone(), None)),
            None => why_not(books, id, &self.of.role, agent, now),
        };
        let Some((why, filter)) = found else {
            self.of.about_to_be_offered += 1;
            return;
        };
        let reason = self.reasons.entry(why).or_insert_with_key(|why| Reason {
            why: why.clone(),
            count: 0,
            agents: Vec::new(),
            ends_in: None,
        });
        reason.count += 1;
        if let Some(Filter { ends_in: left, .. }) = filter {
            let (first, last) = reason.ends_in.unwrap_or((left, left));
            reason.ends_in = Some((first.min(left), last.max(left)));
        }
        if reason.agents.len() < AGENTS_NAMED_MAX {
            reason.agents.push(Kept { agent: agent.id.clone(), filter });
        }
    }

    fn end(self) -> OfRole {
        let mut reasons: Vec<Reason> = self.reasons.into_values().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        OfRole { reasons, ..self.of }
    }
}

/// What keeps an agent from a framework, in words, and the filter if it is one; absent if nothing does.
fn why_not(
    books: &Books,
    id: &FrameworkId,
    role: &Role,
    agent: &Agent,
    now: Time,
) -> Option<(String, Option<Filter>)> {
    if let Some(why) = why_out_of_use(agent, books.rules.standing(&agent.id)) {
        return Some((why.to_owned(), None));
    }
    let why = books.allocator.why_not(id, role, &agent.id, now)?;
    let filter = match why {
        Why::Filtered { until, offer } => Some(Filter {
            ends_in: until.since(now),
            offer: OfferId::numbered(&books.reign, offer),
        }),
        Why::Unknown
        | Why::FrameworkInactive
        | Why::NotInRole
        | Why::Suppressed
        | Why::AgentInactive
        | Why::NotWhitelisted
        | Why::OfferConstraints
        | Why::InOffers
        | Why::InUse
        | Why::NothingForRole
        | Why::TooLittle
        | Why::QuotaLimit
        | Why::AgentsAwaited
        | Why::Headroom
        | Why::GpuAgent
        | Why::OtherRegion
        | Why::NotUnderstood
        | Why::OldAgent => None,
    };
    Some((why.to_string(), filter))
}

/// Why an agent is offered to nobody, as far as its link and its operators' word go.
fn why_out_of_use(agent: &Agent, standing: Standing) -> Option<&'static str> {
    match (agent.reach, standing) {
        (Reach::Recovered, _) => Some("the agent has not come back since the leader changed"),
        (Reach::Disconnected, _) => Some("the agent is not connected"),
        (Reach::Connected(_), Standing::Deactivated) => Some("the agent is deactivated"),
        (Reach::Connected(_), Standing::Draining { .. }) => Some("the agent is being drained"),
        (Reach::Connected(_), Standing::Drained { .. }) => Some("the agent is drained"),
        (Reach::Connected(_), Standing::Active) => None,
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
