//! Real launches: from ACCEPT to TASK_RUNNING of tasks in their containers on one agent, beside the least
//! that launching them can cost on this machine.

use std::collections::BTreeSet;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::ensure;
use framework_sdk::Protocol;
use framework_sdk::builders::TaskBuilder;
use framework_sdk::calls::{accept, launch};
use framework_sdk::matching::{Available, Needs};

use crate::launch_floor::{self, Around, Floor, Program};
use crate::load::{Framework, Progress, progress_of, run_sleeper};
use crate::process::{Daemon, Site, descendants};
use crate::report::{Report, millis, progress};

/// How long a task that is said to run may take until it has become what its command says.
const BECOMES_WITHIN: Duration = Duration::from_secs(10);

/// Launches in one run, one after the other.
const LAUNCHES: u32 = 50;

/// Launches before those that count: the first ones load files into memory.
const WARM_UP: u32 = 5;

/// Tasks that are launched in one go.
const IN_ONE_GO: u32 = 500;

pub(crate) async fn measure(runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let command = format!("cargo xtask bench real-launches --runs {runs}");
    let mut all = Vec::new();
    // Removed after the last run: ext4 looks at each file that was removed within the last minute before
    // it makes one, so the files of one run would slow the next.
    let mut sites = Vec::new();
    for run in 1..=runs {
        progress(&format!("real launches, run {run} of {runs}"));
        let site = Site::new()?;
        all.push(one_run(&site).await?);
        sites.push(site);
    }
    let title = format!("Real launches: `true`, {LAUNCHES} one after the other");
    let section = report.section(&title, command.clone());
    for run in &all {
        let (floor, p50) = (millis(&run.floor.latencies, 0.5), millis(&run.latencies, 0.5));
        section.add("ACCEPT to TASK_RUNNING, p50", "ms", p50);
        section.add("ACCEPT to TASK_RUNNING, p99", "ms", millis(&run.latencies, 0.99));
        section.add("the floor at that pace: begin to exec, p50", "ms", floor);
        section.add("p50 beyond the floor's", "ms", p50 - floor);
        let at_once = millis(&run.floor_at_once.latencies, 0.5);
        section.add("the floor, each right after the last, p50", "ms", at_once);
        section.add("CPU per task: master", "ms", run.master_cpu.as_secs_f64() * 1_000.0);
        section.add("CPU per task: agent", "ms", run.agent_cpu.as_secs_f64() * 1_000.0);
        let whole = run.whole_cpu.as_secs_f64() * 1_000.0;
        section.add("CPU per task: agent, executor, launcher and task", "ms", whole);
    }
    let title = format!("Real launches: `sleep`, {IN_ONE_GO} in one ACCEPT");
    let section = report.section(&title, command);
    for run in &all {
        let rate = |took: Duration| f64::from(IN_ONE_GO) / took.as_secs_f64();
        section.add("until all run", "s", run.burst.as_secs_f64());
        section.add("rate", "tasks/s", rate(run.burst));
        section.add(
            "the floor, all at once: until all run",
            "s",
            run.burst_floor.took.as_secs_f64(),
        );
        section.add("the floor's rate", "tasks/s", rate(run.burst_floor.took));
        section.add("rate to the floor's", "", rate(run.burst) / rate(run.burst_floor.took));
        let of_three = rate(run.burst_floor_of_three.took);
        section.add("the floor with a parent outside and inside", "tasks/s", of_three);
        let to_floor = of_three / rate(run.burst_floor.took);
        section.add("that floor's rate to the floor's", "", to_floor);
        section.add("rate to that floor's", "", rate(run.burst) / of_three);
        let whole = run.burst_cpu.as_secs_f64() * 1_000.0;
        section.add("CPU per task: agent, executor, launcher and task", "ms", whole);
    }
    Ok(())
}

struct Run {
    latencies: Vec<Duration>,
    /// At the pace of the launches.
    floor: Floor,
    /// Each right after the one before.
    floor_at_once: Floor,
    master_cpu: Duration,
    agent_cpu: Duration,
    whole_cpu: Duration,
    burst: Duration,
    burst_floor: Floor,
    /// With a process that waits outside and one that starts the task inside.
    burst_floor_of_three: Floor,
    burst_cpu: Duration,
}

