//! The allocator alone, in this process and in virtual time: what a pass costs.
//!
//! The shapes are those of the allocator benchmarks of Apache Mesos, so that figures can be held
//! against each other. Everything runs on one thread: what is shown is wall time.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use allocator::{Allocation, Allocator, Decline, FrameworkWish, Quota, Settings};
use anyhow::Context;
use model::ids::{AgentId, FrameworkId};
use model::resources::{Key, Resources};
use model::role::Role;
use model::step::Time;

use crate::report::{Report, progress};

/// A decline that never ends, as far as a benchmark goes.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Takes every workload `runs` times.
pub(crate) fn measure(runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let workloads: [(&str, Workload); 6] = [
        ("SuppressOffers: one full pass after all was given back", suppress_offers),
        ("DeclineOffers: one full pass after everything was declined", decline_offers),
        ("AddAndUpdateSlave: revocable resources come later", add_and_update),
        ("AllocatorBacklog: every framework revives at once", backlog),
        ("NonQuotaVsQuota: two agents and two frameworks a role", non_quota_vs_quota),
        ("LargeAndSmallQuota: many small roles, some large", large_and_small_quota),
    ];
    for (title, workload) in workloads {
        let mut all = Vec::new();
        for run in 1..=runs {
            progress(&format!("{title}, run {run} of {runs}"));
            let mut figures = Figures(Vec::new());
            workload(&mut figures)?;
            all.push(figures);
        }
        let command = format!("cargo xtask bench allocator --runs {runs}");
        let section = report.section(title, command);
        for (name, took) in all.into_iter().flat_map(|figures| figures.0) {
            section.add(&name, "ms", took.as_secs_f64() * 1_000.0);
        }
    }
    Ok(())
}

/// Runs once and notes what that took.
type Workload = fn(&mut Figures) -> anyhow::Result<()>;

/// What one run of a workload took.
struct Figures(Vec<(String, Duration)>);

impl Figures {
    fn add(&mut self, name: String, took: Duration) {
        self.0.push((name, took));
    }
}

/// An allocator, what it has offered, and the time it is told.
struct Cluster {
    allocator: Allocator,
    now: Time,
    open: Vec<Allocation>,
}

impl Cluster {
    fn new() -> Self {
        let allocator = Allocator::new(Settings::default(), Time::ZERO);
        Self { allocator, now: Time::ZERO, open: Vec::new() }
    }

    /// A second later: one full pass, and what it took.
    fn pass(&mut self) -> Duration {
        self.now = self.now + Duration::from_secs(1);
        let begin = Instant::now();
        let offers = self.allocator.allocate(self.now);
        let took = begin.elapsed();
        self.open.extend(offers);
        took
    }

    /// Gives all open offers back.
    fn answer(&mut self, refuse_for: Option<Duration>) {
        for offer in std::mem::take(&mut self.open) {
            let Allocation { framework, role, agent, resources } = offer;
            let (allocator, now) = (&mut self.allocator, self.now);
            let decline = refuse_for.map(|refuse_for| Decline { refuse_for, offer: 0 });
            allocator.give_back(&framework, &role, &agent, &resources, decline, now);
        }
    }

    fn add_framework(&mut self, n: usize, wish: &FrameworkWish) -> anyhow::Result<()> {
        self.allocator.put_framework(&framework_id(n)?, wish, self.now);
        Ok(())
    }
}

fn framework_id(n: usize) -> anyhow::Result<FrameworkId> {
    Ok(FrameworkId::new(format!("7c1e3f0a-9d52-4b6e-8a57-1f0d2c3b4a59-{n:04}"))?)
}

fn agent_id(n: usize) -> anyhow::Result<AgentId> {
    Ok(AgentId::new(format!("7c1e3f0a-9d52-4b6e-8a57-1f0d2c3b4a59-S{n}"))?)
}

pub(crate) fn parse(text: &str) -> anyhow::Result<Resources> {
    Resources::parse(text, &Role::any()).with_context(|| format!("'{text}'"))
}

