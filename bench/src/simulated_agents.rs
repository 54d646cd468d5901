//! Agents without machines, in this process: their cores are real, and so are their links.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use agent::{Channels, Imitation, Running, StopMode};
use framework_sdk::builders::{ranges, scalar};
use futures::StreamExt;
use model::ids::TaskId;
use proto::mesos::v1::value::{Text, Type};
use proto::mesos::v1::{AgentInfo, Attribute};
use tokio::sync::mpsc;

/// Agents stopped at once: stopping is quick, but each wants a moment of the runtime.
const STOPPED_AT_ONCE: usize = 256;

/// How simulated agents are made.
pub(crate) struct Plan {
    pub(crate) count: u32,
    pub(crate) cpus: f64,
    pub(crate) mem_mib: f64,
    /// How long their tasks run; absent: until they are killed.
    pub(crate) tasks_run_for: Option<Duration>,
    /// Who is told when a task is handed over.
    pub(crate) tells: Option<mpsc::UnboundedSender<(TaskId, Instant)>>,
}

/// Values of the attribute `rack`, which agents have in turn.
const RACKS: u32 = 20;

/// Simulated agents that run.
pub(crate) struct Fleet {
    agents: Vec<Running>,
}

impl Fleet {
    /// Starts them all. They register by and by.
    pub(crate) async fn start(plan: &Plan, masters: &[String]) -> Self {
        // Some connections, since each carries a bounded number of streams and one task reads it.
        let channels: Vec<Channels> = (0..4).map(|_| Channels::default()).collect();
        let mut agents = Vec::new();
        for (number, channels) in (0..plan.count).zip(channels.iter().cycle()) {
            let info = AgentInfo {
                hostname: format!("agent-{number}"),
                port: Some(5051),
                resources: vec![
                    scalar("cpus", plan.cpus),
                    scalar("mem", plan.mem_mib),
                    scalar("disk", 100_000.0),
                    ranges("ports", [(31_000, 32_000)]),
                ],
                attributes: vec![rack(number)],
                ..AgentInfo::default()
            };
            let (runs_for, tells) = (plan.tasks_run_for, plan.tells.clone());
            let imitation = Imitation { runs_for, tells };
            let (masters, channels) = (masters.to_vec(), channels.clone());
            let started =
                agent::start_simulated(info, address(number), masters, imitation, channels);
            agents.push(started.await);
        }
        Self { agents }
    }

    /// Stops them all, as if their machines had lost power.
    pub(crate) async fn stop(self) {
        futures::stream::iter(self.agents)
            .for_each_concurrent(STOPPED_AT_ONCE, |agent| agent.stop(StopMode::KeepTasks))
            .await;
    }
}

/// An address of its own for each agent. Nothing listens there.
fn address(number: u32) -> SocketAddr {
    let [_, high, middle, low] = number.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(127, high + 1, middle, low).into(), 5051)
}

/// What constraints on racks compare.
fn rack(number: u32) -> Attribute {
    Attribute {
        name: "rack".to_owned(),
        r#type: Type::Text.into(),
        text: Some(Text { value: format!("r{}", number % RACKS) }),
        ..Attribute::default()
    }
}
