//! One consistent picture of the cluster, in the words of the operator API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::role::Role;
use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::master::response::get_executors::Executor;
use proto::mesos::v1::master::response::get_frameworks::Framework;
use proto::mesos::v1::master::response::{
    GetAgents, GetExecutors, GetFrameworks, GetState, GetTasks,
};

use super::sums::Has;
use super::wire;

/// What there is, at one moment. Cheap to make and to keep: most entries are shared.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Agents that have registered with this leader.
    pub agents: Vec<Arc<Agent>>,
    /// Agents that are known from before and have not come back yet.
    pub recovered_agents: Vec<Arc<v1::AgentInfo>>,
    /// How many agents are out of contact.
    pub unreachable_agents: usize,
    /// Frameworks that are not over.
    pub frameworks: Vec<Arc<Framework>>,
    /// Frameworks that are over, as far as they are remembered.
    pub completed_frameworks: Vec<Arc<Framework>>,
    /// Tasks that are not over.
    pub tasks: Vec<Arc<v1::Task>>,
    /// Tasks whose agent is out of contact.
    pub unreachable_tasks: Vec<Arc<v1::Task>>,
    /// Tasks that are over, as far as they are remembered.
    pub completed_tasks: Vec<Arc<v1::Task>>,
    /// Executors that live.
    pub executors: Vec<Arc<Executor>>,
    /// What each framework that is not over has, used and offered together, by its id.
    pub both: HashMap<String, Vec<v1::Resource>>,
    /// What is given to all frameworks together for each role.
    pub given: BTreeMap<String, Given>,
}

/// What is given to somebody.
#[derive(Clone, Default)]
pub(crate) struct Given {
    /// What tasks and executors use.
    pub allocated: Vec<v1::Resource>,
    /// What is in open offers.
    pub offered: Vec<v1::Resource>,
    /// Both together, which is less where a volume is used and offered to others.
    pub both: Vec<v1::Resource>,
}

impl Given {
    /// Adds what is had for a role.
    pub(super) fn add(&mut self, role: &Role, has: &Has<'_>) {
        self.allocated.extend(wire::has(&has.used(), role));
        self.offered.extend(wire::has(&has.offered(), role));
        self.both.extend(wire::has(&has.both(), role));
    }
}

fn owned<T: Clone>(all: &[Arc<T>]) -> Vec<T> {
    all.iter().map(|one| T::clone(one)).collect()
}

impl State {
    pub(crate) fn get_agents(&self) -> GetAgents {
        GetAgents { agents: owned(&self.agents), recovered_agents: owned(&self.recovered_agents) }
    }

    pub(crate) fn get_frameworks(&self) -> GetFrameworks {
        GetFrameworks {
            frameworks: owned(&self.frameworks),
            completed_frameworks: owned(&self.completed_frameworks),
            ..GetFrameworks::default()
        }
    }

    pub(crate) fn get_tasks(&self) -> GetTasks {
        GetTasks {
            tasks: owned(&self.tasks),
            unreachable_tasks: owned(&self.unreachable_tasks),
            completed_tasks: owned(&self.completed_tasks),
            ..GetTasks::default()
        }
    }

    pub(crate) fn get_executors(&self) -> GetExecutors {
        GetExecutors { executors: owned(&self.executors), ..GetExecutors::default() }
    }

    pub(crate) fn get_state(&self) -> GetState {
        GetState {
            get_tasks: Some(self.get_tasks()),
            get_executors: Some(self.get_executors()),
            get_frameworks: Some(self.get_frameworks()),
            get_agents: Some(self.get_agents()),
        }
    }
}
