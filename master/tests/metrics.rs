//! What a master counts and measures, over real sockets, and the page that says so.

mod common;
#[path = "../../transport/tests/metrics_page/mod.rs"]
mod metrics_page;

use std::time::Duration;

use common::{Alone, FakeAgent, SOON, Scheduler};
use master::Options;
use model::ids::{FrameworkId, TaskId};
use model::link::{FromAgent, ToAgent};
use model::task::TaskState;
use serde_json::{Value, json};
use tokio::time::timeout;
use transport::http::Encoding;
use transport::metrics::double;

const CORE: [&str; 5] = [
    "allocator/mesos/resources/",
    "allocator/mesos/roles/",
    "allocator/mesos/offer_filters/",
    "allocator/mesos/quota/",
    "master/frameworks/",
];

fn framework() -> Value {
    json!({
        "user": "nobody", "name": "a counter", "role": "web", "principal": "ops", "failover_timeout": 60.0,
    })
}

/// A master whose allocator does not wait, for which a role has quota, and an agent of it.
async fn started() -> (Alone, FakeAgent) {
    let eager = Options { allocation_interval: Duration::from_millis(20), ..Options::default() };
    let master = Alone::with(eager).await;
    let amounts = |cpus: f64| json!({"cpus": {"value": cpus}});
    let quota = json!({"role": "web", "guarantees": amounts(1.0), "limits": amounts(8.0)});
    let call =
        json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [quota], "force": true}});
    assert_eq!(master.post("/api/v1", &call).await.status(), 200);
    let agent = FakeAgent::registered(master.address()).await;
    (master, agent)
}

fn launch(agent: &FakeAgent, task: &str) -> Value {
    let task = json!({
        "name": task, "task_id": {"value": task}, "agent_id": {"value": agent.id.as_str()},
        "command": {"value": "true"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}}],
    });
    json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}])
}

/// The agent reports a task.
async fn report(agent: &FakeAgent, framework: &str, task: &str, state: TaskState, nth: u8) {
    let framework = FrameworkId::new(framework).expect("an id");
    agent.report(&framework, &TaskId::new(task).expect("an id"), state, nth).await;
}

/// The framework hears of it, and the agent that it has.
async fn acknowledged(scheduler: &mut Scheduler, agent: &mut FakeAgent, state: &str) {
    let status = scheduler.event("UPDATE").await["update"]["status"].clone();
    assert_eq!(status["state"], state, "{status}");
    let acknowledge = json!({
        "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
    });
    scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": acknowledge})).await;
    let told = agent.hear().await.expect("the link is up");
    assert!(matches!(told, ToAgent::Acknowledge { .. }), "{told:?}");
}

async fn text(master: &Alone) -> String {
    let answer = master.http.get(master.url("/metrics")).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.text().await.expect("a body")
}

/// Waits until the master tells `value` of `name`.
async fn until(master: &Alone, name: &str, value: f64) {
    let told = async {
        while master.get("/metrics/snapshot").await[name] != json!(value) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, told).await.unwrap_or_else(|_| panic!("{name} does not become {value}"));
}

fn assert_told(metrics: &Value, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(metrics[*name], json!(value), "{name}");
    }
}

/// One offer is declined for good, and had again by REVIVE.
async fn declines_and_revives(master: &Alone, scheduler: &mut Scheduler, prefix: &str) {
    let of = |what: &str| format!("{prefix}/{what}");
    let offers = scheduler.offers_of_disk(1_024.0).await;
    let ids: Vec<&Value> = offers.iter().map(|offer| &offer["id"]).collect();
    let decline = json!({"offer_ids": ids, "filters": {"refuse_seconds": 86_400.0}});
    scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
    let metrics = master.get("/metrics/snapshot").await;
    let declined = double(offers.len());
    assert_told(
        &metrics,
        &[
            ("allocator/mesos/offer_filters/roles/web/active", declined),
            ("allocator/mesos/resources/cpus/total", 4.0),
            ("allocator/mesos/resources/cpus/offered_or_allocated", 0.0),
            ("allocator/mesos/quota/roles/web/resources/cpus/guarantee", 1.0),
            ("allocator/mesos/quota/roles/web/resources/cpus/limit", 8.0),
            ("allocator/mesos/quota/roles/web/resources/cpus/consumed", 0.0),
            ("allocator/mesos/roles/web/shares/dominant", 0.0),
            (&of("offers/declined"), declined),
        ],
    );
    scheduler.call(json!({"type": "SUPPRESS", "suppress": {}})).await;
    let metrics = master.get("/metrics/snapshot").await;
    assert_told(&metrics, &[(&of("roles/web/suppressed"), 1.0)]);
    scheduler.call(json!({"type": "REVIVE", "revive": {}})).await;
}

