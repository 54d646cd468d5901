//! `cargo xtask vm`: the tests of containers on a machine that has cgroups v2 alone, which is a
//! virtual one.
//!
//! It sees this machine's files, so that nothing need be installed or copied into it, and can change
//! none of them: what it writes goes to a disk of its own. It has no network but its loopback.

mod kernel;
mod machine;

use crate::command::{cargo_at, root, target};
use anyhow::{Context, bail, ensure};
use kernel::Kernel;
use machine::Machine;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The tests that make containers, and all others of the agent.
const TESTS: &str = "package(agent)";

/// Programs that are needed, and the Debian packages that have them. The tests need more, see
/// CONTRIBUTING.md.
const PROGRAMS: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("dpkg-deb", "dpkg"),
    ("apt-get", "apt"),
    ("cargo-nextest", "'cargo install --locked cargo-nextest'"),
];

/// How much slower a machine is whose processor is emulated, about.
const EMULATED_SLOWER: u32 = 4;

/// Which tests, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which tests to run, in the test runner's language; else those that make containers
    #[arg(long, short = 'E', default_value = TESTS)]
    filter: String,
    /// What to build tests of
    #[arg(long = "package", short, default_values = ["agent", "cli"])]
    packages: Vec<String>,
    /// How long all of it may take, in seconds; four times as long where the processor is emulated
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// The machine's memory, in MiB
    #[arg(long, default_value_t = 3_072, value_parser = clap::value_parser!(u32).range(512..=1_048_576))]
    memory: u32,
    /// Run a command of the shell instead of tests, as root, to look around
    #[arg(long, conflicts_with_all = ["filter", "packages"])]
    command: Option<String>,
}

/// Builds the tests, starts the machine and runs them in it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    look_for_programs()?;
    let home = target().join("vm");
    fs::create_dir_all(&home).context("cannot make a directory for the virtual machine")?;
    let kernel = Kernel::prepare(&home)?;
    let task = match &arguments.command {
        Some(command) => command.clone(),
        None => tests(&home, &arguments.packages, &arguments.filter)?,
    };
    let is_emulated = !machine::probe(&kernel, &home, arguments.memory)?;
    let slower = if is_emulated { EMULATED_SLOWER } else { 1 };
    if is_emulated {
        println!("this machine cannot run virtual ones by its processor: it is emulated, slowly");
    }
    let within = Duration::from_secs(arguments.seconds.into()) * slower;
    let memory_mib = arguments.memory;
    let machine = Machine { home: &home, kernel: &kernel, is_emulated, memory_mib };
    match machine.run(&task, within)? {
        0 => Ok(()),
        status => bail!("in the virtual machine it ended with {status}"),
    }
}

fn look_for_programs() -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into()]);
    let is_missing = |name: &str| !places.iter().any(|place| place.join(name).is_file());
    let missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(name, _)| is_missing(name))
        .map(|(name, package)| format!("{name} (of {package})"))
        .collect();
    ensure!(
        missing.is_empty(),
        "needed, but not here: {}; 'apt-get install --no-install-recommends PACKAGE' installs them",
        missing.join(", ")
    );
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the virtual machine runs this machine's programs, and is an x86_64 one"
    );
    Ok(())
}

/// Builds the tests; returns the command that runs those that are chosen.
fn tests(home: &Path, packages: &[String], filter: &str) -> anyhow::Result<String> {
    println!("== building the tests");
    let binaries = home.join("binaries.json");
    let mut list = cargo_at(&root());
    list.args(["nextest", "list", "--list-type", "binaries-only", "--message-format", "json"]);
    list.arg("--locked").args(packages.iter().flat_map(|name| ["-p", name]));
    let metadata = home.join("metadata.json");
    let mut describe = cargo_at(&root());
    describe.args(["metadata", "--format-version", "1", "--locked"]);
    describe.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    for (command, file) in [(&mut list, &binaries), (&mut describe, &metadata)] {
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "cargo: {}", output.status);
        fs::write(file, output.stdout).context("cannot write down what was built")?;
    }
    let quote = |path: &Path| format!("'{}'", path.display());
    Ok(format!(
        "cd {root} && NEXTEST_HIDE_PROGRESS_BAR=1 cargo-nextest nextest run --binaries-metadata {binaries} \
         --cargo-metadata {metadata} --profile vm --color never -E '{filter}'",
        root = quote(&root()),
        binaries = quote(&binaries),
        metadata = quote(&metadata),
        filter = filter.replace('\'', "'\\''"),
    ))
}
