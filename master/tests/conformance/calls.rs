//! The calls of frameworks, one by one.

use model::call::Message;
use model::ids::{AgentId, ExecutorId};
use model::link::{FromAgent, ToAgent};
use model::payload::Payload;
use model::task::TaskState;
use serde_json::{Value, json};
use std::time::Duration;

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager, update_id};
use crate::words::{BOTH, framework, in_roles, launch, task, until};

#[tokio::test]
async fn every_call_of_a_framework_lacks_its_body_in_the_same_words() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for name in [
            "subscribe",
            "accept",
            "decline",
            "accept_inverse_offers",
            "decline_inverse_offers",
            "kill",
            "shutdown",
            "acknowledge",
            "acknowledge_operation_status",
            "reconcile",
            "reconcile_operations",
            "message",
            "request",
            "update_framework",
        ] {
            let why =
                format!("Failed to validate scheduler::Call: Expecting '{name}' to be present");
            let call = json!({"type": name.to_uppercase()});
            assert_eq!(scheduler.answer(&call).await, (400, why));
        }
        for kind in ["REVIVE", "SUPPRESS", "TEARDOWN"] {
            scheduler.call(json!({"type": kind})).await;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told() {
    let master = Alone::started().await;
    let (short, unheard_of) = ("eA==", "/////////////////////w==");
    let sound = "AQEBAQEBQAGAAQEBAQEBAQ==";
    for encoding in BOTH {
        let scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let acknowledge = |uuid: &str| {
            let (agent, task) = (json!({"value": "a"}), json!({"value": "t"}));
            let body = json!({"agent_id": agent, "task_id": task, "uuid": uuid});
            json!({"type": "ACKNOWLEDGE", "acknowledge": body})
        };
        let of_operation = |agent: Value, uuid: &str| {
            let body = json!({"agent_id": agent, "operation_id": {"value": "o"}, "uuid": uuid});
            let kind = "ACKNOWLEDGE_OPERATION_STATUS";
            json!({"type": kind, "acknowledge_operation_status": body})
        };
        let a = json!({"value": "a"});
        let mut other = framework();
        other["id"] = json!({"value": "other"});
        for (call, why) in [
            (acknowledge(short), "Not a valid UUID"),
            (acknowledge(unheard_of), "Not a valid UUID"),
            (of_operation(a.clone(), short), "Not a valid UUID"),
            (of_operation(a, unheard_of), "Not a valid UUID"),
            (of_operation(Value::Null, sound), "Expecting 'agent_id' to be present"),
            (
                json!({"type": "UPDATE_FRAMEWORK", "update_framework": {"framework_info": other}}),
                "'framework_id' differs from 'update_framework.framework_info.id'",
            ),
            (
                json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": other}}),
                "'framework_id' differs from 'subscribe.framework_info.id'",
            ),
        ] {
            let why = format!("Failed to validate scheduler::Call: {why}");
            assert_eq!(scheduler.answer(&call).await, (400, why), "{call}");
        }
    }
}

#[tokio::test]
async fn a_framework_without_a_stream_calls_in_vain() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let caller = scheduler.hang_up();
        let revive = json!({"type": "REVIVE"});
        let refused = until("the stream has ended", async || {
            Some(caller.answer(&revive).await).filter(|(status, _)| *status != 202)
        });
        assert_eq!(refused.await, (403, "Framework is not subscribed".to_owned()));
    }
}

#[tokio::test]
async fn what_is_declined_is_offered_to_others_and_again_after_a_revive() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut one = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = one.offer_of(&agent.id).await;
        let mut other = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let decline = |ids: Value| {
            let filters = json!({"refuse_seconds": 3_600.0});
            json!({"type": "DECLINE", "decline": {"offer_ids": ids, "filters": filters}})
        };
        // Nobody declines what somebody else is offered.
        other.call(decline(json!([offer["id"]]))).await;
        assert_eq!(other.heard().await, [Value::Null; 0]);
        one.call(decline(json!([{"value": "never-made"}, offer["id"], offer["id"]]))).await;
        let offer = other.offer_of(&agent.id).await;
        assert_eq!(one.heard().await, [Value::Null; 0], "it said for how long");
        other.call(decline(json!([offer["id"]]))).await;
        assert_eq!(other.heard().await, [Value::Null; 0]);
        one.call(json!({"type": "REVIVE"})).await;
        one.offer_of(&agent.id).await;
        for scheduler in [one, other] {
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}

