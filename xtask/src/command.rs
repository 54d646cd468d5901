//! Running other programs from the project's root.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
}

/// The directory that builds go to.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this, to be run in `directory`.
pub(crate) fn cargo_at(directory: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(directory);
    command
}

/// Runs cargo, with its output shown, and fails if it does.
pub(crate) fn cargo(args: &[&str], more: &[String]) -> anyhow::Result<()> {
    let mut command = cargo_at(&root());
    command.args(args).args(more);
    run(command)
}

/// Runs `command` from the root, with its output shown, and fails if it does.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    command.current_dir(root());
    run_here(command)
}

/// Runs `command` where it says, with its output shown, and fails if it does.
pub(crate) fn run_here(mut command: Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status =
        command.status().with_context(|| format!("cannot start {shown}; is it installed?"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
