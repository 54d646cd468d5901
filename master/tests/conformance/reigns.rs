//! What a leader does when it begins: what flags give it, whom it lets wait, and when it ends instead.

use std::collections::BTreeMap;
use std::time::Duration;

use master::Options;
use model::amount::Milli;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{Alone, FakeAgent, Operator, SOON, Scheduler, serving};
use crate::words::{BOTH, framework, until, with};

#[tokio::test]
async fn weights_of_flags_begin_a_cluster_and_change_none() {
    let weights = |web: f64| BTreeMap::from([("web".to_owned(), web)]);
    for encoding in BOTH {
        let master = Alone::with(Options { weights: weights(2.0), ..Options::default() }).await;
        let shown = async |master: &Alone| {
            Operator::new(master, encoding).ask("GET_WEIGHTS").await["weight_infos"].take()
        };
        // The masters agree on them once one leads.
        let first = until("they are agreed on", async || {
            Some(shown(&master).await).filter(|shown| !shown.is_null())
        });
        assert_eq!(first.await, json!([{"role": "web", "weight": 2.0}]));
        let db = json!({"weight_infos": [{"role": "db", "weight": 3.0}]});
        let update = json!({"type": "UPDATE_WEIGHTS", "update_weights": db});
        Operator::new(&master, encoding).done(update).await;
        let master = master.restarted_with(|options| options.weights = weights(5.0)).await;
        let both = json!([{"role": "db", "weight": 3.0}, {"role": "web", "weight": 2.0}]);
        assert_eq!(shown(&master).await, both, "the flag comes too late");
        assert_eq!(master.get("/weights").await, both);
    }
}

#[tokio::test]
async fn roles_with_quota_have_no_offers_before_most_agents_are_back() {
    for encoding in BOTH {
        let master = Alone::started().await;
        let agents = [
            FakeAgent::registered(master.address()).await,
            FakeAgent::registered_on(master.address(), None, 5_052).await,
        ];
        let quota = json!({"role": "web", "limits": {"cpus": {"value": 3.0}}});
        let quotas = json!({"quota_configs": [quota]});
        let update = json!({"type": "UPDATE_QUOTA", "update_quota": quotas});
        Operator::new(&master, encoding).done(update).await;
        let [first, second] = agents.map(|agent| agent.back(Vec::new(), Vec::new()));
        let master = master.restarted().await;

        let _first = FakeAgent::reregistered(master.address(), first).await;
        let mut web = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let other = with(framework(), "role", json!("db"));
        let mut other = Scheduler::subscribed(&master, encoding, &other, None).await;
        let offer = other.event("OFFERS").await["offers"]["offers"][0].take();
        assert_eq!(web.heard().await, [Value::Null; 0], "one of two is too few");
        let id = web.id["value"].as_str().expect("an id");
        let told = master.get(&format!("/agora/v1/explain/framework/{id}")).await;
        let why = "the role has quota, and too few agents are back since the leader changed";
        let mut reasons = told["roles"][0]["not_offered"].as_array().expect("a list").iter();
        assert!(reasons.any(|reason| reason["reason"] == why), "{told}");

        let body = json!({"offer_ids": [offer["id"]]});
        other.call(json!({"type": "DECLINE", "decline": body})).await;
        let _second = FakeAgent::reregistered(master.address(), second).await;
        let cpus = web.event("OFFERS").await["offers"]["offers"][0]["resources"][0].take();
        assert_eq!(cpus["scalar"]["value"], 3.0, "and no more than the limit");
    }
}

#[tokio::test]
async fn a_leader_ends_rather_than_write_off_more_agents_than_it_may() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options {
        work_dir: dir.path().to_owned(),
        agent_reregister_timeout: Duration::from_millis(100),
        recovery_agent_removal_limit: Milli::ZERO,
        ..Options::default()
    };
    let first = master::start(options.clone()).await.expect("it starts");
    serving(&first).await;
    let _agent = FakeAgent::registered(first.address).await;
    first.stop().await;
    let mut second = master::start(options.clone()).await.expect("it starts");
    let why = timeout(SOON, second.wait()).await.expect("it ends in time");
    assert!(why.starts_with("1 of 1 agents have not come back"), "{why}");
    second.stop().await;

    // Nothing was written off: whoever allows it finds the agent still awaited.
    let all = Options { recovery_agent_removal_limit: Milli::units(1), ..options };
    let third = master::start(Options { agent_reregister_timeout: SOON, ..all }).await;
    let third = third.expect("it starts");
    serving(&third).await;
    let url = format!("http://{}/slaves", third.address);
    let shown = reqwest::get(url).await.expect("an answer").bytes().await.expect("a body");
    let shown: Value = serde_json::from_slice(&shown).expect("JSON");
    assert_eq!(shown["recovered_slaves"].as_array().map(Vec::len), Some(1), "{shown}");
    third.stop().await;
}