async fn one_run(site: &Site) -> anyhow::Result<Run> {
    let master = site.master().await?;
    let agent = site.agent(&master).await?;
    let mut framework =
        Framework::subscribe(slice::from_ref(&master.address), Protocol::default()).await?;
    for number in 0..WARM_UP {
        one_launch(&mut framework, number).await?;
    }
    run_sleeper(&mut framework, Duration::ZERO).await?;
    let like = sleeper(&agent).await?;
    let before = (master.used()?, agent.used()?);
    let start = Instant::now();
    let mut latencies = Vec::new();
    for number in WARM_UP..WARM_UP + LAUNCHES {
        latencies.push(one_launch(&mut framework, number).await?);
    }
    let pace = start.elapsed() / LAUNCHES;
    let after = (master.used()?, agent.used()?);
    let ends = (Program::Ends, Around::Nobody);
    launch_floor::measure(like, WARM_UP, (1, Duration::ZERO), ends)?;
    let floor_at_once = launch_floor::measure(like, LAUNCHES, (1, Duration::ZERO), ends)?;
    let floor = launch_floor::measure(like, LAUNCHES, (1, pace), ends)?;
    let all = (IN_ONE_GO, Duration::ZERO);
    let [burst_floor, burst_floor_of_three] = [Around::Nobody, Around::Two]
        .map(|around| launch_floor::measure(like, IN_ONE_GO, all, (Program::Stays, around)));
    let (burst_floor, burst_floor_of_three) = (burst_floor?, burst_floor_of_three?);
    let burst = in_one_go(&mut framework).await?;
    framework.end().await?;
    agent.emptied().await?;
    let ended = agent.used()?;
    Ok(Run {
        latencies,
        floor,
        floor_at_once,
        master_cpu: after.0.cpu.saturating_sub(before.0.cpu) / LAUNCHES,
        agent_cpu: after.1.cpu.saturating_sub(before.1.cpu) / LAUNCHES,
        whole_cpu: after.1.cpu_with_ended.saturating_sub(before.1.cpu_with_ended) / LAUNCHES,
        burst,
        burst_floor,
        burst_floor_of_three,
        burst_cpu: ended.cpu_with_ended.saturating_sub(after.1.cpu_with_ended) / IN_ONE_GO,
    })
}

/// The process of the task that sleeps.
async fn sleeper(agent: &Daemon) -> anyhow::Result<u32> {
    let sleeps = |arguments: &[String]| arguments.first().is_some_and(|it| it == "sleep");
    let until = Instant::now() + BECOMES_WITHIN;
    loop {
        let mut all = descendants(agent.pid()).into_iter();
        if let Some((process, _)) = all.find(|(_, arguments)| sleeps(arguments)) {
            return Ok(process);
        }
        ensure!(Instant::now() < until, "no task sleeps on the agent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Launches one task, waits for its end and returns how long it took until it ran.
async fn one_launch(framework: &mut Framework, number: u32) -> anyhow::Result<Duration> {
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

/// Launches many tasks by one call and returns how long it took until all of them ran.
async fn in_one_go(framework: &mut Framework) -> anyhow::Result<Duration> {
    let mut accepted_at = None;
    let mut waited_for: BTreeSet<String> =
        (0..IN_ONE_GO).map(|number| format!("sleeper-{number}")).collect();
    loop {
        let event = framework.next().await?;
        for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
            let mut available = Available::of(&offer);
            let mut task = |name: &String| {
                let taken = available.take(&Needs::new(0.1, 32.0))?;
                let arguments = vec!["sleep".to_owned(), "1000".to_owned()];
                let task = TaskBuilder::program(name, "sleep", arguments);
                Some(task.build(&offer.agent_id, taken.resources))
            };
            let tasks: Option<Vec<_>> = match accepted_at {
                None => waited_for.iter().map(&mut task).collect(),
                Some(_) => None,
            };
            if let Some(tasks) = tasks {
                accepted_at = Some(Instant::now());
                let call = accept([offer.id], vec![launch(tasks)], Some(Duration::ZERO));
                framework.handle.call(call).await?;
            } else {
                framework.handle.decline([offer.id], Some(Duration::ZERO)).await?;
            }
        }
        let Some(update) = event.update else { continue };
        if progress_of(&update.status)? == Progress::Running {
            waited_for.remove(&update.status.task_id.value);
        }
        if let Some(accepted_at) = accepted_at.filter(|_| waited_for.is_empty()) {
            return Ok(accepted_at.elapsed());
        }
    }
}
