//! The leading master is killed under a large cluster: how long until there are offers again, and
//! until everything is back.

use std::time::Instant;

use crate::large_cluster::{Masters, Size, filled, start_agents};
use crate::report::{Report, progress};

pub(crate) async fn measure(size: Size, runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let Size { agents, tasks } = size;
    let command =
        format!("cargo xtask bench failover --agents {agents} --tasks {tasks} --runs {runs}");
    let title = format!("The leader killed: {agents} agents, {tasks} tasks, three masters");
    let section = report.section(&title, command);
    for run in 1..=runs {
        progress(&format!("failover of {agents} agents, run {run} of {runs}"));
        let mut masters = Masters::start().await?;
        let fleet = start_agents(agents, &masters, None).await;
        masters.until(&[("master/slaves_active", agents)]).await?;
        let (mut framework, held) = filled(&masters, size).await?;
        drop(held);
        let begun = Instant::now();
        masters.kill_leader().await?;
        let offers = async {
            framework.subscribed().await?;
            let subscribed = begun.elapsed();
            while framework.next().await?.offers.is_none() {}
            anyhow::Ok((framework, subscribed, begun.elapsed()))
        };
        let all = async {
            masters
                .until(&[("master/slaves_active", agents), ("master/tasks_running", tasks)])
                .await?;
            anyhow::Ok(begun.elapsed())
        };
        let (offers, all) = tokio::join!(offers, all);
        let ((framework, subscribed, offered), all) = (offers?, all?);
        let used = masters.leader().await?.used()?;
        section.add("the framework subscribed again after", "s", subscribed.as_secs_f64());
        section.add("first offer after", "s", offered.as_secs_f64());
        section.add("all agents and tasks back after", "s", all.as_secs_f64());
        section.add("CPU of the new leader since its start", "s", used.cpu.as_secs_f64());
        section.add("new leader, peak resident", "MiB", used.peak_mib);
        framework.end().await?;
        fleet.stop().await;
    }
    Ok(())
}
