//! The frameworks.

use super::agents::Agent;
use super::tasks::Task;
use super::timers::Due;
use super::{Books, Completed, Turn};
use crate::config::Config;
use crate::figures::Counts;
use crate::io::Done;
use crate::note::Note;
use crate::view::{AgentFilter, FrameworkCondition, FrameworkView, TaskKey, ViewChange};
use allocator::{CONSTRAINTS_MAX, FrameworkWish, MinAllocatable, OfferConstraints, Pattern};
use model::constraints::{Constraint, Constraints};
use model::framework::Framework as Description;
use model::ids::{
    AgentId, ConnectionId, FrameworkId, OfferId, OperationId, OperationUuid, RequestId, StreamId,
    TaskId,
};
use model::registry::{FrameworkEntry, Record};
use model::role::{Role, in_braces};
use model::step::{Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How a framework is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    /// Not yet, under this leader.
    Recovered,
    /// By its stream.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// What its calls carry.
        stream: StreamId,
    },
    /// Not any more; its failover time runs.
    Disconnected,
}

/// A framework that is not over.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) id: FrameworkId,
    pub(crate) description: Arc<Description>,
    pub(crate) registered_at: Timestamp,
    pub(crate) reregistered_at: Option<Timestamp>,
    pub(crate) stream: Stream,
    /// Whether the record that ends it is under way.
    pub(crate) is_ending: bool,
    /// Whether a record says that it has no stream, or one that will is under way.
    pub(crate) is_marked_away: bool,
    /// Who waits for its end, and how they are answered.
    pub(crate) teardowns: Vec<(RequestId, Done)>,
    pub(crate) offers: BTreeSet<OfferId>,
    /// What it wants to be offered, beside what it says of itself.
    pub(crate) wishes: Wishes,
    /// What runs, or has ended and is not acknowledged.
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) unreachable: BTreeMap<TaskId, Task>,
    /// Operations of which it wants to hear and has not kept the last report.
    pub(crate) operations: BTreeMap<OperationId, OperationUuid>,
    /// What is over and still shown, oldest first.
    pub(crate) completed: VecDeque<TaskKey>,
    /// What is counted of it, for those who watch.
    pub(crate) counts: Counts,
}

/// What a framework wants to be offered, as it said when it subscribed or changed that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// Roles that it wants no offers for, with what it has said since.
    suppressed: Arc<BTreeSet<Role>>,
    /// As it stated them, for those who ask.
    pub(crate) constraints: Arc<Constraints>,
    /// The same, read.
    compiled: Arc<BTreeMap<Role, OfferConstraints>>,
}

impl Wishes {
    /// Reads what a framework wants; an error is what it is told. Roles come first, which is part of the
    /// protocol.
    pub(crate) fn new(
        framework: &Description,
        suppressed: &BTreeSet<Arc<str>>,
        constraints: Result<Constraints, String>,
        config: &Config,
    ) -> Result<Self, String> {
        let own: BTreeMap<&str, &Role> =
            framework.roles.iter().map(|role| (role.as_str(), role)).collect();
        let (suppressed, foreign): (BTreeSet<_>, BTreeSet<_>) =
            suppressed.iter().partition(|role| own.contains_key(&***role));
        if !foreign.is_empty() {
            let foreign = in_braces(foreign);
            return Err(format!(
                "Suppressed roles {foreign} are not contained in the set of roles"
            ));
        }
        let suppressed = suppressed.into_iter().map(|role| own[&**role].clone()).collect();
        let invalid = |why: String| format!("Offer constraints are not valid: {why}");
        let constraints = constraints.map_err(invalid)?;
        // Patterns are costly to read, and whoever sends many must not hold up all others.
        let count: usize = constraints.values().flatten().map(Vec::len).sum();
        if count > CONSTRAINTS_MAX {
            return Err(invalid(format!("{count} of them, at most {CONSTRAINTS_MAX}")));
        }
        let mut compiled = BTreeMap::new();
        for (role, groups) in &constraints {
            if !framework.roles.contains(role) {
                return Err(invalid(format!("the framework is not subscribed to role '{role}'")));
            }
            let bytes_max = config.offer_constraints_pattern_bytes_max;
            let pattern = |text: &Arc<str>| Pattern::new(text.clone(), bytes_max);
            let read = |one: &Constraint| one.try_map(pattern);
            let group = |group: &Vec<Constraint>| group.iter().map(read).collect();
            let read = groups.iter().map(group).collect::<Result<Vec<_>, _>>();
            let read = read.and_then(OfferConstraints::new).map_err(|bad| invalid(bad.to_string()));
            compiled.insert(role.clone(), read?);
        }
        Ok(Self {
            suppressed: Arc::new(suppressed),
            constraints: Arc::new(constraints),
            compiled: Arc::new(compiled),
        })
    }
}

