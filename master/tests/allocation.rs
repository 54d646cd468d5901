//! For which role tasks run, over real sockets, in JSON and in protobuf.

mod common;

use common::{Alone, BOTH, FakeAgent, Scheduler, eager};
use proto::convert::task::{executor_to_wire, to_wire};
use proto::mesos::v1::Resource;
use serde_json::{Value, json};

fn amount(name: &str, amount: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": amount}})
}

/// A task, with what it is made of beside its names and resources.
fn task(id: &str, agent: &FakeAgent, rest: Value) -> Value {
    let mut task = rest;
    task["name"] = json!(id);
    task["task_id"] = json!({"value": id});
    task["agent_id"] = json!({"value": agent.id.as_str()});
    task["resources"] = json!([amount("cpus", 0.1), amount("mem", 32.0)]);
    task
}

fn executor(id: &str, kind: &str) -> Value {
    let resources = [amount("cpus", 0.1), amount("mem", 32.0), amount("disk", 1.0)];
    json!({"executor_id": {"value": id}, "type": kind, "resources": resources})
}

/// Whether all of these say that they were offered for role `web`.
fn are_for_web(resources: &[Resource]) -> bool {
    let role = |it: &Resource| it.allocation_info.as_ref()?.role.clone();
    !resources.is_empty() && resources.iter().all(|it| role(it).as_deref() == Some("web"))
}

#[tokio::test]
async fn agents_and_executors_know_for_which_role_resources_were_offered() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let info = json!({"user": "nobody", "name": "test", "role": "web"});
        let mut framework = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = framework.offer_of(&agent.id).await;
        let told = offer["resources"].as_array().expect("a list");
        assert!(told.iter().all(|it| it["allocation_info"].is_null()), "it has one role only");
        let mut custom = executor("e", "CUSTOM");
        custom["command"] = json!({"value": "./e"});
        let command = json!({"command": {"value": "true"}});
        let tasks =
            [task("c", &agent, command.clone()), task("e", &agent, json!({"executor": custom}))];
        let members = [task("m", &agent, command)];
        let group = json!({"executor": executor("g", "DEFAULT"), "task_group": {"tasks": members}});
        let operations = json!([
            {"type": "LAUNCH", "launch": {"task_infos": tasks}},
            {"type": "LAUNCH_GROUP", "launch_group": group},
        ]);
        framework.accept(&[offer], operations).await;
        for id in ["c", "e", "m"] {
            let launch = agent.launched().await;
            let task = to_wire(&launch.tasks[0]);
            assert_eq!(task.task_id.value, id);
            assert!(are_for_web(&task.resources), "{task:?}");
            let told = launch.executor.as_ref().map(executor_to_wire);
            assert_eq!(told.is_some(), id != "c");
            for executor in told.into_iter().chain(task.executor.map(|it| *it)) {
                assert!(are_for_web(&executor.resources), "{executor:?}");
            }
        }
        framework.call(json!({"type": "TEARDOWN"})).await;
        agent.hear().await.expect("that the framework is over");
    }
}
