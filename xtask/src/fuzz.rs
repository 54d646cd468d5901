//! `cargo xtask fuzz`: feeds what is read from the network and from flags with anything.

use crate::command::{cargo_at, root};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest input that is made up, in bytes: longer ones find the same and take longer.
const INPUT_BYTES_MAX: u32 = 1_024;

/// What to fuzz and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The targets, see `fuzz/targets`; all of them if none is named
    targets: Vec<String>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Replace the committed corpus by the smallest set of what is known now that reaches as much
    #[arg(long)]
    keep: bool,
}

/// Runs the targets one after the other, each from the committed corpus and what earlier runs found.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let fuzz = root().join("fuzz");
    let known = targets(&fuzz)?;
    for target in &arguments.targets {
        ensure!(known.contains(target), "there is no target {target}, only {}", known.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    build(&fuzz)?;
    for target in chosen {
        let (corpus, found) = (fuzz.join("corpus").join(target), fuzz.join("found").join(target));
        std::fs::create_dir_all(&found).context("cannot make a directory for what is found")?;
        std::fs::create_dir_all(fuzz.join("artifacts")).context("cannot make a directory")?;
        println!("== {target}: {} s", arguments.seconds);
        let mut command = Command::new(binary(&fuzz, target));
        command
            .arg(format!("-max_total_time={}", arguments.seconds))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-artifact_prefix={}/artifacts/{target}-", fuzz.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .args([&found, &corpus]);
        crate::command::run(command).with_context(|| {
            format!("{target} has a finding; it lies in fuzz/artifacts: mend it with a test first")
        })?;
        if arguments.keep {
            keep(&fuzz, target, &corpus, &found)?;
        }
    }
    Ok(())
}

/// The targets there are, in order of name.
fn targets(fuzz: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(fuzz.join("targets")).context("cannot list fuzz/targets")? {
        let path = file.context("cannot list fuzz/targets")?.path();
        found.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    found.sort();
    Ok(found)
}

/// Builds all targets with the address sanitizer, for which the pinned compiler is told to take the
/// options of its unstable sibling.
fn build(fuzz: &Path) -> anyhow::Result<()> {
    let mut command = cargo_at(fuzz);
    command.args(["fuzz", "build", "--release", "--fuzz-dir", "."]);
    command.env("RUSTC_BOOTSTRAP", "1");
    let hint = "cannot build; 'cargo install --locked cargo-fuzz' installs what is needed";
    crate::command::run_here(command).context(hint)
}

fn binary(fuzz: &Path, target: &str) -> PathBuf {
    fuzz.join("target")
        .join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .join("release")
        .join(target)
}

/// Writes the corpus anew: of all inputs that are known, a smallest set that reaches as much code.
fn keep(fuzz: &Path, target: &str, corpus: &Path, found: &Path) -> anyhow::Result<()> {
    let before = fuzz.join("found").join(format!("{target}.before"));
    std::fs::rename(corpus, &before).context("cannot move the corpus")?;
    std::fs::create_dir(corpus).context("cannot make the corpus")?;
    let mut command = Command::new(binary(fuzz, target));
    command.args(["-merge=1", "-verbosity=0", &format!("-max_len={INPUT_BYTES_MAX}")]);
    command.args([corpus, before.as_path(), found]);
    crate::command::run(command)?;
    std::fs::remove_dir_all(&before).context("cannot remove the corpus of before")
}
