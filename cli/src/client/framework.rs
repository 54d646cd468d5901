//! `agora framework`: who takes offers.

use super::show::{amount, items, number, print, print_json, table, text};
use super::{Cluster, Failure};
use crate::say::say;
use clap::Subcommand;

/// What can be done with frameworks.
#[derive(Subcommand, Debug)]
pub(crate) enum FrameworkCommand {
    /// List the frameworks that are subscribed or may come back
    List,
    /// Tell why a framework has the offers that it has, and what keeps agents from it
    Explain {
        /// The framework: its id, the beginning or end of it, or its name
        framework: String,
        /// Tell only of this agent: its id, the beginning or end of it, or its host name
        #[arg(long)]
        agent: Option<String>,
    },
}

/// Carries out `command`.
pub(crate) async fn run(command: FrameworkCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        FrameworkCommand::List => list(cluster).await,
        FrameworkCommand::Explain { framework, agent } => {
            explain(&framework, agent.as_deref(), cluster).await
        }
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

/// The id of the one framework that `name` means.
async fn find(name: &str, cluster: &Cluster) -> Result<String, Failure> {
    let answer = cluster.master("/frameworks").await?;
    let ids = || items(&answer, "/frameworks").iter().map(|one| (text(one, "/id"), one));
    if let Some((exact, _)) = ids().find(|(id, _)| id == name) {
        return Ok(exact);
    }
    let end = format!("-{name}");
    let means =
        |id: &str, one| id.starts_with(name) || id.ends_with(&end) || text(one, "/name") == name;
    let mut found: Vec<String> =
        ids().filter(|(id, one)| means(id, one)).map(|(id, _)| id).collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (Some(last), more) => Err(Failure::Refused(format!(
            "{} frameworks are meant by {name}, {last} among them; name one by its id",
            more + 1
        ))),
        (None, _) => Err(Failure::NotFound(format!(
            "no framework is called {name}; 'agora framework list' shows those there are"
        ))),
    }
}

async fn explain(name: &str, agent: Option<&str>, cluster: &Cluster) -> Result<(), Failure> {
    let mut path = format!("/agora/v1/explain/framework/{}", find(name, cluster).await?);
    if let Some(agent) = agent {
        let agent = super::node::find(agent, cluster).await?;
        path = format!("{path}?agent={}", text(&agent, "/id"));
    }
    let told = cluster.master(&path).await?;
    if cluster.json {
        print_json(&told);
        return Ok(());
    }
    say!("{} offers are open.", told["open_offers"]);
    let mut table = table(["ROLE", "AGENTS", "NOT OFFERED BECAUSE", "FOR EXAMPLE"]);
    for of in items(&told, "/roles") {
        if let Some(seconds) = of["steps_back_for_seconds"].as_f64().map(f64::ceil) {
            say!(
                "In role {} it comes after others for {seconds:.0}s: it declined what they could use.",
                text(of, "/role")
            );
        }
        let kept = amounts(&of["kept_for_other_roles"]);
        if !kept.is_empty() {
            say!(
                "Of what is free, {kept} is kept from role {} for guarantees of others.",
                text(of, "/role")
            );
        }
        let limit = amounts(&of["quota"]["limit"]);
        if !limit.is_empty() {
            say!(
                "Role {} may have {limit} at most, and has {}.",
                text(of, "/role"),
                amounts(&of["quota"]["consumed"])
            );
        }
        if of["agents_offered_next"] != 0 {
            say!(
                "In role {} it is offered {} agents in a moment.",
                text(of, "/role"),
                of["agents_offered_next"]
            );
        }
        for reason in items(of, "/not_offered") {
            let why = format!("{}{}", text(reason, "/reason"), ends(reason));
            let count = reason["agents"].to_string();
            table.add_row([text(of, "/role"), count, why, example(reason)]);
        }
    }
    print(&table);
    Ok(())
}

/// When the filters end that are the reason, where they are.
fn ends(reason: &serde_json::Value) -> String {
    let seconds = |name: &str| reason[name].as_f64().map(f64::ceil);
    match (seconds("ends_in_seconds"), seconds("last_ends_in_seconds")) {
        (Some(first), Some(last)) if first < last => {
            format!("; the first ends in {first:.0}s, the last in {last:.0}s")
        }
        (Some(first), _) => format!("; it ends in {first:.0}s"),
        (None, _) => String::new(),
    }
}

/// An agent that a reason is told of, and the offer of it that was declined, if one was.
fn example(reason: &serde_json::Value) -> String {
    let agent = text(reason, "/agent_ids/0");
    match reason.pointer("/declined/0/offer_id").and_then(serde_json::Value::as_str) {
        Some(offer) => {
            format!("{agent}, by declining {}", offer.rsplit('-').next().unwrap_or(offer))
        }
        None => agent,
    }
}

/// Amounts as resources are written; empty if there are none.
fn amounts(amounts: &serde_json::Value) -> String {
    let all = amounts.as_object().into_iter().flatten();
    let one = |(name, value): (&String, &serde_json::Value)| {
        format!("{name}:{}", amount(value.as_f64().unwrap_or(0.0)))
    };
    all.map(one).collect::<Vec<_>>().join("; ")
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
