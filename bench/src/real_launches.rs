//! Real launches: from ACCEPT to TASK_RUNNING of a `true` task, in its container, on one agent.

use std::slice;
use std::time::{Duration, Instant};

use framework_sdk::Protocol;
use framework_sdk::builders::TaskBuilder;
use framework_sdk::calls::{accept, launch};
use framework_sdk::matching::{Available, Needs};

use crate::load::{Framework, Progress, progress_of};
use crate::process::Site;
use crate::report::{Report, millis, progress};

/// Launches in one run, one after the other.
const LAUNCHES: usize = 50;

/// Launches before those that count: the first ones load files into memory.
const WARM_UP: usize = 5;

pub(crate) async fn measure(runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let command = format!("cargo xtask bench real-launches --runs {runs}");
    let title = format!("Real launches: `true`, {LAUNCHES} one after the other");
    let mut all = Vec::new();
    for run in 1..=runs {
        progress(&format!("real launches, run {run} of {runs}"));
        all.push(one_run().await?);
    }
    let section = report.section(&title, command);
    for run in all {
        section.add("ACCEPT to TASK_RUNNING, p50", "ms", millis(&run.latencies, 0.5));
        section.add("ACCEPT to TASK_RUNNING, p99", "ms", millis(&run.latencies, 0.99));
        section.add("master CPU per task", "ms", run.master_cpu.as_secs_f64() * 1_000.0);
        section.add("agent CPU per task", "ms", run.agent_cpu.as_secs_f64() * 1_000.0);
    }
    Ok(())
}

struct Run {
    latencies: Vec<Duration>,
    master_cpu: Duration,
    agent_cpu: Duration,
}

async fn one_run() -> anyhow::Result<Run> {
    let site = Site::new()?;
    let master = site.master().await?;
    let agent = site.agent(&master).await?;
    let mut framework =
        Framework::subscribe(slice::from_ref(&master.address), Protocol::default()).await?;
    for number in 0..WARM_UP {
        one_launch(&mut framework, number).await?;
    }
    let before = (master.used()?.cpu, agent.used()?.cpu);
    let mut latencies = Vec::with_capacity(LAUNCHES);
    for number in WARM_UP..WARM_UP + LAUNCHES {
        latencies.push(one_launch(&mut framework, number).await?);
    }
    let launches = u32::try_from(LAUNCHES).expect("a small number");
    let master_cpu = master.used()?.cpu.saturating_sub(before.0) / launches;
    let agent_cpu = agent.used()?.cpu.saturating_sub(before.1) / launches;
    framework.end().await?;
    agent.emptied().await?;
    Ok(Run { latencies, master_cpu, agent_cpu })
}

/// Launches one task, waits for its end and returns how long it took until it ran.
async fn one_launch(framework: &mut Framework, number: usize) -> anyhow::Result<Duration> {
    let name = format!("task-{number}");
    let mut accepted_at = None;
    let mut latency = None;
    loop {
        let event = framework.next().await?;
        for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
            let taken = Available::of(&offer).take(&Needs::new(1.0, 64.0));
            if let (None, Some(taken)) = (accepted_at, taken) {
                let task = TaskBuilder::program(&name, "true", vec!["true".to_owned()])
                    .build(&offer.agent_id, taken.resources);
                accepted_at = Some(Instant::now());
                let call = accept([offer.id], vec![launch(vec![task])], Some(Duration::ZERO));
                framework.handle.call(call).await?;
            } else {
                framework.handle.decline([offer.id], Some(Duration::ZERO)).await?;
            }
        }
        let status = event.update.map(|update| update.status);
        let Some(status) = status.filter(|status| status.task_id.value == name) else { continue };
        match progress_of(&status)? {
            Progress::Starting => {}
            Progress::Running => latency = accepted_at.map(|at| at.elapsed()),
            Progress::Finished => {
                return latency.ok_or_else(|| anyhow::anyhow!("{name} ended before it ran"));
            }
        }
    }
}
