//! What the master answers to who asks about tasks.

use super::World;
use model::ids::{AgentId, TaskId};
use model::task::{Reason, TaskState};

impl World {
    /// Tells of each of `tasks`, or of all if there are none, what the master knows.
    pub(super) fn reconcile(&mut self, tasks: Vec<(TaskId, Option<AgentId>)>) {
        self.asked.reconciled.push((self.time, tasks.len()));
        if self.asked.is_silent {
            return;
        }
        let asked = if tasks.is_empty() {
            self.tasks.keys().map(|task| (task.clone(), None)).collect()
        } else {
            tasks
        };
        for (task, on) in asked {
            let known = self.tasks.get(&task).map(|it| (it.agent, it.state));
            let there = on.and_then(|on| self.agents.iter().position(|it| it.id == on));
            let agent = known.map(|(agent, _)| agent).or(there);
            let state = match (agent.map(|agent| &self.agents[agent]), known) {
                (Some(agent), _) if agent.is_gone => TaskState::GoneByOperator,
                (Some(agent), _) if !agent.is_up => TaskState::Unreachable,
                (_, Some((_, state))) => state,
                (Some(_), None) => TaskState::Gone,
                (None, None) => TaskState::Unknown,
            };
            self.report_of(&task, agent, state, Some(Reason::Reconciliation));
        }
    }
}
