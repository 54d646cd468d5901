//! Frameworks that are asked to leave an agent, over real sockets, in JSON and in protobuf.

mod common;

use std::time::Duration;

use common::{Alone, BOTH, FakeAgent, Operator, SOON, Scheduler};
use master::Options;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Asks for the frameworks until the first one is shown with these inverse offers.
async fn shown(operator: &Operator<'_>, wanted: &Value) {
    let look = async {
        while operator.ask("GET_FRAMEWORKS").await["frameworks"][0]["inverse_offers"] != *wanted {}
    };
    timeout(SOON, look).await.expect("it is shown in time");
}

#[tokio::test]
async fn who_is_asked_to_leave_is_shown_until_it_has_answered() {
    for encoding in BOTH {
        let allocation_interval = Duration::from_millis(20);
        let master = Alone::with(Options { allocation_interval, ..Options::default() }).await;
        let operator = Operator::new(&master, encoding);
        let agent = FakeAgent::registered(master.address()).await;
        let info = json!({"user": "nobody", "name": "test", "failover_timeout": 60.0});
        let mut framework = Scheduler::subscribed(&master, encoding, &info, None).await;
        framework.event("OFFERS").await;
        shown(&operator, &Value::Null).await;

        let machine = json!({"hostname": "localhost", "ip": "127.0.0.1"});
        let unavailability = json!({"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}});
        let window = json!({"machine_ids": [machine], "unavailability": unavailability});
        let planned = master.post("/maintenance/schedule", &json!({"windows": [window]})).await;
        assert_eq!(planned.status(), 200);
        let asked = framework.event("INVERSE_OFFERS").await;
        let asked = &asked["inverse_offers"]["inverse_offers"];
        assert_eq!(asked[0]["agent_id"]["value"], agent.id.as_str());
        assert_eq!(asked[0]["unavailability"], unavailability);
        shown(&operator, asked).await;

        let ids: Vec<&Value> = asked.as_array().expect("some").iter().map(|it| &it["id"]).collect();
        let filters = json!({"refuse_seconds": 1_000.0});
        let answer = json!({"inverse_offer_ids": ids, "filters": filters});
        framework
            .call(json!({"type": "ACCEPT_INVERSE_OFFERS", "accept_inverse_offers": answer}))
            .await;
        shown(&operator, &Value::Null).await;
    }
}
