//! Frameworks are asked to leave machines that are to be away, and their answers are shown.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, framework, launch_only, task, until};

/// Plans that the only machine is away from `start` on, or that it stays.
async fn plan(operator: &Operator<'_>, start: Option<i64>) {
    let window = |start: i64| {
        json!({
            "machine_ids": [{"hostname": "localhost", "ip": "127.0.0.1"}],
            "unavailability": {"start": {"nanoseconds": start}, "duration": {"nanoseconds": 7}},
        })
    };
    let windows: Vec<Value> = start.map(window).into_iter().collect();
    let body = json!({"schedule": {"windows": windows}});
    let kind = "UPDATE_MAINTENANCE_SCHEDULE";
    operator.done(json!({"type": kind, "update_maintenance_schedule": body})).await;
}

/// The next inverse offer, which must be the only one of its event.
async fn asked(scheduler: &mut Scheduler) -> Value {
    let mut event = scheduler.event("INVERSE_OFFERS").await;
    let offers = event["inverse_offers"]["inverse_offers"].as_array_mut().expect("a list");
    assert_eq!(offers.len(), 1, "{offers:?}");
    offers[0].take()
}

/// An answer, and for how long not to ask again.
fn answer(kind: &str, offers: &[&Value], refuse_for: f64) -> Value {
    let filters = json!({"refuse_seconds": refuse_for});
    let ids: Vec<&Value> = offers.iter().map(|offer| &offer["id"]).collect();
    json!({"type": kind, kind.to_lowercase(): {"inverse_offer_ids": ids, "filters": filters}})
}

/// What the framework has answered, as operators see it, once it is `status`.
async fn until_shown(operator: &Operator<'_>, scheduler: &Scheduler, status: Option<&str>) {
    let look = async || {
        let shown = operator.ask("GET_MAINTENANCE_STATUS").await;
        let shown = &shown["status"]["draining_machines"][0]["statuses"];
        let mut of = shown.as_array().into_iter().flatten();
        let of = of.find(|answer| answer["framework_id"] == scheduler.id);
        let is_so = of.and_then(|answer| answer["status"].as_str()) == status;
        is_so.then_some(())
    };
    until("the answer is shown", look).await;
}

#[tokio::test]
async fn whoever_is_on_a_machine_that_is_to_be_away_is_asked_to_leave() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut elsewhere = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        elsewhere.call(json!({"type": "SUPPRESS"})).await;
        let offer = elsewhere.heard().await;
        for offer in offer.iter().filter_map(|event| event["offers"]["offers"].as_array()).flatten()
        {
            let filters = json!({"refuse_seconds": 3_600.0});
            let decline = json!({"offer_ids": [offer["id"]], "filters": filters});
            elsewhere.call(json!({"type": "DECLINE", "decline": decline})).await;
        }
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        launch_only(&scheduler, &offer, task("t", &agent.id)).await;
        agent.launched().await;

        plan(&operator, Some(5)).await;
        let first = asked(&mut scheduler).await;
        assert_eq!(first["framework_id"], scheduler.id);
        assert_eq!(first["agent_id"]["value"], agent.id.as_str());
        assert_eq!(first["url"]["path"], "/slave(1)");
        assert_eq!(first["url"]["address"]["port"], 5_051);
        let away = json!({"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}});
        assert_eq!(first["unavailability"], away);
        assert_eq!(first["resources"], Value::Null, "all of it, whatever it is");
        let shown = master.get("/maintenance/status").await;
        assert_eq!(shown["draining_machines"][0]["statuses"], Value::Null);

        // What was never asked, and what somebody else was asked, cannot be answered.
        let never = json!({"id": {"value": "never-made"}});
        let kind = "DECLINE_INVERSE_OFFERS";
        elsewhere.call(answer(kind, &[&first, &never], 3_600.0)).await;
        scheduler.call(answer("ACCEPT_INVERSE_OFFERS", &[&never, &first], 3_600.0)).await;
        until_shown(&operator, &scheduler, Some("ACCEPT")).await;
        until_shown(&operator, &elsewhere, None).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "it is not asked again so soon");
        // The last word counts, and after a REVIVE the question is open again.
        scheduler.call(json!({"type": "REVIVE"})).await;
        let again = asked(&mut scheduler).await;
        assert_ne!(again["id"], first["id"]);
        scheduler.call(answer(kind, &[&again], 0.0)).await;
        let third = asked(&mut scheduler).await;
        until_shown(&operator, &scheduler, Some("DECLINE")).await;

        plan(&operator, Some(6)).await;
        let rescinded = scheduler.event("RESCIND_INVERSE_OFFER").await;
        assert_eq!(rescinded["rescind_inverse_offer"]["inverse_offer_id"], third["id"]);
        let fourth = asked(&mut scheduler).await;
        assert_eq!(fourth["unavailability"]["start"]["nanoseconds"], 6);
        until_shown(&operator, &scheduler, None).await;
        plan(&operator, None).await;
        let rescinded = scheduler.event("RESCIND_INVERSE_OFFER").await;
        assert_eq!(rescinded["rescind_inverse_offer"]["inverse_offer_id"], fourth["id"]);
        let told = elsewhere.heard().await;
        assert_eq!(told, [Value::Null; 0], "it has nothing there");
        for scheduler in [scheduler, elsewhere] {
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
        agent.hear().await.expect("it is told to end the task");
    }
}

#[tokio::test]
async fn offers_say_when_their_agent_will_be_away() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        assert_eq!(offer["unavailability"], Value::Null);
        plan(&operator, Some(5)).await;
        scheduler.rescinded(&offer).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let away = json!({"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}});
        assert_eq!(offer["unavailability"], away);
        // An offer is something on the machine as well.
        asked(&mut scheduler).await;
        plan(&operator, None).await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}
