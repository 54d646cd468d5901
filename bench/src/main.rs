//! Benchmarks: what the system costs, measured over real sockets and on real processes; and what
//! its allocator costs alone.
//!
//! Each measure is one file. All of them print medians with minimum and maximum, and the command
//! that repeats them.

mod allocator_stories;
mod allocator_workloads;
mod apps;
mod failover;
mod idle;
mod large_cluster;
mod launch_floor;
mod load;
mod process;
mod reads;
mod real_launches;
mod registration;
mod report;
mod simulated_agents;
mod wire_launches;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use framework_sdk::Protocol;
use report::Report;

// What is measured here runs in the product under this allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure what Agora costs
///
/// Builds nothing: run it by `cargo xtask bench`, which builds the release binaries first. Real
/// containers are started, for which it must be root.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    measures: Vec<Measure>,
    /// How often each measure is taken
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Simulated agents [default: 1,000 for wire-launches, 500 for apps, 10,000 for
    /// others]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    agents: Option<u32>,
    /// Tasks over simulated agents in each run [default: 50,000 for wire-launches, 100,000 for others]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    tasks: Option<u32>,
    /// How the framework talks to the master
    #[arg(long, value_enum, default_value_t = Spoken::Grpc)]
    protocol: Spoken,
    #[command(flatten)]
    floor: launch_floor::Order,
    /// Only read the state of this master, again and again: what `reads` starts
    #[arg(long, hide = true)]
    read_from: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// How a framework talks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Spoken {
    /// JSON over HTTP
    Json,
    /// Protobuf over HTTP
    Protobuf,
    /// Both directions on one gRPC stream
    Grpc,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Measure {
    /// From ACCEPT to TASK_RUNNING of real tasks on one agent, one after the other and 500 in one go,
    /// beside the least that such launches can cost here
    RealLaunches,
    /// Offers and launches per second over simulated agents
    WireLaunches,
    /// Until all simulated agents have registered with three masters
    Registration,
    /// Reads of the whole state, and launches beside them
    Reads,
    /// The leading of three masters killed: until offers come, until all is back
    Failover,
    /// Marathon with many apps and many instances: until they run, reads, scale changes
    Apps,
    /// Memory of an idle master, agent and executor
    Idle,
    /// What a pass of the allocator costs, in this process and in virtual time
    Allocator,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report::new(arguments.json);
    match run(&arguments, &mut report) {
        Ok(()) => {
            report.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            report.print();
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    if let Some(pattern) = arguments.floor.pattern() {
        return arguments.floor.obey(pattern);
    }
    transport::install_tls_provider();
    let wanted = |measure| arguments.measures.is_empty() || arguments.measures.contains(&measure);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(master) = &arguments.read_from {
        return runtime.block_on(reads::read_for_ever(master));
    }
    let runs = arguments.runs;
    if wanted(Measure::Allocator) {
        allocator_workloads::measure(runs, report)?;
        allocator_stories::measure(runs, report)?;
    }
    if wanted(Measure::Idle) {
        runtime.block_on(idle::measure(runs, report))?;
    }
    if wanted(Measure::RealLaunches) {
        runtime.block_on(real_launches::measure(runs, report))?;
    }
    if wanted(Measure::WireLaunches) {
        let protocol = match arguments.protocol {
            Spoken::Json => Protocol::HttpJson,
            Spoken::Protobuf => Protocol::HttpProtobuf,
            Spoken::Grpc => Protocol::Grpc,
        };
        let (agents, tasks) =
            (arguments.agents.unwrap_or(1_000), arguments.tasks.unwrap_or(50_000));
        let size = wire_launches::Size { agents, tasks, protocol };
        runtime.block_on(wire_launches::measure(size, runs, report))?;
    }
    if wanted(Measure::Apps) {
        let size = apps::Size {
            agents: arguments.agents.unwrap_or(500),
            instances: 10_000,
            apps: 1_000,
            stored: 10_000,
        };
        runtime.block_on(apps::measure(size, runs, report))?;
    }
    let (agents, tasks) = (arguments.agents.unwrap_or(10_000), arguments.tasks.unwrap_or(100_000));
    let large = large_cluster::Size { agents, tasks };
    if wanted(Measure::Registration) {
        runtime.block_on(registration::measure(agents, runs, report))?;
    }
    if wanted(Measure::Reads) {
        runtime.block_on(reads::measure(large, runs, report))?;
    }
    if wanted(Measure::Failover) {
        runtime.block_on(failover::measure(large, runs, report))?;
    }
    Ok(())
}
