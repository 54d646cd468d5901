//! Who belongs to the cluster.

use model::ids::{AgentId, FrameworkId};
use model::link::AgentDescription;
use model::registry::{AgentEntry, FrameworkEntry, Record};
use model::step::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How many frameworks that are over are remembered, so that they are not let in again. The same on
/// all masters, since it decides what a record does.
pub const COMPLETED_FRAMEWORKS_MAX: usize = 200;

/// The most agents out of contact that are remembered whatever a leader is told, and as many declared
/// dead. The same on all masters, since it decides what a record does.
pub const FORMER_AGENTS_MAX: usize = 1 << 20;

/// An agent out of contact.
#[derive(Clone, Debug, PartialEq)]
pub struct UnreachableAgent {
    /// As it was admitted.
    pub entry: Arc<AgentEntry>,
    /// Since when.
    pub at: Timestamp,
}

/// Who belongs to the cluster.
///
/// An agent is in at most one of `agents`, `unreachable` and `gone`; a framework in at most one of
/// `frameworks` and `completed`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// Agents admitted.
    pub agents: BTreeMap<AgentId, Arc<AgentEntry>>,
    /// Agents out of contact.
    pub unreachable: BTreeMap<AgentId, UnreachableAgent>,
    /// Agents declared dead, and since when.
    pub gone: BTreeMap<AgentId, Timestamp>,
    /// Frameworks.
    pub frameworks: BTreeMap<FrameworkId, Arc<FrameworkEntry>>,
    /// Frameworks that are over, and since when, oldest first.
    pub completed: VecDeque<(Arc<FrameworkEntry>, Timestamp)>,
}

impl Members {
    /// Applies a record about members; says whether it changed anything. Other records do nothing. Former
    /// agents that gave way to it are put in `forgotten`.
    pub fn apply(&mut self, record: &Record, forgotten: &mut Vec<AgentId>) -> bool {
        match record {
            Record::PutAgent(entry) => self.put_agent(entry),
            Record::MarkUnreachable { agent, at } => self.mark_unreachable(agent, *at, forgotten),
            Record::MarkGone { agent, at } => self.mark_gone(agent, *at, forgotten),
            Record::RemoveAgent { agent, at: _ } => {
                self.agents.remove(agent).is_some() || self.unreachable.remove(agent).is_some()
            }
            Record::ForgetAgents(agents) => self.forget(agents),
            Record::PutFramework(entry) => self.put_framework(entry),
            Record::MarkFrameworkAway { framework, at } => self.mark_away(framework, *at),
            Record::BeginReign(reign) => self.mark_all_away(reign.at),
            Record::CompleteFramework { framework, at } => self.complete(framework, *at),
            Record::SetWeights(_)
            | Record::SetQuotas(_)
            | Record::SetStanding { .. }
            | Record::SetSchedule(_)
            | Record::SetMachines { .. }
            | Record::StoreCommit(_)
            | Record::LeaseAcquire(_)
            | Record::LeaseRelease { .. } => false,
        }
    }

    /// Whether the agent belongs to the cluster, in contact or not.
    pub fn remember(&self, agent: &AgentId) -> bool {
        self.description_of(agent).is_some()
    }

    /// How an agent described itself that belongs to the cluster, in contact or not.
    pub fn description_of(&self, agent: &AgentId) -> Option<&AgentDescription> {
        let away = || self.unreachable.get(agent).map(|away| &away.entry);
        self.agents.get(agent).or_else(away).map(|entry| &entry.description)
    }

    /// Whether the framework is over.
    pub fn is_completed(&self, framework: &FrameworkId) -> bool {
        self.completed.iter().any(|(entry, _)| entry.framework.id.as_ref() == Some(framework))
    }

    fn put_agent(&mut self, entry: &AgentEntry) -> bool {
        if self.gone.contains_key(&entry.id) {
            return false;
        }
        self.unreachable.remove(&entry.id);
        self.agents.insert(entry.id.clone(), Arc::new(entry.clone()));
        true
    }

