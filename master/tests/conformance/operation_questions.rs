//! Operations on agents that leave, and the answers to those who ask for operations.

use model::link::ToAgent;
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler};
use crate::words::{BOTH, able, impatient, reserved, with};

fn info() -> Value {
    able(&["RESERVATION_REFINEMENT", "PARTITION_AWARE"])
}

/// Reserves a little of an agent under a name; the agent hears of it and says nothing.
async fn begun(scheduler: &mut Scheduler, agent: &mut FakeAgent, name: &str) {
    let body = json!({"resources": [reserved("cpus", 0.1, "web")]});
    let operation = json!({"type": "RESERVE", "id": {"value": name}, "reserve": body});
    scheduler.call(json!({"type": "REVIVE"})).await;
    let offer = scheduler.offer_of(&agent.id).await;
    // The rest is for others.
    scheduler.call(json!({"type": "SUPPRESS"})).await;
    scheduler.accept(&[offer], json!([operation])).await;
    let told = agent.hear().await;
    assert!(matches!(told, Some(ToAgent::Apply(_))), "{told:?}");
}

/// Asks for operations by name and agent, or for all; what is answered.
async fn asked(scheduler: &mut Scheduler, question: Option<(&str, Option<&str>)>) -> Vec<Value> {
    let one = |(name, agent): (&str, Option<&str>)| {
        let mut one = json!({"operation_id": {"value": name}});
        if let Some(agent) = agent {
            one["agent_id"] = json!({"value": agent});
        }
        one
    };
    let operations: Vec<Value> = question.map(one).into_iter().collect();
    let body = json!({"operations": operations});
    scheduler.call(json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": body})).await;
    // An offer may come meanwhile, and there will be no other.
    let told = scheduler.heard_of("UPDATE_OPERATION_STATUS").await.into_iter();
    told.map(|mut event| event["update_operation_status"]["status"].take()).collect()
}

#[tokio::test]
async fn operations_on_agents_that_leave_are_told_by_how_they_left() {
    let master = Alone::with(impatient()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info(), None).await;
        for (is_marked, state, why) in [
            (true, "OPERATION_GONE_BY_OPERATOR", "The agent was marked gone"),
            (false, "OPERATION_UNREACHABLE", "The agent is out of contact"),
        ] {
            let mut agent = FakeAgent::registered(master.address()).await;
            begun(&mut scheduler, &mut agent, "op").await;
            let id = json!({"value": agent.id.as_str()});
            if is_marked {
                let body = json!({"agent_id": id});
                let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": body});
                operator.done(call).await;
            }
            drop(agent);
            let report = scheduler.operation().await;
            assert_eq!(report["operation_id"]["value"], "op");
            assert_eq!((&report["state"], &report["message"]), (&json!(state), &json!(why)));
            assert_eq!(report["agent_id"], id);
            assert!(report["uuid"].is_null(), "nobody waits for a confirmation: {report}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn operations_whose_ids_are_none_are_answered_as_they_were_called() {
    let master = Alone::with(impatient()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info(), None).await;
        for (name, why) in [
            ("a/b", "'a/b' contains invalid characters"),
            ("..", "'..' is disallowed"),
            ("", "ID must not be empty"),
        ] {
            let offer = scheduler.offer_of(&agent.id).await;
            let body = json!({"resources": [reserved("cpus", 0.1, "web")]});
            let operation = json!({"type": "RESERVE", "id": {"value": name}, "reserve": body});
            scheduler.accept(&[offer], json!([operation])).await;
            let report = scheduler.operation().await;
            assert_eq!(report["operation_id"]["value"], name);
            assert_eq!(report["state"], "OPERATION_ERROR");
            assert_eq!(report["message"], format!("The operation's 'id' is none: {why}"));
            assert!(report["uuid"].is_null(), "said once: {report}");
            let told = asked(&mut scheduler, Some((name, Some(agent.id.as_str())))).await;
            assert_eq!(told.len(), 1, "{name}: {told:?}");
            assert_eq!(told[0]["operation_id"]["value"], name);
            assert_eq!(told[0]["state"], "OPERATION_UNKNOWN");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn every_question_about_an_operation_has_its_answer() {
    let master = Alone::with(impatient()).await;
    let mut watcher = Scheduler::subscribed(&master, BOTH[0], &info(), None).await;
    let away = FakeAgent::registered_on(master.address(), None, 5_052).await;
    let gone = FakeAgent::registered_on(master.address(), None, 5_053).await;
    let ids = [away.id.to_string(), gone.id.to_string()];
    let body = json!({"agent_id": {"value": ids[1]}});
    let operator = Operator::new(&master, BOTH[1]);
    operator.done(json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": body})).await;
    drop((away, gone));
    while watcher.event("FAILURE").await["failure"]["agent_id"]["value"] != ids[0] {}
    watcher.call(json!({"type": "TEARDOWN"})).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let here = agent.id.to_string();
    let [away, gone] = ids;
    let mut both = Vec::new();
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info(), None).await;
        begun(&mut scheduler, &mut agent, "op").await;
        // What is known is told, wherever it is believed to be; and all of it, if nothing is named.
        for question in [Some(("op", Some(gone.as_str()))), Some(("op", None)), None] {
            let told = asked(&mut scheduler, question).await;
            assert_eq!(told.len(), 1, "{question:?}: {told:?}");
            assert_eq!(told[0]["state"], "OPERATION_PENDING", "{question:?}");
            assert_eq!(told[0]["message"], "Reconciliation: Latest operation state");
        }
        for (agent, state, what) in [
            (Some(here.as_str()), "OPERATION_UNKNOWN", "is unknown to the agent"),
            (Some(away.as_str()), "OPERATION_UNREACHABLE", "is on an agent that is unreachable"),
            (Some(gone.as_str()), "OPERATION_GONE_BY_OPERATOR", "is on an agent that is gone"),
            (Some("nowhere"), "OPERATION_UNKNOWN", "is unknown"),
            (None, "OPERATION_UNKNOWN", "is unknown"),
        ] {
            let told = asked(&mut scheduler, Some(("x", agent))).await;
            assert_eq!(told.len(), 1, "{agent:?}: {told:?}");
            assert_eq!(told[0]["state"], state, "{agent:?}");
            assert_eq!(told[0]["message"], format!("Reconciliation: Operation {what}"));
            assert!(told[0]["uuid"].is_null(), "nobody waits for a confirmation: {told:?}");
        }
        both.push(scheduler);
    }
    let back = agent.back(Vec::new(), Vec::new());
    let master = master.restarted().await;
    for former in &both {
        let info = with(info(), "id", former.id.clone());
        let encoding = former.encoding();
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let told = asked(&mut scheduler, Some(("op", Some(here.as_str())))).await;
        assert_eq!(told[0]["state"], "OPERATION_RECOVERING");
        assert_eq!(asked(&mut scheduler, None).await, [Value::Null; 0], "it may still be told");
    }
    let _agent = FakeAgent::reregistered(master.address(), back).await;
    let info = with(info(), "id", both[0].id.clone());
    let mut scheduler = Scheduler::subscribed(&master, BOTH[0], &info, None).await;
    let told = asked(&mut scheduler, Some(("op", Some(here.as_str())))).await;
    assert_eq!(told[0]["state"], "OPERATION_UNKNOWN", "the agent did not bring it");
}
