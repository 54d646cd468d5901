//! ACCEPT: which offers go together, and what comes of operations when they do not.

use proto::mesos::v1::{AgentInfo, Resource};
use serde_json::{Value, json};
use transport::http::Encoding;

use crate::common::{Alone, FakeAgent, Operator, Scheduler, agent_info, eager, scalar};
use crate::words::{BOTH, able, amount, framework, in_roles, launch, reserved, task, with};

/// What is told of a task whose offers are no good.
fn assert_dropped(status: &Value, is_aware: bool, why: &str) {
    let state = if is_aware { "TASK_DROPPED" } else { "TASK_LOST" };
    assert_eq!(status["state"], state, "{status}");
    assert_eq!(status["reason"], "REASON_INVALID_OFFERS", "{status}");
    assert_eq!(status["source"], "SOURCE_MASTER", "{status}");
    assert!(status["uuid"].is_null(), "nobody waits for a confirmation: {status}");
    assert_eq!(status["message"], format!("Task launched with invalid offers: {why}"));
}

/// A task and three operations, of which one has an id.
fn some_of_everything(agent: &FakeAgent) -> Value {
    let reserve = |amount_of: f64| json!({"resources": [reserved("cpus", amount_of, "web")]});
    let mut operations = launch(&[task("t", &agent.id)]);
    let all = operations.as_array_mut().expect("a list");
    all.push(json!({"type": "RESERVE", "reserve": reserve(1.0)}));
    all.push(json!({"type": "RESERVE", "id": {"value": "op"}, "reserve": reserve(2.0)}));
    operations
}

/// Frameworks that know PARTITION_AWARE and that do not, in both encodings.
fn kinds() -> [(Encoding, bool, Value); 4] {
    let plain = able(&["RESERVATION_REFINEMENT"]);
    let aware = able(&["RESERVATION_REFINEMENT", "PARTITION_AWARE"]);
    [
        (Encoding::Json, false, plain.clone()),
        (Encoding::Json, true, aware.clone()),
        (Encoding::Protobuf, false, plain),
        (Encoding::Protobuf, true, aware),
    ]
}

#[tokio::test]
async fn one_offer_that_is_no_good_undoes_the_whole_call() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for (encoding, is_aware, info) in kinds() {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let never = json!({"id": {"value": "never-made"}});
        let mut used = None;
        for case in ["none", "twice", "never made", "used", "rescinded"] {
            let mut offer = scheduler.offer_of(&agent.id).await;
            let (offers, why) = match case {
                "none" => (vec![], "No offers specified".to_owned()),
                "twice" => {
                    let id = offer["id"]["value"].as_str().expect("text");
                    (vec![offer.clone(), offer.clone()], format!("Offer {id} is listed twice"))
                }
                "never made" => {
                    let why = "Offer never-made is no longer valid".to_owned();
                    (vec![offer.clone(), never.clone()], why)
                }
                "used" => {
                    let old: &Value = used.as_ref().expect("one was used before");
                    let id = old["id"]["value"].as_str().expect("text");
                    (vec![old.clone(), offer.clone()], format!("Offer {id} is no longer valid"))
                }
                _ => {
                    let operator = Operator::new(&master, encoding);
                    let body = json!({"agent_id": offer["agent_id"]});
                    for (kind, name) in [
                        ("DEACTIVATE_AGENT", "deactivate_agent"),
                        ("REACTIVATE_AGENT", "reactivate_agent"),
                    ] {
                        operator.done(json!({"type": kind, name: body})).await;
                    }
                    scheduler.rescinded(&offer).await;
                    let fresh = scheduler.offer_of(&agent.id).await;
                    let old = std::mem::replace(&mut offer, fresh);
                    let id = old["id"]["value"].as_str().expect("text").to_owned();
                    (vec![offer.clone(), old], format!("Offer {id} is no longer valid"))
                }
            };
            scheduler.accept(&offers, some_of_everything(&agent)).await;
            let status = scheduler.update().await;
            assert_eq!(status["task_id"]["value"], "t");
            assert_dropped(&status, is_aware, &why);
            let report = scheduler.operation().await;
            assert_eq!(report["operation_id"]["value"], "op", "the other one has no name");
            assert_eq!(report["state"], "OPERATION_ERROR", "{case}");
            let why = format!("Operation attempted with invalid offers: {why}");
            assert_eq!(report["message"], why, "{case}");
            if case == "none" {
                // The offer that was not named still stands, and this is as good as declining it.
                scheduler.accept(std::slice::from_ref(&offer), json!([])).await;
            }
            used = Some(offer);
        }
        scheduler.offer_of(&agent.id).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
    let state = master.get("/state").await;
    assert_eq!(state["slaves"][0]["used_resources"]["cpus"], 0.0, "nothing was done");
    assert_eq!(state["slaves"][0]["reserved_resources"], json!({}));
}

