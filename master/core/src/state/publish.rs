//! What readers do not see yet. Entries that changed in a turn are published once, at its end.

use super::{Books, Turn};
use crate::view::{InverseAnswer, TaskList, ViewChange};
use model::ids::{AgentId, FrameworkId, OfferId, TaskId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What changed since it was last published.
#[derive(Debug, Default)]
pub(crate) struct Unpublished {
    agents: BTreeSet<AgentId>,
    frameworks: BTreeSet<FrameworkId>,
    tasks: BTreeSet<(FrameworkId, TaskId)>,
    inverse_offers: BTreeSet<OfferId>,
    inverse_answers: bool,
}

impl Unpublished {
    pub(crate) fn agent(&mut self, id: &AgentId) {
        if !self.agents.contains(id) {
            self.agents.insert(id.clone());
        }
    }

    pub(crate) fn framework(&mut self, id: &FrameworkId) {
        if !self.frameworks.contains(id) {
            self.frameworks.insert(id.clone());
        }
    }

    pub(crate) fn inverse_offer(&mut self, id: &OfferId) {
        self.inverse_offers.insert(id.clone());
    }

    pub(crate) fn inverse_answers(&mut self) {
        self.inverse_answers = true;
    }

    /// Marks a live task. Other lists publish when something enters them.
    pub(crate) fn task(&mut self, framework: &FrameworkId, id: &TaskId) {
        self.tasks.insert((framework.clone(), id.clone()));
    }
}

impl Books {
    /// Publishes what changed. What is not in the books any more was published when it left.
    pub(crate) fn publish(&mut self, turn: &mut Turn<'_>) {
        for id in std::mem::take(&mut self.unpublished.agents) {
            if let Some(agent) = self.agents.get(&id) {
                turn.view(ViewChange::PutAgent(Arc::new(self.agent_view(agent))));
            }
        }
        for id in std::mem::take(&mut self.unpublished.inverse_offers) {
            turn.view(match self.inverse_offers.get(&id) {
                Some(offer) => ViewChange::PutInverseOffer(Arc::new(offer.clone())),
                None => ViewChange::RemoveInverseOffer(id),
            });
        }
        if std::mem::take(&mut self.unpublished.inverse_answers) {
            let all = self.inverse_answers.iter().map(|((agent, framework), it)| InverseAnswer {
                agent: agent.clone(),
                framework: framework.clone(),
                accepts: it.accepts,
                at: it.at,
            });
            turn.view(ViewChange::SetInverseAnswers(Arc::new(all.collect())));
        }
        for id in std::mem::take(&mut self.unpublished.frameworks) {
            if let Some(framework) = self.frameworks.get(&id) {
                let view = framework.view(framework.condition());
                turn.view(ViewChange::PutFramework(Arc::new(view)));
            }
        }
        for (framework, id) in std::mem::take(&mut self.unpublished.tasks) {
            let owner = self.frameworks.get(&framework);
            if let Some(task) = owner.and_then(|owner| owner.tasks.get(&id)) {
                let view = task.view(&framework, TaskList::Live);
                turn.view(ViewChange::PutTask(Arc::new(view)));
            }
        }
    }
}
