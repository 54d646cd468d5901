//! `agora group`: trees of apps, changed as a whole.

use super::app::read_json;
use super::deployment::{Change, finish};
use super::http::bare;
use super::show::{items, print, print_json, table, text};
use super::version::{self, Rollback};
use super::{Cluster, Failure};
use crate::say::say;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What can be done with groups.
#[derive(Subcommand, Debug)]
pub(crate) enum GroupCommand {
    /// List all groups
    List,
    /// Show a group with its apps
    Show {
        /// The group's id, such as /shop
        id: String,
    },
    /// Have a group be as a file describes it: what the file leaves out is deleted
    Put(Put),
    /// Multiply the instances of every app in a group
    Scale {
        /// The group's id
        id: String,
        /// By how much, such as 1.5; what comes of it is rounded up
        factor: f64,
        #[command(flatten)]
        change: Change,
    },
    /// List the versions of a group, the latest first
    Versions {
        /// The group's id
        id: String,
    },
    /// Have a group be as it was at an earlier version
    Rollback(Rollback),
    /// Delete a group with everything in it
    Delete {
        /// The group's id
        id: String,
        #[command(flatten)]
        change: Change,
    },
}

/// What a group is to be.
#[derive(Args, Debug)]
pub(crate) struct Put {
    /// File with the group's JSON, its id included; - for standard input
    file: PathBuf,
    /// Leave what the file does not mention as it is
    #[arg(long)]
    merge: bool,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: Change,
}

/// Carries out `command`.
pub(crate) async fn run(command: GroupCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        GroupCommand::List => list(cluster).await,
        GroupCommand::Show { id } => show(&id, cluster).await,
        GroupCommand::Put(put) => self::put(put, cluster).await,
        GroupCommand::Scale { id, factor, change } => {
            let (path, body) = (group_path(&id, change.force), json!({ "scaleBy": factor }));
            let answer = cluster.change(Method::PUT, &path, Some(&body)).await?;
            finish(cluster, &answer, &change, &format!("{id} scaled by {factor}")).await
        }
        GroupCommand::Versions { id } => {
            version::list(&format!("/v2/groups/{}", bare(&id)), cluster).await
        }
        GroupCommand::Rollback(rollback) => {
            let path = group_path(&rollback.id, rollback.change.force);
            version::go_back(&rollback, &path, cluster).await
        }
        GroupCommand::Delete { id, change } => {
            let path = group_path(&id, change.force);
            let answer = cluster.change(Method::DELETE, &path, None).await?;
            finish(cluster, &answer, &change, &format!("{id} deleted")).await
        }
    }
}

fn group_path(id: &str, force: bool) -> String {
    format!("/v2/groups/{}?force={force}", bare(id))
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let root = cluster.marathon("/v2/groups").await?;
    if cluster.json {
        print_json(&root);
        return Ok(());
    }
    let mut table = table(["ID", "APPS", "INSTANCES", "VERSION"]);
    for group in tree(&root) {
        let apps = items(group, "/apps");
        let instances: u64 = apps.iter().filter_map(|app| app["instances"].as_u64()).sum();
        table.add_row([
            text(group, "/id"),
            apps.len().to_string(),
            instances.to_string(),
            text(group, "/version"),
        ]);
    }
    print(&table);
    Ok(())
}

async fn show(id: &str, cluster: &Cluster) -> Result<(), Failure> {
    let embeds = ["groups", "apps", "apps.counts", "apps.deployments"];
    let embeds = embeds.map(|embed| format!("embed=group.{embed}")).join("&");
    let path = format!("/v2/groups/{}?{embeds}", bare(id));
    let root = cluster.marathon(&path).await?;
    if cluster.json {
        print_json(&root);
        return Ok(());
    }
    say!("id        {}", text(&root, "/id"));
    say!("version   {}", text(&root, "/version"));
    for group in tree(&root) {
        for dependency in items(group, "/dependencies").iter().filter_map(Value::as_str) {
            say!("needs     {} needs {dependency}", text(group, "/id"));
        }
    }
    say!("");
    let mut table = table(["APP", "RUNNING", "HEALTHY", "DEPLOYING"]);
    for app in tree(&root).iter().flat_map(|group| items(group, "/apps")) {
        table.add_row([
            text(app, "/id"),
            format!("{}/{}", text(app, "/tasksRunning"), text(app, "/instances")),
            text(app, "/tasksHealthy"),
            (if items(app, "/deployments").is_empty() { "no" } else { "yes" }).to_owned(),
        ]);
    }
    print(&table);
    Ok(())
}

/// `root` and all groups in it, each before those in it.
fn tree(root: &Value) -> Vec<&Value> {
    let below = items(root, "/groups").iter().flat_map(tree);
    std::iter::once(root).chain(below).collect()
}

async fn put(put: Put, cluster: &Cluster) -> Result<(), Failure> {
    let body = read_json(&put.file)?;
    let Some(id) = body["id"].as_str().map(str::to_owned) else {
        let message = "the file must name the group it describes in \"id\"";
        return Err(Failure::Local(message.to_owned()));
    };
    let (merge, dry_run, force) = (put.merge, put.dry_run, put.change.force);
    let query = format!("merge={merge}&dryRun={dry_run}&diff={dry_run}&force={force}");
    let answer = cluster.change(Method::PUT, &format!("/v2/groups?{query}"), Some(&body)).await?;
    if !dry_run {
        return finish(cluster, &answer, &put.change, &format!("{id} changed")).await;
    }
    if cluster.json {
        print_json(&answer);
        return Ok(());
    }
    for line in told(&answer) {
        say!("{line}");
    }
    Ok(())
}

/// What a dry run says, line by line.
pub(super) fn told(answer: &Value) -> Vec<String> {
    let changes = items(answer, "/changes");
    if changes.is_empty() {
        return vec!["nothing would change".to_owned()];
    }
    let mut lines = Vec::new();
    for change in changes {
        lines.push(format!("{} would be {}", text(change, "/app"), text(change, "/what")));
        for (field, values) in change["fields"].as_object().into_iter().flatten() {
            lines.push(format!("  {field}: {} -> {}", values["from"], values["to"]));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dry_run_tells_every_change() {
        let answer = json!({"steps": [], "changes": [
            {"app": "/a", "what": "created"},
            {"app": "/b", "what": "restarted", "fields": {"cmd": {"from": "x", "to": "y"}}},
        ]});
        assert_eq!(
            told(&answer),
            ["/a would be created", "/b would be restarted", "  cmd: \"x\" -> \"y\""]
        );
        assert_eq!(told(&json!({"steps": [], "changes": []})), ["nothing would change"]);
    }

    #[test]
    fn a_tree_is_walked_from_the_top() {
        let root = json!({"id": "/", "groups": [
            {"id": "/a", "groups": [{"id": "/a/b", "groups": []}]}, {"id": "/c"}]});
        let ids: Vec<_> = tree(&root).into_iter().map(|group| text(group, "/id")).collect();
        assert_eq!(ids, ["/", "/a", "/a/b", "/c"]);
    }
}
