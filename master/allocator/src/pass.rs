//! One pass: agents are looked at one after the other, and what is free is handed out.

use crate::agent::AgentIx;
use crate::allocator::{Allocation, Allocator};
use crate::amounts::Amounts;
use crate::gates::{self, ForRole, Why};
use crate::sorter::{FrameworkIx, RoleIx};
use model::ids::{AgentId, FrameworkId};
use model::resources::Resources;
use model::rng::Rng;
use model::role::Role;
use model::step::Time;
use std::borrow::Cow;

/// Who is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Roles that have not what they are guaranteed, for what brings them nearer to it.
    Guarantees,
    /// Everybody.
    All,
}

/// To whom something goes.
struct Pick {
    role: RoleIx,
    framework: FrameworkIx,
    /// Absent if it is all that is free.
    what: Option<Resources>,
}

/// What a look at one agent found.
#[derive(Default)]
struct Look {
    pick: Option<Pick>,
    /// Whether quota kept something of it from somebody.
    was_cut: bool,
    /// Whether all who want anything are at their limits.
    everyone_is_spent: bool,
}

/// What is known while a pass lasts.
struct Pass {
    now: Time,
    out: Vec<Allocation>,
    /// What is free on the agent that is looked at.
    free: Amounts,
    /// Whether all who want anything are at their limits. A pass only gives, so it stays so.
    everyone_is_spent: bool,
}

impl Allocator {
    /// Gives away what can be given at the agents where something changed, or, once in an interval, at
    /// all. What is returned is booked as given.
    pub fn allocate(&mut self, now: Time) -> Vec<Allocation> {
        self.end_filters(now);
        self.roles.end_waits(now);
        if self.full_at <= now {
            self.full_at = now + self.settings.interval;
            self.all_dirty = true;
            self.due_at = Some(now);
        }
        self.told_at = now;
        if self.waits_for_quota() {
            self.due_at.get_or_insert(now);
        }
        if self.due_at.is_none_or(|due_at| due_at > now) {
            return Vec::new();
        }
        self.begin_run(now);
        if std::mem::take(&mut self.quotas.has_loosened) {
            self.dirty.append(&mut self.held_back);
        }
        if self.roles.walk_is_empty() {
            // Whoever wants something later has everything looked at.
            self.all_dirty = false;
            self.dirty.clear();
            return Vec::new();
        }
        let mut agents: Vec<AgentIx> = if std::mem::take(&mut self.all_dirty) {
            self.agents.indices().collect()
        } else {
            self.dirty.iter().collect()
        };
        self.dirty.clear();
        self.roles.refresh();
        let out = Vec::with_capacity(agents.len());
        let mut pass = Pass { now, out, free: Amounts::default(), everyone_is_spent: false };
        let stages: &[Stage] =
            if self.quotas.has_unmet() { &[Stage::Guarantees, Stage::All] } else { &[Stage::All] };
        for &stage in stages {
            // Shuffled, so that frameworks that take turns do not always get the same machines.
            self.rng.shuffle(&mut agents);
            for &agent in &agents {
                if stage == stages[0] {
                    self.agents.get_mut(agent).shared_offered = Resources::none();
                }
                self.hand_out(agent, stage, &mut pass);
            }
        }
        pass.out
    }

    /// Whether quota kept something back that it may not keep back any more.
    pub(crate) fn waits_for_quota(&self) -> bool {
        self.quotas.has_loosened && !self.held_back.is_empty()
    }

    /// Why a framework is offered nothing of an agent for one of its roles; absent if it would be now.
    pub fn why_not(
        &self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        now: Time,
    ) -> Option<Why> {
        let found = (self.frameworks_by_id.get(framework), self.agents_by_id.get(agent));
        let (Some(&framework_at), Some(&agent_at)) = found else { return Some(Why::Unknown) };
        if let Some(why) = self.why_nowhere(framework, role) {
            return Some(why);
        }
        if let Err(why) = gates::for_anyone(self.agents.get(agent_at)) {
            return Some(why);
        }
        let role = self.roles.find(role)?;
        let offer = match self.for_role(agent_at, role) {
            Ok(offer) => offer,
            Err(Why::NothingForRole) => return Some(gates::why_nothing(self.agents.get(agent_at))),
            Err(why) => return Some(why),
        };
        self.for_framework(agent_at, framework_at, role, &offer, now).err()
    }

    /// Why a framework is offered nothing at all for one of its roles; absent if that is different from
    /// agent to agent.
    pub fn why_nowhere(&self, framework: &FrameworkId, role: &Role) -> Option<Why> {
        let Some(&at) = self.frameworks_by_id.get(framework) else { return Some(Why::Unknown) };
        let framework = self.frameworks.get(at);
        match framework.roles.get(role) {
            _ if !framework.is_active => Some(Why::FrameworkInactive),
            None => Some(Why::NotInRole),
            Some(true) => Some(Why::Suppressed),
            Some(false) => None,
        }
    }

