//! What can happen to a cluster, and of what shapes its agents and frameworks are.

use super::super::*;
use crate::{AttributeConstraint, MinAllocatable, OfferConstraints, Sorter};
use model::constraints::{Predicate, Selector};
use model::framework::Capabilities;
use model::link::FaultDomain;
use model::operation::Conversion;
use model::payload::Payload;
use model::resources::Reservation;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// With so many CPUs, and what the bits of its shape say; somebody may run something there.
    PutAgent {
        agent: u8,
        cpus: u8,
        shape: u8,
        runs: Option<(u8, u8)>,
    },
    /// Somebody runs something on it that takes two CPUs, whether they are free or not.
    Book {
        agent: u8,
        framework: u8,
        role: u8,
    },
    RemoveAgent(u8),
    DeactivateAgent(u8),
    ActivateAgent(u8),
    /// In roles, of which it suppresses some, with what the bits of its wish say.
    PutFramework {
        framework: u8,
        roles: u8,
        suppressed: u8,
        wish: u8,
    },
    DeactivateFramework(u8),
    RemoveFramework(u8),
    /// Gives one open offer back, part of it kept, with a filter or not.
    GiveBack(u8, u8, Option<u8>),
    Suppress(u8, u8),
    Revive(u8, u8),
    /// Guarantee and limit of one role in CPUs and perhaps memory; no quota if there is neither.
    SetQuota {
        role: u8,
        guarantee: u8,
        extra: Option<u8>,
        has_mem: bool,
    },
    HoldQuota(bool),
    SetWeight(u8, u8),
    /// One agent says where it is and of what age.
    Describe(u8, u8),
    /// Agents of which regions may be offered; all if absent.
    Whitelist(Option<bool>),
    /// An agent has so many CPUs more, or less.
    SetTotal(u8, u8, bool),
    /// One open offer is used.
    Use(u8),
    /// Half a CPU of what somebody was given is reserved, once or twice, or what was reserved of it is not
    /// any more.
    ConvertGiven(u8, bool, bool),
    /// The same of what is free on an agent.
    ConvertFree(u8, bool, bool),
    Wait(u16),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(a_step(), 1..60)
}

fn a_step() -> impl Strategy<Value = Step> {
    let few = 0_u8..5;
    let bits = || prop_oneof![1 => Just(0), 2 => any::<u8>()];
    let runs = prop::option::weighted(0.2, (few.clone(), 0_u8..6));
    let agent = (few.clone(), 1_u8..5, bits(), runs);
    let roles = || prop_oneof![1 => Just(0_u8), 2 => any::<u8>()];
    let framework = (few.clone(), 1_u8..64, roles(), any::<u8>());
    let quota = (0_u8..3, 0_u8..5, prop::option::of(0_u8..6), any::<bool>());
    prop_oneof![
        1 => (0_u8..6, 1_u8..9).prop_map(|(role, weight)| Step::SetWeight(role, weight)),
        1 => (few.clone(), any::<u8>()).prop_map(|(a, facts)| Step::Describe(a, facts)),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Whitelist),
        1 => (few.clone(), 1_u8..5, any::<bool>()).prop_map(|(a, cpus, more)| Step::SetTotal(a, cpus, more)),
        1 => any::<u8>().prop_map(Step::Use),
        2 => (any::<u8>(), any::<bool>(), any::<bool>()).prop_map(|(n, deep, back)| Step::ConvertGiven(n, deep, back)),
        2 => (few.clone(), any::<bool>(), any::<bool>()).prop_map(|(a, deep, back)| Step::ConvertFree(a, deep, back)),
        1 => quota.prop_map(|(role, guarantee, extra, has_mem)| Step::SetQuota { role, guarantee, extra, has_mem }),
        1 => prop_oneof![1 => Just(true), 3 => Just(false)].prop_map(Step::HoldQuota),
        3 => agent.prop_map(|(agent, cpus, shape, runs)| Step::PutAgent { agent, cpus, shape, runs }),
        1 => (few.clone(), few.clone(), 0_u8..6).prop_map(|(agent, framework, role)| Step::Book { agent, framework, role }),
        1 => few.clone().prop_map(Step::RemoveAgent),
        1 => few.clone().prop_map(Step::DeactivateAgent),
        1 => few.clone().prop_map(Step::ActivateAgent),
        3 => framework.prop_map(|(framework, roles, suppressed, wish)| {
            Step::PutFramework { framework, roles, suppressed: suppressed & roles, wish }
        }),
        1 => few.clone().prop_map(Step::DeactivateFramework),
        1 => few.clone().prop_map(Step::RemoveFramework),
        6 => (any::<u8>(), 0_u8..3, prop::option::of(0_u8..4)).prop_map(|(n, keep, filter)| Step::GiveBack(n, keep, filter)),
        1 => (few.clone(), 0_u8..64).prop_map(|(f, roles)| Step::Suppress(f, roles)),
        1 => (few, 0_u8..64).prop_map(|(f, roles)| Step::Revive(f, roles)),
        6 => (0_u16..1_500).prop_map(Step::Wait),
    ]
}

