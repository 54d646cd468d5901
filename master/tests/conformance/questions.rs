//! What operators ask: each question of the API, of a cluster that has one of everything.

use master::Options;
use model::link::FromAgent;
use model::task::TaskState;
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, operators};
use crate::words::{BOTH, able, amount, impatient, launch, task, with};

fn member<'a>(list: &'a Value, name: &str, id: &str) -> &'a Value {
    let all = list.as_array().expect("a list");
    all.iter().find(|one| one[name]["value"] == id).expect("it is listed")
}

/// A master with a flag to show.
async fn with_flags() -> Alone {
    let flags = [("quorum".to_owned(), "1".to_owned())].into();
    Alone::with(Options { flags, ..impatient() }).await
}

#[tokio::test]
async fn a_master_tells_what_it_is() {
    let master = with_flags().await;
    operators(&master, async |operator| {
        assert_eq!(operator.ask("GET_HEALTH").await, json!({"healthy": true}));
        let flags = operator.ask("GET_FLAGS").await;
        assert_eq!(flags["flags"], json!([{"name": "quorum", "value": "1"}]));
        let version = operator.ask("GET_VERSION").await["version_info"].take();
        let shown = master.get("/version").await;
        for name in ["version", "build_date", "build_time", "build_user", "git_tag"] {
            assert_eq!(version[name], shown[name], "{name}");
        }
        let told = operator.ask("GET_MASTER").await;
        assert_eq!(told["master_info"]["port"], master.address().port());
        assert!(told["start_time"].as_f64() <= told["elected_time"].as_f64(), "{told}");
        let announced = &told["master_info"]["capabilities"];
        let announced = announced.as_array().into_iter().flatten().map(|one| &one["type"]);
        assert_eq!(announced.collect::<Vec<_>>(), ["AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"]);
        let call = json!({"type": "GET_METRICS", "get_metrics": {}});
        let (status, metrics) = operator.call(&call).await;
        assert_eq!(status, 200);
        let metrics = metrics["get_metrics"]["metrics"].as_array().expect("a list");
        let elected = metrics.iter().find(|metric| metric["name"] == "master/elected");
        assert_eq!(elected.expect("it is there")["value"], 1.0);
        operator
            .refused(json!({"type": "UNKNOWN"}), 501, "This master does not carry out UNKNOWN")
            .await;
    })
    .await;
}

/// A framework with an executor and tasks in each list: one that runs, one that is over and one that is
/// out of contact.
async fn with_one_of_each(master: &Alone, agent: &mut FakeAgent) -> Scheduler {
    let mut away = FakeAgent::registered_on(master.address(), None, 5_052).await;
    let info = with(able(&["PARTITION_AWARE"]), "checkpoint", json!(true));
    let mut scheduler = Scheduler::subscribed(master, BOTH[1], &info, None).await;
    let offer = scheduler.offer_of(&away.id).await;
    scheduler.accept(&[offer], launch(&[task("away", &away.id)])).await;
    away.launched().await;
    drop(away);
    assert_eq!(scheduler.update().await["state"], "TASK_UNREACHABLE");
    let executor = json!({
        "executor_id": {"value": "e"}, "name": "runner", "command": {"value": "./e"},
        "resources": [amount("cpus", 0.5)],
    });
    let by_executor = with(task("runs", &agent.id), "executor", executor);
    let by_executor = with(by_executor, "command", Value::Null);
    let offer = scheduler.offer_of(&agent.id).await;
    scheduler.accept(&[offer], launch(&[by_executor, task("over", &agent.id)])).await;
    let launches = [agent.launched().await, agent.launched().await];
    let ways = [TaskState::Running, TaskState::Finished];
    for ((state, launch), n) in ways.into_iter().zip(launches).zip(1..) {
        let name = launch.tasks[0].id.clone();
        agent.report(&scheduler.framework(), &name, state, n).await;
        let status = scheduler.update().await;
        let body = json!({
            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
        });
        scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": body})).await;
        agent.hear().await.expect("it is told");
    }
    // All that is free is offered, be it in pieces, so that the lists stay as they are.
    let mut offered = 0.0;
    while offered < 3.399 {
        let offer = scheduler.offer_of(&agent.id).await;
        let resources = offer["resources"].as_array().expect("a list");
        let cpus = resources.iter().filter(|resource| resource["name"] == "cpus");
        offered += cpus.filter_map(|cpus| cpus["scalar"]["value"].as_f64()).sum::<f64>();
    }
    scheduler
}