/// Gives an offer back for as short as can be.
fn give_back(offer: &Value) -> Value {
    let filters = json!({"refuse_seconds": 0.0});
    json!({"type": "DECLINE", "decline": {"offer_ids": [offer["id"]], "filters": filters}})
}

#[tokio::test]
async fn a_role_is_suppressed_until_it_is_revived_and_a_wrong_one_voids_the_call() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let info = in_roles(&["dev", "web"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let roles =
            |kind: &str, roles: Value| json!({"type": kind, kind.to_lowercase(): {"roles": roles}});
        let role_of = |offer: &Value| offer["allocation_info"]["role"].clone();
        scheduler.call(roles("SUPPRESS", json!(["dev"]))).await;
        // Those of before stay, and any that come after one of them are for the other role.
        let mut offer = scheduler.offer_of(&agent.id).await;
        while role_of(&offer) == "dev" {
            scheduler.call(give_back(&offer)).await;
            offer = scheduler.offer_of(&agent.id).await;
        }
        for (kind, names) in [("SUPPRESS", ["web", "db"]), ("REVIVE", ["dev", "a//b"])] {
            scheduler.call(roles(kind, json!(names))).await;
            for _ in 0..3 {
                scheduler.call(give_back(&offer)).await;
                offer = scheduler.offer_of(&agent.id).await;
                assert_eq!(role_of(&offer), "web", "{kind} is void");
            }
        }
        scheduler.call(roles("SUPPRESS", json!([]))).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "no offer is taken back for it");
        scheduler.call(give_back(&offer)).await;
        let mut witness = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for _ in 0..3 {
            let offer = witness.offer_of(&agent.id).await;
            witness.call(give_back(&offer)).await;
        }
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "both roles are suppressed");
        witness.call(json!({"type": "TEARDOWN"})).await;
        scheduler.call(roles("REVIVE", json!(["dev"]))).await;
        assert_eq!(role_of(&scheduler.offer_of(&agent.id).await), "dev");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn executors_are_shut_down_written_to_and_write_back() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let id = json!({"value": agent.id.as_str()});
    let executor = json!({"value": "e"});
    let e = ExecutorId::new("e").expect("an id");
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let framework = scheduler.framework();
        // What goes to agents that are not there is lost, and the call was good all the same.
        for agent in [json!({"value": "nowhere"}), id.clone()] {
            let shutdown = json!({"executor_id": executor, "agent_id": agent});
            scheduler.call(json!({"type": "SHUTDOWN", "shutdown": shutdown})).await;
            let message = json!({"executor_id": executor, "agent_id": agent, "data": "aGk="});
            scheduler.call(json!({"type": "MESSAGE", "message": message})).await;
        }
        let request = json!({"requests": [{"agent_id": id, "resources": []}]});
        scheduler.call(json!({"type": "REQUEST", "request": request})).await;
        let told = ToAgent::ShutdownExecutor { framework: framework.clone(), executor: e.clone() };
        assert_eq!(agent.hear().await, Some(told));
        let data = Payload::new(&b"hi"[..]);
        let message = Message { agent: agent.id.clone(), executor: e.clone(), data };
        let (framework, answer) = (framework.clone(), message.clone());
        let told = ToAgent::Message { framework: framework.clone(), message };
        assert_eq!(agent.hear().await, Some(told));
        agent.say(&FromAgent::Message { framework, message: answer }).await;
        let heard = scheduler.event("MESSAGE").await["message"].take();
        assert_eq!(heard, json!({"agent_id": id, "executor_id": executor, "data": "aGk="}));
    }
}

/// KILL, of a task that is believed to be on an agent, if on any.
fn kill(task: &str, agent: Option<&AgentId>, grace: Option<i64>) -> Value {
    let mut body = json!({"task_id": {"value": task}});
    if let Some(agent) = agent {
        body["agent_id"] = json!({"value": agent.as_str()});
    }
    if let Some(grace) = grace {
        body["kill_policy"] = json!({"grace_period": {"nanoseconds": grace}});
    }
    json!({"type": "KILL", "kill": body})
}