pub(crate) fn in_role(role: Role) -> FrameworkWish {
    FrameworkWish { roles: [role].into(), ..FrameworkWish::default() }
}

/// So many single ports with gaps between them.
fn scattered_ports(pieces: u32) -> String {
    let mut text = String::new();
    for n in 0..pieces {
        let port = 31_001 + 10 * n;
        let comma = if n == 0 { "" } else { ", " };
        write!(text, "{comma}{port}-{port}").expect("a string takes any write");
    }
    text
}

/// Agents that are partly in use, and frameworks in the role `*`.
fn partly_used(agents: usize, frameworks: usize, used: &str) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::new();
    for n in 0..frameworks {
        cluster.add_framework(n, &in_role(Role::any()))?;
    }
    let total = parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]")?;
    let used = parse(&format!("{used};ports:[{}]", scattered_ports(16)))?;
    for n in 0..agents {
        let used = (framework_id(n % frameworks)?, Role::any(), used.clone());
        cluster.allocator.put_agent(&agent_id(n)?, total.clone(), [used], cluster.now);
    }
    Ok(cluster)
}

fn suppress_offers(figures: &mut Figures) -> anyhow::Result<()> {
    for (agents, frameworks) in [(1_000, 1_000), (5_000, 1_000), (10_000, 500), (10_000, 1_000)] {
        let mut cluster = partly_used(agents, frameworks, "cpus:16;mem:1024;disk:1024")?;
        cluster.pass();
        for fifths in 0..=5 {
            cluster.answer(None);
            for n in 0..frameworks * fifths / 5 {
                cluster.allocator.suppress(&framework_id(n)?, &BTreeSet::new());
            }
            let took = cluster.pass();
            let due = if fifths == 5 { 0 } else { agents };
            anyhow::ensure!(cluster.open.len() == due, "{} offers", cluster.open.len());
            let size = format!("{agents} agents x {frameworks} frameworks");
            figures.add(format!("{size}, {fifths} of 5 suppressed"), took);
        }
    }
    Ok(())
}

fn decline_offers(figures: &mut Figures) -> anyhow::Result<()> {
    for (agents, frameworks) in [(10_000, 1), (1_000, 50)] {
        let mut cluster = partly_used(agents, frameworks, "cpus:16;mem:2014;disk:1024")?;
        let size = format!("{agents} agents x {frameworks} frameworks");
        figures.add(format!("{size}, no filter stands"), cluster.pass());
        for _ in 0..2 * frameworks {
            cluster.answer(Some(FOR_EVER));
            cluster.pass();
        }
        let took = cluster.pass();
        anyhow::ensure!(cluster.open.is_empty(), "{} offers", cluster.open.len());
        figures.add(format!("{size}, {} filters stand", agents * frameworks), took);
    }
    Ok(())
}

fn add_and_update(figures: &mut Figures) -> anyhow::Result<()> {
    let (agents, frameworks) = (10_000, 1_000);
    let mut cluster = Cluster::new();
    let mut wish = in_role(Role::any());
    wish.capabilities.revocable_resources = true;
    for n in 0..frameworks {
        cluster.add_framework(n, &wish)?;
    }
    let total = parse("cpus:2;mem:1024;disk:4096;ports:[31000-32000]")?;
    let ports = scattered_ports(4);
    let used = parse(&format!("cpus:1;mem:128;disk:1024;ports:[{ports}]"))?;
    let begin = Instant::now();
    for n in 0..agents {
        let used = (framework_id(n % frameworks)?, Role::any(), used.clone());
        cluster.allocator.put_agent(&agent_id(n)?, total.clone(), [used], cluster.now);
    }
    cluster.pass();
    let size = format!("{agents} agents x {frameworks} frameworks");
    figures.add(format!("{size}, add and offer"), begin.elapsed());
    let mut more = total.clone();
    for (key, value) in parse("cpus:10")?.iter() {
        let mut kind = (*key.kind).clone();
        kind.is_revocable = true;
        more.insert(Key { kind: kind.into(), ..key.clone() }, value.clone());
    }
    let begin = Instant::now();
    for n in 0..agents {
        cluster.allocator.set_total(&agent_id(n)?, &more, cluster.now);
    }
    cluster.pass();
    figures.add(format!("{size}, update and offer"), begin.elapsed());
    anyhow::ensure!(cluster.open.len() == 2 * agents, "{} offers", cluster.open.len());
    Ok(())
}