/// One task runs and ends, another one is launched on the same offers, which are none any more.
async fn runs_tasks(
    master: &Alone,
    scheduler: &mut Scheduler,
    agent: &mut FakeAgent,
    (id, prefix): (&str, &str),
) {
    let of = |what: &str| format!("{prefix}/{what}");
    let offers = scheduler.offers_of_disk(1_024.0).await;
    scheduler.accept(&offers, launch(agent, "t")).await;
    let told = agent.hear().await.expect("the link is up");
    assert!(matches!(told, ToAgent::Launch(_)), "{told:?}");
    let metrics = master.get("/metrics/snapshot").await;
    assert_told(
        &metrics,
        &[(&of("tasks/active/task_staging"), 1.0), (&of("offers/accepted"), double(offers.len()))],
    );
    report(agent, id, "t", TaskState::Running, 1).await;
    acknowledged(scheduler, agent, "TASK_RUNNING").await;
    let metrics = master.get("/metrics/snapshot").await;
    assert_told(
        &metrics,
        &[
            (&of("tasks/active/task_running"), 1.0),
            ("master/tasks_running", 1.0),
            ("master/cpus_used", 1.0),
        ],
    );
    report(agent, id, "t", TaskState::Finished, 2).await;
    acknowledged(scheduler, agent, "TASK_FINISHED").await;
    scheduler.accept(&offers, launch(agent, "u")).await;
    let refused = scheduler.event("UPDATE").await["update"]["status"].clone();
    assert_eq!(refused["reason"], "REASON_INVALID_OFFERS");
}

/// One subscription is refused by an event, and one cannot be read.
async fn refused_and_unreadable(master: &Alone) {
    let info = json!({"user": "nobody", "name": "refused", "role": "/"});
    let refused = json!({"framework_info": info});
    let refused = Scheduler::subscribed_by(master, Encoding::Json, &refused, None).await;
    assert!(refused.is_err(), "there is no such role");
    let info = json!({"user": "nobody", "name": "unreadable", "id": {"value": "one"}});
    let other = json!({"value": "another"});
    let call = json!({
        "type": "SUBSCRIBE", "framework_id": other, "subscribe": {"framework_info": info},
    });
    let post = master.http.post(master.url("/api/v1/scheduler"));
    let post = post.header("content-type", "application/json").body(call.to_string());
    assert_eq!(post.send().await.expect("an answer").status(), 400);
}

/// Something is passed on, and something cannot be.
async fn relays(master: &Alone, scheduler: &mut Scheduler, agent: &mut FakeAgent) {
    for agent_id in [agent.id.as_str(), "nowhere"] {
        let message = json!({
            "agent_id": {"value": agent_id}, "executor_id": {"value": "e"}, "data": "aGk=",
        });
        scheduler.call(json!({"type": "MESSAGE", "message": message})).await;
    }
    let told = agent.hear().await.expect("the link is up");
    assert!(matches!(told, ToAgent::Message { .. }), "{told:?}");
    report(agent, "nobody", "t", TaskState::Running, 3).await;
    until(master, "master/invalid_status_updates", 1.0).await;
}

