//! What a master is told once, at its start. Plain values: whoever reads flags has checked them.

use allocator::{MinAllocatable, Settings, Sorter};
use model::link::FaultDomain;
use model::role::Role;
use model::rules::Weight;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// All that can be set about a master's decisions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How often an agent is pinged, and how long it may take to answer.
    pub agent_ping_timeout: Duration,
    /// After so many unanswered pings an agent is out of contact.
    pub agent_ping_misses_max: u32,
    /// How long agents and frameworks of an earlier reign have to come back.
    pub agent_reregister_timeout: Duration,
    /// How long an offer stands; absent: until it is answered.
    pub offer_timeout: Option<Duration>,
    /// How often all agents are looked at for offers, beside those where something changed.
    pub allocation_interval: Duration,
    /// How long changes are gathered before offers are made of them.
    pub allocation_batching: Duration,
    /// The least that is worth an offer.
    pub min_allocatable: MinAllocatable,
    /// Roles that frameworks may have; absent: any.
    pub roles: Option<BTreeSet<Role>>,
    /// Weights of roles; 1 where none is set.
    pub weights: BTreeMap<Role, Weight>,
    /// Names of resources that do not count as a share.
    pub fair_sharing_excluded: BTreeSet<Arc<str>>,
    /// Whether agents with GPUs are kept for frameworks that can use them.
    pub filter_gpu_resources: bool,
    /// How roles take turns.
    pub role_sorter: Sorter,
    /// How frameworks of one role take turns.
    pub framework_sorter: Sorter,
    /// Where this master stands; absent: no agent counts as of another region.
    pub domain: Option<FaultDomain>,
    /// How often a silent stream hears that it lives.
    pub heartbeat_interval: Duration,
    /// How many frameworks that are over are shown.
    pub completed_frameworks_max: usize,
    /// How many tasks that are over are shown for each framework.
    pub completed_tasks_max: usize,
    /// How many tasks out of contact are remembered for each framework.
    pub unreachable_tasks_max: usize,
    /// Whether frameworks may run as root.
    pub root_submissions: bool,
    /// Decides every random choice. Different for each start of a master.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_ping_timeout: Duration::from_secs(15),
            agent_ping_misses_max: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            offer_timeout: None,
            allocation_interval: Duration::from_secs(1),
            allocation_batching: Duration::from_millis(20),
            min_allocatable: MinAllocatable::default(),
            roles: None,
            weights: BTreeMap::new(),
            fair_sharing_excluded: BTreeSet::new(),
            filter_gpu_resources: true,
            role_sorter: Sorter::default(),
            framework_sorter: Sorter::default(),
            domain: None,
            heartbeat_interval: Duration::from_secs(15),
            completed_frameworks_max: 50,
            completed_tasks_max: 1_000,
            unreachable_tasks_max: 1_000,
            root_submissions: true,
            seed: 0,
        }
    }
}

impl Config {
    /// How long an agent may hear nothing before it must think itself forgotten.
    pub fn ping_patience(&self) -> Duration {
        self.agent_ping_timeout.saturating_mul(self.agent_ping_misses_max)
    }

    /// What the allocator is to be told.
    pub(crate) fn allocator_settings(&self, seed: u64) -> Settings {
        Settings {
            interval: self.allocation_interval,
            batching: self.allocation_batching,
            min_allocatable: self.min_allocatable.clone(),
            weights: self.weights.clone(),
            excluded_from_shares: self.fair_sharing_excluded.clone(),
            keeps_gpus_apart: self.filter_gpu_resources,
            role_sorter: self.role_sorter,
            framework_sorter: self.framework_sorter,
            domain: self.domain.clone(),
            seed,
            ..Settings::default()
        }
    }
}
