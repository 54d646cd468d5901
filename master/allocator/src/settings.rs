//! What the allocator is told once, at its start.

use model::amount::Milli;
use model::link::FaultDomain;
use model::resources::{BadResources, Resources};
use model::role::Role;
use model::rules::Weight;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The least that is worth an offer: any one of several sets of amounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MinAllocatable(Vec<Vec<(Arc<str>, Milli)>>);

impl MinAllocatable {
    /// Anything at all is worth an offer.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Any one of `sets`; anything at all if there are none.
    pub fn any_of(sets: impl IntoIterator<Item = BTreeMap<Arc<str>, Milli>>) -> Self {
        Self(sets.into_iter().map(|set| set.into_iter().collect()).collect())
    }

    /// Reads the flag form: sets with `|` between them, such as `cpus:0.01|mem:32`.
    pub fn parse(text: &str) -> Result<Self, BadSetting> {
        let mut sets = Vec::new();
        for part in text.split('|').map(str::trim).filter(|part| !part.is_empty()) {
            let amounts = Resources::parse(part, &Role::any())?;
            let set: Vec<_> = amounts.scalar_totals().into_iter().collect();
            if set.is_empty() || set.len() != amounts.iter().count() {
                return Err(BadSetting::NotScalar(part.to_owned()));
            }
            sets.push(set);
        }
        Ok(Self(sets))
    }

    /// The sets, of which one must be held; anything will do if there are none.
    pub(crate) fn sets(&self) -> &[Vec<(Arc<str>, Milli)>] {
        &self.0
    }

    /// Whether `resources` hold at least one of the sets.
    pub fn is_met_by(&self, resources: &Resources) -> bool {
        if resources.is_empty() {
            return false;
        }
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|set| set.iter().all(|(name, least)| resources.scalar(name) >= *least))
    }
}

impl Default for MinAllocatable {
    /// A hundredth of a core, or 32 MiB: less runs nothing.
    fn default() -> Self {
        Self(vec![vec![("cpus".into(), Milli(10))], vec![("mem".into(), Milli::units(32))]])
    }
}

/// Why a setting cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSetting {
    /// Not even resources.
    #[error(transparent)]
    Resources(#[from] BadResources),
    /// Ranges and sets have no least amount.
    #[error("'{0}' must name amounts only, such as cpus:0.01")]
    NotScalar(String),
}

/// How siblings, roles below one role or frameworks in one, take turns.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sorter {
    /// Who is furthest behind comes first: the smallest dominant share over weight.
    #[default]
    Drf,
    /// Lots are drawn anew for each offer, a heavier role being likelier to come early.
    Random,
}

/// What the allocator is told once, at its start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// How often everything is looked at again, beside what changed.
    pub interval: Duration,
    /// How long changes are gathered before they are acted on.
    pub batching: Duration,
    /// The least that is worth an offer.
    pub min_allocatable: MinAllocatable,
    /// Weights of roles; those not named have [`Weight::ONE`].
    pub weights: BTreeMap<Role, Weight>,
    /// Names of resources that do not count as a share.
    pub excluded_from_shares: BTreeSet<Arc<str>>,
    /// Whether agents with GPUs are kept for frameworks that ask for such.
    pub keeps_gpus_apart: bool,
    /// Where the master stands; if it does not say, no agent is of another region.
    pub domain: Option<FaultDomain>,
    /// How roles take turns.
    pub role_sorter: Sorter,
    /// How frameworks of one role take turns.
    pub framework_sorter: Sorter,
    /// Whether frameworks that decline step back, so that their declines starve nobody.
    pub decliners_step_back: bool,
    /// Decides the order in which agents are handed out, and the lots.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            batching: Duration::from_millis(20),
            min_allocatable: MinAllocatable::default(),
            weights: BTreeMap::new(),
            excluded_from_shares: BTreeSet::new(),
            keeps_gpus_apart: true,
            domain: None,
            role_sorter: Sorter::default(),
            framework_sorter: Sorter::default(),
            decliners_step_back: true,
            seed: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_any_one_of_the_sets() {
        let least = MinAllocatable::parse("cpus:0.01;gpus:1 | mem:32").expect("well formed");
        let some = |text| Resources::parse(text, &Role::any()).expect("well formed");
        assert!(least.is_met_by(&some("mem:32")));
        assert!(least.is_met_by(&some("cpus:1;gpus:1")));
        assert!(!least.is_met_by(&some("cpus:1;mem:31")));
        assert!(MinAllocatable::parse("ports:[1-2]").is_err());
        assert!(MinAllocatable::none().is_met_by(&some("cpus:0.001")));
        assert!(!MinAllocatable::none().is_met_by(&Resources::none()));
        assert_eq!(
            MinAllocatable::parse("cpus:0.01|mem:32").expect("well formed"),
            MinAllocatable::default()
        );
    }
}
