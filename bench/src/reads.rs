//! Reads of the whole state of a large cluster: what one costs, and what a crowd of readers does to
//! launches.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use framework_sdk::builders::TaskBuilder;
use framework_sdk::calls::{accept, launch};
use framework_sdk::matching::Available;
use futures::StreamExt;
use model::ids::TaskId;
use proto::mesos::v1::Offer;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::large_cluster::{Masters, Size, filled, needs, start_agents};
use crate::load::{Framework, Progress, progress_of};
use crate::process::PATIENCE;
use crate::report::{Report, millis, progress};

/// Clients that ask for `/state` again as soon as they have it.
const POLLERS: u32 = 4;

/// Launches measured, with pollers and without.
const LAUNCHES: usize = 2_000;

/// One is launched this often, whatever has become of those before.
const LAUNCH_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn measure(size: Size, runs: u32, report: &mut Report) -> anyhow::Result<()> {
    let Size { agents, tasks } = size;
    let command =
        format!("cargo xtask bench reads --agents {agents} --tasks {tasks} --runs {runs}");
    let title = format!("Reads of {agents} agents and {tasks} tasks");
    progress(&format!("{agents} agents and {tasks} tasks for reads"));
    let masters = Masters::start().await?;
    let (tells, mut handed_over) = mpsc::unbounded_channel();
    let fleet = start_agents(agents, &masters, Some(tells)).await;
    masters.until(&[("master/slaves_active", agents)]).await?;
    let (mut framework, held) = filled(&masters, size).await?;
    let mut held = VecDeque::from(held);
    // What runs already is not measured.
    while handed_over.try_recv().is_ok() {}
    let leader = masters.leader().await?;
    let section = report.section(&title, command);
    section.add("leader, resident with all of it (PSS)", "MiB", leader.used()?.pss_mib);
    for run in 1..=runs {
        progress(&format!("single reads, run {run} of {runs}"));
        for question in Question::ALL {
            let before = leader.used()?.cpu;
            let begun = Instant::now();
            let bytes = question.ask(&leader.address).await?;
            let took = begun.elapsed();
            let cpu = leader.used()?.cpu.saturating_sub(before);
            let name = question.name();
            section.add(&format!("{name}: wall time"), "ms", took.as_secs_f64() * 1e3);
            section.add(&format!("{name}: CPU"), "ms", cpu.as_secs_f64() * 1e3);
            section.add(&format!("{name}: answer"), "MB", megabytes(bytes));
        }
    }
    for run in 1..=runs {
        progress(&format!("launches beside readers, run {run} of {runs}"));
        let alone = launches(&mut framework, &mut held, &mut handed_over).await?;
        let pollers = Pollers::start(&leader.address)?;
        // The crowd is there before what is measured.
        pollers.until_answered(POLLERS).await?;
        let (before, begun) = (pollers.answered(), Instant::now());
        let beside = launches(&mut framework, &mut held, &mut handed_over).await?;
        let answered = pollers.answered() - before;
        let rate = f64::from(answered) / begun.elapsed().as_secs_f64();
        drop(pollers);
        for (name, launches) in [("alone", &alone), ("beside readers", &beside)] {
            for (until, latencies) in
                [("the agent", &launches.handed_over), ("TASK_RUNNING", &launches.running)]
            {
                for (q, percent) in [(0.5, "p50"), (0.99, "p99")] {
                    let name = format!("ACCEPT to {until} {name}, {percent}");
                    section.add(&name, "ms", millis(latencies, q));
                }
            }
        }
        let ratio = millis(&beside.handed_over, 0.99) / millis(&alone.handed_over, 0.99);
        section.add("ACCEPT to the agent: p99 beside readers to p99 alone", "times", ratio);
        section.add("answers to the readers", "per s", rate);
    }
    section.add("leader, peak resident", "MiB", leader.used()?.peak_mib);
    framework.end().await?;
    fleet.stop().await;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "no answer has 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Question {
    State,
    GetStateJson,
    GetStateProtobuf,
}

impl Question {
    const ALL: [Self; 3] = [Self::State, Self::GetStateJson, Self::GetStateProtobuf];

