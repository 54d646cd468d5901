//! Stories and laws of the allocator, by concern.

use crate::{Allocator, Decline, FrameworkWish, Settings};
use model::ids::{AgentId, FrameworkId};
use model::resources::Resources;
use model::role::Role;
use model::step::Time;
use std::time::Duration;

mod agents;
mod figures;
mod kinds;
mod laws;
mod offers;
mod quota;
mod shares;
mod starvation;

const fn at(millis: u64) -> Time {
    Time(Duration::from_millis(millis))
}

fn role(text: &str) -> Role {
    Role::new(text).expect("a role")
}

fn framework(name: &str) -> FrameworkId {
    FrameworkId::new(name).expect("an id")
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).expect("an id")
}

fn some(text: &str) -> Resources {
    Resources::parse(text, &Role::any()).expect("well formed")
}

fn wish(roles: &[&str]) -> FrameworkWish {
    FrameworkWish { roles: roles.iter().map(|text| role(text)).collect(), ..Default::default() }
}

fn allocator() -> Allocator {
    Allocator::new(Settings::default(), Time::ZERO)
}

fn add_agent(allocator: &mut Allocator, name: &str, total: &str, now: Time) {
    allocator.put_agent(&agent(name), some(total), [], now);
}

/// A decline of the offer of number 7.
fn declined(refuse_for: Duration) -> Decline {
    Decline { refuse_for, offer: 7 }
}

/// `framework role agent resources` of each allocation, sorted.
fn run(allocator: &mut Allocator, now: Time) -> Vec<String> {
    let mut lines: Vec<_> = allocator
        .allocate(now)
        .into_iter()
        .map(|got| format!("{} {} {} {}", got.framework, got.role, got.agent, got.resources))
        .collect();
    lines.sort();
    lines
}

fn give_back(allocator: &mut Allocator, who: &str, what: &str, refuse_for: Option<u64>, now: Time) {
    let decline = refuse_for.map(|secs| declined(Duration::from_secs(secs)));
    allocator.give_back(&framework(who), &role("*"), &agent("a"), &some(what), decline, now);
}
