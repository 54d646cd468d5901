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

/// Of what a task wrote, the lines that are told when it has failed, and the most that is read for them.
const LAST_LINES: usize = 10;
const LAST_BYTES: u64 = 4 << 10;

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
    let size = size(path, address, cluster).await?;
    while offset < size {
        let length = CHUNK_BYTES.min(size - offset);
        say::raw(&read(path, offset, length, address, cluster).await?);
        offset += length;
    }
    Ok(offset)
}

/// How much a file has: what is not UTF-8 comes replaced, so the length of its text says nothing.
async fn size(path: &str, address: &str, cluster: &Cluster) -> Result<u64, Failure> {
    let query = format!("/files/read?path={}&offset=-1&length=0", escape(path));
    Ok(cluster.agent(address, &query).await?["offset"].as_u64().unwrap_or(0))
}

async fn read(
    path: &str,
    offset: u64,
    length: u64,
    address: &str,
    cluster: &Cluster,
) -> Result<String, Failure> {
    let query = format!("/files/read?path={}&offset={offset}&length={length}", escape(path));
    let answer = cluster.agent(address, &query).await?;
    Ok(answer["data"].as_str().unwrap_or_default().to_owned())
}

/// What the task `id` wrote last to stderr or, if it wrote nothing there, to stdout; absent if that cannot be
/// had, which is no failure of who asks in passing.
pub(super) async fn last_lines(id: &str, cluster: &Cluster) -> Option<String> {
    let task = find(id, cluster).await.ok()?;
    let address = agent_address(&text(&task, "/slave_id"), cluster).await.ok()?;
    let sandbox = sandbox(&task, &address, cluster).await.ok()?;
    for file in ["stderr", "stdout"] {
        let path = format!("{sandbox}/{file}");
        let size = size(&path, &address, cluster).await.unwrap_or(0);
        let from = size.saturating_sub(LAST_BYTES);
        let written = read(&path, from, size - from, &address, cluster).await.ok()?;
        let lines = last_of(&written, from > 0);
        if !lines.is_empty() {
            return Some(format!("the last it wrote to {file}:\n  {}", lines.join("\n  ")));
        }
    }
    None
}

/// The last lines of `text`, of which the first may be the end of one.
fn last_of(text: &str, is_cut: bool) -> Vec<&str> {
    let lines: Vec<_> = text.trim_end().lines().skip(usize::from(is_cut)).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
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
    fn the_last_lines_are_whole_and_few() {
        let many: Vec<_> = (0..30).map(|n| format!("line {n}")).collect();
        let many = many.join("\n");
        let last = last_of(&many, true);
        assert_eq!((last.len(), last[0], last[9]), (10, "line 20", "line 29"));
        assert_eq!(last_of("half\nwhole\n\n", true), ["whole"]);
        assert_eq!(last_of("whole", false), ["whole"]);
        assert!(last_of("\n", false).is_empty());
    }

    #[test]
    fn a_path_survives_the_query() {
        assert_eq!(escape("/a b/c(1)&d"), "/a%20b/c%281%29%26d");
    }
}
