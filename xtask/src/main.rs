//! Project chores: `cargo xtask ci`, `tidy`, `sim`, `fuzz`, `endure`, `churn`, `vm`, `bench`.

mod ci;
mod command;
mod endure;
mod fuzz;
mod python;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Project chores.
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Project chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold before a change lands: format, lints, docs, tidy, simulation, tests
    Ci,
    /// Check the rules that no lint knows: who depends on whom, limits, banned words, dead paths
    Tidy {
        /// Write the present sizes of files over the limit as the ratchet to hold
        #[arg(long)]
        update_ratchet: bool,
    },
    /// Run the simulator over many seeds (arguments are handed on; see --help of it)
    #[command(disable_help_flag = true)]
    Sim {
        /// Handed to the simulator
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Take masters away under load, as the end-to-end tests do, but with more tasks and for longer
    Endure(endure::Arguments),
    /// Have hundreds of containers come and go on one agent again and again; it may keep nothing of them
    Churn(endure::Churn),
    /// Feed what is read from the network and from flags with made-up input, and check its laws
    Fuzz(fuzz::Arguments),
    /// Run the tests of containers in a virtual machine that has cgroups v2 alone
    Vm(vm::Arguments),
    /// Run the benchmarks in a release build (arguments are handed on; see --help of it)
    #[command(disable_help_flag = true)]
    Bench {
        /// Handed to the benchmarks
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> anyhow::Result<()> {
    match chore {
        Chore::Ci => ci::run(),
        Chore::Tidy { update_ratchet } => tidy::run(update_ratchet),
        Chore::Sim { args } => {
            command::cargo(&["run", "--quiet", "--release", "-p", "sim", "--"], &args)
        }
        Chore::Endure(arguments) => endure::run(&arguments),
        Chore::Churn(arguments) => endure::churn(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Vm(arguments) => vm::run(&arguments),
        Chore::Bench { args } => {
            // The agora binary is measured too, so it must be as new as the benchmarks.
            command::cargo(&["build", "--quiet", "--release", "-p", "cli"], &[])?;
            command::cargo(&["run", "--quiet", "--release", "-p", "bench", "--"], &args)
        }
    }
}
