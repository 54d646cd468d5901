//! `agora deployment`: changes under way and those that are over; and waiting for one.

use super::show::{items, print, print_json, table, text};
use super::{Cluster, Failure, logs};
use crate::say::say;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often a deployment is looked at while waiting for its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What can be done with deployments.
#[derive(Subcommand, Debug)]
pub(crate) enum DeploymentCommand {
    /// List the deployments that run
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
    },
    /// Show what a deployment does and what it waits for, or how it ended
    Show {
        /// The deployment's id
        id: String,
    },
    /// Follow a deployment until it is over, or waits for somebody
    Follow {
        /// The deployment's id
        id: String,
        /// Give up waiting after so long; the deployment goes on
        #[arg(long, value_parser = model::units::parse_duration, default_value = "5mins")]
        timeout: Duration,
    },
    /// Stop a deployment and take back what it changed
    Cancel {
        /// The deployment's id
        id: String,
        /// Only stop it, and leave everything where it is
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Hold a deployment where it is
    Pause {
        /// The deployment's id
        id: String,
    },
    /// Have a held deployment go on, or pass the stop of a canary
    Continue {
        /// The deployment's id
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

/// Whether and how long it is waited for the end of a deployment.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// Return at once instead of when the deployment is done
    #[arg(long)]
    detach: bool,
    /// Give up waiting after so long; the deployment goes on
    #[arg(long, value_parser = model::units::parse_duration, default_value = "5mins")]
    timeout: Duration,
}

/// How a change is made.
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// Override a deployment that has the app locked
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Carries out `command`.
pub(crate) async fn run(command: DeploymentCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        DeploymentCommand::List { all } => list(all, cluster).await,
        DeploymentCommand::Show { id } => show(&id, cluster).await,
        DeploymentCommand::Follow { id, timeout } => {
            // Of one that is not known there is nothing to follow.
            let one = cluster.marathon(&format!("/agora/v1/deployments/{id}")).await?;
            let wait = Wait { detach: false, timeout };
            finish_waiting(cluster, &one, &wait, &format!("{id} done")).await
        }
        DeploymentCommand::Cancel { id, keep, wait } => {
            let path = format!("/v2/deployments/{id}?force={keep}");
            let answer = cluster.change(Method::DELETE, &path, None).await?;
            let done = if keep { "stopped" } else { "taken back" };
            finish_waiting(cluster, &answer, &wait, &format!("{id} {done}")).await
        }
        DeploymentCommand::Pause { id } => {
            hold(&id, "pause", cluster).await?;
            say!("{id} is held; 'agora deployment continue {id}' has it go on");
            Ok(())
        }
        DeploymentCommand::Continue { id, wait } => {
            let answer = hold(&id, "continue", cluster).await?;
            finish_waiting(cluster, &answer, &wait, &format!("{id} done")).await
        }
    }
}

async fn hold(id: &str, verb: &str, cluster: &Cluster) -> Result<Value, Failure> {
    cluster.change(Method::POST, &format!("/agora/v1/deployments/{id}/{verb}"), None).await
}

async fn list(all: bool, cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.marathon("/agora/v1/deployments").await?;
    if cluster.json {
        print_json(if all { &answer } else { &answer["running"] });
        return Ok(());
    }
    let mut table = table(["ID", "STARTED", "APPS", "STATE", "WHY"]);
    for one in items(&answer, "/running") {
        let (apps, pods) = (items(one, "/affectedApps"), items(one, "/affectedPods"));
        let apps: Vec<_> = apps.iter().chain(pods).filter_map(Value::as_str).collect();
        table.add_row([
            text(one, "/id"),
            text(one, "/startedAt"),
            apps.join(","),
            state(one),
            waits_for(one),
        ]);
    }
    let over = if all { items(&answer, "/history") } else { &[] };
    for one in over {
        let apps: Vec<_> = items(one, "/apps").iter().map(|app| text(app, "/id")).collect();
        table.add_row([
            text(one, "/id"),
            text(one, "/startedAt"),
            apps.join(","),
            text(one, "/outcome"),
            text(one, "/reason"),
        ]);
    }
    print(&table);
    Ok(())
}

