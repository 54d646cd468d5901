//! Tasks to launch.

use model::ids::{AgentId, TaskId};
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::task::{Needs, RunsBy, TaskSpec};

/// A command of one core on an agent.
pub(crate) fn task(id: &str, agent: &AgentId) -> TaskSpec {
    TaskSpec {
        id: TaskId::new(id).expect("an id"),
        name: id.into(),
        agent: agent.clone(),
        resources: Resources::parse("cpus:1;mem:64", &Role::any()).expect("well formed"),
        runs_by: RunsBy::Command,
        user: None,
        kill_grace: None,
        needs: Needs::default(),
        info: Payload::default(),
    }
}
