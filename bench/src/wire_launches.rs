//! Offers and launches through the wire, over simulated agents: one framework, per task one launch,
//! TASK_RUNNING, TASK_FINISHED and two acknowledgements.

use std::slice;
use std::time::{Duration, Instant};

use anyhow::Context;
use framework_sdk::Protocol;
use framework_sdk::builders::TaskBuilder;
use framework_sdk::calls::{accept, decline, launch, revive};
use framework_sdk::matching::{Available, Needs};
use proto::mesos::v1::Offer;

use crate::load::{Framework, Progress, progress_of};
use crate::process::{Daemon, PATIENCE, Site};
use crate::report::{Report, millis, progress};
use crate::simulated_agents::{Fleet, Plan};

/// How long offers are counted, each declined at once without a filter.
const OFFERS_FOR: Duration = Duration::from_secs(3);

/// Tasks put into one offer at most: eight cores hold eighty of these, and a framework of many small
/// tasks spreads them.
const TASKS_PER_OFFER_MAX: usize = 20;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) agents: u32,
    pub(crate) tasks: u32,
    pub(crate) protocol: Protocol,
}

pub(crate) async fn measure(size: Size, runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let Size { agents, tasks, protocol } = size;
    let name = match protocol {
        Protocol::HttpJson => "json",
        Protocol::HttpProtobuf => "protobuf",
        Protocol::Grpc => "grpc",
    };
    let command = format!(
        "cargo xtask bench wire-launches --agents {agents} --tasks {tasks} --protocol {name} \
         --runs {runs}"
    );
    let mut all = Vec::new();
    for run in 1..=runs {
        progress(&format!("launches over {agents} simulated agents, run {run} of {runs}"));
        all.push(one_run(size).await?);
    }
    let title = format!("Through the wire: {agents} simulated agents, {tasks} tasks, {name}");
    let section = report.section(&title, command);
    for run in all {
        section.add("all agents offered after", "s", run.registered_after.as_secs_f64());
        section.add("offers", "per s", run.offers_rate);
        section.add("launches to acknowledged end", "tasks/s", run.tasks_rate);
        section.add("master CPU per task", "µs", run.cpu_per_task * 1e6);
        section.add("ACCEPT to TASK_RUNNING, p50", "ms", millis(&run.latencies, 0.5));
        section.add("ACCEPT to TASK_RUNNING, p99", "ms", millis(&run.latencies, 0.99));
        section.add("master, peak resident", "MiB", run.peak_mib);
    }
    Ok(())
}

struct Run {
    registered_after: Duration,
    offers_rate: f64,
    tasks_rate: f64,
    cpu_per_task: f64,
    latencies: Vec<Duration>,
    peak_mib: f64,
}

async fn one_run(size: Size) -> anyhow::Result<Run> {
    let directory = Site::new()?;
    let master = directory.master().await?;
    let mut framework =
        Framework::subscribe(slice::from_ref(&master.address), size.protocol).await?;
    let started = Instant::now();
    let plan = Plan {
        count: size.agents,
        cpus: 8.0,
        mem_mib: 16_384.0,
        tasks_run_for: Some(Duration::ZERO),
        tells: None,
    };
    let fleet = Fleet::start(&plan, slice::from_ref(&master.address)).await;
    let offers = all_offered(&mut framework, size.agents).await?;
    let registered_after = started.elapsed();
    let offers_rate = count_offers(&mut framework, offers).await?;
    let launched = launch_all(&mut framework, &master, size.tasks).await?;
    let peak_mib = master.used()?.peak_mib;
    framework.end().await?;
    fleet.stop().await;
    let Launched { tasks_rate, cpu_per_task, latencies } = launched;
    Ok(Run { registered_after, offers_rate, tasks_rate, cpu_per_task, latencies, peak_mib })
}

/// Waits until something of every agent is offered.
async fn all_offered(framework: &mut Framework, agents: u32) -> anyhow::Result<Vec<Offer>> {
    let mut offers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while offers.len() < agents as usize {
        anyhow::ensure!(Instant::now() < deadline, "only {} agents were offered", offers.len());
        offers.extend(framework.next().await?.offers.into_iter().flat_map(|it| it.offers));
    }
    Ok(offers)
}

/// Declines everything for a while and says how many offers came in a second.
async fn count_offers(framework: &mut Framework, offers: Vec<Offer>) -> anyhow::Result<f64> {
    let now = Some(Duration::ZERO);
    framework.submit(decline(offers.into_iter().map(|offer| offer.id), now)).await?;
    framework.submit(revive(Vec::new())).await?;
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < OFFERS_FOR {
        let Some(offers) = framework.next().await?.offers else { continue };
        count += u32::try_from(offers.offers.len()).context("too many offers")?;
        let ids = offers.offers.into_iter().map(|offer| offer.id);
        framework.submit(decline(ids, now)).await?;
        // Without it, what was declined is offered again at the next full pass, a second later.
        framework.submit(revive(Vec::new())).await?;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

struct Launched {
    tasks_rate: f64,
    cpu_per_task: f64,
    latencies: Vec<Duration>,
}

/// Launches all tasks as fast as offers come, and waits for their ends.
async fn launch_all(
    framework: &mut Framework,
    master: &Daemon,
    tasks: u32,
) -> anyhow::Result<Launched> {
    let cpu_before = master.used()?.cpu;
    let begun = Instant::now();
    let count = tasks as usize;
    let mut accepted_at: Vec<Instant> = Vec::with_capacity(count);
    let mut latencies = Vec::with_capacity(count);
    let mut finished = 0;
    while finished < count {
        let event = framework.next().await?;
        for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
            let first = accepted_at.len();
            let room = TASKS_PER_OFFER_MAX.min(count - first);
            let mut available = Available::of(&offer);
            let needs = Needs::new(0.1, 32.0);
            let some = (first..first + room).map_while(|number| {
                let taken = available.take(&needs)?;
                let task = TaskBuilder::shell(&number.to_string(), "true");
                Some(task.build(&offer.agent_id, taken.resources))
            });
            let some: Vec<_> = some.collect();
            accepted_at.extend(std::iter::repeat_n(Instant::now(), some.len()));
            let operations = if some.is_empty() { Vec::new() } else { vec![launch(some)] };
            let call = accept([offer.id], operations, Some(Duration::ZERO));
            framework.submit(call).await?;
        }
        let Some(update) = event.update else { continue };
        match progress_of(&update.status)? {
            Progress::Starting => {}
            Progress::Running => {
                let number: usize = update.status.task_id.value.parse().context("not our task")?;
                latencies.push(accepted_at[number].elapsed());
            }
            Progress::Finished => finished += 1,
        }
    }
    let took = begun.elapsed();
    let cpu = master.used()?.cpu.saturating_sub(cpu_before);
    Ok(Launched {
        tasks_rate: f64::from(tasks) / took.as_secs_f64(),
        cpu_per_task: cpu.as_secs_f64() / f64::from(tasks),
        latencies,
    })
}