/// A subscription, or a change of one, whose record is under way.
#[derive(Debug)]
pub(crate) struct Subscribing {
    /// The stream that is to be opened; absent if the present one stays.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) request: RequestId,
    /// What is agreed on; absent until it is proposed.
    pub(crate) entry: Option<Arc<FrameworkEntry>>,
    pub(crate) wishes: Wishes,
    /// Whether the other end has gone meanwhile.
    pub(crate) is_gone: bool,
}

impl Framework {
    pub(crate) fn new(id: FrameworkId, description: Description, registered_at: Timestamp) -> Self {
        Self {
            id,
            description: Arc::new(description),
            registered_at,
            reregistered_at: None,
            stream: Stream::Recovered,
            is_ending: false,
            is_marked_away: false,
            teardowns: Vec::new(),
            offers: BTreeSet::new(),
            wishes: Wishes::default(),
            tasks: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            operations: BTreeMap::new(),
            completed: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.stream {
            Stream::Connected { connection, .. } => Some(connection),
            Stream::Recovered | Stream::Disconnected => None,
        }
    }

    pub(crate) fn is_partition_aware(&self) -> bool {
        self.description.capabilities.partition_aware
    }

    /// The role that resources were most likely offered for, where nobody remembers.
    pub(crate) fn likely_role(&self) -> Role {
        self.description.roles.first().cloned().unwrap_or_else(Role::any)
    }

    pub(crate) fn wish(&self) -> FrameworkWish {
        FrameworkWish {
            roles: self.description.roles.clone(),
            suppressed: (*self.wishes.suppressed).clone(),
            capabilities: self.description.capabilities,
            constraints: (*self.wishes.compiled).clone(),
            min_allocatable: self
                .description
                .min_allocatable
                .iter()
                .map(|(role, sets)| (role.clone(), MinAllocatable::any_of(sets.iter().cloned())))
                .collect(),
        }
    }

    pub(crate) fn view(&self, condition: FrameworkCondition) -> FrameworkView {
        FrameworkView {
            id: self.id.clone(),
            condition,
            framework: self.description.clone(),
            constraints: self.wishes.constraints.clone(),
            filter: AgentFilter(self.wishes.compiled.clone()),
            suppressed: self.wishes.suppressed.clone(),
            registered_at: self.registered_at,
            reregistered_at: self.reregistered_at,
        }
    }

    pub(crate) fn condition(&self) -> FrameworkCondition {
        match self.stream {
            Stream::Recovered => FrameworkCondition::Recovered,
            Stream::Connected { .. } => FrameworkCondition::Connected,
            Stream::Disconnected => FrameworkCondition::Disconnected,
        }
    }
}

impl Books {
    /// The agents that run something of a framework, be it an executor without tasks.
    pub(crate) fn agents_of(&self, framework: &FrameworkId) -> BTreeSet<AgentId> {
        let tasks = self.frameworks.get(framework).into_iter().flat_map(|it| it.tasks.values());
        let tasks = tasks.map(|task| &task.agent);
        let has_executor = |agent: &&Agent| agent.executors.keys().any(|(of, _)| of == framework);
        let executors = self.agents.values().filter(has_executor).map(|agent| &agent.id);
        tasks.chain(executors).cloned().collect()
    }

