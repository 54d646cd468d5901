//! What an agent counts and measures, and the page that says so.

use std::fs;

use model::call::Message;
use model::ids::ExecutorId;
use model::link::{FromAgent, ToAgent};
use model::payload::Payload;
use model::task::TaskState;
use proto::mesos::v1 as mesos;
use serde_json::{Value, json};

use crate::master::{AGENT, agent_id, framework_id};
use crate::{PATIENCE, Site, client, command_task, executor_task, metrics_page, of, update};

/// Waits until the agent tells `value` of `name`.
async fn until(site: &Site, name: &str, value: f64) {
    let told = async {
        while site.get_json("/metrics/snapshot").await[name] != json!(value) {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.unwrap_or_else(|_| panic!("{name} does not become {value}"));
}

fn assert_told(metrics: &Value, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(metrics[*name], json!(value), "{name}");
    }
}

/// A task that fetches a file first.
fn fetching(id: &str, path: &str) -> mesos::TaskInfo {
    let mut task = command_task(AGENT, id, "true");
    let uri =
        mesos::command_info::Uri { value: path.to_owned(), ..mesos::command_info::Uri::default() };
    task.command.as_mut().expect("it has one").uris.push(uri);
    task
}

fn message(executor: &str) -> ToAgent {
    let executor = ExecutorId::new(executor).expect("an id");
    let message = Message { agent: agent_id(), executor, data: Payload::from(b"hi".to_vec()) };
    ToAgent::Message { framework: framework_id(), message }
}

/// An executor registers, runs, speaks and ends.
async fn an_executor_lives(site: &mut Site) {
    site.master.launch(executor_task(AGENT, "t1", "e1"));
    site.launched("e1").await;
    let metrics = site.get_json("/metrics/snapshot").await;
    assert_told(
        &metrics,
        &[
            ("slave/executors_registering", 1.0),
            ("slave/tasks_staging", 1.0),
            ("slave/frameworks_active", 1.0),
            ("slave/cpus_total", 4.0),
            ("slave/cpus_used", 0.6),
            ("slave/cpus_percent", 0.15),
        ],
    );
    let mut events = site.subscribe("e1", json!({})).await;
    events.expect("SUBSCRIBED").await;
    events.expect("LAUNCH").await;
    assert_eq!(site.call(&update("e1", "t1", "TASK_RUNNING", 1)).await.0, 202);
    assert_eq!(site.master.status().await.state, TaskState::Running);
    let metrics = site.get_json("/metrics/snapshot").await;
    assert_told(&metrics, &[("slave/executors_running", 1.0), ("slave/tasks_running", 1.0)]);

    // Of the three messages one is for nobody.
    site.master.say(&message("e1"));
    events.expect("ACKNOWLEDGED").await;
    events.expect("MESSAGE").await;
    let mut call = of("e1", "MESSAGE");
    call["message"] = json!({"data": "aGk="});
    assert_eq!(site.call(&call).await.0, 202);
    assert!(matches!(site.master.hear().await, FromAgent::Message { .. }));
    site.master.say(&message("nobody"));
    until(site, "slave/invalid_framework_messages", 1.0).await;

    assert_eq!(site.call(&update("e1", "t1", "TASK_FINISHED", 2)).await.0, 202);
    assert_eq!(site.call(&update("e1", "t1", "TASK_FAILED", 3)).await.0, 202);
    assert_eq!(site.master.status().await.state, TaskState::Finished);
    let executor = ExecutorId::new("e1").expect("an id");
    site.master.say(&ToAgent::ShutdownExecutor { framework: framework_id(), executor });
    events.expect("ACKNOWLEDGED").await;
    events.expect("ACKNOWLEDGED").await;
    events.expect("SHUTDOWN").await;
    assert!(matches!(site.master.hear().await, FromAgent::ExecutorExited { .. }));
}

#[tokio::test]
async fn every_metric_of_an_agent_is_written_down_and_every_one_written_down_is_there() {
    let mut site = Site::new().await;
    until(&site, "slave/registered", 1.0).await;
    an_executor_lives(&mut site).await;
    let file = site.work_dir.path().join("file");
    fs::write(&file, "content").expect("there is room");
    site.master.launch(fetching("t2", file.to_str().expect("text")));
    site.master.status_of(TaskState::Finished).await;
    site.master.launch(fetching("t3", "/nowhere/at/all"));
    site.master.status_of(TaskState::Failed).await;
    until(&site, "slave/executors_terminated", 3.0).await;

    let metrics = site.get_json("/metrics/snapshot").await;
    assert_told(
        &metrics,
        &[
            ("slave/registrations", 1.0),
            ("slave/executors_registering", 0.0),
            ("slave/executors_running", 0.0),
            ("slave/executors_terminating", 0.0),
            ("slave/tasks_accepted", 3.0),
            ("slave/tasks_finished", 2.0),
            ("slave/tasks_failed", 1.0),
            ("slave/container_launch_errors", 1.0),
            ("containerizer/fetcher/task_fetches_succeeded", 1.0),
            ("containerizer/fetcher/task_fetches_failed", 1.0),
            ("containerizer/fetcher/cache_size_used_bytes", 0.0),
            ("containerizer/mesos/container_destroy_errors", 0.0),
            ("slave/valid_framework_messages", 2.0),
            ("slave/invalid_framework_messages", 1.0),
            ("slave/invalid_status_updates", 1.0),
            ("slave/cpus_used", 0.0),
        ],
    );
    for name in ["slave/recovery_time_secs", "slave/uptime_secs", "system/cpus_total"] {
        assert!(metrics[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {metrics}");
    }
    let (status, text) = site.get("/metrics").await;
    assert_eq!(status, 200);
    let (there, absent) = ("## Of an agent", "## What an agent does not have");
    metrics_page::check(there, absent, &[], &metrics, &text);
    site.end().await;
}

#[tokio::test]
async fn metrics_take_a_timeout_if_it_is_one() {
    let site = Site::new().await;
    let all = site.get_json("/metrics/snapshot?timeout=0secs").await;
    assert!(all["slave/registered"].is_f64(), "nothing is waited for: {all}");
    let (status, why) = site.get("/metrics/snapshot?timeout=soon").await;
    assert_eq!(status, 400);
    assert!(why.starts_with("Invalid timeout: 'soon' is not a duration"), "{why}");
    for (nanoseconds, status) in [(1_000, 200), (-1, 400)] {
        let call = json!({
            "type": "GET_METRICS", "get_metrics": {"timeout": {"nanoseconds": nanoseconds}},
        });
        let request = client().post(site.url("/api/v1"));
        let request = request.header("content-type", "application/json").body(call.to_string());
        assert_eq!(request.send().await.expect("an answer").status(), status, "{nanoseconds}");
    }
    site.end().await;
}
