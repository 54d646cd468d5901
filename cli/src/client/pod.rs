//! `agora pod`: groups of containers that run together, through Marathon.

use super::app::read_json;
use super::deployment::{Change, finish_named};
use super::http::bare;
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
    /// Show one pod with its instances, their containers and its volumes
    Show {
        /// The pod's id, such as /web
        id: String,
    },
    /// Tell why a pod is as it is: what its instances wait for, and what spoke against each agent
    Explain {
        /// The pod's id
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
        /// Give up its volumes with all data; who waits for an agent waits no longer and starts anew
        #[arg(long)]
        wipe: bool,
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
        PodCommand::Explain { id } => super::app::explain(&id, cluster).await,
        PodCommand::Status { id } => status(id.as_deref(), cluster).await,
        PodCommand::Scale { id, instances, change } => {
            let mut pod = cluster.marathon(&pod_path(&id, "")).await?;
            pod["scaling"] = json!({"kind": "fixed", "instances": instances});
            put(&id, &pod, &change, &format!("{id} scaled to {instances}"), cluster).await
        }
        PodCommand::Kill { id, instance, wipe } => {
            let path = pod_path(&id, &format!("::instances/{instance}?wipe={wipe}"));
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
    format!("/v2/pods/{}{verb}", bare(id))
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
    show_volumes(&status);
    Ok(())
}

/// The volumes of a pod and who mounts them, and what the persistent ones of each instance are called.
fn show_volumes(status: &Value) {
    let spec = &status["spec"];
    let volumes = items(spec, "/volumes");
    if volumes.is_empty() {
        return;
    }
    say!("");
    let mut shown = table(["VOLUME", "KIND", "OF", "MOUNTED BY"]);
    for volume in volumes {
        let (kind, of) = source(volume);
        shown.add_row([text(volume, "/name"), kind.to_owned(), of, mounts(spec, volume)]);
    }
    print(&shown);
    let kept: Vec<_> = items(status, "/instances").iter().flat_map(persistent).collect();
    if !kept.is_empty() {
        say!("");
        let mut shown = table(["PERSISTENT VOLUME", "HOST", "INSTANCE"]);
        for row in kept {
            shown.add_row(row);
        }
        print(&shown);
    }
}

/// What kind of volume it is, and what it is made of.
fn source(volume: &Value) -> (&'static str, String) {
    if volume.get("host").is_some() {
        ("host", text(volume, "/host"))
    } else if volume.get("secret").is_some() {
        ("secret", text(volume, "/secret"))
    } else if volume.get("persistent").is_some() {
        ("persistent", format!("{} MiB", text(volume, "/persistent/size")))
    } else {
        ("ephemeral", "-".to_owned())
    }
}

/// Containers that mount `volume`, each with where it has it.
fn mounts(spec: &Value, volume: &Value) -> String {
    let of = |container: &Value| {
        let name = text(container, "/name");
        let mounts = items(container, "/volumeMounts").iter();
        let mounts = mounts.filter(|mount| mount["name"] == volume["name"]).map(move |mount| {
            let how = if mount["readOnly"] == true { " (read-only)" } else { "" };
            format!("{name}:{}{how}", text(mount, "/mountPath"))
        });
        mounts.collect::<Vec<_>>()
    };
    let all: Vec<_> = items(spec, "/containers").iter().flat_map(of).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}

/// The persistent volumes that `instance` has: their ids at the agent, where they are and whose.
fn persistent(instance: &Value) -> Vec<[String; 3]> {
    let one = |volume: &Value| {
        [text(volume, "/persistenceId"), text(instance, "/agentHostname"), text(instance, "/id")]
    };
    items(instance, "/localVolumes").iter().map(one).collect()
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

    #[test]
    fn volumes_are_told_with_what_they_are_made_of_and_who_mounts_them_where() {
        let spec = json!({
            "volumes": [
                {"name": "data", "persistent": {"size": 64}}, {"name": "logs", "host": "/var/log"},
                {"name": "key", "secret": "tls"}, {"name": "scratch"},
            ],
            "containers": [
                {"name": "db", "volumeMounts": [{"name": "data", "mountPath": "/data"},
                                                {"name": "scratch", "mountPath": "tmp"}]},
                {"name": "backup", "volumeMounts": [
                    {"name": "data", "mountPath": "/from", "readOnly": true},
                    {"name": "logs", "mountPath": "/logs"}]},
            ],
        });
        let shown = items(&spec, "/volumes").iter().map(|volume| {
            let (kind, of) = source(volume);
            format!("{kind} {of} {}", mounts(&spec, volume))
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "persistent 64 MiB db:/data, backup:/from (read-only)",
                "host /var/log backup:/logs",
                "secret tls nobody",
                "ephemeral - db:tmp",
            ]
        );
        let instance = json!({
            "id": "shop_db.instance-1", "agentHostname": "host7",
            "localVolumes": [{"persistenceId": "shop_db#data#2", "containerPath": "data"}],
        });
        assert_eq!(persistent(&instance), [["shop_db#data#2", "host7", "shop_db.instance-1"]]);
        assert!(persistent(&json!({})).is_empty());
    }
}
