//! The agents of before that a new leader waits for.
//!
//! Each may be offered again as soon as it is back. But how much of its quota a role has is known only
//! when the agents are back that run its tasks: until most are, roles with quota get nothing, or they would
//! get it a second time. Roles without quota wait for nobody.

use super::timers::Due;
use super::{Books, Turn};
use model::amount::Milli;
use model::ids::AgentId;
use std::collections::BTreeSet;

/// The agents that were there when the reign began, as far as they matter.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// How many there were.
    expected: usize,
    /// Those of them that have not come back, nor left.
    awaited: BTreeSet<AgentId>,
    /// Whether roles with quota wait.
    holds_quota: bool,
    /// Whether it was found that not too many have stayed away.
    is_checked: bool,
}

impl Recovery {
    /// An agent is back, or out of contact or gone: it is not waited for.
    pub(crate) fn settle(&mut self, agent: &AgentId) {
        self.awaited.remove(agent);
    }

    /// Whether so many have stayed away that no master should decide alone that they are lost. Asked
    /// when the time is up for `agent`. The answer is why.
    pub(crate) fn too_many_lost(&mut self, agent: &AgentId, limit: Milli) -> Option<String> {
        if !self.awaited.contains(agent) || self.is_checked {
            return None;
        }
        let (lost, expected) = (self.awaited.len(), self.expected);
        if thousandths(lost) <= i128::from(limit.0) * wide(expected) {
            // The others follow at once, and are counted here.
            self.is_checked = true;
            return None;
        }
        Some(format!(
            "{lost} of {expected} agents have not come back since this master leads, more than \
             --recovery_agent_removal_limit lets it write off: see to them or to the network, then \
             start the master again, or give it a higher limit"
        ))
    }

    /// Whether so many are back that what is known will do.
    fn is_enough(&self, factor: Milli) -> bool {
        let back = self.expected - self.awaited.len();
        thousandths(back) >= i128::from(factor.0) * wide(self.expected)
    }
}

fn wide(count: usize) -> i128 {
    i128::try_from(count).expect("as many as there is memory for")
}

fn thousandths(count: usize) -> i128 {
    1_000 * wide(count)
}

impl Books {
    /// A reign has begun, with all agents and quotas of before in the books.
    pub(crate) fn begin_recovery(&mut self, turn: &Turn<'_>) {
        let awaited: BTreeSet<AgentId> = self.agents.keys().cloned().collect();
        let has_quota = self.rules.quotas.values().any(|quota| !quota.is_empty());
        let holds_quota = has_quota && !awaited.is_empty();
        let expected = awaited.len();
        self.recovery = Recovery { expected, awaited, holds_quota, is_checked: false };
        if holds_quota {
            self.allocator.hold_quota(true, turn.now.time);
            let wait = self.config.allocator_recovery_timeout;
            self.timers.set(Due::Recovery, turn.now.time + wait);
        }
        self.settle_recovery(turn);
    }

    /// Lets roles with quota have offers again if enough agents are back.
    pub(crate) fn settle_recovery(&mut self, turn: &Turn<'_>) {
        let factor = self.config.allocator_agent_recovery_factor;
        if self.recovery.holds_quota && self.recovery.is_enough(factor) {
            self.end_recovery(turn);
        }
    }

    /// Lets roles with quota have offers again.
    pub(crate) fn end_recovery(&mut self, turn: &Turn<'_>) {
        self.recovery.holds_quota = false;
        self.timers.cancel(&Due::Recovery);
        self.allocator.hold_quota(false, turn.now.time);
    }
}
