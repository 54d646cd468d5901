//! `agora task logs`: a task's stdout or stderr, read from its agent.

use super::place::{agent_address, executor, own_container};
use super::show::text;
use super::task::find;
use super::{Cluster, Failure};
use crate::say;
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// How much is read at once: agents answer at most about this much.
const CHUNK_BYTES: u64 = 64 << 10;

/// How often the end of the file is looked at with -f.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// What to print.
#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The task's id, or the beginning of it
    id: String,
    /// Go on as the task writes more, until it is over
    #[arg(long, short)]
    follow: bool,
    /// What it has written to stderr instead of stdout
    #[arg(long)]
    stderr: bool,
}

/// Prints the log.
pub(crate) async fn run(logs: &Logs, cluster: &Cluster) -> Result<(), Failure> {
    let task = find(&logs.id, cluster).await?;
    let address = agent_address(&text(&task, "/slave_id"), cluster).await?;
    let sandbox = sandbox(&task, &address, cluster).await?;
    let file = if logs.stderr { "stderr" } else { "stdout" };
    let path = format!("{sandbox}/{file}");
    let mut offset = 0;
    loop {
        // Asked before reading: what an ended task wrote last is still read below.
        let is_over = !logs.follow || is_over(&text(&task, "/id"), cluster).await?;
        offset = print_from(offset, &path, &address, cluster).await?;
        if is_over {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

async fn print_from(
    mut offset: u64,
    path: &str,
    address: &str,
    cluster: &Cluster,
) -> Result<u64, Failure> {
    let read = |offset: String, length: u64| {
        let query = format!("/files/read?path={}&offset={offset}&length={length}", escape(path));
        async move { cluster.agent(address, &query).await }
    };
    // The size first: what is not UTF-8 comes replaced, so the text's length says nothing.
    let size = read("-1".to_owned(), 0).await?["offset"].as_u64().unwrap_or(0);
    while offset < size {
        let length = CHUNK_BYTES.min(size - offset);
        let answer = read(offset.to_string(), length).await?;
        let data = answer["data"].as_str().unwrap_or_default();
        say::raw(data);
        offset += length;
    }
    Ok(offset)
}

async fn is_over(task: &str, cluster: &Cluster) -> Result<bool, Failure> {
    let now = find(task, cluster).await?;
    let over =
        ["TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_GONE"];
    Ok(over.contains(&text(&now, "/state").as_str()))
}

/// The sandbox of `task`, or of the executor that has it where it has none of its own, as the agent
/// names it.
async fn sandbox(task: &Value, address: &str, cluster: &Cluster) -> Result<String, Failure> {
    let executor = executor(task, address, cluster).await?;
    let none = || {
        let id = text(task, "/id");
        Failure::NotFound(format!("the agent has no sandbox of task {id} any more"))
    };
    let directory = executor.map(|executor| text(&executor, "/directory")).ok_or_else(none)?;
    Ok(match own_container(task) {
        Some(own) => format!("{directory}/containers/{}", own.value),
        None => directory,
    })
}

/// Escapes what may not stand in a query.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for half in [byte >> 4, byte & 15] {
                let digit = char::from_digit(half.into(), 16).expect("four bits");
                escaped.push(digit.to_ascii_uppercase());
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_query() {
        assert_eq!(escape("/a b/c(1)&d"), "/a%20b/c%281%29%26d");
    }
}