fn backlog(figures: &mut Figures) -> anyhow::Result<()> {
    for (agents, frameworks) in [(10_000, 200), (10_000, 1_000)] {
        let mut cluster = Cluster::new();
        for n in 0..frameworks {
            cluster.add_framework(n, &in_role(Role::any()))?;
            cluster.allocator.suppress(&framework_id(n)?, &BTreeSet::new());
        }
        let total = parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]")?;
        for n in 0..agents {
            cluster.allocator.put_agent(&agent_id(n)?, total.clone(), [], cluster.now);
        }
        cluster.pass();
        let begin = Instant::now();
        for n in 0..frameworks {
            cluster.allocator.revive(&framework_id(n)?, &BTreeSet::new(), cluster.now);
        }
        cluster.pass();
        figures.add(format!("{agents} agents x {frameworks} frameworks"), begin.elapsed());
        anyhow::ensure!(cluster.open.len() == agents, "{} offers", cluster.open.len());
    }
    Ok(())
}

/// Guarantee and limit alike.
fn exactly(text: &str) -> anyhow::Result<Quota> {
    let amounts = parse(text)?.scalar_totals();
    Ok(Quota::new(amounts.clone(), amounts)?)
}

fn non_quota_vs_quota(figures: &mut Figures) -> anyhow::Result<()> {
    let roles = 1_000;
    for quota in [None, Some(exactly("cpus:48;mem:8192;disk:8192")?)] {
        let with = if quota.is_some() { "with quota" } else { "without quota" };
        let mut cluster = Cluster::new();
        let total = parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]")?;
        for n in 0..2 * roles {
            cluster.allocator.put_agent(&agent_id(n)?, total.clone(), [], cluster.now);
        }
        let begin = Instant::now();
        for n in 0..2 * roles {
            let role = Role::new(format!("role{}", n / 2))?;
            if n % 2 == 0 {
                cluster.allocator.set_quota(role.clone(), quota.clone(), cluster.now)?;
            }
            cluster.add_framework(n, &in_role(role))?;
        }
        figures.add(format!("{roles} roles {with}, add frameworks"), begin.elapsed());
        figures.add(format!("{roles} roles {with}, offer everything"), cluster.pass());
        anyhow::ensure!(cluster.open.len() == 2 * roles, "{} offers", cluster.open.len());
        figures.add(format!("{roles} roles {with}, nothing to give"), cluster.pass());
    }
    Ok(())
}

fn large_and_small_quota(figures: &mut Figures) -> anyhow::Result<()> {
    for (small, large) in [(25, 5), (250, 50), (2_500, 500)] {
        let mut cluster = Cluster::new();
        let agents = small / 5 + 5 * large;
        for n in 0..small + large {
            let role = Role::new(format!("role{n}"))?;
            let amounts = if n < small { "cpus:1;mem:1024" } else { "cpus:4;mem:4096" };
            cluster.allocator.set_quota(role.clone(), Some(exactly(amounts)?), cluster.now)?;
            cluster.add_framework(n, &in_role(role))?;
        }
        for n in 0..agents {
            cluster.allocator.put_agent(&agent_id(n)?, parse("cpus:2;mem:2048")?, [], cluster.now);
        }
        let size = format!("{small} small and {large} large roles, {agents} agents");
        figures.add(format!("{size}, first pass"), cluster.pass());
        let offers = cluster.open.len();
        anyhow::ensure!(offers >= small + 2 * large, "{offers} offers");
        figures.add(format!("{size}, nothing to give"), cluster.pass());
        anyhow::ensure!(cluster.open.len() == offers, "offers beyond the limits");
    }
    Ok(())
}