#[tokio::test]
async fn every_metric_of_a_master_is_written_down_and_every_one_written_down_is_there() {
    let (master, mut agent) = started().await;
    let mut scheduler = Scheduler::subscribed(&master, Encoding::Json, &framework(), None).await;
    let id = scheduler.id["value"].as_str().expect("text").to_owned();
    let prefix = format!("master/frameworks/a%20counter/{id}");
    let of = |what: &str| format!("{prefix}/{what}");
    refused_and_unreadable(&master).await;
    declines_and_revives(&master, &mut scheduler, &prefix).await;
    runs_tasks(&master, &mut scheduler, &mut agent, (&id, &prefix)).await;
    relays(&master, &mut scheduler, &mut agent).await;

    let metrics = master.get("/metrics/snapshot").await;
    assert_told(
        &metrics,
        &[
            ("master/messages_register_framework", 2.0),
            ("master/messages_reregister_framework", 1.0),
            ("master/messages_register_slave", 1.0),
            ("master/slave_registrations", 1.0),
            ("master/messages_status_update", 3.0),
            ("master/valid_status_updates", 2.0),
            ("master/messages_status_update_acknowledgement", 2.0),
            ("master/valid_status_update_acknowledgements", 2.0),
            ("master/messages_framework_to_executor", 2.0),
            ("master/valid_framework_to_executor_messages", 1.0),
            ("master/invalid_framework_to_executor_messages", 1.0),
            ("master/dropped_messages", 2.0),
            ("master/tasks_finished", 1.0),
            ("master/tasks_lost", 1.0),
            ("master/task_lost/source_master/reason_invalid_offers", 1.0),
            ("registrar/log/ensemble_size", 1.0),
            ("registrar/log/recovered", 1.0),
            ("registrar/queued_operations", 0.0),
            ("registrar/state_fetch_ms/count", 1.0),
            ("frameworks/ops/messages_received", 10.0),
            ("frameworks/ops/messages_processed", 10.0),
            (&of("subscribed"), 1.0),
            (&of("calls"), 10.0),
            (&of("calls/accept"), 2.0),
            (&of("calls/subscribe"), 1.0),
            (&of("events/update"), 3.0),
            (&of("operations"), 2.0),
            (&of("operations/launch"), 2.0),
            (&of("tasks/active/task_running"), 0.0),
            (&of("tasks/terminal/task_finished"), 1.0),
            (&of("roles/web/suppressed"), 0.0),
        ],
    );
    let at_least = |name: &str, least: f64| {
        assert!(metrics[name].as_f64().is_some_and(|value| value >= least), "{name}: {metrics}");
    };
    at_least("registrar/state_store_ms/count", 3.0);
    at_least("registrar/registry_size_bytes", 1.0);
    at_least("allocator/mesos/allocation_runs", 2.0);
    at_least("allocator/mesos/allocation_run_latency_ms/max", 1.0);
    assert_eq!(
        metrics["allocator/mesos/allocation_runs"],
        metrics["allocator/mesos/allocation_run_ms/count"]
    );

    let (there, absent) = ("## Of a master", "## What a master does not have");
    metrics_page::check(there, absent, &["master/task_"], &metrics, &text(&master).await);

    // What is over is told of no more.
    scheduler.call(json!({"type": "TEARDOWN"})).await;
    let metrics = master.get("/metrics/snapshot").await;
    let names: Vec<&String> = metrics.as_object().expect("an object").keys().collect();
    let left = ["master/frameworks/", "allocator/mesos/roles/", "allocator/mesos/offer_filters/"];
    for start in left.into_iter().chain(["frameworks/"]) {
        assert!(!names.iter().any(|name| name.starts_with(start)), "{start}: {names:?}");
    }
    assert!(!text(&master).await.contains(&id));
    agent.say(&FromAgent::Unregister).await;
    until(&master, "master/slave_removals/reason_unregistered", 1.0).await;
    let metrics = master.get("/metrics/snapshot").await;
    assert_told(
        &metrics,
        &[
            ("master/slave_removals", 1.0),
            ("master/messages_unregister_slave", 1.0),
            ("master/messages_unregister_framework", 1.0),
        ],
    );
}

