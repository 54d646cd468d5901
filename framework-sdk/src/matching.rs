//! Taking what a task needs out of an offer.

use std::collections::BTreeMap;

use model::amount::{Milli, Ranges};
use proto::mesos::v1::value::{self, Scalar, Type};
use proto::mesos::v1::{Offer, Resource};

/// What a task needs: amounts by name, and how many ports.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    amounts: BTreeMap<String, Milli>,
    ports: usize,
}

impl Needs {
    /// Cores and mebibytes of memory.
    pub fn new(cpus: f64, mem_mib: f64) -> Self {
        Self::default().and("cpus", cpus).and("mem", mem_mib)
    }

    /// So much of another countable resource. Amounts below a thousandth are nothing.
    #[must_use]
    pub fn and(mut self, name: &str, amount: f64) -> Self {
        self.amounts.insert(name.to_owned(), Milli::from_f64(amount).unwrap_or(Milli::ZERO));
        self
    }

    /// So many ports, whichever.
    #[must_use]
    pub fn ports(mut self, count: usize) -> Self {
        self.ports = count;
        self
    }
}

/// What is left of an offer while tasks are fitted into it.
///
/// Reserved resources are used before free ones, since others could use those. Volumes and what may
/// be taken back are left alone.
#[derive(Clone, Debug)]
pub struct Available {
    resources: Vec<Resource>,
}

/// What was taken for one task.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What the task's `resources` are to say.
    pub resources: Vec<Resource>,
    /// The ports, in ascending order.
    pub ports: Vec<u64>,
}

impl Available {
    /// All that `offer` has.
    pub fn of(offer: &Offer) -> Self {
        let usable = |resource: &&Resource| resource.disk.is_none() && resource.revocable.is_none();
        let mut resources: Vec<_> = offer.resources.iter().filter(usable).cloned().collect();
        resources.sort_by_key(|resource| !is_reserved(resource));
        Self { resources }
    }

    /// Takes what `needs` says, all of it or nothing.
    pub fn take(&mut self, needs: &Needs) -> Option<Taken> {
        let mut left = self.resources.clone();
        let mut taken = Vec::new();
        for (name, &amount) in &needs.amounts {
            take_amount(&mut left, name, amount, &mut taken)?;
        }
        let ports = take_ports(&mut left, needs.ports, &mut taken)?;
        self.resources = left;
        Some(Taken { resources: taken, ports })
    }
}

fn is_reserved(resource: &Resource) -> bool {
    let role = resource.role.as_deref().unwrap_or("*");
    !resource.reservations.is_empty() || role != "*"
}

fn take_amount(
    left: &mut [Resource],
    name: &str,
    mut wanted: Milli,
    taken: &mut Vec<Resource>,
) -> Option<()> {
    for resource in left.iter_mut().filter(|resource| resource.name == name) {
        let Some(scalar) = &mut resource.scalar else { continue };
        if wanted.is_nothing() {
            break;
        }
        let here = Milli::from_f64(scalar.value)?;
        let part = here.min(wanted);
        if part.is_nothing() {
            continue;
        }
        scalar.value = Milli(here.0 - part.0).as_f64();
        wanted = Milli(wanted.0 - part.0);
        let scalar = Some(Scalar { value: part.as_f64() });
        taken.push(Resource { scalar, ..resource.clone() });
    }
    wanted.is_nothing().then_some(())
}

fn take_ports(left: &mut [Resource], count: usize, taken: &mut Vec<Resource>) -> Option<Vec<u64>> {
    let mut ports = Vec::new();
    for resource in left.iter_mut().filter(|resource| resource.name == "ports") {
        if ports.len() == count || resource.r#type() != Type::Ranges {
            continue;
        }
        let mut free = Ranges::default();
        for range in resource.ranges.iter().flat_map(|ranges| &ranges.range) {
            free.add(&Ranges::one(range.begin, range.end)?);
        }
        let mut used = Ranges::default();
        for port in free.numbers().take(count - ports.len()) {
            used.add(&Ranges::one(port, port)?);
            ports.push(port);
        }
        if used.is_empty() {
            continue;
        }
        free.subtract(&used);
        resource.ranges = Some(wire_ranges(&free));
        taken.push(Resource { ranges: Some(wire_ranges(&used)), ..resource.clone() });
    }
    (ports.len() == count).then_some(ports)
}

fn wire_ranges(ranges: &Ranges) -> value::Ranges {
    let range = ranges.iter().map(|(begin, end)| value::Range { begin, end }).collect();
    value::Ranges { range }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builders::{ranges, scalar};

    fn offer(resources: Vec<Resource>) -> Offer {
        Offer { resources, ..Offer::default() }
    }

    #[test]
    fn an_offer_is_used_up_exactly() {
        let mut available = Available::of(&offer(vec![
            scalar("cpus", 0.3),
            scalar("mem", 64.0),
            ranges("ports", [(5, 6), (9, 9)]),
        ]));
        let needs = Needs::new(0.1, 16.0).ports(1);
        let ports: Vec<_> =
            (0..3).map(|_| available.take(&needs).expect("there is enough").ports[0]).collect();
        assert_eq!(ports, [5, 6, 9]);
        assert!(available.take(&needs).is_none());
        assert!(available.take(&Needs::new(0.0, 16.0)).is_some(), "what was left is still there");
    }

    #[test]
    fn reserved_resources_go_first_and_keep_their_form() {
        let reserved = Resource { role: Some("web".into()), ..scalar("cpus", 1.0) };
        let mut available = Available::of(&offer(vec![scalar("cpus", 1.0), reserved]));
        let taken = available.take(&Needs::default().and("cpus", 1.5)).expect("there is enough");
        let parts: Vec<_> = taken
            .resources
            .iter()
            .map(|part| (part.role.as_deref(), part.scalar.as_ref().map(|scalar| scalar.value)))
            .collect();
        assert_eq!(parts, [(Some("web"), Some(1.0)), (None, Some(0.5))]);
    }

    #[test]
    fn a_shortage_takes_nothing() {
        let mut available = Available::of(&offer(vec![scalar("cpus", 1.0), scalar("mem", 8.0)]));
        assert!(available.take(&Needs::new(1.0, 9.0)).is_none());
        assert!(available.take(&Needs::new(1.0, 8.0)).is_some());
    }
}
