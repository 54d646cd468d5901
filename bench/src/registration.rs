//! Agents that register all at once with three masters, which keep it durably.

use std::time::Instant;

use crate::large_cluster::{Masters, start_agents};
use crate::report::{Report, progress};

pub(crate) async fn measure(agents: u32, runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let command = format!("cargo xtask bench registration --agents {agents} --runs {runs}");
    let title = format!("Registration of {agents} agents with three masters");
    let section = report.section(&title, command);
    for run in 1..=runs {
        progress(&format!("registration of {agents} agents, run {run} of {runs}"));
        let masters = Masters::start().await?;
        let before = masters.leader().await?.used()?;
        let begun = Instant::now();
        let fleet = start_agents(agents, &masters, None).await;
        masters.until(&[("master/slaves_active", agents)]).await?;
        let took = begun.elapsed();
        let used = masters.leader().await?.used()?;
        section.add("all agents registered after", "s", took.as_secs_f64());
        section.add("CPU of the leader", "s", used.cpu.saturating_sub(before.cpu).as_secs_f64());
        section.add("leader, peak resident", "MiB", used.peak_mib);
        fleet.stop().await;
    }
    Ok(())
}
