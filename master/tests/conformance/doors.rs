//! Which endpoints there are, which are shut, and what offer constraints keep from whom.

use master::Options;
use model::acl::Acls;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::common::{Alone, FakeAgent, Scheduler};
use crate::words::{BOTH, in_roles, with};

async fn asked(master: &Alone, path: &str) -> (u16, String) {
    let answer = master.http.get(master.url(path)).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[tokio::test]
async fn every_endpoint_that_help_names_is_there() {
    let master = Alone::started().await;
    let help = master.get("/help?format=json").await;
    let [process] = &help["processes"].as_array().expect("a list")[..] else { panic!("{help}") };
    assert_eq!(process["id"], "master");
    let endpoints = process["endpoints"].as_array().expect("a list");
    assert!(endpoints.len() > 30);
    for endpoint in endpoints {
        let name = endpoint["name"].as_str().expect("a name");
        if name.starts_with("/agora/v1/explain") {
            let (status, text) = asked(&master, &format!("{name}/nobody")).await;
            assert_eq!(status, 404);
            assert!(text.starts_with("Framework 'nobody' is not known"), "{text}");
            continue;
        }
        // Some want more than that, but none is unknown.
        let (status, text) = asked(&master, name).await;
        let is_there = status != 404 || name == "/files/browse" || name == "/files/download";
        assert!(is_there, "{name}: {status} {text}");
        let one = master.get(&format!("/master/help/master{name}?format=json")).await;
        assert_eq!(one["processes"][0]["endpoints"], json!([endpoint]));
    }
    let (status, text) = asked(&master, "/help/master/state").await;
    assert_eq!((status, text.trim_end()), (200, &*format!("{:30} All there is", "/state")));
    let none = "There is no endpoint /nothing; /help has those there are";
    assert_eq!(asked(&master, "/help/nothing").await, (404, none.to_owned()));
}

#[tokio::test]
async fn endpoints_that_are_shut_answer_nobody() {
    let rules = r#"{"disabled_endpoints": {"paths": ["/state", "/master/api/v1", "/no/such"]}}"#;
    let firewall = serde_json::from_str(rules).expect("rules");
    let master = Alone::with(Options { firewall, ..Options::default() }).await;
    for path in ["/state", "/master/state", "/state.json"] {
        let shut = (403, "Endpoint '/state' is disabled".to_owned());
        assert_eq!(asked(&master, path).await, shut, "{path}");
    }
    let answer = master.post("/api/v1", &json!({"type": "GET_HEALTH"})).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.text().await.expect("a body"), "Endpoint '/api/v1' is disabled");
    assert_eq!(asked(&master, "/state-summary").await.0, 200);
    assert_eq!(asked(&master, "/api/v1/scheduler").await.0, 405, "frameworks are answered");
}

#[tokio::test]
async fn what_offer_constraints_leave_out_is_told() {
    let acls = r#"{"view_frameworks": [{"principals": {"type": "ANY"}, "users": {"values": ["nobody"]}},
                                       {"principals": {"type": "ANY"}, "users": {"type": "NONE"}}]}"#;
    let acls: Arc<Acls> = Arc::new(serde_json::from_str(acls).expect("rules"));
    let master = Alone::with(Options { acls, ..Options::default() }).await;
    let agent = FakeAgent::registered(master.address()).await;
    assert_eq!(master.get("/offer_constraints_debug").await, json!({"frameworks": {}}));
    for encoding in BOTH {
        let wanted = |host: &str| {
            let predicate = json!({"text_equals": {"value": host}});
            let selector = json!({"pseudoattribute_type": "HOSTNAME"});
            let constraint = json!({"selector": selector, "predicate": predicate});
            json!({"groups": [{"attribute_constraints": [constraint]}]})
        };
        let info = in_roles(&["here", "there", "anywhere"]);
        let constraints = json!({"here": wanted("localhost"), "there": wanted("elsewhere")});
        let subscribed = async |info: Value| {
            let subscribe = json!({"framework_info": info,
                                   "offer_constraints": {"role_constraints": constraints}});
            let scheduler = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            scheduler.expect("let in")
        };
        let hidden = subscribed(with(info.clone(), "user", json!("other"))).await;
        let scheduler = subscribed(info).await;

        let shown = async |scheduler: &Scheduler| {
            let all = master.get("/offer_constraints_debug").await;
            all["frameworks"][scheduler.id["value"].as_str().expect("an id")].clone()
        };
        let excluded = json!({"here": [], "there": [agent.id.to_string()], "anywhere": []});
        let told = |suppressed: Value| json!({"suppressed_roles": suppressed, "excluded_by_attribute_constraints": excluded});
        assert_eq!(shown(&scheduler).await, told(json!([])));
        assert_eq!(shown(&hidden).await, Value::Null, "its user is not to be seen");
        let roles = json!({"roles": ["there"]});
        scheduler.call(json!({"type": "SUPPRESS", "suppress": roles})).await;
        assert_eq!(shown(&scheduler).await, told(json!(["there"])));
        scheduler.call(json!({"type": "SUPPRESS"})).await;
        assert_eq!(shown(&scheduler).await, told(json!(["anywhere", "here", "there"])));
        scheduler.call(json!({"type": "REVIVE", "revive": {"roles": ["here"]}})).await;
        assert_eq!(shown(&scheduler).await, told(json!(["anywhere", "there"])));
        scheduler.call(json!({"type": "REVIVE"})).await;
        assert_eq!(shown(&scheduler).await, told(json!([])));
    }
}
