//! What frameworks and roles have, summed up over all agents.
//!
//! It is summed when somebody reads, from what each agent and offer says, and not kept: the same port
//! used on two agents is one port of the sum, and could not be taken out of it when one of them ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use master_core::view::AgentView;
use model::amount::Milli;
use model::ids::{AgentId, FrameworkId};
use model::offer::Offer;
use model::resources::{Key, Resources, Value};
use model::role::Role;

/// What is used or offered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Has<'a> {
    used: Sum<'a>,
    offered: Sum<'a>,
}

impl Has<'_> {
    /// What tasks and executors use.
    pub(crate) fn used(&self) -> Resources {
        self.used.resources()
    }

    /// What is in open offers.
    pub(crate) fn offered(&self) -> Resources {
        self.offered.resources()
    }

    /// Both together. A volume that is used and offered to others is one.
    pub(crate) fn both(&self) -> Resources {
        let mut both = self.used.clone();
        both.add_all(&self.offered);
        both.resources()
    }

    fn add_all(&mut self, other: &Self) {
        self.used.add_all(&other.used);
        self.offered.add_all(&other.offered);
    }
}

/// What each framework has, by the role that it has it for.
#[derive(Debug, Default)]
pub(crate) struct Sums<'a>(HashMap<&'a FrameworkId, BTreeMap<&'a Role, Has<'a>>>);

impl<'a> Sums<'a> {
    /// Adds what is used on an agent by those frameworks that are `wanted`.
    pub(crate) fn add_used(&mut self, agent: &'a AgentView, wanted: impl Fn(&FrameworkId) -> bool) {
        for ((framework, role), used) in &agent.used_by {
            if !wanted(framework) {
                continue;
            }
            self.of(framework, role).used.add(&agent.id, used, &agent.total);
        }
    }

    /// Adds what is offered, if it is to a framework that is `wanted`.
    pub(crate) fn add_offer(&mut self, offer: &'a Offer, wanted: impl Fn(&FrameworkId) -> bool) {
        let Offer { framework, role, agent, resources, .. } = offer;
        if wanted(framework) {
            self.of(framework, role).offered.add(agent, resources, resources);
        }
    }

    fn of(&mut self, framework: &'a FrameworkId, role: &'a Role) -> &mut Has<'a> {
        self.0.entry(framework).or_default().entry(role).or_default()
    }

    /// What one framework has for each role.
    pub(crate) fn of_framework(
        &self,
        id: &FrameworkId,
    ) -> impl Iterator<Item = (&'a Role, &Has<'a>)> {
        self.0.get(id).into_iter().flatten().map(|(role, has)| (*role, has))
    }

    /// What all frameworks together have for each role.
    pub(crate) fn by_role(&self) -> BTreeMap<&'a Role, Has<'a>> {
        let mut roles: BTreeMap<&Role, Has<'_>> = BTreeMap::new();
        for (role, has) in self.0.values().flatten() {
            roles.entry(role).or_default().add_all(has);
        }
        roles
    }
}

/// A sum of resources of several agents.
#[derive(Clone, Debug, Default)]
struct Sum<'a> {
    amounts: BTreeMap<&'a Key, Milli>,
    /// As they came: they are merged once, at the end.
    ranges: BTreeMap<&'a Key, Vec<(u64, u64)>>,
    items: BTreeMap<&'a Key, BTreeSet<Arc<str>>>,
    /// What is shared: of each there is one on its agent, however many use it.
    shared: BTreeMap<(&'a AgentId, &'a Key), &'a Value>,
}

impl<'a> Sum<'a> {
    /// Adds what somebody has of an agent; `total` knows how much there is of what is shared.
    fn add(&mut self, agent: &'a AgentId, what: &'a Resources, total: &'a Resources) {
        for (key, value) in what.iter() {
            if key.kind.is_shared {
                let single = total.iter().find(|(have, _)| *have == key);
                let single = single.map_or(value, |(_, single)| single);
                self.shared.insert((agent, key), single);
            } else {
                self.add_one(key, value);
            }
        }
    }

