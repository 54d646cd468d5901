//! Clients that were written for Mesos and Marathon, unmodified.

use crate::harness::{PATIENCE, World, until_async};
use std::path::Path;
use std::process::Command;

/// Runs a script of this directory and returns what it printed.
async fn python(script: &str, argument: &str) -> String {
    let interpreter = std::env::var("AGORA_TEST_PYTHON")
        .expect("AGORA_TEST_PYTHON names an interpreter with pymesos and marathon: cargo xtask ci");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python").join(script);
    let argument = argument.to_owned();
    let run = move || {
        Command::new("timeout").arg("120").arg(interpreter).arg(path).arg(argument).output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("no panic").expect("it starts");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {}\n{out}\n{err}", output.status);
    out
}

#[tokio::test]
async fn a_pymesos_scheduler_and_executor_run_ten_tasks() {
    let world = World::new();
    let local = world.start_local().await;
    let out = python("mesos_scheduler.py", &local.master).await;
    for number in 0..10 {
        let running = format!("update square-{number} TASK_RUNNING");
        let finished = format!("update square-{number} TASK_FINISHED {}", number * number);
        let at = |line: &str| out.lines().position(|have| have.trim_end() == line);
        let (running, finished) = (at(&running), at(&finished));
        assert!(running.is_some() && running < finished, "task {number}: {out}");
        assert!(out.contains(&format!("message did {number}\n")), "{out}");
    }
}

#[tokio::test]
async fn the_marathon_client_manages_an_app() {
    let world = World::new();
    let local = world.start_local().await;
    until_async("Marathon has a framework id", PATIENCE, async || {
        let info = world.json(&local.marathon, "/v2/info").await?;
        info["frameworkId"].as_str().map(|_| ())
    })
    .await;
    let out = python("marathon_client.py", &format!("http://{}", local.marathon)).await;
    assert_eq!(out, "done\n");
}
