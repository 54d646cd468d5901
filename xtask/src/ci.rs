//! `cargo xtask ci`: one command that says whether a change may land.

use crate::command::{cargo, root};
use crate::{python, tidy};
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many of the slowest tests are listed, so that the budget is part of every review.
const SLOWEST_SHOWN: usize = 10;

/// Runs all checks, the quick ones first; the tests come last.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut times = Vec::new();
    step(&mut times, "format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step(&mut times, "tidy", || tidy::run(false))?;
    step(&mut times, "lints", || {
        let args = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
        cargo(&args, &["--".into(), "-D".into(), "warnings".into()])
    })?;
    step(&mut times, "docs", docs)?;
    step(&mut times, "doc tests", || {
        cargo(&["test", "--workspace", "--doc", "--locked", "-q"], &[])
    })?;
    step(&mut times, "simulation", || {
        let args = ["run", "--quiet", "--release", "--locked", "-p", "sim", "--"];
        cargo(&args, &["--seeds".into(), "200".into(), "--agents".into(), "20".into()])
    })?;
    let mut interpreter = None;
    step(&mut times, "test python", || {
        interpreter = Some(python::prepare()?);
        Ok(())
    })?;
    for (name, took) in &times {
        println!("{name:<12} {:>6.1} s", took.as_secs_f64());
    }
    tests(&interpreter.context("prepared above")?)
}

fn step(
    times: &mut Vec<(&'static str, Duration)>,
    name: &'static str,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    println!("== {name}");
    let start = Instant::now();
    work().with_context(|| format!("{name} failed"))?;
    times.push((name, start.elapsed()));
    Ok(())
}

fn docs() -> anyhow::Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
            "--quiet",
        ])
        .env("RUSTDOCFLAGS", "-D warnings");
    crate::command::run(command)
}

/// Runs all tests; its own closing lines are the last thing printed.
fn tests(python: &Path) -> anyhow::Result<()> {
    println!("== tests");
    let mut runner = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["nextest", "run", "--workspace", "--locked", "--profile", "ci"])
        .env("AGORA_TEST_PYTHON", python)
        .current_dir(root())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo nextest; install it with 'cargo install cargo-nextest'")?;
    let lines = BufReader::new(runner.stderr.take().context("piped above")?).lines();
    let mut slowest = BTreeSet::new();
    for line in lines {
        let line = line.context("cannot read what the test runner prints")?;
        if let Some(timed) = timed(&line) {
            slowest.insert(timed);
            if slowest.len() > SLOWEST_SHOWN {
                slowest.pop_first();
            }
        }
        if line.trim_start().starts_with("Summary [") {
            println!("slowest tests:");
            for (millis, name) in slowest.iter().rev() {
                println!("{:>8}.{:03} s  {name}", millis / 1_000, millis % 1_000);
            }
        }
        println!("{line}");
    }
    let status = runner.wait().context("cannot wait for the test runner")?;
    if !status.success() {
        bail!("tests failed: {status}");
    }
    Ok(())
}

/// Reads `PASS [   0.123s] (1/2) crate test`: milliseconds and the test.
fn timed(line: &str) -> Option<(u64, String)> {
    let rest = line.trim_start().strip_prefix("PASS [")?;
    let (time, name) = rest.split_once("s]")?;
    let (secs, millis) = time.trim().split_once('.')?;
    let millis = secs.parse::<u64>().ok()? * 1_000 + millis.parse::<u64>().ok()?;
    Some((millis, name.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::timed;

    #[test]
    fn the_runners_lines_are_read() {
        let line = "        PASS [   1.023s] (2/17) model ids::tests::good";
        assert_eq!(timed(line), Some((1_023, "(2/17) model ids::tests::good".to_owned())));
        assert_eq!(timed("     Summary [   2.1s] 3 tests run"), None);
    }
}
