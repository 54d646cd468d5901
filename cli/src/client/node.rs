//! `agora node`: the machines of the cluster, that is its agents.

use super::show::{amount, items, number, print, print_json, table, text};
use super::{Cluster, Failure, reservation};
use crate::say::say;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use model::units::parse_duration;
use serde_json::{Value, json};
use std::time::Duration;

/// How often a drain is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What can be done with agents.
#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// List the agents, with what they have and what of it is used
    List,
    /// List what is reserved for roles, on one agent or all
    Reservations {
        /// The agent: its id, the beginning or end of it, or its host name
        agent: Option<String>,
    },
    /// End all that runs on an agent and offer it to nobody; waits until it is empty
    Drain(Drain),
    /// Offer an agent to nobody; what runs there goes on
    Deactivate {
        /// The agent: its id, the beginning or end of it, or its host name
        agent: String,
    },
    /// Offer an agent again that was drained or deactivated
    Reactivate {
        /// The agent: its id, the beginning or end of it, or its host name
        agent: String,
    },
}

/// How an agent is emptied.
#[derive(Args, Debug)]
pub(crate) struct Drain {
    /// The agent: its id, the beginning or end of it, or its host name
    agent: String,
    /// The longest a task may take to end, such as 30secs; by default as it says itself
    #[arg(long, value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Declare the agent dead once it is empty: it cannot come back under its id
    #[arg(long)]
    mark_gone: bool,
    /// Do not wait until it is empty
    #[arg(long)]
    detach: bool,
}

/// Carries out `command`.
pub(crate) async fn run(command: NodeCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        NodeCommand::List => list(cluster).await,
        NodeCommand::Reservations { agent } => reservation::list(agent.as_deref(), cluster).await,
        NodeCommand::Drain(drain) => empty(&drain, cluster).await,
        NodeCommand::Deactivate { agent } => {
            set(&agent, "DEACTIVATE_AGENT", "deactivate_agent", "deactivated", cluster).await
        }
        NodeCommand::Reactivate { agent } => {
            set(&agent, "REACTIVATE_AGENT", "reactivate_agent", "reactivated", cluster).await
        }
    }
}

/// The one agent that `name` means.
pub(super) async fn find(name: &str, cluster: &Cluster) -> Result<Value, Failure> {
    let answer = cluster.master("/slaves").await?;
    let all = items(&answer, "/slaves");
    let means = |agent: &&Value| {
        let id = text(agent, "/id");
        id.starts_with(name)
            || id.ends_with(&format!("-{name}"))
            || text(agent, "/hostname") == name
    };
    if let Some(exact) = all.iter().find(|agent| text(agent, "/id") == name) {
        return Ok(exact.clone());
    }
    match all.iter().filter(means).collect::<Vec<_>>().as_slice() {
        [agent] => Ok((*agent).clone()),
        [] => Err(Failure::NotFound(format!(
            "no agent is called {name}; 'agora node list' shows those there are"
        ))),
        several => Err(Failure::Refused(format!(
            "{} agents are meant by {name}: {}",
            several.len(),
            several.iter().map(|agent| text(agent, "/id")).collect::<Vec<_>>().join(", ")
        ))),
    }
}

async fn set(
    name: &str,
    kind: &str,
    body: &str,
    done: &str,
    cluster: &Cluster,
) -> Result<(), Failure> {
    let agent = find(name, cluster).await?;
    let id = text(&agent, "/id");
    let draining = text(&agent, "/drain_info/state");
    if kind == "DEACTIVATE_AGENT" && draining != "-" {
        say(&id, &format!("is {} already", draining.to_lowercase()), cluster);
        return Ok(());
    }
    cluster.operate(&json!({"type": kind, body: {"agent_id": {"value": id}}})).await?;
    say(&id, done, cluster);
    Ok(())
}

fn say(id: &str, done: &str, cluster: &Cluster) {
    if cluster.json {
        print_json(&json!({"agent": id, "done": done}));
    } else {
        say!("{id} {done}");
    }
}

/// Has an agent emptied, and shows how far it is.
async fn empty(drain: &Drain, cluster: &Cluster) -> Result<(), Failure> {
    let id = text(&find(&drain.agent, cluster).await?, "/id");
    let grace =
        drain.grace.map(|grace| json!({"seconds": grace.as_secs(), "nanos": grace.subsec_nanos()}));
    let call = json!({"type": "DRAIN_AGENT", "drain_agent": {
        "agent_id": {"value": id}, "max_grace_period": grace, "mark_gone": drain.mark_gone,
    }});
    cluster.operate(&call).await?;
    if drain.detach {
        say(&id, "is being drained", cluster);
        return Ok(());
    }
    let bar = ProgressBar::new_spinner();
    loop {
        let answer = cluster.master("/slaves").await?;
        let shown = items(&answer, "/slaves").iter().find(|agent| text(agent, "/id") == id);
        match shown.map(|agent| text(agent, "/drain_info/state")) {
            // One that is marked gone is not shown any more.
            None => break,
            Some(state) if state == "DRAINED" && !drain.mark_gone => break,
            Some(_) => {}
        }
        let cpus = shown.map_or(0.0, |agent| number(agent, "/used_resources/cpus"));
        bar.set_message(format!("{id} is being drained, cpus:{} still used", amount(cpus)));
        bar.tick();
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bar.finish_and_clear();
    say(&id, if drain.mark_gone { "drained and gone" } else { "drained" }, cluster);
    Ok(())
}

/// How an agent stands, in a word.
fn state(agent: &Value) -> String {
    match agent.pointer("/drain_info/state").and_then(Value::as_str) {
        Some(state) => return state.to_lowercase(),
        None if agent["deactivated"].as_bool().unwrap_or(false) => return "deactivated".to_owned(),
        None => {}
    }
    let is_active = agent["active"].as_bool().unwrap_or(false);
    (if is_active { "active" } else { "inactive" }).to_owned()
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
            state(agent),
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
