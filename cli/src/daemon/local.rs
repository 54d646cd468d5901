//! `agora local`: a whole cluster in one process.

use super::agent::Machine;
use super::log::LogFlags;
use super::master::Tuning;
use super::{asked_to_end, say, say_bound, write_address};
use anyhow::Context;
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;
use transport::identity::Identity;

/// How the embedded cluster runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Address to listen on
    #[arg(long, env = "AGORA_IP", default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Port of the master; 0 takes a free one
    #[arg(long, env = "AGORA_PORT", default_value_t = 5050)]
    port: u16,
    /// Port of the agent; 0 takes a free one
    #[arg(long, env = "AGORA_AGENT_PORT", default_value_t = 5051)]
    agent_port: u16,
    /// Port of Marathon; 0 takes a free one
    #[arg(long, env = "AGORA_MARATHON_PORT", default_value_t = 8080)]
    marathon_port: u16,
    /// Directory for the state of all of them; kept, so that the next start goes on with it
    #[arg(long, env = "AGORA_WORK_DIR", default_value = "agora-local")]
    work_dir: PathBuf,
    /// Leave tasks running at the end, for the next start to take back
    #[arg(long, env = "AGORA_KEEP_TASKS")]
    keep_tasks: bool,
    #[command(flatten, next_help_heading = "Of the master")]
    tuning: Tuning,
    #[command(flatten, next_help_heading = "Of the agent")]
    machine: Machine,
    #[command(flatten, next_help_heading = "Of Marathon")]
    marathon: super::marathon::Conduct,
    #[command(flatten, next_help_heading = "Of Marathon")]
    marathon_access: super::access::OfMarathon,
    #[command(flatten)]
    tls: crate::tls::DaemonTls,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// Runs the cluster until it is asked to end.
pub(crate) async fn run(flags: Flags) -> anyhow::Result<()> {
    std::fs::create_dir_all(&flags.work_dir)
        .with_context(|| format!("cannot create {}", flags.work_dir.display()))?;
    let work_dir = flags
        .work_dir
        .canonicalize()
        .with_context(|| format!("cannot resolve {}", flags.work_dir.display()))?;
    let texts = super::flag_texts("local");
    let tls = flags.tls.start()?;
    let identity = Identity::default().with_tls(tls.clone());

    let mut options = master::Options {
        ip: flags.ip,
        port: flags.port,
        log_file: flags.log.file("local"),
        work_dir: work_dir.join("master"),
        flags: texts.clone(),
        identity: identity.clone(),
        ..master::Options::default()
    };
    flags.tuning.apply(&mut options)?;
    let mut master = master::start(options).await.context("the master cannot start")?;
    let masters = vec![master.address.to_string()];

    let mut options = agent::Options {
        ip: flags.ip,
        port: flags.agent_port,
        log_file: flags.log.file("local"),
        work_dir: work_dir.join("agent"),
        masters: masters.clone(),
        // Offers name it, and clients connect to it.
        hostname: Some(flags.ip.to_string()),
        flags: texts.clone(),
        identity,
        ..agent::Options::default()
    };
    flags.machine.apply(&mut options)?;
    let agent = agent::start(options).await.context("the agent cannot start")?;

    let mut options = marathon::Options {
        masters,
        http_address: flags.ip,
        http_port: flags.marathon_port,
        hostname: Some(flags.ip.to_string()),
        flags: texts,
        ..marathon::Options::default()
    };
    flags.marathon.apply(&mut options);
    flags.marathon_access.apply(&mut options, tls.as_ref())?;
    let mut marathon = marathon::start(options).await.context("Marathon cannot start")?;

    write_address(&work_dir.join("marathon"), marathon.address)?;
    say_bound("master  ", tls.as_ref(), master.address);
    say_bound("agent   ", tls.as_ref(), agent.address);
    say_bound("marathon", tls.as_ref(), marathon.address);
    say(format_args!("state is kept in {}; end with Ctrl-C", work_dir.display()));
    let ended = tokio::select! {
        asked = asked_to_end() => asked,
        why = master.wait() => Err(anyhow::anyhow!("the master cannot go on: {why}")),
        why = agent.wait() => Err(anyhow::anyhow!("the agent cannot go on: {why}")),
        why = marathon.wait() => Err(anyhow::anyhow!("Marathon cannot go on: {why}")),
    };
    // From the outside in: who gives orders ends before who carries them out.
    marathon.stop().await;
    let mode =
        if flags.keep_tasks { agent::StopMode::KeepTasks } else { agent::StopMode::KillTasks };
    agent.stop(mode).await;
    master.stop().await;
    ended
}
