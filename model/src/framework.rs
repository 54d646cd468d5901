//! Frameworks as the master and the agents know them.

use crate::amount::Milli;
use crate::ids::FrameworkId;
use crate::payload::Payload;
use crate::role::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a framework has said it understands (`FrameworkInfo.Capability`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent promise of a client")]
pub struct Capabilities {
    /// Takes resources that may be taken back.
    pub revocable_resources: bool,
    /// Wants TASK_KILLING reported.
    pub task_killing_state: bool,
    /// Takes offers of agents with GPUs.
    pub gpu_resources: bool,
    /// Takes shared volumes.
    pub shared_resources: bool,
    /// Knows that a task may be unreachable and come back.
    pub partition_aware: bool,
    /// May be in several roles; its offers say for which role they are.
    pub multi_role: bool,
    /// Speaks the stack form of reservations.
    pub reservation_refinement: bool,
    /// Takes offers of other regions.
    pub region_aware: bool,
}

/// A framework, as it describes itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Framework {
    /// Its id; absent until the master has given one.
    pub id: Option<FrameworkId>,
    /// Its name, for people.
    pub name: Arc<str>,
    /// The user its executors run as; empty means the agent's own.
    pub user: Arc<str>,
    /// Roles it takes offers for. One, `*` if it names none, unless it is multi-role.
    pub roles: BTreeSet<Role>,
    /// What it understands.
    pub capabilities: Capabilities,
    /// The least that is worth an offer, any one of several sets of amounts, for roles for which it is
    /// not what the master says.
    pub min_allocatable: BTreeMap<Role, Vec<BTreeMap<Arc<str>, Milli>>>,
    /// How long its tasks outlive a missing scheduler; zero: not at all.
    pub failover_timeout: Duration,
    /// Whether its tasks outlive a restart of their agent.
    pub checkpoint: bool,
    /// Who it is for authentication, where it says so.
    pub principal: Option<Arc<str>>,
    /// Encoded `mesos.v1.FrameworkInfo`, all of it, with `id` set once it is known.
    pub info: Payload,
}
