//! Agents out of contact that some frameworks do not know of yet.
//!
//! That an agent is out of contact is marked, and frameworks that know what it means are told, at once.
//! To others its tasks are lost, and they start them anew: when a switch fails and takes a thousand
//! agents with it, that is more harm than the failure. They are told of one agent after the other, as
//! fast as the operator allows, and not at all of those that come back before.

use super::{Books, Turn, timers::Due};
use crate::note::Note;
use crate::records::agent_left::{Left, tell_lost};
use model::event::SchedulerEvent;
use model::ids::{AgentId, FrameworkId};
use model::step::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Agents that wait to be given up.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// In the order in which they went, with those that came back since.
    order: VecDeque<AgentId>,
    /// How each went, and the frameworks that are to hear of it.
    waiting: BTreeMap<AgentId, (Left, BTreeSet<FrameworkId>)>,
    /// When the next may follow; absent: none has gone yet.
    next_at: Option<Time>,
}

impl Removals {
    /// Whether the framework has yet to hear that the agent's tasks are lost to it.
    pub(crate) fn is_untold(&self, agent: &AgentId, framework: &FrameworkId) -> bool {
        self.waiting.get(agent).is_some_and(|(_, untold)| untold.contains(framework))
    }

    /// Whether the framework has yet to hear of any agent.
    pub(crate) fn has_untold(&self, framework: &FrameworkId) -> bool {
        self.waiting.values().any(|(_, untold)| untold.contains(framework))
    }

    /// The agent is back, or gone for good. Those who have not heard of it are returned.
    pub(crate) fn cancel(&mut self, agent: &AgentId) -> Option<BTreeSet<FrameworkId>> {
        self.waiting.remove(agent).map(|(_, untold)| untold)
    }
}

impl Books {
    /// An agent is out of contact. Who does not know what that means hears of it in its turn.
    pub(crate) fn schedule_removal(
        &mut self,
        agent: AgentId,
        left: Left,
        untold: BTreeSet<FrameworkId>,
        turn: &mut Turn<'_>,
    ) {
        self.removals.order.push_back(agent.clone());
        self.removals.waiting.insert(agent, (left, untold));
        self.give_up_agents(turn);
    }

    /// Tells frameworks of as many agents as may be by now.
    pub(crate) fn give_up_agents(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        while let Some(agent) = self.removals.order.front() {
            if !self.removals.waiting.contains_key(agent) {
                self.removals.order.pop_front();
                continue;
            }
            if let Some(at) = self.removals.next_at.filter(|at| *at > now) {
                self.timers.set(Due::AgentRemoval, at);
                return;
            }
            let agent = self.removals.order.pop_front().expect("it was just there");
            let (left, untold) = self.removals.waiting.remove(&agent).expect("it was just there");
            let rate = self.config.agent_removal_rate;
            self.removals.next_at = rate.map(|rate| now + rate.interval());
            for framework in untold {
                tell_lost(self, &framework, &agent, left, turn);
                let event = SchedulerEvent::Failure { agent: agent.clone(), executor: None };
                self.tell(&framework, event, turn);
            }
            turn.note(Note::AgentGivenUp(agent));
        }
    }
}