#[tokio::test]
async fn who_has_no_time_does_without_what_the_core_must_be_asked_for() {
    let (master, _agent) = started().await;
    let _scheduler = Scheduler::subscribed(&master, Encoding::Json, &framework(), None).await;
    let ask = async |timeout: Value| {
        let get_metrics = json!({"timeout": {"nanoseconds": timeout}});
        let call = json!({"type": "GET_METRICS", "get_metrics": get_metrics});
        let answer = master.post("/api/v1", &call).await;
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let names = |answer: &str| {
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        let all = answer["get_metrics"]["metrics"].as_array().expect("a list").clone();
        all.iter().map(|metric| metric["name"].as_str().expect("text").to_owned()).collect()
    };
    let flat = async |query: &str| {
        let metrics = master.get(&format!("/metrics/snapshot{query}")).await;
        metrics.as_object().expect("an object").keys().cloned().collect()
    };
    let none: [Vec<String>; 2] = [names(&ask(json!(0)).await.1), flat("?timeout=0secs").await];
    for names in none {
        assert!(names.iter().any(|name| name == "master/slaves_active"), "{names:?}");
        for start in CORE {
            assert!(!names.iter().any(|name| name.starts_with(start)), "{start}: {names:?}");
        }
    }
    let minute = ask(json!(60_000_000_000_i64)).await.1;
    let all: [Vec<String>; 3] = [names(&minute), flat("?timeout=1mins").await, flat("").await];
    for names in all {
        for start in CORE {
            assert!(names.iter().any(|name| name.starts_with(start)), "{start}: {names:?}");
        }
    }
    let (status, why) = ask(json!(-1)).await;
    assert_eq!((status, &*why), (400, "Invalid timeout: it must not be negative"));
    let answer = master.http.get(master.url("/metrics/snapshot?timeout=soon")).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 400);
    let why = answer.text().await.expect("a body");
    assert!(why.starts_with("Invalid timeout: 'soon' is not a duration"), "{why}");
}

#[tokio::test]
async fn nothing_is_told_of_single_frameworks_where_that_is_not_wanted() {
    let options = Options { publish_per_framework_metrics: false, ..Options::default() };
    let master = Alone::with(options).await;
    let scheduler = Scheduler::subscribed(&master, Encoding::Json, &framework(), None).await;
    let metrics = master.get("/metrics/snapshot").await;
    assert_told(&metrics, &[("master/frameworks_connected", 1.0)]);
    assert!(metrics["allocator/mesos/roles/web/shares/dominant"].is_f64(), "{metrics}");
    let id = scheduler.id["value"].as_str().expect("text");
    assert!(!metrics.to_string().contains(id), "{metrics}");
}

#[tokio::test]
async fn an_agent_out_of_contact_is_told_of() {
    let agent_ping_timeout = Duration::from_millis(300);
    let master = Alone::with(Options { agent_ping_timeout, ..Options::default() }).await;
    drop(FakeAgent::registered(master.address()).await);
    until(&master, "master/slave_unreachable_completed", 1.0).await;
    let metrics = master.get("/metrics/snapshot").await;
    let expected = [
        ("master/slaves_unreachable", 1.0),
        ("master/slave_removals", 1.0),
        ("master/slave_removals/reason_unhealthy", 1.0),
        ("master/slave_removals/reason_registered", 0.0),
        ("master/slave_unreachable_scheduled", 1.0),
        ("master/slave_shutdowns_scheduled", 1.0),
        ("master/slave_shutdowns_completed", 1.0),
        ("master/recovery_slave_removals", 0.0),
    ];
    assert_told(&metrics, &expected);
}

#[tokio::test]
async fn an_agent_whose_place_another_one_takes_is_told_of() {
    let master = Alone::started().await;
    drop(FakeAgent::registered(master.address()).await);
    until(&master, "master/slaves_disconnected", 1.0).await;
    let mut another = common::agent_info(5_051);
    another.resources.push(common::scalar("gpus", 1.0));
    let _another = FakeAgent::registered_with(master.address(), &another).await;
    until(&master, "master/slave_removals/reason_registered", 1.0).await;
    let metrics = master.get("/metrics/snapshot").await;
    let expected = [
        ("master/slave_removals", 1.0),
        ("master/slave_removals/reason_unhealthy", 0.0),
        ("master/slave_registrations", 2.0),
        ("master/messages_register_slave", 2.0),
    ];
    assert_told(&metrics, &expected);
}