#[tokio::test]
async fn offers_of_two_agents_or_for_two_roles_or_of_others_do_not_go_together() {
    let master = Alone::with(eager()).await;
    let one = FakeAgent::registered(master.address()).await;
    let two = FakeAgent::registered_on(master.address(), None, 5_052).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offers = [scheduler.offer_of(&one.id).await, scheduler.offer_of(&two.id).await];
        let [a, b] = [&offers[0], &offers[1]].map(|offer| offer["id"]["value"].as_str());
        let (a, b) = (a.expect("text").to_owned(), b.expect("text").to_owned());
        scheduler.accept(&offers, launch(&[task("t", &one.id)])).await;
        let why = format!(
            "Offer {b} is of agent {}, but offer {a} of agent {}; accept them apart",
            two.id, one.id
        );
        assert_dropped(&scheduler.update().await, false, &why);

        let offer = scheduler.offer_of(&one.id).await;
        let mut other = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        other.accept(std::slice::from_ref(&offer), json!([])).await;
        assert_eq!(other.heard().await, [Value::Null; 0], "it is not offered to this one");
        other.call(json!({"type": "TEARDOWN"})).await;
        scheduler.accept(&[offer], json!([])).await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

/// An agent of which a half is kept for each of two roles.
async fn halved(master: &Alone) -> FakeAgent {
    let half = |role: &str| {
        [scalar("cpus", 2.0), scalar("mem", 512.0)]
            .map(|resource| Resource { role: Some(role.to_owned()), ..resource })
    };
    let resources = ["dev", "web"].into_iter().flat_map(half).collect();
    let info = AgentInfo { resources, ..agent_info(5_051) };
    FakeAgent::registered_with(master.address(), &info).await
}

#[tokio::test]
async fn offers_for_two_roles_do_not_go_together() {
    let master = Alone::with(eager()).await;
    let agent = halved(&master).await;
    for encoding in BOTH {
        let info = in_roles(&["dev", "web"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offers = [scheduler.offer_of(&agent.id).await, scheduler.offer_of(&agent.id).await];
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let [(a, one), (b, other)] = [&offers[0], &offers[1]]
            .map(|offer| (text(&offer["id"]["value"]), text(&offer["allocation_info"]["role"])));
        scheduler.accept(&offers, launch(&[task("t", &agent.id)])).await;
        let why = format!(
            "Offer {b} is for role {other}, but offer {a} for role {one}; accept them apart"
        );
        assert_dropped(&scheduler.update().await, false, &why);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn an_accept_that_does_nothing_is_a_decline() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        for operations in [json!([]), launch(&[])] {
            let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
            let offer = scheduler.offer_of(&agent.id).await;
            let filters = json!({"refuse_seconds": 3_600.0});
            let accept = json!({
                "offer_ids": [offer["id"]], "operations": operations, "filters": filters,
            });
            scheduler.call(json!({"type": "ACCEPT", "accept": accept})).await;
            // It is free at once, and not for the one who has declined it.
            let mut other = Scheduler::subscribed(&master, encoding, &framework(), None).await;
            other.offer_of(&agent.id).await;
            other.call(json!({"type": "TEARDOWN"})).await;
            assert_eq!(scheduler.heard().await, [Value::Null; 0]);
            scheduler.call(json!({"type": "REVIVE"})).await;
            scheduler.offer_of(&agent.id).await;
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}

#[tokio::test]
async fn what_a_launch_may_not_have_is_an_error_of_its_tasks() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let mut operations = launch(&[task("t", &agent.id), task("u", &agent.id)]);
        operations[0]["id"] = json!({"value": "op"});
        scheduler.accept(&[offer], operations).await;
        for id in ["t", "u"] {
            let status = scheduler.update().await;
            assert_eq!(status["task_id"]["value"], id);
            assert_eq!(status["state"], "TASK_ERROR");
            assert_eq!(status["reason"], "REASON_TASK_INVALID");
            let why = "The 'id' of an operation that launches tasks must not be set";
            assert_eq!(status["message"], why);
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn only_operators_may_make_one_reservation_of_another() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let info = able(&["RESERVATION_REFINEMENT"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let reserved = |key: &str| {
            let labels = json!({"labels": [{"key": key}]});
            let one = json!({"type": "DYNAMIC", "role": "web", "labels": labels});
            with(amount("cpus", 1.0), "reservations", json!([one]))
        };
        let offer = scheduler.offer_of(&agent.id).await;
        let body = json!({"source": [reserved("a")], "resources": [reserved("b")]});
        let operation = json!({"type": "RESERVE", "id": {"value": "op"}, "reserve": body});
        scheduler.accept(&[offer], json!([operation])).await;
        let report = scheduler.operation().await;
        assert_eq!(report["state"], "OPERATION_ERROR");
        let why = "Invalid RESERVE operation: 'source' is for operators only";
        assert_eq!(report["message"], why);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn an_operation_whose_id_is_known_is_not_begun_again() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let info = able(&["RESERVATION_REFINEMENT"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let body = json!({"resources": [reserved("cpus", 1.0, "web")]});
        let reserve = json!({"type": "RESERVE", "id": {"value": "op"}, "reserve": body});
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], json!([reserve, reserve])).await;
        let report = scheduler.operation().await;
        assert_eq!(report["state"], "OPERATION_ERROR");
        let why = "Invalid RESERVE operation: Operation has duplicate ID: op";
        assert_eq!(report["message"], why);
        assert_eq!(agent.apply().await, "RESERVE", "the first one goes on");
        assert_eq!(scheduler.operation().await["state"], "OPERATION_FINISHED");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.say(&model::link::FromAgent::Unregister).await;
        while agent.hear().await.is_some() {}
    }
}
