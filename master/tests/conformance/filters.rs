//! What was declined, what was suppressed: when it is offered again.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Scheduler, eager};
use crate::words::{BOTH, able, framework, reserved, until, with};

/// An hour, for which a test does not wait.
fn for_long() -> Value {
    json!({"refuse_seconds": 3_600.0})
}

#[tokio::test]
async fn what_a_call_has_made_of_its_offers_is_offered_again_at_once() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let info = able(&["RESERVATION_REFINEMENT"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let body = json!({"resources": [reserved("cpus", 1.0, "web")]});
        let reserve = json!({"type": "RESERVE", "reserve": body});
        let offer = scheduler.offer_of(&agent.id).await;
        let accept = json!({
            "offer_ids": [offer["id"]], "operations": [reserve], "filters": for_long(),
        });
        scheduler.call(json!({"type": "ACCEPT", "accept": accept})).await;
        assert_eq!(agent.apply().await, "RESERVE");
        let offer = scheduler.offer_of(&agent.id).await;
        let all = offer["resources"].as_array().expect("a list");
        let made = all.iter().filter(|one| !one["reservations"].is_null()).collect::<Vec<_>>();
        assert_eq!(made.len(), 1, "{offer}");
        assert_eq!(made[0]["scalar"]["value"], 1.0);
        // What nothing was made of is refused like anything else.
        let decline = json!({"offer_ids": [offer["id"]], "filters": for_long()});
        scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.say(&model::link::FromAgent::Unregister).await;
        while agent.hear().await.is_some() {}
    }
}

/// Waits until the only framework is away.
async fn away(master: &Alone) {
    let look = async || {
        let shown = master.get("/frameworks").await["frameworks"][0].take();
        (shown["connected"] == false).then_some(())
    };
    until("it is away", look).await;
}

#[tokio::test]
async fn who_comes_back_has_declined_nothing() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let decline = json!({"offer_ids": [offer["id"]], "filters": for_long()});
        scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        let info = with(framework(), "id", scheduler.id.clone());
        drop(scheduler.hang_up());
        away(&master).await;
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        scheduler.offer_of(&agent.id).await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn who_comes_back_says_anew_which_roles_are_suppressed() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        scheduler.offer_of(&agent.id).await;
        scheduler.call(json!({"type": "SUPPRESS"})).await;
        let info = with(framework(), "id", scheduler.id.clone());
        let again = async |suppressed: Value| {
            away(&master).await;
            let subscribe = json!({"framework_info": info, "suppressed_roles": suppressed});
            let again = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            again.expect("let in")
        };
        drop(scheduler.hang_up());
        let mut scheduler = again(json!(["web"])).await;
        let mut witness = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        witness.offer_of(&agent.id).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "it still wants none");
        witness.call(json!({"type": "TEARDOWN"})).await;
        drop(scheduler.hang_up());
        let mut scheduler = again(json!([])).await;
        scheduler.offer_of(&agent.id).await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}