async fn show(id: &str, cluster: &Cluster) -> Result<(), Failure> {
    let one = cluster.marathon(&format!("/agora/v1/deployments/{id}")).await?;
    if cluster.json {
        print_json(&one);
        return Ok(());
    }
    say!("id        {id}");
    say!("started   {}", text(&one, "/startedAt"));
    if one.get("outcome").is_some() {
        say!("ended     {}", text(&one, "/endedAt"));
        say!("outcome   {}", text(&one, "/outcome"));
        if one.get("reason").is_some() {
            say!("reason    {}", text(&one, "/reason"));
        }
        for app in items(&one, "/apps") {
            let (from, to) = (text(app, "/from"), text(app, "/to"));
            say!("app       {} from {from} to {to}", text(app, "/id"));
        }
        return Ok(());
    }
    say!("state     {}", state(&one));
    say!("progress  {}", text(&one, "/lastProgressAt"));
    for waited in items(&one, "/waitsFor") {
        say!("waits for {}", text(waited, "/why"));
    }
    Ok(())
}

/// How a running deployment is.
fn state(one: &Value) -> String {
    let step = format!("step {} of {}", text(one, "/currentStep"), text(one, "/totalSteps"));
    if one["isPaused"] == true {
        format!("{step}, held")
    } else if items(one, "/waitsForContinue").is_empty() {
        step
    } else {
        format!("{step}, at a stop of its canary")
    }
}

/// What a running deployment waits for.
fn waits_for(one: &Value) -> String {
    let whys: Vec<_> = items(one, "/waitsFor").iter().map(|waited| text(waited, "/why")).collect();
    whys.join("; ")
}

/// Waits for the deployment that `answer` names, unless told not to, and says `done`.
pub(super) async fn finish(
    cluster: &Cluster,
    answer: &Value,
    change: &Change,
    done: &str,
) -> Result<(), Failure> {
    finish_waiting(cluster, answer, &change.wait, done).await
}

/// The same where the answer does not name its deployment: it is `id`.
pub(super) async fn finish_named(
    cluster: &Cluster,
    answer: &Value,
    id: Option<String>,
    change: &Change,
    done: &str,
) -> Result<(), Failure> {
    wait_for(cluster, answer, id.unwrap_or_default(), &change.wait, done).await
}

async fn finish_waiting(
    cluster: &Cluster,
    answer: &Value,
    wait: &Wait,
    done: &str,
) -> Result<(), Failure> {
    let id = answer
        .get("deploymentId")
        .or_else(|| answer.pointer("/deployments/0/id"))
        .or_else(|| answer.get("id"))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    wait_for(cluster, answer, id, wait, done).await
}

async fn wait_for(
    cluster: &Cluster,
    answer: &Value,
    id: String,
    wait: &Wait,
    done: &str,
) -> Result<(), Failure> {
    let mut is_done = true;
    if !wait.detach && !id.is_empty() {
        is_done = until_over(cluster, &id, wait.timeout).await?;
    }
    if cluster.json {
        print_json(answer);
    } else if wait.detach && !id.is_empty() {
        say!("{done}: deployment {id} is under way");
    } else if is_done {
        say!("{done}");
    } else {
        say!("deployment {id} waits for somebody; 'agora deployment continue {id}' has it go on");
    }
    Ok(())
}

