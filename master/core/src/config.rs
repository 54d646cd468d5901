//! What a master is told once, at its start. Plain values: whoever reads flags has checked them.

use allocator::{MinAllocatable, PATTERN_BYTES_DEFAULT, Settings, Sorter};
use model::acl::Acls;
use model::amount::Milli;
use model::link::FaultDomain;
use model::role::Role;
use model::rules::Weight;
use model::units::parse_duration;
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
    /// Which part of the agents of an earlier reign may stay away when their time is up, in thousandths.
    /// If it is more, this master gives up.
    pub recovery_agent_removal_limit: Milli,
    /// Which part of the agents of an earlier reign must be back before roles with quota have offers, in
    /// thousandths.
    pub allocator_agent_recovery_factor: Milli,
    /// How long roles with quota wait for that.
    pub allocator_recovery_timeout: Duration,
    /// How fast frameworks that cannot tell "out of contact" from "lost" are told of agents out of
    /// contact; absent: at once.
    pub agent_removal_rate: Option<RemovalRate>,
    /// How often former agents are looked at that need not be remembered any more.
    pub registry_gc_interval: Duration,
    /// For how long agents out of contact or declared dead are remembered.
    pub registry_agent_age_max: Duration,
    /// How many agents out of contact are remembered, and as many declared dead.
    pub registry_agent_count_max: usize,
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
    /// Weights of roles in a cluster for which none were ever set.
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
    /// Whether agents that do not say where they stand are turned away.
    pub require_agent_domain: bool,
    /// How often a silent stream hears that it lives.
    pub heartbeat_interval: Duration,
    /// How many frameworks that are over are shown.
    pub completed_frameworks_max: usize,
    /// How many tasks that are over are shown for each framework.
    pub completed_tasks_max: usize,
    /// How many tasks out of contact are remembered for each framework.
    pub unreachable_tasks_max: usize,
    /// How many bytes a pattern of offer constraints may take once it is read.
    pub offer_constraints_pattern_bytes_max: usize,
    /// Whether frameworks may run as root.
    pub root_submissions: bool,
    /// Who may do what.
    pub acls: Arc<Acls>,
    /// Decides every random choice. Different for each start of a master.
    pub seed: u64,
}

/// At most so many agents in such a time, spread evenly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RemovalRate {
    agents: u32,
    per: Duration,
}

impl RemovalRate {
    /// Reads a rate such as `1/10mins`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "'{text}' is no rate: a number of agents from 1, /, and a duration, such as 1/10mins"
            )
        };
        let (agents, per) = text.split_once('/').ok_or_else(bad)?;
        let agents = agents.trim().parse().ok().filter(|agents| *agents > 0).ok_or_else(bad)?;
        let per = parse_duration(per.trim()).map_err(|_| bad())?;
        Ok(Self { agents, per })
    }

    /// How long after one agent the next may follow.
    pub(crate) fn interval(self) -> Duration {
        self.per / self.agents
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_ping_timeout: Duration::from_secs(15),
            agent_ping_misses_max: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            recovery_agent_removal_limit: Milli::units(1),
            allocator_agent_recovery_factor: Milli(800),
            allocator_recovery_timeout: Duration::from_secs(600),
            agent_removal_rate: None,
            registry_gc_interval: Duration::from_secs(15 * 60),
            registry_agent_age_max: Duration::from_secs(14 * 86_400),
            registry_agent_count_max: 102_400,
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
            require_agent_domain: false,
            heartbeat_interval: Duration::from_secs(15),
            completed_frameworks_max: 50,
            completed_tasks_max: 1_000,
            unreachable_tasks_max: 1_000,
            offer_constraints_pattern_bytes_max: PATTERN_BYTES_DEFAULT,
            root_submissions: true,
            acls: Arc::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_agents_in_a_time() {
        let rate = RemovalRate::parse("2/10mins").expect("a rate");
        assert_eq!(rate.interval(), Duration::from_secs(300));
        for bad in ["", "1", "/10mins", "0/10mins", "1/10", "-1/1secs", "1/2/3secs"] {
            assert!(RemovalRate::parse(bad).is_err(), "{bad}");
        }
    }
}
