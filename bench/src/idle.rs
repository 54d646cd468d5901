//! Memory of what has nothing to do: a master, an agent with one sleeping task, its executor.

use std::slice;
use std::time::Duration;

use anyhow::Context;
use framework_sdk::Protocol;

use crate::load::{Framework, run_sleeper};
use crate::process::{Site, descendants, used};
use crate::report::{Report, progress};

/// How long the daemons are left alone before they are looked at.
const REST: Duration = Duration::from_secs(2);

pub(crate) async fn measure(runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for run in 1..=runs {
        progress(&format!("memory of idle daemons, run {run} of {runs}"));
        all.push(one_run().await?);
    }
    let command = format!("cargo xtask bench idle --runs {runs}");
    let section = report.section("Memory when idle (PSS), one sleeping task", command);
    for run in all {
        section.add("master", "MiB", run.master);
        section.add("agent", "MiB", run.agent);
        section.add("executor", "MiB", run.executor);
        section.add("container launcher", "MiB", run.launcher);
    }
    Ok(())
}

struct Run {
    master: f64,
    agent: f64,
    executor: f64,
    launcher: f64,
}

async fn one_run() -> anyhow::Result<Run> {
    let site = Site::new()?;
    let master = site.master().await?;
    let agent = site.agent(&master).await?;
    let mut framework =
        Framework::subscribe(slice::from_ref(&master.address), Protocol::default()).await?;
    run_sleeper(&mut framework, Duration::from_secs(3_600)).await?;
    tokio::time::sleep(REST).await;
    let below = descendants(agent.pid());
    let pss_of = |mode: &str| -> anyhow::Result<f64> {
        let is_it = |arguments: &[String]| arguments.get(1).is_some_and(|first| first == mode);
        let found = below.iter().find(|(_, arguments)| is_it(arguments));
        let (pid, _) = found.with_context(|| format!("no '{mode}' runs below the agent"))?;
        Ok(used(*pid)?.pss_mib)
    };
    let run = Run {
        master: master.used()?.pss_mib,
        agent: agent.used()?.pss_mib,
        executor: pss_of("executor")?,
        launcher: pss_of("launch")?,
    };
    framework.end().await?;
    agent.emptied().await?;
    Ok(run)
}