    fn add_one(&mut self, key: &'a Key, value: &Value) {
        match value {
            Value::Scalar(amount) => *self.amounts.entry(key).or_default() += *amount,
            Value::Ranges(ranges) => self.ranges.entry(key).or_default().extend(ranges.iter()),
            Value::Set(items) => self.items.entry(key).or_default().extend(items.iter().cloned()),
        }
    }

    fn add_all(&mut self, other: &Self) {
        for (key, amount) in &other.amounts {
            *self.amounts.entry(key).or_default() += *amount;
        }
        for (key, ranges) in &other.ranges {
            self.ranges.entry(key).or_default().extend(ranges);
        }
        for (key, items) in &other.items {
            self.items.entry(key).or_default().extend(items.iter().cloned());
        }
        self.shared.extend(&other.shared);
    }

    fn resources(&self) -> Resources {
        let mut all = Resources::none();
        for (&key, amount) in &self.amounts {
            all.insert(key.clone(), Value::Scalar(*amount));
        }
        for (&key, ranges) in &self.ranges {
            all.insert(key.clone(), Value::Ranges(ranges.iter().copied().collect()));
        }
        for (&key, items) in &self.items {
            all.insert(key.clone(), Value::Set(items.clone()));
        }
        for (&(_, key), &value) in &self.shared {
            all.insert(key.clone(), value.clone());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Resources {
        Resources::parse(text, &Role::any()).expect("well formed")
    }

    fn shared(text: &str) -> Resources {
        some(text).with_kinds(|kind| kind.is_shared = true)
    }

    fn framework(name: &str) -> FrameworkId {
        FrameworkId::new(name).expect("an id")
    }

    fn agent(name: &str) -> AgentId {
        AgentId::new(name).expect("an id")
    }

    #[test]
    fn a_port_of_two_agents_is_in_a_sum_until_both_are_out_of_it() {
        let (f, web) = (framework("f"), Role::new("web").expect("a role"));
        let (a, b) = (agent("a"), agent("b"));
        let [one, two] =
            ["cpus:1;ports:[5-6];names:{x}", "cpus:2;ports:[6-9];names:{x,y}"].map(some);
        let sum = |on: &[(&AgentId, &Resources)]| {
            let mut sums = Sums::default();
            for (agent, used) in on {
                sums.of(&f, &web).used.add(agent, used, used);
            }
            sums.of_framework(&f).map(|(_, has)| has.used()).collect::<Vec<_>>()
        };
        let both = some("cpus:3;ports:[5-9];names:{x,y}");
        assert_eq!(sum(&[(&a, &one), (&b, &two)]), [both]);
        assert_eq!(sum(&[(&a, &one)]), [one]);
    }

    #[test]
    fn a_shared_volume_is_one_however_many_use_it_or_are_offered_it() {
        let (f, g, web) = (framework("f"), framework("g"), Role::new("web").expect("a role"));
        let (a, b) = (agent("a"), agent("b"));
        let volume = shared("disk(web):40");
        let (twice, total) = (volume.plus(&volume), some("cpus:4").plus(&volume));
        let mut sums = Sums::default();
        sums.of(&f, &web).used.add(&a, &twice, &total);
        sums.of(&f, &web).offered.add(&a, &volume, &volume);
        sums.of(&g, &web).used.add(&a, &volume, &total);
        for id in [&f, &g] {
            for (_, has) in sums.of_framework(id) {
                assert_eq!((has.used(), has.both()), (volume.clone(), volume.clone()), "{id}");
            }
        }
        assert_eq!(sums.by_role()[&web].both(), volume, "and so it is of all of them");
        // One that is alike on another agent is another one.
        sums.of(&g, &web).used.add(&b, &volume, &volume);
        assert_eq!(sums.by_role()[&web].used(), twice);
        assert_eq!(sums.by_role()[&web].offered(), volume);
    }
}