#[tokio::test]
async fn a_kill_goes_where_the_task_is_and_is_an_answer_if_there_is_none() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        let name = agent.launched().await.tasks[0].id.clone();
        let nowhere = AgentId::new("nowhere").expect("an id");
        // Of these the first is void: the task is not there.
        scheduler.call(kill("t", Some(&nowhere), None)).await;
        scheduler.call(kill("t", None, Some(7_000_000_000))).await;
        scheduler.call(kill("t", Some(&agent.id), None)).await;
        for grace in [Some(Duration::from_secs(7)), None] {
            let (framework, task) = (scheduler.framework(), name.clone());
            assert_eq!(agent.hear().await, Some(ToAgent::Kill { framework, task, grace }));
        }
        scheduler.call(kill("x", Some(&agent.id), None)).await;
        let status = scheduler.update().await;
        assert_eq!(status["task_id"]["value"], "x");
        assert_eq!(status["state"], "TASK_LOST", "it does not know of gone tasks");
        assert_eq!(status["reason"], "REASON_RECONCILIATION");
        assert_eq!(status["message"], "Reconciliation: Task is unknown to the agent");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert_eq!(agent.hear().await, Some(ToAgent::ShutdownFramework(scheduler.framework())));
    }
}

#[tokio::test]
async fn the_end_of_a_task_is_remembered_until_it_is_acknowledged() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let id = scheduler.framework();
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        let name = agent.launched().await.tasks[0].id.clone();
        agent.report(&id, &name, TaskState::Finished, 1).await;
        let status = scheduler.update().await;
        assert_eq!(status["state"], "TASK_FINISHED");
        let acknowledge = |agent: &Value, uuid: &Value| {
            let body = json!({"agent_id": agent, "task_id": {"value": "t"}, "uuid": uuid});
            json!({"type": "ACKNOWLEDGE", "acknowledge": body})
        };
        // To an agent that is not there: lost, and it will report again.
        scheduler.call(acknowledge(&json!({"value": "nowhere"}), &status["uuid"])).await;
        let path = format!("/frameworks?framework_id={id}");
        let shown = master.get(&path).await["frameworks"][0].take();
        assert_eq!(shown["tasks"][0]["state"], "TASK_FINISHED");
        scheduler.call(acknowledge(&status["agent_id"], &status["uuid"])).await;
        let told = agent.hear().await;
        let (framework, task, uuid) = (id, name, update_id(1));
        assert_eq!(told, Some(ToAgent::Acknowledge { framework, task, uuid }));
        let shown = master.get(&path).await["frameworks"][0].take();
        assert_eq!(shown["tasks"], json!([]));
        assert_eq!(shown["completed_tasks"][0]["state"], "TASK_FINISHED");
    }
}

#[tokio::test]
async fn a_teardown_ends_all_of_a_framework_without_a_word() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let id = scheduler.id.clone();
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        agent.launched().await;
        // What is left is offered, and it is not taken back but over.
        scheduler.offer_of(&agent.id).await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert_eq!(scheduler.end().await, [Value::Null; 0]);
        assert_eq!(agent.hear().await, Some(ToAgent::ShutdownFramework(scheduler.framework())));
        let over = &master.get("/state").await["completed_frameworks"];
        let over = over.as_array().into_iter().flatten().find(|it| it["id"] == id["value"]);
        let ended = &over.expect("it is shown")["completed_tasks"][0];
        assert_eq!(ended["state"], "TASK_KILLED");
        let listed = Operator::new(&master, encoding).ask("GET_TASKS").await;
        let listed = listed["completed_tasks"].as_array().expect("a list").iter();
        let ended: Vec<_> = listed.filter(|task| task["framework_id"] == id).collect();
        assert_eq!(ended.len(), 1);
        let last = ended[0]["statuses"].as_array().and_then(|all| all.last());
        assert_eq!(last.map(|last| &last["reason"]), Some(&json!("REASON_FRAMEWORK_REMOVED")));
        let mut again = framework();
        again["id"] = id;
        let subscribe = json!({"framework_info": again});
        let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
        assert_eq!(refused.err().as_deref(), Some("Framework has been removed"));
    }
}
