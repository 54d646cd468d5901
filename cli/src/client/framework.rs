//! `agora framework`: who takes offers.

use super::show::{amount, items, number, print, print_json, table, text};
use super::{Cluster, Failure};
use clap::Subcommand;

/// What can be done with frameworks.
#[derive(Subcommand, Debug)]
pub(crate) enum FrameworkCommand {
    /// List the frameworks that are subscribed or may come back
    List,
}

/// Carries out `command`.
pub(crate) async fn run(command: FrameworkCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        FrameworkCommand::List => list(cluster).await,
    }
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.master("/frameworks").await?;
    if cluster.json {
        print_json(&answer["frameworks"]);
        return Ok(());
    }
    let mut table = table(["ID", "NAME", "STATE", "ROLES", "TASKS", "CPUS", "MEM"]);
    for one in items(&answer, "/frameworks") {
        let mut roles: Vec<_> =
            items(one, "/roles").iter().filter_map(|role| role.as_str()).collect();
        roles.extend(one["role"].as_str());
        table.add_row([
            text(one, "/id"),
            text(one, "/name"),
            state(one).to_owned(),
            roles.join(","),
            items(one, "/tasks").len().to_string(),
            amount(number(one, "/used_resources/cpus")),
            amount(number(one, "/used_resources/mem")),
        ]);
    }
    print(&table);
    Ok(())
}

fn state(framework: &serde_json::Value) -> &'static str {
    let is = |name: &str| framework[name].as_bool().unwrap_or(false);
    if is("recovered") {
        "recovered"
    } else if is("active") {
        "active"
    } else if is("connected") {
        "inactive"
    } else {
        "disconnected"
    }
}
