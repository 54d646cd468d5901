//! Agents that want to be let in, and why they are not.

use model::link::FromAgent;
use proto::convert::link;
use proto::mesos::v1::AgentInfo;
use serde_json::json;

use crate::common::{Alone, FakeAgent, Operator, agent_info};
use crate::words::BOTH;

#[tokio::test]
async fn an_agent_that_is_not_who_it_was_is_turned_away() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let agent = FakeAgent::registered(master.address()).await;
        let back = agent.back(Vec::new(), Vec::new());
        let mut elsewhere = back.clone();
        elsewhere.description.address = "127.0.0.2:5051".into();
        let mut renamed = back.clone();
        let info = AgentInfo { hostname: "other".to_owned(), ..agent_info(5_051) };
        let address = back.description.address.clone();
        renamed.description = link::describe(&info, address, "1.11.0").expect("whole");
        for (back, why) in [
            (elsewhere, "The agent's IP was 127.0.0.1 and is 127.0.0.2"),
            (renamed, "The agent's host name was localhost and is other"),
        ] {
            let refused = FakeAgent::reregister(master.address(), back).await;
            assert_eq!(refused.err().as_deref(), Some(why));
        }
        // As itself it is welcome until an operator says that it is dead.
        drop(agent);
        let agent = FakeAgent::reregistered(master.address(), back.clone()).await;
        let body = json!({"agent_id": {"value": agent.id.as_str()}});
        let gone = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": body});
        Operator::new(&master, encoding).done(gone).await;
        let refused = FakeAgent::reregister(master.address(), back).await;
        assert_eq!(refused.err().as_deref(), Some("The agent was marked gone by an operator"));
        let agents = master.get("/slaves").await;
        assert_eq!((&agents["slaves"], &agents["recovered_slaves"]), (&json!([]), &json!([])));
    }
}

#[tokio::test]
async fn an_agent_of_an_old_version_is_turned_away() {
    let master = Alone::started().await;
    let info = agent_info(5_051);
    let register = async |info: &AgentInfo, version: &str| {
        FakeAgent::register_saying(master.address(), None, info, version).await
    };
    for version in ["0.28.3", "0.28", "new"] {
        let why = register(&info, version).await.err().expect("turned away");
        assert!(why.contains(version), "{why}");
    }
    let agent = register(&info, "1.0.0").await.expect("let in");
    let shown = master.get("/slaves").await["slaves"][0].take();
    assert_eq!(shown["version"], "1.0.0");
    agent.say(&FromAgent::Unregister).await;
}
