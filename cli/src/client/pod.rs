//! `agora pod`: groups of containers that run together, through Marathon.

use super::app::read_json;
use super::deployment::{Change, finish_named};
use super::show::{amount, items, number, print, print_json, table, text};
use super::{Cluster, Failure};
use crate::say::say;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What can be done with pods.
#[derive(Subcommand, Debug)]
pub(crate) enum PodCommand {
    /// Create a pod from its JSON definition
    Create {
        /// File with the pod's JSON; - for standard input
        file: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Have a pod be as its JSON definition says: all of it is replaced
    Update {
        /// File with the pod's JSON, its id included; - for standard input
        file: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// List all pods
    List,
    /// Show one pod with its instances and their containers
    Show {
        /// The pod's id, such as /web
        id: String,
    },
    /// Show how every pod is, or one of them
    Status {
        /// The pod's id; without it all are shown
        id: Option<String>,
    },
    /// Set how many instances of a pod run
    Scale {
        /// The pod's id
        id: String,
        /// How many are to run
        instances: u32,
        #[command(flatten)]
        change: Change,
    },
    /// End one instance of a pod; another one takes its place
    Kill {
        /// The pod's id
        id: String,
        /// The instance's id, as 'agora pod show' tells it
        instance: String,
    },
    /// Delete a pod and end all its instances
    Delete {
        /// The pod's id
        id: String,
        #[command(flatten)]
        change: Change,
    },
}

/// Carries out `command`.
pub(crate) async fn run(command: PodCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        PodCommand::Create { file, change } => {
            let pod = read_json(&file)?;
            let path = format!("/v2/pods?force={}", change.force);
            let (answer, id) = cluster.deploy(Method::POST, &path, Some(&pod)).await?;
            let done = format!("{} created", text(&answer, "/id"));
            finish_named(cluster, &answer, id, &change, &done).await
        }
        PodCommand::Update { file, change } => {
            let pod = read_json(&file)?;
            let Some(id) = pod["id"].as_str() else {
                let message = "the file must name the pod it describes in \"id\"";
                return Err(Failure::Local(message.to_owned()));
            };
            put(id, &pod, &change, &format!("{id} changed"), cluster).await
        }
        PodCommand::List => list(cluster).await,
        PodCommand::Show { id } => show(&id, cluster).await,
        PodCommand::Status { id } => status(id.as_deref(), cluster).await,
        PodCommand::Scale { id, instances, change } => {
            let mut pod = cluster.marathon(&pod_path(&id, "")).await?;
            pod["scaling"] = json!({"kind": "fixed", "instances": instances});
            put(&id, &pod, &change, &format!("{id} scaled to {instances}"), cluster).await
        }
        PodCommand::Kill { id, instance } => {
            let path = pod_path(&id, &format!("::instances/{instance}"));
            let answer = cluster.change(Method::DELETE, &path, None).await?;
            if cluster.json {
                print_json(&answer);
            } else {
                say!("{instance} is being ended");
            }
            Ok(())
        }
        PodCommand::Delete { id, change } => {
            let path = format!("{}?force={}", pod_path(&id, ""), change.force);
            let (answer, deployment) = cluster.deploy(Method::DELETE, &path, None).await?;
            finish_named(cluster, &answer, deployment, &change, &format!("{id} deleted")).await
        }
    }
}

fn pod_path(id: &str, verb: &str) -> String {
    format!("/v2/pods/{}{verb}", id.trim_start_matches('/'))
}

async fn put(
    id: &str,
    pod: &Value,
    change: &Change,
    done: &str,
    cluster: &Cluster,
) -> Result<(), Failure> {
    let path = format!("{}?force={}", pod_path(id, ""), change.force);
    let (answer, deployment) = cluster.deploy(Method::PUT, &path, Some(pod)).await?;
    finish_named(cluster, &answer, deployment, change, done).await
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let pods = cluster.marathon("/v2/pods").await?;
    if cluster.json {
        print_json(&pods);
        return Ok(());
    }
    let mut table = table(["ID", "INSTANCES", "CONTAINERS", "CPUS", "MEM", "VERSION"]);
    for pod in items(&pods, "") {
        let containers = items(pod, "/containers");
        let names: Vec<_> = containers.iter().map(|container| text(container, "/name")).collect();
        let sum = |name: &str| {
            let of = |at: &str, value: &Value| number(value, &format!("{at}/{name}"));
            let own: f64 = containers.iter().map(|it| of("/resources", it)).sum();
            amount(own + of("/executorResources", pod))
        };
        table.add_row([
            text(pod, "/id"),
            text(pod, "/scaling/instances"),
            names.join(","),
            sum("cpus"),
            sum("mem"),
            text(pod, "/version"),
        ]);
    }
    print(&table);
    Ok(())
}

async fn status(id: Option<&str>, cluster: &Cluster) -> Result<(), Failure> {
    let answer = match id {
        Some(id) => json!([cluster.marathon(&pod_path(id, "::status")).await?]),
        None => cluster.marathon("/v2/pods::status").await?,
    };
    if cluster.json {
        print_json(if id.is_some() { &answer[0] } else { &answer });
        return Ok(());
    }
    let mut table = table(["ID", "STATUS", "STABLE", "SINCE", "WHY"]);
    for pod in items(&answer, "") {
        let stable = items(pod, "/instances").iter().filter(|it| it["status"] == "STABLE").count();
        table.add_row([
            text(pod, "/id"),
            text(pod, "/status"),
            format!("{stable}/{}", text(pod, "/spec/scaling/instances")),
            text(pod, "/statusSince"),
            text(pod, "/message"),
        ]);
    }
    print(&table);
    Ok(())
}

async fn show(id: &str, cluster: &Cluster) -> Result<(), Failure> {
    let status = cluster.marathon(&pod_path(id, "::status")).await?;
    if cluster.json {
        print_json(&status);
        return Ok(());
    }
    say!("id        {}", text(&status, "/id"));
    say!("status    {} since {}", text(&status, "/status"), text(&status, "/statusSince"));
    say!("instances {} wanted", text(&status, "/spec/scaling/instances"));
    say!("version   {}", text(&status, "/spec/version"));
    for ended in items(&status, "/terminationHistory").iter().take(1) {
        say!("ended     {}: {}", text(ended, "/instanceID"), text(ended, "/message"));
    }
    say!("");
    let mut table = table(["CONTAINER", "STATE", "HEALTHY", "HOST", "ENDPOINTS"]);
    for instance in items(&status, "/instances") {
        table.add_row([
            text(instance, "/id"),
            text(instance, "/status"),
            String::new(),
            text(instance, "/agentHostname"),
            String::new(),
        ]);
        for container in items(instance, "/containers") {
            table.add_row([
                format!("  {}", text(container, "/name")),
                text(container, "/status"),
                text(container, "/conditions/0/value"),
                String::new(),
                endpoints(container),
            ]);
        }
    }
    print(&table);
    Ok(())
}

/// Names of endpoints, with their ports on the host.
fn endpoints(container: &Value) -> String {
    let one = |endpoint: &Value| match endpoint["allocatedHostPort"].as_u64() {
        Some(port) => format!("{}:{port}", text(endpoint, "/name")),
        None => text(endpoint, "/name"),
    };
    items(container, "/endpoints").iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_with_their_ports() {
        let container = json!({"endpoints": [{"name": "http", "allocatedHostPort": 31_000},
                                             {"name": "inner"}]});
        assert_eq!(endpoints(&container), "http:31000,inner");
        assert_eq!(endpoints(&json!({})), "");
        assert_eq!(pod_path("/a/b", "::status"), "/v2/pods/a/b::status");
    }
}