    fn hand_out(&mut self, at: AgentIx, stage: Stage, pass: &mut Pass) {
        let mut rng = self.lots_rng.clone();
        let was_cut = loop {
            let Look { pick, was_cut, everyone_is_spent } = self.look(at, stage, pass, &mut rng);
            pass.everyone_is_spent |= everyone_is_spent;
            let Some(Pick { role, framework, what }) = pick else { break was_cut };
            let resources = match what {
                None => self.give_all(at, framework, role, &pass.free, pass.now),
                Some(what) => {
                    self.give(at, framework, role, &what, Some(pass.now));
                    what
                }
            };
            let agent = self.agents.get_mut(at);
            if !agent.is_plain {
                agent.shared_offered.add(&resources.filtered(|key, _| key.kind.is_shared));
            }
            pass.out.push(Allocation {
                framework: self.frameworks.get(framework).id.clone(),
                role: self.roles.role(role).clone(),
                agent: agent.id.clone(),
                resources,
            });
        };
        self.lots_rng = rng;
        if was_cut {
            self.held_back.insert(at);
        }
    }

    fn look(&self, at: AgentIx, stage: Stage, pass: &mut Pass, rng: &mut Rng) -> Look {
        let mut look = Look::default();
        let agent = self.agents.get(at);
        if gates::for_anyone(agent).is_err() {
            return look;
        }
        if agent.free.is_empty() {
            return look;
        }
        pass.free.clear();
        self.roles.kinds.add_known(&mut pass.free, &agent.free, |_| true);
        // Reservations are part of it, so what is too little as a whole is too little for any role.
        let is_enough = self.quotas.is_enough(&pass.free);
        if self.own_leasts == 0 && !is_enough {
            return look;
        }
        let can_skip = agent.is_plain && self.own_leasts == 0;
        if can_skip && pass.everyone_is_spent {
            look.was_cut = true;
            return look;
        }
        look.everyone_is_spent = can_skip;
        let mut walk = self.roles.walk(rng.clone());
        let mut seen: Option<(RoleIx, ForRole<'_>)> = None;
        while let Some((role, framework)) = walk.next() {
            if seen.as_ref().is_none_or(|(seen, _)| *seen != role) {
                let is_spent = || self.roles.quota(role).is_some_and(|at| self.quotas.is_spent(at));
                seen = if can_skip && is_spent() {
                    look.was_cut = true;
                    None
                } else {
                    look.everyone_is_spent = false;
                    self.for_role_in(at, role, stage).map(|offer| (role, offer))
                };
                if let Some((_, offer)) = &mut seen {
                    offer.is_enough = is_enough && matches!(offer.what, Cow::Borrowed(_));
                    look.was_cut |= offer.cut.is_some();
                }
            }
            let Some((_, offer)) = &seen else {
                walk.skip_role();
                continue;
            };
            if let Ok(part) = self.for_framework(at, framework, role, offer, pass.now) {
                let what = part.or_else(|| match &offer.what {
                    Cow::Owned(what) => Some(what.clone()),
                    Cow::Borrowed(_) => None,
                });
                look.pick = Some(Pick { role, framework, what });
                break;
            }
        }
        *rng = walk.rng;
        look
    }

    fn for_role_in(&self, at: AgentIx, role: RoleIx, stage: Stage) -> Option<ForRole<'_>> {
        match stage {
            Stage::All => self.for_role(at, role).ok(),
            Stage::Guarantees => {
                let quota = self.roles.quota(role).filter(|&quota| self.quotas.is_unmet(quota))?;
                let offer = self.for_role(at, role).ok()?;
                let is_progress = self.quotas.is_progress(quota, &offer.what, &self.roles.kinds);
                is_progress.then_some(offer)
            }
        }
    }

    fn for_role(&self, at: AgentIx, role: RoleIx) -> Result<ForRole<'_>, Why> {
        if self.holds_quota && self.roles.quota(role).is_some() {
            return Err(Why::AgentsAwaited);
        }
        let what = gates::for_role(self.agents.get(at), self.roles.role(role))?;
        if self.quotas.is_empty() {
            return Ok(ForRole { what, cut: None, is_enough: false });
        }
        let cut = self.quotas.cut(self.roles.quota(role), &what, &self.roles.kinds);
        Ok(match cut {
            None => ForRole { what, cut: None, is_enough: false },
            Some((what, cut)) => {
                ForRole { what: Cow::Owned(what), cut: Some(cut), is_enough: false }
            }
        })
    }

    fn for_framework(
        &self,
        at: AgentIx,
        framework: FrameworkIx,
        role: RoleIx,
        offer: &ForRole<'_>,
        now: Time,
    ) -> Result<Option<Resources>, Why> {
        let agent = self.agents.get(at);
        let filters = agent.filters.get(&(framework, role));
        let framework = self.frameworks.get(framework);
        let role = self.roles.role(role);
        gates::for_framework(agent, framework, role, offer, filters, &self.settings, now)
    }
}