/// Shows how the deployment `id` gets on until it is over. False if it waits for somebody.
async fn until_over(cluster: &Cluster, id: &str, timeout: Duration) -> Result<bool, Failure> {
    let start = Instant::now();
    let progress = indicatif::ProgressBar::new_spinner();
    loop {
        let one = match cluster.marathon(&format!("/agora/v1/deployments/{id}")).await {
            Ok(one) => one,
            // One that changed nothing is not remembered.
            Err(Failure::NotFound(_)) => return Ok(true),
            Err(failure) => return Err(failure),
        };
        if one.get("outcome").is_some() {
            progress.finish_and_clear();
            return ended(cluster, &one).await.map(|()| true);
        }
        if one["isPaused"] == true || !items(&one, "/waitsForContinue").is_empty() {
            progress.finish_and_clear();
            return Ok(false);
        }
        if start.elapsed() > timeout {
            progress.finish_and_clear();
            let failures = failures(cluster, &one).await;
            return Err(Failure::Refused(format!(
                "deployment {id} is still at {} after {}; it goes on.\n{}{failures}\n\
                 'agora app explain' tells more of an app.",
                state(&one),
                model::units::format_duration(timeout),
                waits_for(&one),
            )));
        }
        let passed = start.elapsed().as_secs();
        progress.set_message(format!("{}, {passed} s: {}", state(&one), waits_for(&one)));
        progress.tick();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a deployment that is over succeeded; if not, why, and how its apps' tasks failed last.
async fn ended(cluster: &Cluster, one: &Value) -> Result<(), Failure> {
    let outcome = text(one, "/outcome");
    if outcome == "succeeded" {
        return Ok(());
    }
    let mut message = format!("deployment {} was {outcome}", text(one, "/id"));
    if outcome == "failed" {
        message = format!("deployment {} failed", text(one, "/id"));
    }
    if one.get("reason").is_some() {
        message = format!("{message}: {}", text(one, "/reason"));
    }
    Err(Failure::Refused(message + &failures(cluster, one).await))
}

/// How the apps' tasks of a deployment failed last, with the last that they wrote, each on lines of its own.
async fn failures(cluster: &Cluster, one: &Value) -> String {
    let mut told = String::new();
    let over = items(one, "/apps").iter().map(|app| text(app, "/id"));
    let running = ["/affectedApps", "/affectedPods"].into_iter().flat_map(|at| items(one, at));
    let running = running.filter_map(|id| id.as_str().map(str::to_owned));
    for id in over.chain(running) {
        let Some((how, task)) = failed(&id, cluster).await else { continue };
        told = format!("{told}\n{how}");
        if let Some(lines) = logs::last_lines(&task, cluster).await {
            told = format!("{told}\n{lines}");
        }
    }
    told
}

/// How a task of an app or a pod failed last, and which. One that went with the deployment has nothing more
/// to tell.
async fn failed(id: &str, cluster: &Cluster) -> Option<(String, String)> {
    if let Ok(answer) = cluster.marathon(&format!("/v2/apps{id}")).await {
        let failure = answer.pointer("/app/lastTaskFailure")?;
        return Some((last_failure(failure), text(failure, "/taskId")));
    }
    let status = cluster.marathon(&format!("/v2/pods{id}::status")).await.ok()?;
    let ended = items(&status, "/terminationHistory").first()?;
    last_broken(ended)
}

/// The container that an instance of a pod ended with, if one ended badly.
fn last_broken(ended: &Value) -> Option<(String, String)> {
    let is_bad = |it: &&Value| {
        !["TASK_FINISHED", "TASK_KILLED"].iter().any(|good| it["lastKnownState"] == *good)
    };
    let container = items(ended, "/containers").iter().find(is_bad)?;
    let task = text(container, "/containerId");
    let how = format!(
        "the last container to fail was {task} at {}: {} ({})",
        text(ended, "/terminatedAt"),
        text(container, "/termination/message"),
        text(container, "/lastKnownState"),
    );
    Some((how, task))
}

/// How a task failed last, in a line.
pub(super) fn last_failure(failure: &Value) -> String {
    format!(
        "the last task to fail was {} on {} at {}: {} ({})",
        text(failure, "/taskId"),
        text(failure, "/host"),
        text(failure, "/timestamp"),
        text(failure, "/message"),
        text(failure, "/state"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_pod_the_container_is_told_that_broke() {
        let mut ended = json!({
            "terminatedAt": "then",
            "containers": [
                {"containerId": "pod.side.1", "lastKnownState": "TASK_KILLED"},
                {"containerId": "pod.main.1", "lastKnownState": "TASK_FAILED",
                 "termination": {"message": "exited with status 7"}},
            ],
        });
        let (how, task) = last_broken(&ended).expect("one broke");
        assert_eq!(task, "pod.main.1");
        assert_eq!(
            how,
            "the last container to fail was pod.main.1 at then: exited with status 7 (TASK_FAILED)"
        );
        ended["containers"][1]["lastKnownState"] = "TASK_FINISHED".into();
        assert_eq!(last_broken(&ended), None);
    }

    #[test]
    fn a_deployment_is_told_in_a_line() {
        let mut one = json!({
            "currentStep": 2, "totalSteps": 3, "isPaused": false, "waitsForContinue": [],
            "waitsFor": [{"app": "/a", "why": "/a waits"}, {"app": "/b", "why": "/b waits"}],
        });
        assert_eq!(state(&one), "step 2 of 3");
        assert_eq!(waits_for(&one), "/a waits; /b waits");
        one["waitsForContinue"] = json!(["/a"]);
        assert_eq!(state(&one), "step 2 of 3, at a stop of its canary");
        one["isPaused"] = true.into();
        assert_eq!(state(&one), "step 2 of 3, held");
    }
}
