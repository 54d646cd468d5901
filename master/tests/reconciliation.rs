//! What frameworks are told of tasks they ask for: every row of the table, over real sockets, in JSON
//! and in protobuf, for frameworks that know PARTITION_AWARE and for those that do not.

mod common;

use std::time::Duration;

use common::{Alone, BOTH, FakeAgent, Scheduler};
use master::Options;
use serde_json::{Value, json};
use transport::http::Encoding;

fn framework(is_aware: bool) -> Value {
    let capabilities = if is_aware { json!([{"type": "PARTITION_AWARE"}]) } else { json!([]) };
    json!({
        "user": "nobody", "name": "asker", "role": "web", "failover_timeout": 60.0,
        "capabilities": capabilities,
    })
}

/// Asks for one task, or for all; what is answered.
async fn asked(scheduler: &mut Scheduler, task: Option<(&str, Option<&str>)>) -> Value {
    scheduler.reconcile(task).await;
    let status = scheduler.event("UPDATE").await["update"]["status"].clone();
    assert_eq!(status["source"], "SOURCE_MASTER", "{status}");
    assert_eq!(status["reason"], "REASON_RECONCILIATION", "{status}");
    assert!(status["uuid"].is_null(), "nobody waits for a confirmation: {status}");
    status
}

/// One agent that is there, and its id and those of one that is out of contact and one that was declared
/// dead.
async fn three_agents(master: &Alone) -> (FakeAgent, [String; 3]) {
    let watcher = framework(true);
    let mut watcher = Scheduler::subscribed(master, Encoding::Json, &watcher, None).await;
    let away = FakeAgent::registered_on(master.address(), None, 5_052).await;
    let gone = FakeAgent::registered_on(master.address(), None, 5_053).await;
    let ids = [away.id.to_string(), gone.id.to_string()];
    let call = json!({
        "type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": ids[1]}},
    });
    assert_eq!(master.post("/api/v1", &call).await.status(), 200);
    drop((away, gone));
    // Frameworks hear of both.
    while watcher.event("FAILURE").await["failure"]["agent_id"]["value"] != ids[0] {}
    watcher.call(json!({"type": "TEARDOWN"})).await;
    let here = FakeAgent::registered(master.address()).await;
    let id = here.id.to_string();
    let [away, gone] = ids;
    (here, [id, away, gone])
}

#[tokio::test]
async fn every_question_about_a_task_has_its_answer_in_both_encodings() {
    let quick = Options {
        agent_ping_timeout: Duration::from_millis(300),
        allocation_interval: Duration::from_millis(20),
        ..Options::default()
    };
    let master = Alone::with(quick).await;
    let (_agent, [here, away, gone]) = three_agents(&master).await;
    for encoding in BOTH {
        for is_aware in [true, false] {
            let mut scheduler =
                Scheduler::subscribed(&master, encoding, &framework(is_aware), None).await;
            let offers = scheduler.offers_of_disk(1_024.0).await;
            let task = json!({
                "name": "t", "task_id": {"value": "t"}, "agent_id": {"value": here},
                "command": {"value": "true"},
                "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}],
            });
            let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
            scheduler.accept(&offers, launch).await;

            // What is known is told, wherever the asker believes it to be; and all of it, if nothing is named.
            let known = [Some(("t", Some(here.as_str()))), Some(("t", None)), None];
            for question in known {
                let status = asked(&mut scheduler, question).await;
                assert_eq!(status["state"], "TASK_STAGING", "{question:?}");
                assert_eq!(status["message"], "Reconciliation: Latest task state");
                assert_eq!(status["agent_id"]["value"], here);
            }
            for (agent, aware, why) in [
                (Some(here.as_str()), "TASK_GONE", "unknown to the agent"),
                (Some(away.as_str()), "TASK_UNREACHABLE", "unreachable"),
                (Some(gone.as_str()), "TASK_GONE_BY_OPERATOR", "gone"),
                (Some("nowhere"), "TASK_UNKNOWN", "unknown"),
                (None, "TASK_UNKNOWN", "unknown"),
            ] {
                let status = asked(&mut scheduler, Some(("x", agent))).await;
                let state = if is_aware { aware } else { "TASK_LOST" };
                assert_eq!(status["state"], state, "{agent:?}: {status}");
                let message = status["message"].as_str().expect("a reason");
                assert_eq!(message, format!("Reconciliation: Task is {why}"), "{agent:?}");
                let since = &status["unreachable_time"];
                assert_eq!(since.is_null(), why != "unreachable", "{agent:?}: {status}");
            }
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}
