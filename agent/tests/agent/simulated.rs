//! Agents without a machine, as benchmarks use them.

use std::net::Ipv4Addr;
use std::time::Duration;

use agent::{Channels, Imitation, StopMode};
use model::link::FromAgent;
use model::task::TaskState;
use proto::mesos::v1 as mesos;
use tokio::sync::mpsc;

use crate::master::{AGENT, Master};
use crate::{command_task, resources};

#[tokio::test]
async fn an_imitated_agent_runs_and_kills_imitated_tasks() {
    let mut master = Master::start().await;
    let info = mesos::AgentInfo {
        hostname: "here".to_owned(),
        resources: resources(4.0, 4_096.0),
        ..mesos::AgentInfo::default()
    };
    let imitation = Imitation { runs_for: Some(Duration::ZERO), ..Imitation::default() };
    let masters = vec![master.address.to_string()];
    let channels = Channels::default();
    let address = (Ipv4Addr::new(127, 0, 0, 2), 5051).into();
    let quick =
        agent::start_simulated(info.clone(), address, masters.clone(), imitation, channels.clone())
            .await;
    master.register().await;
    master.launch(command_task(AGENT, "t1", "true"));
    assert_eq!(master.status().await.state, TaskState::Running);
    assert_eq!(master.status().await.state, TaskState::Finished);
    quick.stop(StopMode::KillTasks).await;
    assert_eq!(master.hear().await, FromAgent::Unregister);

    let (tells, mut told) = mpsc::unbounded_channel();
    let imitation = Imitation { tells: Some(tells), ..Imitation::default() };
    let patient = agent::start_simulated(info, address, masters, imitation, channels).await;
    master.register().await;
    master.launch(command_task(AGENT, "t2", "true"));
    assert_eq!(master.status().await.state, TaskState::Running);
    assert!(told.recv().await.is_some_and(|(task, _)| task.as_str() == "t2"));
    master.kill("t2");
    assert_eq!(master.status().await.state, TaskState::Killed);
    patient.stop(StopMode::KeepTasks).await;
}