/// What an allocator is told at its start.
pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let sorter = || prop_oneof![3 => Just(Sorter::Drf), 1 => Just(Sorter::Random)];
    let facts = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (sorter(), sorter(), facts, any::<u64>()).prop_map(
        |(role_sorter, framework_sorter, facts, seed)| {
            let (keeps_gpus_apart, takes_least, counts_all, has_domain) = facts;
            let least =
                if takes_least { MinAllocatable::default() } else { MinAllocatable::none() };
            Settings {
                role_sorter,
                framework_sorter,
                keeps_gpus_apart,
                min_allocatable: least,
                excluded_from_shares: if counts_all { [].into() } else { ["gpus".into()].into() },
                domain: has_domain.then(|| domain(true)),
                seed,
                ..Settings::default()
            }
        },
    )
}

/// Roles that may have quota.
pub(super) const TOPS: [&str; 3] = ["*", "x", "y"];

/// All roles.
pub(super) const ROLES: [&str; 6] = ["*", "x", "x/a", "x/a/b", "y", "y/c"];

pub(super) fn roles_of(bits: u8) -> BTreeSet<Role> {
    let chosen = (0..ROLES.len()).filter(|bit| bits >> bit & 1 == 1);
    chosen.map(|bit| role(ROLES[bit])).collect()
}

pub(super) fn framework_n(n: u8) -> FrameworkId {
    framework(&format!("f{n}"))
}

pub(super) fn agent_n(n: u8) -> AgentId {
    agent(&format!("a{n}"))
}

pub(super) fn region(north: bool) -> Arc<str> {
    if north { "north".into() } else { "south".into() }
}

pub(super) fn domain(north: bool) -> FaultDomain {
    FaultDomain { region: region(north), zone: "z".into() }
}

/// What an agent of so many CPUs has: for each bit of its shape something more.
pub(super) fn total_of(cpus: u8, shape: u8) -> Resources {
    let has = |bit: u8| shape >> bit & 1 == 1;
    let mut total = some(&format!("cpus:{cpus};mem:{}", u32::from(cpus) * 64));
    let plain = ["ports:[1-9];cpus(x):1", "gpus:1", "mem(x/a):64", "disk(y/c):64;disk:64"];
    for (bit, text) in (0..).zip(plain) {
        if has(bit) {
            total.add(&some(text));
        }
    }
    if has(4) {
        total.add(&some("mem(x):64").with_kinds(|kind| kind.reservations.push(reservation("x/a"))));
    }
    if has(5) {
        total.add(&some("disk(x):32").with_kinds(|kind| kind.is_shared = true));
    }
    if has(6) {
        total.add(&some("cpus:2").with_kinds(|kind| kind.is_revocable = true));
    }
    total
}

/// What a framework wants: for each bit it can do something more, or is choosy.
pub(super) fn wish_of(roles: u8, suppressed: u8, wish: u8) -> FrameworkWish {
    let has = |bit: u8| wish >> bit & 1 == 1;
    let capabilities = Capabilities {
        gpu_resources: has(0),
        region_aware: has(1),
        revocable_resources: has(2),
        shared_resources: has(3),
        reservation_refinement: has(4),
        multi_role: has(5),
        ..Capabilities::default()
    };
    let northern = AttributeConstraint {
        selector: Selector::Hostname,
        predicate: Predicate::TextEquals(region(true)),
    };
    let constraints = OfferConstraints::new(vec![vec![northern]]).expect("well formed");
    let least = MinAllocatable::parse("cpus:2").expect("well formed");
    FrameworkWish {
        roles: roles_of(roles),
        suppressed: roles_of(suppressed),
        capabilities,
        constraints: if has(6) { [(role("x/a"), constraints)].into() } else { [].into() },
        min_allocatable: if has(7) {
            [(role("x"), least), (role("y/c"), MinAllocatable::none())].into()
        } else {
            [].into()
        },
    }
}

fn reservation(of: &str) -> Reservation {
    Reservation { is_dynamic: true, role: role(of), principal: None, labels: Payload::default() }
}

/// Half a CPU is reserved for a role below `x`, or once more for one below that, or not any more.
pub(super) fn conversion(deep: bool, back: bool) -> Conversion {
    let roles: &[&str] = if deep { &["x/a", "x/a/b"] } else { &["x/a"] };
    let resources = some("cpus:0.5")
        .with_kinds(|kind| kind.reservations.extend(roles.iter().map(|of| reservation(of))));
    if back {
        Conversion::Unreserve(resources)
    } else {
        Conversion::Reserve { source: Resources::none(), resources }
    }
}
