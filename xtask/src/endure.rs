//! `cargo xtask endure`: the end-to-end tests that take masters away under load, with more tasks and
//! for longer than there is time for in every run.

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

/// Runs them.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["nextest", "run", "--locked", "--profile", "endure", "-p", "cli", "--no-capture"])
        .args(["-E", "test(/^rolling::/)"])
        .env("AGORA_TEST_TASKS", arguments.tasks.to_string())
        .env("AGORA_TEST_LEADER_KILLS", arguments.kills.to_string())
        .current_dir(root());
    crate::command::run(command).context("a test failed")
}
