//! A cluster as large as they come: three masters in processes of their own, simulated agents in
//! this one, and tasks that run until they are killed.

use std::time::{Duration, Instant};

use anyhow::Context;
use framework_sdk::Protocol;
use framework_sdk::builders::TaskBuilder;
use framework_sdk::calls::{accept, launch};
use framework_sdk::matching::{Available, Needs};
use model::ids::TaskId;
use proto::mesos::v1::Offer;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::load::{Framework, Progress, progress_of};
use crate::process::{Daemon, PATIENCE, Site};
use crate::simulated_agents::{Fleet, Plan};

/// How often is looked whether what is waited for has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) agents: u32,
    pub(crate) tasks: u32,
}

/// The masters, and how to ask them.
pub(crate) struct Masters {
    _site: Site,
    daemons: Vec<Daemon>,
    http: reqwest::Client,
}

impl Masters {
    /// Starts three and waits until one leads.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let site = Site::new()?;
        let daemons = site.three_masters().await?;
        // Answers of other masters are no answers here.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.build().context("no client can be made")?;
        let masters = Self { _site: site, daemons, http };
        masters.leader().await?;
        Ok(masters)
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.daemons.iter().map(|master| master.address.clone()).collect()
    }

    /// The one that leads, once one does.
    pub(crate) async fn leader(&self) -> anyhow::Result<&Daemon> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for master in &self.daemons {
                let url = format!("http://{}/roles", master.address);
                // A master that is just coming up refuses the connection.
                if let Ok(answer) = self.http.get(url).send().await
                    && answer.status().is_success()
                {
                    return Ok(master);
                }
            }
            anyhow::ensure!(Instant::now() < deadline, "no master leads");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the leading one as a loss of power would.
    pub(crate) async fn kill_leader(&mut self) -> anyhow::Result<()> {
        let pid = self.leader().await?.pid();
        let at = self.daemons.iter().position(|master| master.pid() == pid);
        self.daemons.remove(at.context("the leader is gone")?).kill()
    }

    /// Waits until the leader counts `wanted` of each of these metrics.
    pub(crate) async fn until(&self, wanted: &[(&str, u32)]) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let url = format!("http://{}/metrics/snapshot", self.leader().await?.address);
            let mut metrics = Value::Null;
            // It may have ceased to lead, and then another is asked.
            if let Ok(answer) = self.http.get(url).send().await {
                metrics = answer.json().await.unwrap_or_default();
            }
            let count = |name: &str| metrics[name].as_f64().unwrap_or_default();
            if wanted.iter().all(|(name, wanted)| count(name) >= f64::from(*wanted)) {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "waited in vain for {wanted:?}; there are {:?}",
                wanted.iter().map(|(name, _)| count(name)).collect::<Vec<_>>(),
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// When a task was handed over to its agent.
pub(crate) type HandOvers = mpsc::UnboundedSender<(TaskId, Instant)>;

/// Starts agents whose tasks run until they are killed. They register by and by.
pub(crate) async fn start_agents(count: u32, masters: &Masters, tells: Option<HandOvers>) -> Fleet {
    let plan = Plan { count, cpus: 24.0, mem_mib: 65_536.0, tasks_run_for: None, tells };
    Fleet::start(&plan, &masters.addresses()).await
}

/// What one task needs.
pub(crate) fn needs() -> Needs {
    Needs::new(0.1, 32.0)
}

/// Subscribes and runs `size.tasks` tasks, as many on each agent. Returns the framework and offers
/// that it still holds.
pub(crate) async fn filled(
    masters: &Masters,
    size: Size,
) -> anyhow::Result<(Framework, Vec<Offer>)> {
    let mut framework = Framework::subscribe(&masters.addresses(), Protocol::Grpc).await?;
    let each = size.tasks.div_ceil(size.agents.max(1)) as usize;
    let (mut launched, mut running) = (0, 0);
    let mut held = Vec::new();
    let total = size.tasks as usize;
    while running < total {
        let event = framework.next().await?;
        for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
            let room = each.min(total - launched);
            if room == 0 {
                held.push(offer);
                continue;
            }
            let mut available = Available::of(&offer);
            let some = (launched..launched + room).map_while(|number| {
                let taken = available.take(&needs())?;
                let task = TaskBuilder::shell(&number.to_string(), "sleep 1000");
                Some(task.build(&offer.agent_id, taken.resources))
            });
            let some: Vec<_> = some.collect();
            launched += some.len();
            framework.submit(accept([offer.id], vec![launch(some)], None)).await?;
        }
        let Some(update) = event.update else { continue };
        match progress_of(&update.status)? {
            Progress::Running => running += 1,
            Progress::Starting | Progress::Finished => {}
        }
    }
    Ok((framework, held))
}
