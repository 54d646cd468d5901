//! RESCIND: what takes an offer back, and what is offered then.

use std::time::Duration;

use master::Options;
use model::ids::AgentId;
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, framework, launch, task, until, with};

/// A call of an operator that takes an offer back, the one that undoes it, and whether the agent is
/// offered meanwhile.
fn reasons(agent: &Value) -> Vec<(Value, Option<Value>, bool)> {
    let call = |kind: &str, body: Value| json!({"type": kind, kind.to_lowercase(): body});
    let of_agent = json!({"agent_id": agent});
    let schedule = |windows: Value| {
        call("UPDATE_MAINTENANCE_SCHEDULE", json!({"schedule": {"windows": windows}}))
    };
    let window = json!({
        "machine_ids": [{"hostname": "localhost", "ip": "127.0.0.1"}],
        "unavailability": {"start": {"nanoseconds": 5}},
    });
    let weight = |weight: f64| {
        call("UPDATE_WEIGHTS", json!({"weight_infos": [{"role": "web", "weight": weight}]}))
    };
    let quota = |config: Value| call("UPDATE_QUOTA", json!({"quota_configs": [config]}));
    let limit = json!({"role": "web", "limits": {"cpus": {"value": 8.0}}});
    let guarantee = json!({"role": "other", "guarantees": {"cpus": {"value": 1.0}}});
    let remove = |role: &str| call("REMOVE_QUOTA", json!({"role": role}));
    vec![
        (
            call("DEACTIVATE_AGENT", of_agent.clone()),
            Some(call("REACTIVATE_AGENT", of_agent.clone())),
            false,
        ),
        (call("DRAIN_AGENT", of_agent.clone()), Some(call("REACTIVATE_AGENT", of_agent)), false),
        (schedule(json!([window])), None, true),
        (schedule(json!([])), None, true),
        (weight(2.0), None, true),
        (weight(1.0), None, true),
        (quota(limit), Some(remove("web")), true),
        (quota(guarantee), Some(remove("other")), true),
    ]
}

#[tokio::test]
async fn operators_take_offers_back_by_what_they_decide() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    let id = json!({"value": agent.id.as_str()});
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for (decided, undone, is_offered) in reasons(&id) {
            let offer = scheduler.offer_of(&agent.id).await;
            operator.done(decided.clone()).await;
            scheduler.rescinded(&offer).await;
            if is_offered {
                let fresh = scheduler.offer_of(&agent.id).await;
                assert_ne!(fresh["id"], offer["id"], "{decided}");
                let filters = json!({"refuse_seconds": 0.0});
                let decline = json!({"offer_ids": [fresh["id"]], "filters": filters});
                scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
            } else {
                assert_eq!(scheduler.heard().await, [Value::Null; 0], "{decided}");
            }
            let Some(undone) = undone else { continue };
            // An agent that is being emptied is not given back before it is empty.
            let is_undone = async || (operator.call(&undone).await.0 == 200).then_some(());
            until("it is undone", is_undone).await;
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn the_weight_of_a_role_in_which_nobody_is_takes_nothing_back() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        scheduler.offer_of(&agent.id).await;
        let infos = json!({"weight_infos": [{"role": "empty", "weight": 2.0}]});
        operator.done(json!({"type": "UPDATE_WEIGHTS", "update_weights": infos})).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn an_offer_that_nobody_answers_is_taken_back_in_time() {
    let offer_timeout = Some(Duration::from_millis(100));
    let master = Alone::with(Options { offer_timeout, ..eager() }).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for _ in 0..2 {
            let offer = scheduler.offer_of(&agent.id).await;
            scheduler.rescinded(&offer).await;
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn the_offers_of_a_link_that_breaks_are_taken_back() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let info = with(framework(), "failover_timeout", json!(0.0));
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let agent = FakeAgent::registered(master.address()).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let back = agent.back(Vec::new(), Vec::new());
        drop(agent);
        scheduler.rescinded(&offer).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        // Who has not heard of that launches in vain.
        let id: AgentId = offer["agent_id"]["value"]
            .as_str()
            .and_then(|id| AgentId::new(id).ok())
            .expect("an id");
        scheduler.accept(std::slice::from_ref(&offer), launch(&[task("t", &id)])).await;
        let status = scheduler.update().await;
        assert_eq!(status["state"], "TASK_LOST");
        assert_eq!(status["reason"], "REASON_INVALID_OFFERS");
        let agent = FakeAgent::reregistered(master.address(), back).await;
        scheduler.offer_of(&agent.id).await;
        agent.say(&model::link::FromAgent::Unregister).await;
        assert_eq!(scheduler.event("FAILURE").await["failure"]["agent_id"], offer["agent_id"]);
    }
}
