//! Resources of one kind become resources of another: reserved, or a volume, or not any more.

use crate::agent::AgentIx;
use crate::allocator::Allocator;
use model::ids::{AgentId, FrameworkId};
use model::resources::Resources;
use model::role::Role;
use model::step::Time;

impl Allocator {
    /// Of what a framework has of an agent, `consumed` is `converted` from now on. It must have it.
    pub fn convert_given(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        consumed: &Resources,
        converted: &Resources,
    ) {
        let found = (
            self.agents_by_id.get(agent).copied(),
            self.frameworks_by_id.get(framework).copied(),
            self.roles.find(role),
        );
        let (Some(agent), Some(framework), Some(role)) = found else { return };
        let had = self.agents.get(agent).given.get(&(framework, role));
        if !had.is_some_and(|had| had.what.contains(consumed)) {
            return;
        }
        let is_kept = !converted.is_empty();
        self.take_back_or_keep(agent, framework, role, consumed, is_kept);
        self.replace_in_total(agent, consumed, converted);
        self.give(agent, framework, role, converted, None);
    }

    /// Of what is free on an agent, `consumed` is `converted` from now on. False, and nothing is changed,
    /// if not all of it is free.
    pub fn convert_free(
        &mut self,
        agent: &AgentId,
        consumed: &Resources,
        converted: &Resources,
        now: Time,
    ) -> bool {
        let Some(&at) = self.agents_by_id.get(agent) else { return false };
        if !self.agents.get(at).free.contains(consumed) {
            return false;
        }
        self.replace_in_total(at, consumed, converted);
        self.touch(at, now);
        true
    }

    fn replace_in_total(&mut self, at: AgentIx, consumed: &Resources, converted: &Resources) {
        let total = self.agents.get(at).total.minus(consumed).plus(converted);
        self.replace_total(at, total);
    }

    /// Has an agent have another total; what is given stays given.
    pub(crate) fn replace_total(&mut self, at: AgentIx, total: Resources) {
        let total = self.roles.kinds.interned(total);
        let headroom = self.headroom_of(at);
        let agent = self.agents.get_mut(at);
        let before = std::mem::take(&mut agent.total);
        agent.set_total(total.clone());
        self.roles.shrink_total(&before);
        self.roles.grow_total(&total);
        self.count_reservations(&before, false);
        self.count_reservations(&total, true);
        self.count_headroom(at, &headroom);
    }
}