    fn mark_unreachable(
        &mut self,
        agent: &AgentId,
        at: Timestamp,
        forgotten: &mut Vec<AgentId>,
    ) -> bool {
        let Some(entry) = self.agents.remove(agent) else { return false };
        self.unreachable.insert(agent.clone(), UnreachableAgent { entry, at });
        forget_oldest(&mut self.unreachable, |agent| agent.at, forgotten);
        true
    }

    fn mark_gone(&mut self, agent: &AgentId, at: Timestamp, forgotten: &mut Vec<AgentId>) -> bool {
        let was_there =
            self.agents.remove(agent).is_some() || self.unreachable.remove(agent).is_some();
        if was_there {
            self.gone.insert(agent.clone(), at);
            forget_oldest(&mut self.gone, |at| *at, forgotten);
        }
        was_there
    }

    fn forget(&mut self, agents: &[AgentId]) -> bool {
        let before = self.unreachable.len() + self.gone.len();
        for agent in agents {
            self.unreachable.remove(agent);
            self.gone.remove(agent);
        }
        self.unreachable.len() + self.gone.len() != before
    }

    /// Those of `agents` that do not belong to the cluster.
    pub fn strangers<'a>(&'a self, agents: &'a [AgentId]) -> impl Iterator<Item = &'a AgentId> {
        agents.iter().filter(|agent| !self.agents.contains_key(*agent))
    }

    /// Former agents that are remembered for longer than `age_max`, and the oldest of those out of
    /// contact and of those gone that are more than `count_max`: at most `batch_max` of them.
    pub fn forgettable(
        &self,
        now: Timestamp,
        age_max: Duration,
        count_max: usize,
        batch_max: usize,
    ) -> Vec<AgentId> {
        let away = self.unreachable.iter().map(|(id, agent)| (agent.at, id)).collect();
        let gone = self.gone.iter().map(|(id, at)| (*at, id)).collect();
        let mut all = Vec::new();
        for mut former in [away, gone] as [Vec<(Timestamp, &AgentId)>; 2] {
            former.sort_unstable();
            let too_many = former.len().saturating_sub(count_max);
            let is_over = |&(at, _): &(Timestamp, _)| now.since(at) > age_max;
            let count = too_many.max(former.partition_point(is_over));
            all.extend(former.into_iter().take(count).map(|(_, id)| id.clone()));
        }
        all.truncate(batch_max);
        all
    }

    fn put_framework(&mut self, entry: &FrameworkEntry) -> bool {
        let Some(id) = &entry.framework.id else { return false };
        if self.is_completed(id) {
            return false;
        }
        self.frameworks.insert(id.clone(), Arc::new(entry.clone()));
        true
    }

    fn mark_away(&mut self, framework: &FrameworkId, at: Timestamp) -> bool {
        self.frameworks.get_mut(framework).is_some_and(|entry| is_away(entry, at))
    }

    /// With the leader went the streams of all frameworks that had one.
    fn mark_all_away(&mut self, at: Timestamp) -> bool {
        let mut has_changed = false;
        for entry in self.frameworks.values_mut() {
            has_changed |= is_away(entry, at);
        }
        has_changed
    }

    fn complete(&mut self, framework: &FrameworkId, at: Timestamp) -> bool {
        let Some(entry) = self.frameworks.remove(framework) else { return false };
        self.completed.push_back((entry, at));
        if self.completed.len() > COMPLETED_FRAMEWORKS_MAX {
            self.completed.pop_front();
        }
        true
    }
}

/// Notes since when a framework has had no stream, unless that is known. Says whether it was not.
fn is_away(entry: &mut Arc<FrameworkEntry>, at: Timestamp) -> bool {
    if entry.away_since.is_some() {
        return false;
    }
    Arc::make_mut(entry).away_since = Some(at);
    true
}

/// Keeps a list of former agents within its bounds.
fn forget_oldest<T>(
    former: &mut BTreeMap<AgentId, T>,
    at: impl Fn(&T) -> Timestamp,
    forgotten: &mut Vec<AgentId>,
) {
    while former.len() > FORMER_AGENTS_MAX {
        let oldest = former.iter().min_by_key(|&(id, agent)| (at(agent), id));
        let oldest = oldest.map(|(id, _)| id.clone()).expect("more than the limit is not none");
        former.remove(&oldest);
        forgotten.push(oldest);
    }
}
