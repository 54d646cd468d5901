//! Runs the simulator over many seeds: `cargo xtask sim --seeds 200 --agents 20`, and
//! `cargo xtask sim --succession --seeds 500`.

use sim::{Crashes, Settings, Summary, run, succession};
use std::process::ExitCode;

const USAGE: &str = "\
Runs the cluster simulator over many seeds.

  --seeds N    how many seeds (default 200)
  --first N    the first seed (default 1)
  --seed N     only this one, with every event printed
  --agents N   agents in the cluster (default 20)
  --succession instead: one deployment a seed, again and again, in which Marathon's
               leader crashes at each of its steps in turn
  --scenario FILE  instead: tells what happens in a scenario, such as one of sim/scenarios
  --step N     with --succession: only at this step, with every event printed

Exit code 1 when a law was violated; the seed and the command that repeats it are printed.";

struct Arguments {
    first: u64,
    seeds: u64,
    agents: usize,
    is_traced: bool,
    is_succession: bool,
    step: Option<u64>,
    scenario: Option<String>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &arguments.scenario {
        return tell(path);
    }
    if arguments.is_succession { all_successions(&arguments) } else { all_runs(&arguments) }
}

/// Tells a scenario.
fn tell(path: &str) -> ExitCode {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    match text.and_then(|text| sim::scenario::play(&text).map_err(|wrong| wrong.to_string())) {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("{path}, {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Plays deployments in which the leader crashes at each step.
fn all_successions(arguments: &Arguments) -> ExitCode {
    let Arguments { first, seeds, agents, .. } = *arguments;
    let mut total = Crashes::default();
    let mut violations = 0_u32;
    for seed in first..first + seeds {
        match succession(seed, agents, arguments.step) {
            Ok(one) => {
                total.crashes += one.crashes;
                total.slowest = total.slowest.max(one.slowest);
            }
            Err(violation) => {
                violations += 1;
                eprintln!("seed {seed}, after {:?}: {}", violation.at, violation.what);
                eprintln!(
                    "  again, with every event: cargo xtask sim --succession --seed {seed} \
                     --agents {agents} --step …"
                );
            }
        }
    }
    println!(
        "{seeds} seeds with {agents} agents: {} crashes of the leader, the next one served at most \
         {:.3} s after the lease's end, {violations} violations",
        total.crashes,
        total.slowest.as_secs_f64(),
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all_runs(arguments: &Arguments) -> ExitCode {
    let mut total = Summary::default();
    let mut violations = 0_u32;
    for seed in arguments.first..arguments.first + arguments.seeds {
        let mut settings = Settings::new(seed, arguments.agents);
        settings.is_traced = arguments.is_traced;
        match run(&settings) {
            Ok(summary) => {
                total.events += summary.events;
                total.faults += summary.faults;
                total.launches += summary.launches;
                total.operations += summary.operations;
                total.decisions += summary.decisions;
                total.reigns += summary.reigns;
            }
            Err(violation) => {
                violations += 1;
                eprintln!("seed {seed}, after {:?}: {}", violation.at, violation.what);
                let agents = arguments.agents;
                eprintln!(
                    "  again, with every event: cargo xtask sim --seed {seed} --agents {agents}"
                );
            }
        }
    }
    println!(
        "{} seeds with {} agents: {} events, {} faults, {} launches, {} operations, {} decisions, {} reigns, \
         {violations} violations",
        arguments.seeds,
        arguments.agents,
        total.events,
        total.faults,
        total.launches,
        total.operations,
        total.decisions,
        total.reigns,
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut read = Arguments {
        first: 1,
        seeds: 200,
        agents: 20,
        is_traced: false,
        is_succession: false,
        step: None,
        scenario: None,
    };
    while let Some(flag) = given.next() {
        if flag == "--help" || flag == "-h" {
            return Ok(None);
        }
        if flag == "--succession" {
            read.is_succession = true;
            continue;
        }
        let (flag, value) = if let Some((flag, value)) = flag.split_once('=') {
            (flag.to_owned(), value.to_owned())
        } else {
            let value = given.next().ok_or_else(|| format!("{flag} wants a number"))?;
            (flag, value)
        };
        if flag == "--scenario" {
            read.scenario = Some(value);
            continue;
        }
        let number: u64 = value.parse().map_err(|_| format!("{flag}: {value} is not a number"))?;
        match flag.as_str() {
            "--seeds" => read.seeds = number,
            "--first" => read.first = number,
            "--seed" => (read.first, read.seeds, read.is_traced) = (number, 1, true),
            "--step" => read.step = Some(number),
            "--agents" => read.agents = usize::try_from(number).map_err(|_| "too many agents")?,
            _ => return Err(format!("{flag} is not known")),
        }
    }
    Ok(Some(read))
}