async fn assert_agents(operator: &Operator<'_>, agent: &FakeAgent) {
    let agents = operator.ask("GET_AGENTS").await;
    let shown = member_of_agents(&agents["agents"], agent.id.as_str());
    assert_eq!((&shown["active"], &shown["deactivated"]), (&json!(true), &json!(false)));
    assert_eq!(shown["pid"], "slave(1)@127.0.0.1:5051");
    assert_eq!(shown["version"], "1.11.0");
    assert!(shown["registered_time"]["nanoseconds"].is_i64(), "{shown}");
    let cpus = |list: &str| {
        let all = shown[list].as_array().into_iter().flatten();
        let cpus = all.filter(|one| one["name"] == "cpus");
        let sum: f64 = cpus.filter_map(|one| one["scalar"]["value"].as_f64()).sum();
        format!("{sum:.3}")
    };
    let lists = ["total_resources", "allocated_resources", "offered_resources"];
    assert_eq!(lists.map(cpus), ["4.000", "0.600", "3.400"]);
}

fn member_of_agents<'a>(list: &'a Value, id: &str) -> &'a Value {
    let all = list.as_array().expect("a list");
    all.iter().find(|one| one["agent_info"]["id"]["value"] == id).expect("it is listed")
}

#[tokio::test]
async fn every_list_of_the_cluster_has_what_there_is() {
    let master = with_flags().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let scheduler = with_one_of_each(&master, &mut agent).await;
    let over = Scheduler::subscribed(&master, BOTH[0], &able(&[]), None).await;
    over.call(json!({"type": "TEARDOWN"})).await;
    operators(&master, async |operator| {
        let state = operator.ask("GET_STATE").await;
        let tasks = operator.ask("GET_TASKS").await;
        for (list, id, is) in [
            ("tasks", "runs", "TASK_RUNNING"),
            ("completed_tasks", "over", "TASK_FINISHED"),
            ("unreachable_tasks", "away", "TASK_UNREACHABLE"),
        ] {
            let shown = member(&tasks[list], "task_id", id);
            assert_eq!((&shown["state"], &shown["framework_id"]), (&json!(is), &scheduler.id));
            assert_eq!(tasks[list].as_array().map(Vec::len), Some(1), "{list}");
        }
        assert_eq!(tasks["tasks"][0]["executor_id"]["value"], "e");
        for list in ["pending_tasks", "orphan_tasks"] {
            assert_eq!(tasks[list], Value::Null, "there are none of these");
        }
        let executors = operator.ask("GET_EXECUTORS").await;
        let executor = &executors["executors"][0];
        assert_eq!(executor["executor_info"]["name"], "runner");
        assert_eq!(executor["agent_id"]["value"], agent.id.as_str());
        let frameworks = operator.ask("GET_FRAMEWORKS").await;
        let shown = &frameworks["frameworks"][0];
        assert_eq!(shown["framework_info"]["id"], scheduler.id);
        assert_eq!((&shown["connected"], &shown["recovered"]), (&json!(true), &json!(false)));
        assert_eq!(shown["offers"][0]["agent_id"]["value"], agent.id.as_str());
        let completed = &frameworks["completed_frameworks"];
        assert!(
            completed
                .as_array()
                .into_iter()
                .flatten()
                .any(|of| of["framework_info"]["id"] == over.id)
        );
        assert_agents(&operator, &agent).await;
        // The state is all of these in one.
        for (part, whole) in
            [("get_tasks", &tasks), ("get_executors", &executors), ("get_frameworks", &frameworks)]
        {
            assert_eq!(state[part], *whole, "{part}");
        }
        let roles = operator.ask("GET_ROLES").await;
        let web = roles["roles"].as_array().into_iter().flatten().find(|of| of["name"] == "web");
        let web = web.expect("it is listed");
        assert_eq!((&web["weight"], &web["frameworks"]), (&json!(1.0), &json!([scheduler.id])));
        assert_eq!(operator.ask("GET_OPERATIONS").await, json!({}));
    })
    .await;
    agent.say(&FromAgent::Unregister).await;
}