    fn name(self) -> &'static str {
        match self {
            Self::State => "/state",
            Self::GetStateJson => "GET_STATE in JSON",
            Self::GetStateProtobuf => "GET_STATE in protobuf",
        }
    }

    /// Asks, reads the answer to its end and says how long it is.
    async fn ask(self, master: &str) -> anyhow::Result<u64> {
        let client = reqwest::Client::new();
        let get_state = || {
            let call = client.post(format!("http://{master}/api/v1"));
            call.header("content-type", "application/json").body(r#"{"type":"GET_STATE"}"#)
        };
        let request = match self {
            Self::State => client.get(format!("http://{master}/state")),
            Self::GetStateJson => get_state().header("accept", "application/json"),
            Self::GetStateProtobuf => get_state().header("accept", "application/x-protobuf"),
        };
        let answer = request.send().await?.error_for_status()?;
        let mut parts = answer.bytes_stream();
        let mut bytes = 0;
        while let Some(part) = parts.next().await {
            bytes += part?.len() as u64;
        }
        Ok(bytes)
    }
}

/// Clients that read all the time, in a process of their own that stands back behind all others: what
/// they do with what they read would be done on another machine.
struct Pollers {
    process: Child,
    answered: Arc<AtomicU32>,
}

impl Pollers {
    fn start(master: &str) -> anyhow::Result<Self> {
        let mut process = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe().context("this program is nowhere")?)
            .arg(format!("--read-from={master}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the readers")?;
        let answered = Arc::new(AtomicU32::new(0));
        let (lines, count) = (process.stdout.take().context("no output")?, answered.clone());
        std::thread::spawn(move || {
            for _ in BufReader::new(lines).lines().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self { process, answered })
    }

    fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }

    async fn until_answered(&self, count: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < count {
            anyhow::ensure!(Instant::now() < deadline, "the readers get no answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Pollers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the process of the readers does, until it is killed: a line for each answer.
///
/// # Errors
///
/// When a master gives no answer.
pub(crate) async fn read_for_ever(master: &str) -> anyhow::Result<()> {
    let poller = async || -> anyhow::Result<()> {
        loop {
            Question::State.ask(master).await.context("a reader gets no answer")?;
            println!("answered");
        }
    };
    futures::future::try_join_all((0..POLLERS).map(|_| poller())).await.map(drop)
}

/// How long launches took.
struct Launches {
    /// Until their agents had them.
    handed_over: Vec<Duration>,
    /// Until the framework heard that they run.
    running: Vec<Duration>,
}

/// Launches tasks at a steady pace, one in each of the offers held, and says how long each took. They
/// run on afterwards.
async fn launches(
    framework: &mut Framework,
    held: &mut VecDeque<Offer>,
    told: &mut mpsc::UnboundedReceiver<(TaskId, Instant)>,
) -> anyhow::Result<Launches> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut pace = tokio::time::interval(LAUNCH_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut due_at = HashMap::new();
    let (mut launched, mut handed_over, mut running) = (0, Vec::new(), Vec::new());
    while running.len() < LAUNCHES || handed_over.len() < LAUNCHES {
        tokio::select! {
            due = pace.tick(), if launched < LAUNCHES && !held.is_empty() => {
                let offer = held.pop_front().context("no offer is held")?;
                let taken = Available::of(&offer).take(&needs()).context("an offer is too small")?;
                let name = format!("measured-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
                let task = TaskBuilder::shell(&name, "sleep 1000");
                let task = task.build(&offer.agent_id, taken.resources);
                // From when it was due: a launch that waits for its turn here has waited too.
                due_at.insert(name, due.into_std());
                framework.submit(accept([offer.id], vec![launch(vec![task])], Some(Duration::ZERO))).await?;
                launched += 1;
            }
            event = framework.next() => {
                let event = event?;
                held.extend(event.offers.into_iter().flat_map(|offers| offers.offers));
                let Some(update) = event.update else { continue };
                if progress_of(&update.status)? == Progress::Running
                    && let Some(due) = due_at.get(&update.status.task_id.value)
                {
                    running.push(due.elapsed());
                }
            }
            Some((task, at)) = told.recv() => {
                if let Some(due) = due_at.get(task.as_str()) {
                    handed_over.push(at - *due);
                }
            }
        }
    }
    Ok(Launches { handed_over, running })
}
