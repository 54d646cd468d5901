//! `agora node`: the machines of the cluster, that is its agents.

use super::show::{amount, items, number, print, print_json, table, text};
use super::{Cluster, Failure};
use clap::Subcommand;

/// What can be done with agents.
#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// List the agents, with what they have and what of it is used
    List,
}

/// Carries out `command`.
pub(crate) async fn run(command: NodeCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        NodeCommand::List => list(cluster).await,
    }
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.master("/slaves").await?;
    if cluster.json {
        print_json(&answer);
        return Ok(());
    }
    let mut table = table(["ID", "HOST", "ADDRESS", "STATE", "CPUS", "MEM", "DISK"]);
    for agent in items(&answer, "/slaves") {
        let part = |kind: &str| {
            format!(
                "{}/{}",
                amount(number(agent, &format!("/used_resources/{kind}"))),
                amount(number(agent, &format!("/resources/{kind}"))),
            )
        };
        table.add_row([
            text(agent, "/id"),
            text(agent, "/hostname"),
            text(agent, "/pid").rsplit('@').next().unwrap_or_default().to_owned(),
            (if agent["active"].as_bool().unwrap_or(false) { "active" } else { "inactive" })
                .to_owned(),
            part("cpus"),
            part("mem"),
            part("disk"),
        ]);
    }
    for agent in items(&answer, "/recovered_slaves") {
        let dash = || "-".to_owned();
        table.add_row([
            text(agent, "/id"),
            text(agent, "/hostname"),
            dash(),
            "recovered".to_owned(),
            dash(),
            dash(),
            dash(),
        ]);
    }
    print(&table);
    Ok(())
}
