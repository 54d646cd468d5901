//! Runs the simulator over many seeds: `cargo xtask sim --seeds 200 --agents 20`.

use sim::{Settings, Summary, run};
use std::process::ExitCode;

const USAGE: &str = "\
Runs the cluster simulator over many seeds.

  --seeds N    how many seeds (default 200)
  --first N    the first seed (default 1)
  --seed N     only this one, with every event printed
  --agents N   agents in the cluster (default 20)

Exit code 1 when a law was violated; the seed and the command that repeats it are printed.";

struct Arguments {
    first: u64,
    seeds: u64,
    agents: usize,
    is_traced: bool,
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
        "{} seeds with {} agents: {} events, {} faults, {} launches, {} reigns, {violations} violations",
        arguments.seeds, arguments.agents, total.events, total.faults, total.launches, total.reigns,
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut read = Arguments { first: 1, seeds: 200, agents: 20, is_traced: false };
    while let Some(flag) = given.next() {
        if flag == "--help" || flag == "-h" {
            return Ok(None);
        }
        let (flag, value) = if let Some((flag, value)) = flag.split_once('=') {
            (flag.to_owned(), value.to_owned())
        } else {
            let value = given.next().ok_or_else(|| format!("{flag} wants a number"))?;
            (flag, value)
        };
        let number: u64 = value.parse().map_err(|_| format!("{flag}: {value} is not a number"))?;
        match flag.as_str() {
            "--seeds" => read.seeds = number,
            "--first" => read.first = number,
            "--seed" => (read.first, read.seeds, read.is_traced) = (number, 1, true),
            "--agents" => read.agents = usize::try_from(number).map_err(|_| "too many agents")?,
            _ => return Err(format!("{flag} is not known")),
        }
    }
    Ok(Some(read))
}
