//! Versions of apps and groups: which there are, and going back to one.

use super::deployment::{Change, finish};
use super::show::print_json;
use super::{Cluster, Failure};
use crate::say::say;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

/// What is to be as it was, and when.
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The id of what goes back
    pub(super) id: String,
    /// The version, as 'versions' lists it
    version: String,
    #[command(flatten)]
    pub(super) change: Change,
}

/// Lists the versions of the app or the group at `path`, the latest first.
pub(super) async fn list(path: &str, cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.marathon(&format!("{path}/versions")).await?;
    if cluster.json {
        print_json(&answer);
        return Ok(());
    }
    // Those of a group are not in anything.
    let all = answer.get("versions").unwrap_or(&answer);
    for version in all.as_array().into_iter().flatten().filter_map(Value::as_str) {
        say!("{version}");
    }
    Ok(())
}

/// Has what is changed at `path` go back.
pub(super) async fn go_back(
    rollback: &Rollback,
    path: &str,
    cluster: &Cluster,
) -> Result<(), Failure> {
    let Rollback { id, version, change } = rollback;
    let answer = cluster.change(Method::PUT, path, Some(&json!({ "version": version }))).await?;
    finish(cluster, &answer, change, &format!("{id} is as it was at {version}")).await
}
