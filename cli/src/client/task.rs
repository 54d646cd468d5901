//! `agora task`: what runs.

use super::show::{amount, items, number, print, print_json, table, text};
use super::{Cluster, Failure, attach, exec, logs};
use crate::say::say;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// What can be done with tasks.
#[derive(Subcommand, Debug)]
pub(crate) enum TaskCommand {
    /// List the tasks of all frameworks
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
    },
    /// End a task of a Marathon app; it is replaced, unless --scale is given
    Kill {
        /// The task's id, or the beginning of it
        id: String,
        /// Lower the app's instances by one, so that nothing replaces the task
        #[arg(long)]
        scale: bool,
    },
    /// Print what a task has written
    Logs(logs::Logs),
    /// Execute a command where a task runs, and exit as it does
    ///
    /// The command sees the task's processes, files, network and environment, runs as its user and
    /// within its limits. In a pod it sees all of the pod's containers, and has the environment that they
    /// share. What it prints comes out here, and its exit code is this program's: 128 and the number of
    /// the signal if one ended it. It ends when this program does.
    ///
    /// With -i it gets what is typed or piped in here; with -t it has a terminal. With both, the keys to
    /// leave are Enter, then ~ and . on the new line; ~~ there means one ~.
    ///
    ///   agora task exec web.8f3 ps -ef
    ///   agora task exec -it web.8f3 sh
    ///   agora task exec -i web.8f3 tar -x -C /data < data.tar
    ///
    /// Flags of this program stand before the task; what follows the task is the command's.
    #[command(verbatim_doc_comment)]
    Exec(exec::Exec),
    /// Print what a task prints from now on, until it is over
    ///
    /// What it has printed before is shown by agora task logs. If the task was started with a terminal
    /// ("tty": true in an app), what is typed here is handed on to it. The keys to detach are then
    /// Enter, and ~ and . on the new line; ~~ there means one ~. The task runs on.
    ///
    /// Exits with 0 when the task has finished, with 1 when it has ended otherwise.
    #[command(verbatim_doc_comment)]
    Attach(attach::Attach),
}

/// Carries out `command`.
pub(crate) async fn run(command: TaskCommand, cluster: &Cluster) -> Result<ExitCode, Failure> {
    match command {
        TaskCommand::List { all } => list(all, cluster).await?,
        TaskCommand::Kill { id, scale } => kill(&id, scale, cluster).await?,
        TaskCommand::Logs(logs) => logs::run(&logs, cluster).await?,
        TaskCommand::Exec(exec) => return exec::run(exec, cluster).await,
        TaskCommand::Attach(attach) => return attach::run(&attach, cluster).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Tasks that are named when an id is the beginning of several.
const SHOWN_MAX: usize = 5;

/// Every task the master knows, newest first.
async fn tasks(cluster: &Cluster) -> Result<Value, Failure> {
    cluster.master("/tasks?limit=-1").await
}

/// The one task that `id` means: its id, or the only one that begins so.
pub(super) async fn find(id: &str, cluster: &Cluster) -> Result<Value, Failure> {
    let answer = tasks(cluster).await?;
    let all = items(&answer, "/tasks");
    if let Some(task) = all.iter().find(|task| text(task, "/id") == id) {
        return Ok(task.clone());
    }
    let mut alike: Vec<_> = all.iter().filter(|task| text(task, "/id").starts_with(id)).collect();
    // Who says little means what runs, not what it has replaced.
    if alike.iter().any(|task| is_live(task)) {
        alike.retain(|task| is_live(task));
    }
    match alike.as_slice() {
        [task] => Ok((*task).clone()),
        [] => Err(Failure::NotFound(format!(
            "no task is called {id}; 'agora task list --all' shows those there are"
        ))),
        several => {
            let mut lines: Vec<_> =
                several.iter().take(SHOWN_MAX).map(|task| text(task, "/id")).collect();
            if several.len() > SHOWN_MAX {
                lines.push("…; 'agora task list' shows them all".to_owned());
            }
            Err(Failure::Refused(format!(
                "{} tasks begin with {id}:\n  {}",
                several.len(),
                lines.join("\n  ")
            )))
        }
    }
}

async fn list(all: bool, cluster: &Cluster) -> Result<(), Failure> {
    let answer = tasks(cluster).await?;
    let shown: Vec<_> =
        items(&answer, "/tasks").iter().filter(|task| all || is_live(task)).cloned().collect();
    if cluster.json {
        print_json(&Value::Array(shown));
        return Ok(());
    }
    let mut table = table(["ID", "NAME", "STATE", "HEALTHY", "AGENT", "CPUS", "MEM"]);
    for task in &shown {
        let healthy = items(task, "/statuses").last().and_then(|status| status.get("healthy"));
        table.add_row([
            text(task, "/id"),
            text(task, "/name"),
            text(task, "/state"),
            healthy.map_or("-", |yes| if yes == true { "yes" } else { "no" }).to_owned(),
            text(task, "/slave_id"),
            amount(number(task, "/resources/cpus")),
            amount(number(task, "/resources/mem")),
        ]);
    }
    print(&table);
    Ok(())
}

/// Whether a task is not over.
pub(super) fn is_live(task: &Value) -> bool {
    let live =
        ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE"];
    live.contains(&text(task, "/state").as_str())
}

async fn kill(id: &str, scale: bool, cluster: &Cluster) -> Result<(), Failure> {
    let task = find(id, cluster).await?;
    let id = text(&task, "/id");
    let body = json!({ "ids": [id] });
    let path = format!("/v2/tasks/delete?scale={scale}");
    let answer = cluster.change(Method::POST, &path, Some(&body)).await?;
    if !scale && items(&answer, "/tasks").is_empty() {
        return Err(Failure::NotFound(format!(
            "{id} is not a task of a Marathon app; ask its own framework to end it"
        )));
    }
    if cluster.json {
        print_json(&answer);
    } else {
        say!("{id} is being killed");
    }
    Ok(())
}
