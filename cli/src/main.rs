//! The `agora` binary: the daemons, and what operators type.

// `println!` panics when nobody reads on: `say` knows better.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod daemon;
#[cfg(test)]
mod flags_page;
mod say;
mod spelling;
mod tls;

use clap::{Parser, Subcommand};
use client::{Cluster, ClusterArgs, Failure};
use say::complain;
use std::process::{ExitCode, Termination};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Share the machines of a cluster between many users of it
///
/// Start with `agora local`: a whole cluster in one process. Flags may be written with _ or - between
/// words, and each can be given by environment, as its help says. Durations are written like 15secs,
/// 10mins or 1.5hrs; sizes like 64MB.
///
/// Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers, 4 not found,
/// 141 nobody reads what it prints.
#[derive(Parser)]
#[command(name = "agora", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a whole cluster in one process: master, agent and Marathon
    Local(Box<daemon::local::Flags>),
    /// Run a master: offers the resources of agents to frameworks
    Master(Box<daemon::master::Flags>),
    /// Run an agent: runs tasks on this machine
    ///
    /// Ctrl-C and SIGTERM end the agent and not its tasks, which the next one takes back. SIGUSR1 has it end its tasks,
    /// leave the cluster and end.
    Agent(Box<daemon::agent::Flags>),
    /// Run Marathon: keeps apps running
    Marathon(Box<daemon::marathon::Flags>),
    /// Create, list, explain, scale, restart, rebalance and delete apps
    App {
        #[command(subcommand)]
        command: client::app::AppCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List, show, change and delete groups of apps
    Group {
        #[command(subcommand)]
        command: client::group::GroupCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Create, list, show, scale and delete pods: containers that run together
    Pod {
        #[command(subcommand)]
        command: client::pod::PodCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Keep, list and forget secrets of apps and pods
    Secret {
        #[command(subcommand)]
        command: client::secret::SecretCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Follow, hold and take back deployments
    Deployment {
        #[command(subcommand)]
        command: client::deployment::DeploymentCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List and kill tasks, read their logs, and look into them
    Task {
        #[command(subcommand)]
        command: client::task::TaskCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List the machines of the cluster, take them out of service and put them back
    Node {
        #[command(subcommand)]
        command: client::node::NodeCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Keep resources of an agent for a role
    ///
    /// They are then offered only to frameworks in that role and those below it. Taken is what nobody
    /// uses: offers in the way are taken back. A reservation outlives restarts of agent and masters.
    Reserve {
        #[command(flatten)]
        wanted: client::reservation::ReserveArgs,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Give reserved resources of an agent back to everybody
    Unreserve {
        #[command(flatten)]
        wanted: client::reservation::UnreserveArgs,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List, create, destroy and resize volumes that outlive their tasks
    Volume {
        #[command(subcommand)]
        command: client::volume::VolumeCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// List frameworks, and tell why one has no offers
    Framework {
        #[command(subcommand)]
        command: client::framework::FrameworkCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Look after the masters: list, add and remove them, choose the leader
    Operator {
        #[command(subcommand)]
        command: client::operator::OperatorCommand,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show the cluster at a glance
    Status {
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

fn main() -> ExitCode {
    // Agents start this binary again, to have containers launched. That is no verb for people and must
    // start quickly: it is told apart before anything else is set up.
    if let Some(code) = daemon::inner::run_if_asked() {
        return code;
    }
    // TLS needs to be told whose cryptography to use, once in a process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse_from(spelling::normalise(std::env::args_os()));
    match cli.verb {
        Verb::Local(flags) => daemon::run("local", &flags.log.clone(), daemon::local::run(*flags)),
        Verb::Master(flags) => {
            daemon::run("master", &flags.log.clone(), daemon::master::run(*flags))
        }
        Verb::Agent(flags) => daemon::run("agent", &flags.log.clone(), daemon::agent::run(*flags)),
        Verb::Marathon(flags) => {
            daemon::run("marathon", &flags.log.clone(), daemon::marathon::run(*flags))
        }
        Verb::App { command, cluster } => {
            ask(&cluster, async |cluster| client::app::run(command, cluster).await)
        }
        Verb::Group { command, cluster } => {
            ask(&cluster, async |cluster| client::group::run(command, cluster).await)
        }
        Verb::Pod { command, cluster } => {
            ask(&cluster, async |cluster| client::pod::run(command, cluster).await)
        }
        Verb::Secret { command, cluster } => {
            ask(&cluster, async |cluster| client::secret::run(command, cluster).await)
        }
        Verb::Deployment { command, cluster } => {
            ask(&cluster, async |cluster| client::deployment::run(command, cluster).await)
        }
        Verb::Task { command, cluster } => {
            ask(&cluster, async |cluster| client::task::run(command, cluster).await)
        }
        Verb::Node { command, cluster } => {
            ask(&cluster, async |cluster| client::node::run(command, cluster).await)
        }
        Verb::Reserve { wanted, cluster } => {
            ask(&cluster, async |cluster| client::reservation::reserve(&wanted, cluster).await)
        }
        Verb::Unreserve { wanted, cluster } => {
            ask(&cluster, async |cluster| client::reservation::unreserve(&wanted, cluster).await)
        }
        Verb::Volume { command, cluster } => {
            ask(&cluster, async |cluster| client::volume::run(command, cluster).await)
        }
        Verb::Framework { command, cluster } => {
            ask(&cluster, async |cluster| client::framework::run(command, cluster).await)
        }
        Verb::Operator { command, cluster } => {
            ask(&cluster, async |cluster| client::operator::run(command, cluster).await)
        }
        Verb::Status { cluster } => {
            ask(&cluster, async |cluster| client::status::run(cluster).await)
        }
    }
}

/// Carries out a verb against a cluster.
fn ask<T: Termination>(
    args: &ClusterArgs,
    verb: impl AsyncFnOnce(&Cluster) -> Result<T, Failure>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async { verb(&Cluster::new(args)?).await });
    match done {
        Ok(done) => done.report(),
        Err(failure) => {
            complain!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
