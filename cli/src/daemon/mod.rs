//! Running the daemons: flags, logs, signals, and a clean end.

pub(crate) mod access;
pub(crate) mod agent;
pub(crate) mod given;
pub(crate) mod images;
pub(crate) mod inner;
pub(crate) mod local;
pub(crate) mod log;
pub(crate) mod marathon;
pub(crate) mod master;
mod memory;

use crate::say::complain;
use anyhow::Context;
use log::LogFlags;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use transport::tls::Tls;

/// Runs the daemon of that name until it is asked to end, or cannot go on.
pub(crate) fn run(
    name: &str,
    flags: &LogFlags,
    daemon: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    if let Err(error) = log::start(flags, name) {
        complain!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    if memory::EITHER.contains(&name) {
        runtime.spawn(memory::become_large());
    }
    let ended = runtime.block_on(daemon);
    // What still runs in the background has been told to end; it gets no say in when.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Completes when the process is asked to end: Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_end() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Prints where a daemon is reached, one line on stdout.
pub(crate) fn say_bound(role: &str, tls: Option<&Tls>, address: SocketAddr) {
    let scheme = if tls.is_some() { "https" } else { "http" };
    say(format_args!("{role} {scheme}://{address}"));
}

/// Prints a line on stdout. Whoever started us may not listen; that is no reason to end.
fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Reads the list form of addresses, `host:port,host:port`.
pub(crate) fn addresses(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(ToOwned::to_owned).collect()
}

/// Writes where a daemon is reached to `<dir>/address`, whole or not at all.
pub(crate) fn write_address(dir: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let write = || {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("address.new"), format!("{address}\n"))?;
        std::fs::rename(dir.join("address.new"), dir.join("address"))
    };
    write().with_context(|| format!("cannot write the address to {}", dir.display()))
}

/// A flag's value as others may see it: one that can be a secret itself is not told then.
fn shown(name: &str, value: String) -> String {
    if name == "docker_config" && value.trim_start().starts_with('{') {
        return "(not shown)".to_owned();
    }
    value
}

/// Flags whose value itself is a secret, by daemon. All others name files at most.
const SECRET: [(&str, &str); 2] = [("marathon", "http_credentials"), ("local", "http_credentials")];

/// Every flag with its value as text, for the `/flags` endpoints. Names with `_`, as Mesos has them.
pub(crate) fn flag_texts(command: &str) -> std::collections::BTreeMap<String, String> {
    use clap::CommandFactory;
    let args = crate::spelling::normalise(std::env::args_os());
    let definition = crate::Cli::command();
    let Ok(matches) = definition.clone().try_get_matches_from(args) else {
        return std::collections::BTreeMap::new();
    };
    let (Some(given), Some(definition)) =
        (matches.subcommand_matches(command), definition.find_subcommand(command))
    else {
        return std::collections::BTreeMap::new();
    };
    let text = |id: &clap::Id| {
        if SECRET.contains(&(command, id.as_str())) && given.contains_id(id.as_str()) {
            return Some("<hidden>".to_owned());
        }
        let values = given.get_raw(id.as_str())?;
        Some(values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","))
    };
    definition
        .get_arguments()
        .filter_map(|argument| {
            let name = argument.get_long()?.replace('-', "_");
            let value = shown(&name, text(argument.get_id())?);
            Some((name, value))
        })
        .collect()
}
