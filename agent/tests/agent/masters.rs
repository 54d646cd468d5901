//! How agents find a master when the one they had is gone.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use agent::{Channels, Imitation, StopMode};
use model::link::{FromAgent, ToAgent};
use model::search::Masters;
use proto::mesos::v1 as mesos;

use crate::master::Master;
use crate::{Site, resources};

/// Says where masters are, and waits until the agent has taken it in.
async fn tell(master: &mut Master, masters: &Masters) {
    master.say(&ToAgent::Masters(masters.clone()));
    master.say(&ToAgent::Ping { connected: true });
    while master.hear().await != FromAgent::Pong {}
}

#[tokio::test]
async fn an_agent_finds_a_master_that_its_flags_do_not_name_also_after_a_restart() {
    let mut site = Site::new().await;
    let mut other = Master::start().await;
    let (gone, there) = (site.master.address.to_string(), other.address.to_string());
    let told = Masters { addresses: vec![there.into()], spread: Duration::ZERO };
    tell(&mut site.master, &told).await;
    site.master.leave();
    other.reregister().await;
    site.master = other;
    let mut site = site.restarted_with(|options| options.masters = vec![gone]).await;
    site.master.reregister().await;
    site.end().await;
}

#[tokio::test]
async fn agents_that_lose_their_master_come_back_over_the_time_they_were_told() {
    const AGENTS: u16 = 16;
    const SPREAD: Duration = Duration::from_secs(3);
    let mut master = Master::start().await;
    let told = Masters { addresses: vec![master.address.to_string().into()], spread: SPREAD };
    let info = mesos::AgentInfo {
        hostname: "here".to_owned(),
        resources: resources(4.0, 4_096.0),
        ..mesos::AgentInfo::default()
    };
    let channels = Channels::default();
    let (mut agents, mut links) = (Vec::new(), Vec::new());
    for port in 1..=AGENTS {
        let address = (Ipv4Addr::new(127, 0, 0, 2), port).into();
        let masters = vec![master.address.to_string()];
        let imitation = Imitation::default();
        let (info, channels) = (info.clone(), channels.clone());
        agents.push(agent::start_simulated(info, address, masters, imitation, channels).await);
        master.register().await;
        tell(&mut master, &told).await;
        links.extend(master.take_link());
    }
    let lost = Instant::now();
    drop(links);
    let (mut returns, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..AGENTS {
        master.linked().await;
        returns.push(lost.elapsed());
        kept.extend(master.take_link());
    }
    let (earliest, latest) = (returns[0], returns[returns.len() - 1]);
    // That so many draw times within a quarter of it happens once in a hundred million runs.
    assert!(latest.saturating_sub(earliest) > SPREAD / 4, "{returns:?}");
    for agent in agents {
        agent.stop(StopMode::KeepTasks).await;
    }
}
