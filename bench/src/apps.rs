//! Marathon with many apps and many tasks, over simulated agents and through the real wire.

mod cluster;

use std::time::{Duration, Instant};

use cluster::Cluster;
use serde_json::json;

use crate::report::{Report, Section, millis, progress};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) agents: u32,
    /// Instances of the one large app.
    pub(crate) instances: u32,
    /// Apps that run one instance each.
    pub(crate) apps: u32,
    /// Apps that are stored while one is scaled.
    pub(crate) stored: u32,
}

/// Apps put into the store by one request before a single one of them is scaled.
const STORED_AT_ONCE: u32 = 1_000;

/// Tells each story `runs` times, each time with a cluster of its own.
pub(crate) async fn measure(size: Size, runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let Size { agents, instances, apps, stored } = size;
    let command = format!("cargo xtask bench apps --agents {agents} --runs {runs}");
    let title = format!("Marathon over {agents} simulated agents");
    let section = report.section(&title, command);
    for run in 1..=runs {
        let about = |what: &str| progress(&format!("{what}, run {run} of {runs}"));
        about(&format!("one app of {instances} instances"));
        let cluster = Cluster::start(agents).await?;
        one_large_app(&cluster, instances, section).await?;
        cluster.stop().await;

        about("the same, spread over racks and away from some agents");
        let cluster = Cluster::start(agents).await?;
        one_spread_app(&cluster, instances, section).await?;
        cluster.stop().await;

        about(&format!("{apps} apps, each by a request of its own"));
        let cluster = Cluster::start(agents).await?;
        single_posts(&cluster, apps, section).await?;
        cluster.stop().await;

        about(&format!("{apps} apps in one group, and reads of them with their tasks"));
        let cluster = Cluster::start(agents).await?;
        one_group(&cluster, apps, section).await?;
        reads(&cluster, section).await?;
        cluster.stop().await;

        about(&format!("scaling one of {stored} apps"));
        let cluster = Cluster::start(agents).await?;
        scale_among_many(&cluster, stored, section).await?;
        cluster.stop().await;
    }
    Ok(())
}

/// One app with many instances: until all run, and what it takes.
async fn one_large_app(
    cluster: &Cluster,
    instances: u32,
    section: &mut Section,
) -> anyhow::Result<()> {
    let app = json!({"id": "/large", "instances": instances, "cmd": "sleep 1000", "cpus": 0.1,
                     "mem": 32});
    let begun = Instant::now();
    cluster.post(&app).await?;
    cluster.running(instances).await?;
    section.add(&format!("one app of {instances}, all running"), "s", seconds(begun));
    let (marathon, master) = (cluster.marathon.used()?, cluster.master.used()?);
    section.add("the large app: CPU of Marathon", "s", marathon.cpu.as_secs_f64());
    section.add("the large app: CPU of the master", "s", master.cpu.as_secs_f64());
    section.add("the large app: Marathon, peak resident", "MiB", marathon.peak_mib);
    Ok(())
}

/// The same, placed by constraints that compare instances and by one that matches names.
async fn one_spread_app(
    cluster: &Cluster,
    instances: u32,
    section: &mut Section,
) -> anyhow::Result<()> {
    let constraints = json!([["rack", "GROUP_BY"], ["hostname", "UNLIKE", "agent-[0-9]7"]]);
    let app = json!({"id": "/spread", "instances": instances, "cmd": "sleep 1000", "cpus": 0.1,
                     "mem": 32, "constraints": constraints});
    let begun = Instant::now();
    cluster.post(&app).await?;
    cluster.running(instances).await?;
    section.add(
        &format!("one app of {instances}, spread by constraints, all running"),
        "s",
        seconds(begun),
    );
    let marathon = cluster.marathon.used()?;
    section.add("the spread app: CPU of Marathon", "s", marathon.cpu.as_secs_f64());
    Ok(())
}

/// Many small apps, each made by a request of its own, one after the other.
async fn single_posts(cluster: &Cluster, apps: u32, section: &mut Section) -> anyhow::Result<()> {
    let begun = Instant::now();
    for number in 0..apps {
        cluster.post(&cluster::small(number, 1)).await?;
    }
    section.add(&format!("{apps} single POSTs, answered"), "s", seconds(begun));
    cluster.running(apps).await?;
    section.add(&format!("{apps} single POSTs, all running"), "s", seconds(begun));
    Ok(())
}

/// The same apps, made by one request.
async fn one_group(cluster: &Cluster, apps: u32, section: &mut Section) -> anyhow::Result<()> {
    let begun = Instant::now();
    cluster.put_group("/many", 0..apps, 1).await?;
    section.add(&format!("{apps} apps in one PUT, answered"), "s", seconds(begun));
    cluster.running(apps).await?;
    section.add(&format!("{apps} apps in one PUT, all running"), "s", seconds(begun));
    Ok(())
}

/// What there is, read with its tasks by many at once.
async fn reads(cluster: &Cluster, section: &mut Section) -> anyhow::Result<()> {
    for (name, gzip) in
        [("GET /v2/apps?embed=apps.tasks", false), ("GET /v2/apps?embed=apps.tasks, gzip", true)]
    {
        let read = cluster.read_all(gzip).await?;
        section.add(name, "per s", read.rate);
        section.add(&format!("{name}, p99"), "ms", millis(&read.latencies, 0.99));
        section.add(&format!("{name}, size"), "MB", read.megabytes);
    }
    Ok(())
}

/// Many apps of which none runs, and then one after the other is scaled.
async fn scale_among_many(
    cluster: &Cluster,
    stored: u32,
    section: &mut Section,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    for first in (0..stored).step_by(STORED_AT_ONCE as usize) {
        let last = (first + STORED_AT_ONCE).min(stored);
        cluster.put_group(&format!("/g{first}"), first..last, 0).await?;
    }
    cluster.settled().await?;
    section.add(&format!("{stored} apps stored"), "s", seconds(begun));
    let latencies: Vec<Duration> = cluster.scale_each(stored).await?;
    section.add("one scale change with them, p50", "ms", millis(&latencies, 0.5));
    section.add("one scale change with them, p99", "ms", millis(&latencies, 0.99));
    let peak = cluster.marathon.used()?.peak_mib;
    section.add(&format!("{stored} apps stored: Marathon, peak resident"), "MiB", peak);
    Ok(())
}

fn seconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}
