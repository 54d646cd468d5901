//! `cargo xtask endure` and `cargo xtask churn`: end-to-end tests with more tasks, and for longer, than
//! there is time for in every run.
//!
//! The first takes masters away under load; the second has containers come and go on one agent.

use crate::command::root;
use anyhow::Context;
use std::process::Command;

/// How much, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Tasks that run at the same time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=300))]
    tasks: u32,
    /// Leaders that are killed, one every five seconds
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
}

/// How many containers, and how often.
#[derive(clap::Args)]
pub(crate) struct Churn {
    /// Containers that are up at the same time
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=2000))]
    containers: u32,
    /// How often they all come and go
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    rounds: u32,
}

/// Takes masters away.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = tests("test(/^rolling::/)", &[]);
    command
        .env("AGORA_TEST_TASKS", arguments.tasks.to_string())
        .env("AGORA_TEST_LEADER_KILLS", arguments.kills.to_string());
    crate::command::run(command).context("a test failed")
}

/// Has containers come and go, of a release build, since memory is looked at.
pub(crate) fn churn(arguments: &Churn) -> anyhow::Result<()> {
    let mut command = tests("test(/^churn::/)", &["--release"]);
    command
        .env("AGORA_TEST_CONTAINERS", arguments.containers.to_string())
        .env("AGORA_TEST_ROUNDS", arguments.rounds.to_string());
    crate::command::run(command).context("the test failed")
}

/// These end-to-end tests, with time to take.
fn tests(which: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["nextest", "run", "--locked", "--profile", "endure", "-p", "cli", "--no-capture"])
        .args(flags)
        .args(["-E", which])
        .current_dir(root());
    command
}
