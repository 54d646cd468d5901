//! Whatever has happened, an allocator is as one that was only told what is so.

use super::super::*;
use super::cluster::Cluster;
use super::steps::{ROLES, settings, steps};
use crate::figures::{Figures, OfKind};
use crate::{Allocation, Why};
use model::rng::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

impl Cluster {
    /// An allocator that is told what is so, and nothing of how it came.
    fn fresh(&self) -> Allocator {
        let now = self.now;
        let mut fresh = Allocator::new(self.settings.clone(), now);
        for (role, weight) in &self.weights {
            fresh.set_weight(role.clone(), *weight, now);
        }
        for (role, quota) in &self.quotas {
            fresh.set_quota(role.clone(), Some(quota.clone()), now).expect("it was one");
        }
        fresh.hold_quota(self.holds_quota, now);
        fresh.set_whitelist(self.whitelist.clone().map(|region| [region].into()), now);
        for (id, (wish, is_active)) in &self.wishes {
            fresh.put_framework(id, wish, now);
            if !is_active {
                fresh.deactivate_framework(id);
            }
        }
        // In the order in which they are gone over, which is chance.
        let agents = self.allocator.agents.indices().map(|at| &self.allocator.agents.get(at).id);
        for id in agents {
            let given = self.given.iter().filter(|given| given.agent == *id);
            let used = given.map(|Allocation { framework, role, resources, .. }| {
                (framework.clone(), role.clone(), resources.clone())
            });
            fresh.put_agent(id, self.totals[id].clone(), used.collect::<Vec<_>>(), now);
            if let Some(facts) = self.facts.get(id) {
                fresh.describe_agent(id, facts.clone(), now);
            }
            if self.inactive.contains(id) {
                fresh.deactivate_agent(id);
            }
        }
        self.tell_filters(&mut fresh);
        fresh
    }

    /// What was declined and is not to be offered again for a while.
    fn tell_filters(&self, fresh: &mut Allocator) {
        let known = &self.allocator;
        for at in known.agents.indices() {
            let agent = known.agents.get(at);
            for (&(framework, role), filters) in &agent.filters {
                let framework = fresh.framework_place(&known.frameworks.get(framework).id);
                let role = fresh.roles.place(known.roles.role(role));
                let at = fresh.agents_by_id[&agent.id];
                for (declined, until) in filters.told() {
                    fresh.add_filter(at, framework, role, declined.clone(), until, 7);
                }
            }
        }
    }

    /// Why each framework gets nothing of each agent for each role.
    fn all_whys(&self, allocator: &Allocator) -> BTreeMap<String, Option<Why>> {
        let mut whys = BTreeMap::new();
        for framework in self.wishes.keys() {
            for (of, agent) in
                ROLES.iter().flat_map(|of| self.totals.keys().map(move |id| (of, id)))
            {
                let why = allocator.why_not(framework, &role(of), agent, self.now);
                // What is in offers that will not be answered is in use to whoever is told so.
                let why = why.map(|why| if why == Why::InOffers { Why::InUse } else { why });
                whys.insert(format!("{framework} {of} {agent}"), why);
            }
        }
        whys
    }
}

/// How it stands; of kinds that are not there any more there is nothing to tell.
fn figures(allocator: &Allocator) -> Figures {
    let mut figures = allocator.figures();
    figures.resources.retain(|_, of| *of != OfKind::default());
    figures
}

proptest! {
    #[test]
    fn a_full_pass_after_anything_is_that_of_an_allocator_told_only_what_is_so(
        settings in settings(),
        steps in steps(),
    ) {
        // Who has stepped back is a matter of what was, and how long it is forgotten.
        let settings = Settings { decliners_step_back: false, ..settings };
        let mut cluster = Cluster::new(settings);
        for step in &steps {
            cluster.play(step);
        }
        let mut fresh = cluster.fresh();
        cluster.now = cluster.now + Duration::from_millis(20);
        let now = cluster.now;
        let known = &mut cluster.allocator;
        known.touch_all(now);
        let mut passes = Vec::new();
        for allocator in [known, &mut fresh] {
            // So are chance, and how often somebody was given something, which breaks ties.
            (allocator.rng, allocator.lots_rng) = (Rng::new(1), Rng::new(2));
            allocator.roles.forget_counts();
            allocator.due_at = Some(now);
            passes.push(allocator.allocate(now));
        }
        prop_assert_eq!(&passes[0], &passes[1]);
        prop_assert_eq!(figures(&cluster.allocator), figures(&fresh));
        prop_assert_eq!(cluster.all_whys(&cluster.allocator), cluster.all_whys(&fresh));
        for agent in cluster.totals.keys() {
            prop_assert_eq!(cluster.allocator.free(agent), fresh.free(agent));
        }
    }
}