    /// A framework wants no offers for these of its roles, or, if there are none, for all.
    pub(crate) fn suppress(&mut self, id: &FrameworkId, roles: &BTreeSet<Role>) {
        self.allocator.suppress(id, roles);
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let named = if roles.is_empty() { &framework.description.roles } else { roles };
        Arc::make_mut(&mut framework.wishes.suppressed).extend(named.iter().cloned());
        self.unpublished.framework(id);
    }

    /// A framework wants offers for these of its roles, or, if there are none, for all, also of what it
    /// has declined.
    pub(crate) fn revive(&mut self, id: &FrameworkId, roles: &BTreeSet<Role>, now: Time) {
        self.allocator.revive(id, roles, now);
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let stays = |role: &Role| !roles.is_empty() && !roles.contains(role);
        Arc::make_mut(&mut framework.wishes.suppressed).retain(stays);
        self.unpublished.framework(id);
    }

    /// Puts a framework in the books that is known from the registry or an agent, and gives it time
    /// to come back, counted from when it went: it may have gone long before this reign.
    pub(crate) fn recover_framework(
        &mut self,
        framework: Framework,
        away_since: Timestamp,
        turn: &Turn<'_>,
    ) {
        // Whoever has no failover time at all must still be given the chance to find the new leader, and
        // whoever was about to come back when the leader went, the time to notice that.
        let all = framework.description.failover_timeout.max(self.config.agent_reregister_timeout);
        let left = all.saturating_sub(turn.now.wall.since(away_since));
        let wait = left.max(self.config.agent_ping_timeout);
        self.timers.set(Due::Failover(framework.id.clone()), turn.now.time + wait);
        self.unpublished.framework(&framework.id);
        self.frameworks.insert(framework.id.clone(), framework);
    }

    /// Has a framework ended: as soon as all masters know.
    pub(crate) fn propose_end(&mut self, id: &FrameworkId, turn: &mut Turn<'_>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if framework.is_ending {
            return;
        }
        framework.is_ending = true;
        self.timers.cancel(&Due::Failover(id.clone()));
        turn.propose(vec![Record::CompleteFramework { framework: id.clone(), at: turn.now.wall }]);
    }

    /// A framework's stream is gone: no offers, and its failover time begins.
    pub(crate) fn disconnect_framework(&mut self, id: &FrameworkId, turn: &mut Turn<'_>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if let Some(connection) = framework.connection() {
            self.streams.remove(&connection);
        }
        framework.stream = Stream::Disconnected;
        framework.is_marked_away = true;
        let wait = framework.description.failover_timeout;
        self.timers.cancel(&Due::Heartbeat(id.clone()));
        self.discard_offers_of(id, turn);
        self.forget_inverse_offers_of(id);
        self.allocator.deactivate_framework(id);
        self.unpublished.framework(id);
        turn.note(Note::FrameworkDisconnected(id.clone()));
        if wait.is_zero() {
            self.propose_end(id, turn);
        } else {
            self.timers.set(Due::Failover(id.clone()), turn.now.time + wait);
            turn.propose(vec![Record::MarkFrameworkAway {
                framework: id.clone(),
                at: turn.now.wall,
            }]);
        }
    }

    /// Shows a framework among those that are over.
    pub(crate) fn show_completed(
        &mut self,
        view: FrameworkView,
        tasks: VecDeque<TaskKey>,
        turn: &mut Turn<'_>,
    ) {
        self.completed.push_back(Completed { framework: view.id.clone(), tasks });
        turn.view(ViewChange::PutFramework(Arc::new(view)));
        while self.completed.len() > self.config.completed_frameworks_max {
            let oldest = self.completed.pop_front().expect("there are more than the limit");
            for task in oldest.tasks {
                turn.view(ViewChange::RemoveTask(task));
            }
            turn.view(ViewChange::RemoveFramework(oldest.framework));
        }
    }
}
