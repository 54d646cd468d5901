//! A cluster in one thread, with virtual time and seeded faults.
//!
//! The real cores of masters, agents and Marathon run here; the world plays what is around them:
//! network, disks, Raft, containers, executors and users. Everything that happens follows from the
//! seed, so a failure is a seed, and running it again shows the same thing again.
//!
//! A run has two parts. In the first anything may break, and no law may be violated. Then all faults
//! are healed, and the cluster must come to rest with everything as its users want it.

mod agents;
mod batches;
mod chaos;
mod containers;
mod deployed;
mod keepers;
mod laws;
mod marathons;
mod masters;
mod network;
mod operators;
mod pods;
mod probes;
mod residents;
pub mod scenario;
mod schedulers;
mod succession;
mod users;
mod volumes;
mod world;

use model::resources::Resources;
use model::role::Role;
use std::time::Duration;
pub use succession::{Crashes, succession};
pub use world::World;

/// What an agent has, where nothing else is said.
const MACHINE: &str = "cpus:8;mem:4096;disk:4096;ports:[31000-31100]";

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything else.
    pub seed: u64,
    /// Agents in the cluster.
    pub agents: usize,
    /// What each of them has.
    pub machine: Resources,
    /// Frameworks of short tasks, beside Marathon.
    pub batches: usize,
    /// Frameworks that reserve and make volumes, beside those.
    pub keepers: usize,
    /// Whether operators do things, too.
    pub has_operators: bool,
    /// Instances of Marathon.
    pub marathons: usize,
    /// Whether nothing breaks by itself, and what happens is told: a scenario.
    pub is_told: bool,
    /// How long things break, in virtual time.
    pub chaos_for: Duration,
    /// How long the healed cluster may take to come to rest, in virtual time.
    pub rest_within: Duration,
    /// Whether every event is printed.
    pub is_traced: bool,
}

impl Settings {
    /// The usual run of one seed.
    pub fn new(seed: u64, agents: usize) -> Self {
        Self {
            seed,
            agents,
            machine: Resources::parse(MACHINE, &Role::any()).expect("well formed"),
            batches: 2,
            keepers: 2,
            has_operators: true,
            marathons: 3,
            is_told: false,
            chaos_for: Duration::from_secs(300),
            rest_within: Duration::from_secs(3_600),
            is_traced: false,
        }
    }
}

/// What a run that broke no law came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Events that happened.
    pub events: u64,
    /// Faults that were played.
    pub faults: u64,
    /// Tasks that were launched.
    pub launches: u64,
    /// Operations on resources that were carried out.
    pub operations: u64,
    /// Calls of operators that were carried out.
    pub decisions: u64,
    /// Changes of the leading master.
    pub reigns: u64,
    /// A digest of all that happened, in order: equal seeds give equal digests.
    pub digest: u64,
}

/// A law that was violated, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The law and what violates it.
    pub what: String,
    /// The virtual time.
    pub at: Duration,
}

/// Runs one seed to its end.
pub fn run(settings: &Settings) -> Result<Summary, Violation> {
    let mut world = World::new(settings.clone());
    world.run()
}
