//! What is told of what happens: one line for each thing that a reader of a story must know.

use crate::agents::hostname;
use crate::world::World;
use master_core::Note;
use model::event::SchedulerEvent;
use model::framework::Framework;
use model::ids::{AgentId, FrameworkId};
use model::offer::Offer;
use model::task::{Status, TaskSpec};

impl World {
    /// A framework hears something.
    pub(crate) fn tell_event(&mut self, at: usize, event: &SchedulerEvent) {
        let mut said = Vec::new();
        match event {
            SchedulerEvent::Subscribed { .. } => said.push("subscribed".to_owned()),
            SchedulerEvent::Offers(offers) => {
                said.extend(offers.iter().map(|offer| {
                    let agent = self.agent_name(&offer.agent);
                    format!("offer of {agent}: {}", offer.resources)
                }));
                said.sort();
            }
            SchedulerEvent::Rescind(id) => {
                let of = |offer: &&Offer| offer.id == *id;
                let offer = self.schedulers[at].offers.iter().find(of);
                let agent = offer.map(|offer| self.agent_name(&offer.agent));
                said.extend(agent.map(|agent| format!("offer of {agent} is rescinded")));
            }
            SchedulerEvent::Update(status) => said.push(update(status)),
            SchedulerEvent::UpdateOperation(status) => {
                let id = status.id.as_ref().map(ToString::to_string).unwrap_or_default();
                let why = status.message.as_ref().map(|why| format!(": {why}"));
                said.push(format!("{id} {}{}", status.state.name(), why.unwrap_or_default()));
            }
            SchedulerEvent::Failure { agent, executor: None } => {
                said.push(format!("{} is lost", self.agent_name(agent)));
            }
            SchedulerEvent::Error(why) => said.push(format!("error: {why}")),
            SchedulerEvent::Failure { executor: Some(_), .. }
            | SchedulerEvent::InverseOffers(_)
            | SchedulerEvent::RescindInverseOffer(_)
            | SchedulerEvent::Message(_)
            | SchedulerEvent::Heartbeat => {}
        }
        for line in said {
            self.tell(|world| format!("{} <- {line}", world.schedulers[at].framework.name));
        }
    }

    /// The leading master notes something.
    pub(crate) fn tell_note(&mut self, at: usize, note: &Note) {
        if !self.settings.is_told {
            return;
        }
        let agent = |world: &Self, id| world.agent_name(id);
        let framework = |world: &Self, id| world.framework_name(id);
        let line = match note {
            Note::ReignBegan { .. } => format!("master-{} leads", at + 1),
            // It has not heard its id yet, and is shown right after this.
            Note::AgentAdded(added) => {
                let is_it = |at: &usize| hostname(*at) == added.description.hostname;
                let at = (0..self.agents.len()).find(is_it).map_or(0, |at| at + 1);
                format!("agent-{at} is registered")
            }
            Note::AgentReregistered(id) => format!("{} is registered again", agent(self, id)),
            Note::AgentDisconnected(id) => format!("{} is disconnected", agent(self, id)),
            Note::AgentUnreachable { agent: id, .. } => {
                format!("{} is unreachable", agent(self, id))
            }
            Note::AgentRemoved { agent: id, .. } => format!("{} is removed", agent(self, id)),
            Note::FrameworkAdded(added) => format!("{} is new", added.framework.name),
            Note::FrameworkDisconnected(id) => format!("{} is disconnected", framework(self, id)),
            Note::FrameworkRemoved(removed) => format!("{} is over", removed.framework.name),
            Note::CallDropped { framework: by, call, why } => {
                let why = self.named(why);
                format!("{call} of {} is dropped: {why}", framework(self, by))
            }
            Note::ReignEnded
            | Note::WeightsIgnored
            | Note::FrameworkUpdated(_)
            | Note::SubscribeRefused { .. }
            | Note::AgentGivenUp(_)
            | Note::AgentBackInTime(_)
            | Note::AgentsForgotten { .. }
            | Note::AgentRefused { .. }
            | Note::TaskAdded(_)
            | Note::TaskUpdated { .. }
            | Note::ExecutorRemoved { .. }
            | Note::OffersSent { .. }
            | Note::OfferRescinded(_)
            | Note::TaskRefused { .. }
            | Note::OperationUpdated { .. }
            | Note::Relayed { .. }
            | Note::AllocationRan { .. }
            | Note::AgentMessageDropped { .. } => return,
        };
        self.tell(|_| line);
    }

    /// An agent starts something for a task.
    pub(crate) fn tell_launch(&mut self, at: usize, of: &Framework, task: &TaskSpec) {
        self.tell(|_| match &*of.name {
            // Its tasks have names that mean nothing to a reader.
            "marathon" => format!("agent-{} starts an instance of {}", at + 1, task.name),
            _ => format!("agent-{} starts {}", at + 1, task.id),
        });
    }

    /// What an agent is called in stories.
    pub(crate) fn agent_name(&self, id: &AgentId) -> String {
        // One that has just been let in has not heard its id yet.
        let shown = self.laws.agents.get(id).map(|agent| &agent.description.hostname);
        let has_it =
            |at: &usize| self.agents[*at].id() == Some(id) || shown == Some(&hostname(*at));
        let at = (0..self.agents.len()).find(has_it);
        at.map_or_else(|| "a former agent".to_owned(), |at| format!("agent-{}", at + 1))
    }

    fn framework_name(&self, id: &FrameworkId) -> String {
        let its = self.schedulers.iter().find(|node| node.framework.id.as_ref() == Some(id));
        its.map_or("marathon", |node| &node.framework.name).to_owned()
    }

    /// Text in which agents have the names they have in stories.
    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (at, agent) in self.agents.iter().enumerate() {
            if let Some(id) = agent.id() {
                text = text.replace(id.as_str(), &format!("agent-{}", at + 1));
            }
        }
        text
    }
}

fn update(status: &Status) -> String {
    let why = status.message.as_ref().map(|why| format!(": {why}"));
    format!("{} {}{}", status.task, status.state.name(), why.unwrap_or_default())
}
