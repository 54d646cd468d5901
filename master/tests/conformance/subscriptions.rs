//! SUBSCRIBE and UPDATE_FRAMEWORK: what is taken over, what is refused and in which words.

use master::Options;
use model::link::ToAgent;
use serde_json::{Value, json};
use transport::http::Encoding;

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, able, framework, in_roles, launch, reserved, task, until, with};

/// What a framework says of itself, and what it wants, that cannot be; and what it is told.
fn refused_subscriptions() -> Vec<(Value, Value, &'static str)> {
    let nothing = json!({});
    let filters = |quantities: Value| {
        let minimum = json!({"min_allocatable_resources": {"quantities": quantities}});
        with(framework(), "offer_filters", json!({"web": minimum}))
    };
    let constraints = |groups: Value| json!({"offer_constraints": {"role_constraints": groups}});
    vec![
        (
            with(able(&["MULTI_ROLE"]), "roles", json!([])),
            nothing.clone(),
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ),
        (
            with(framework(), "roles", json!(["web"])),
            nothing.clone(),
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
        ),
        (
            in_roles(&["a", "b", "a"]),
            nothing.clone(),
            "'FrameworkInfo.roles' contains duplicate items: { a }",
        ),
        (in_roles(&["a", "b/"]), nothing.clone(), "'b/' is not a valid role: "),
        (with(framework(), "role", json!("/a")), nothing.clone(), "'/a' is not a valid role: "),
        (with(framework(), "role", json!("a b")), nothing.clone(), "'a b' is not a valid role: "),
        (with(framework(), "role", json!("-a")), nothing.clone(), "'-a' is not a valid role: "),
        (with(framework(), "role", json!("a/..")), nothing.clone(), "'a/..' is not a valid role: "),
        (with(framework(), "role", json!("a/*")), nothing.clone(), "'a/*' is not a valid role: "),
        (
            with(framework(), "id", json!({"value": "a/b"})),
            nothing.clone(),
            "Invalid 'FrameworkInfo.id': 'a/b' contains invalid characters",
        ),
        (
            filters(json!([{}])),
            nothing.clone(),
            "Invalid 'FrameworkInfo.offer_filters' for role 'web': resource quantities must not be \
             empty",
        ),
        (
            filters(json!([{"quantities": {"cpus": {"value": -1.0}}}])),
            nothing.clone(),
            "Invalid 'FrameworkInfo.offer_filters' for role 'web': resource quantities must be \
             finite and not negative",
        ),
        (
            filters(json!([{"quantities": {"cpus": {"value": "Infinity"}}}])),
            nothing.clone(),
            "Invalid 'FrameworkInfo.offer_filters' for role 'web': resource quantities must be \
             finite and not negative",
        ),
        (
            with(framework(), "failover_timeout", json!(1e10)),
            nothing,
            "The framework's 'failover_timeout' (10000000000) is not a valid duration",
        ),
        (
            framework(),
            json!({"suppressed_roles": ["web", "x", "y"]}),
            "Suppressed roles { x, y } are not contained in the set of roles",
        ),
        (
            framework(),
            constraints(json!({"db": {"groups": [{"attribute_constraints": [EXISTS.clone()]}]}})),
            "Offer constraints are not valid: the framework is not subscribed to role 'db'",
        ),
        (
            framework(),
            constraints(json!({"web": {"groups": []}})),
            "Offer constraints are not valid: offer constraints must have at least one group",
        ),
        (
            framework(),
            constraints(json!({"web": {"groups": [{}]}})),
            "Offer constraints are not valid: a group of offer constraints must have at least one \
             constraint",
        ),
        (framework(), constraints(matching("(")), "Offer constraints are not valid: pattern '(': "),
        // A pattern that is short and would take much memory.
        (
            framework(),
            constraints(matching("((x{100}){100}){100}")),
            "Offer constraints are not valid: pattern '((x{100}){100}){100}': ",
        ),
        (
            framework(),
            constraints(matching(&"x".repeat(4_097))),
            "Offer constraints are not valid: a pattern of 4097 bytes, at most 4096",
        ),
        (
            framework(),
            constraints(of_web(&vec![EXISTS.clone(); 257])),
            "Offer constraints are not valid: 257 of them, at most 256",
        ),
        (
            framework(),
            constraints(of_web(&[with(EXISTS.clone(), "selector", json!({}))])),
            "Offer constraints are not valid: Exactly one of 'AttributeConstraint::Selector' must \
             be set",
        ),
        (
            framework(),
            constraints(of_web(&[with(EXISTS.clone(), "predicate", json!({}))])),
            "Offer constraints are not valid: Exactly one of 'AttributeConstraint::Predicate' must \
             be set",
        ),
        (
            framework(),
            constraints(of_web(&[with(
                EXISTS.clone(),
                "selector",
                json!({"pseudoattribute_type": "UNKNOWN"}),
            )])),
            "Offer constraints are not valid: Unknown pseudoattribute type",
        ),
    ]
}

/// All of these must be so for role `web`.
fn of_web(all: &[Value]) -> Value {
    json!({"web": {"groups": [{"attribute_constraints": all}]}})
}

/// An agent's rack must match a pattern.
fn matching(regex: &str) -> Value {
    let predicate = json!({"text_matches": {"regex": regex}});
    of_web(&[json!({"selector": {"attribute_name": "rack"}, "predicate": predicate})])
}

/// An agent must have a rack.
static EXISTS: std::sync::LazyLock<Value> = std::sync::LazyLock::new(
    || json!({"selector": {"attribute_name": "rack"}, "predicate": {"exists": {}}}),
);

#[tokio::test]
async fn a_subscription_that_cannot_be_is_told_so_by_its_stream() {
    let master = Alone::started().await;
    for encoding in BOTH {
        for (info, wants, why) in refused_subscriptions() {
            let subscribe = with(wants, "framework_info", info);
            let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            let told = refused.err().unwrap_or_else(|| panic!("let in: {subscribe}"));
            assert!(told.starts_with(why), "{subscribe}: {told}");
        }
    }
    assert_eq!(master.get("/state").await["frameworks"], json!([]));
}

#[tokio::test]
async fn the_masters_own_rules_on_roles_and_root_are_heeded() {
    let roles = Some(vec!["web".to_owned(), "db".to_owned()]);
    let master =
        Alone::with(Options { roles, root_submissions: false, ..Options::default() }).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let root = with(framework(), "user", json!("root"));
        let why = "Roles { x, y } are not present in the master's --roles";
        for (info, why) in [
            (in_roles(&["x", "web", "y"]), why),
            (with(in_roles(&["x", "y"]), "user", json!("root")), why),
            (root, "User 'root' is not allowed to run frameworks without '--root_submissions' set"),
        ] {
            let subscribe = json!({"framework_info": info});
            let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            let told = refused.err().unwrap_or_else(|| panic!("let in: {subscribe}"));
            assert!(told.starts_with(why), "{subscribe}: {told}");
        }
        Scheduler::subscribed(&master, encoding, &in_roles(&["db", "web"]), None).await;
        // The list is also which roles there are, and which weights and quotas there may be.
        let operator = Operator::new(&master, encoding);
        let listed = operator.ask("GET_ROLES").await;
        let names: Vec<_> =
            listed["roles"].as_array().into_iter().flatten().map(|role| &role["name"]).collect();
        assert_eq!(names, ["db", "web"]);
        let weights = json!({"weight_infos": [{"role": "x", "weight": 2.0}]});
        let why = "Failed to validate update weights JSON: Unknown role 'x'";
        let call = json!({"type": "UPDATE_WEIGHTS", "update_weights": weights});
        operator.refused(call, 400, why).await;
        let quotas = json!({"quota_configs": [{"role": "x", "limits": {"cpus": {"value": 2.0}}}]});
        let call = json!({"type": "UPDATE_QUOTA", "update_quota": quotas});
        operator.refused(call, 400, "Invalid QuotaConfig: Unknown role 'x'").await;
        let resource = reserved("cpus", 1.0, "x");
        let body = json!({"agent_id": {"value": agent.id.as_str()}, "resources": [resource]});
        let call = json!({"type": "RESERVE_RESOURCES", "reserve_resources": body});
        let why = format!("Invalid RESERVE operation on agent {}: Unknown role 'x'", agent.id);
        operator.refused(call, 400, &why).await;
    }
}

#[tokio::test]
async fn whose_a_framework_is_does_not_change() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let info = with(framework(), "principal", json!("ops"));
        let scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        for principal in [json!("other"), Value::Null] {
            let info = with(info.clone(), "id", scheduler.id.clone());
            let subscribe = json!({"framework_info": with(info, "principal", principal.clone())});
            let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            let why = "Changing framework's principal is not allowed.";
            assert_eq!(refused.err().as_deref(), Some(why), "{principal}");
        }
        // The stream that it has goes on.
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

/// What is shown of the only framework that is connected.
async fn shown(master: &Alone) -> Value {
    let mut all = master.get("/frameworks").await["frameworks"].take();
    let all = all.as_array_mut().expect("a list");
    all.iter_mut().find(|it| it["connected"] == true).expect("there is one").take()
}

/// A framework that has been described anew in all there is to describe.
fn renewed(id: &Value) -> Value {
    let mut info = in_roles(&["web", "db"]);
    for (name, value) in [
        ("id", id.clone()),
        ("name", json!("other name")),
        ("failover_timeout", json!(7_200.0)),
        ("webui_url", json!("http://ui")),
        ("hostname", json!("elsewhere")),
        ("labels", json!({"labels": [{"key": "k", "value": "v"}]})),
    ] {
        info[name] = value;
    }
    info
}

fn assert_renewed(shown: &Value) {
    for (name, value) in [
        ("name", json!("other name")),
        ("failover_timeout", json!(7_200.0)),
        ("webui_url", json!("http://ui")),
        ("hostname", json!("elsewhere")),
        ("labels", json!([{"key": "k", "value": "v"}])),
        ("roles", json!(["web", "db"])),
        ("capabilities", json!(["MULTI_ROLE"])),
        ("user", json!("nobody")),
        ("checkpoint", json!(false)),
    ] {
        assert_eq!(shown[name], value, "{name}: {shown}");
    }
}

#[tokio::test]
async fn a_framework_that_subscribes_again_is_described_anew_but_for_user_and_checkpoint() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut first = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = first.offer_of(&agent.id).await;
        first.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        agent.launched().await;
        first.offer_of(&agent.id).await;
        let info = with(renewed(&first.id), "user", json!("somebody"));
        let info = with(info, "checkpoint", json!(true));
        let subscribe = json!({"framework_info": info, "suppressed_roles": ["web"]});
        let second = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
        let mut second = second.expect("let in");
        assert_eq!(second.id, first.id);
        let ended = first.end().await;
        assert_eq!(ended.len(), 1, "its offer is over without a word: {ended:?}");
        assert_eq!(ended[0]["error"]["message"], "Framework failed over");
        assert_renewed(&shown(&master).await);
        let told = agent.hear().await;
        let Some(ToAgent::UpdateFramework(description)) = told else { panic!("{told:?}") };
        assert_eq!((&*description.name, &*description.user), ("other name", "nobody"));
        let offer = second.offer_of(&agent.id).await;
        assert_eq!(offer["allocation_info"]["role"], "db", "the other one is suppressed");
        second.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
    }
}

/// UPDATE_FRAMEWORK.
fn update(info: &Value) -> Value {
    json!({"type": "UPDATE_FRAMEWORK", "update_framework": {"framework_info": info}})
}

#[tokio::test]
async fn a_framework_describes_itself_anew_without_another_stream() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let (_, mut watch) = Operator::new(&master, encoding).watch().await;
        let mut scheduler =
            Scheduler::subscribed(&master, encoding, &in_roles(&["dev"]), None).await;
        watch.event("FRAMEWORK_ADDED").await;
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        agent.launched().await;
        watch.event("TASK_ADDED").await;
        let offer = scheduler.offer_of(&agent.id).await;

        // What changes nothing is told nobody.
        let same = with(in_roles(&["dev"]), "id", scheduler.id.clone());
        assert_eq!(scheduler.answer(&update(&same)).await, (200, String::new()));
        let info = renewed(&scheduler.id);
        assert_eq!(scheduler.answer(&update(&info)).await, (200, String::new()));
        assert_renewed(&shown(&master).await);
        // It has left that role.
        scheduler.rescinded(&offer).await;
        let told = agent.hear().await;
        let Some(ToAgent::UpdateFramework(description)) = told else { panic!("{told:?}") };
        assert_eq!(&*description.name, "other name");
        let event = watch.event("FRAMEWORK_UPDATED").await;
        assert_eq!(event["framework"]["framework_info"]["name"], "other name");
        assert_eq!(event["framework"]["framework_info"]["id"], scheduler.id);
        assert_eq!(scheduler.answer(&update(&info)).await, (200, String::new()));
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
        watch.event("TASK_UPDATED").await;
        watch.event("FRAMEWORK_REMOVED").await;
    }
}

#[tokio::test]
async fn a_new_description_that_cannot_be_is_answered_with_the_reason() {
    let roles = Some(["web", "db"].map(str::to_owned).to_vec());
    let master = Alone::with(Options { roles, ..Options::default() }).await;
    for encoding in BOTH {
        let scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let info = with(framework(), "id", scheduler.id.clone());
        let supplied = "Supplied FrameworkInfo is not valid: ";
        let update_of = "FrameworkInfo update is not valid: ";
        let unsupported = format!("{update_of}Updating 'FrameworkInfo.");
        for (field, value, why) in [
            ("roles", json!(["web"]), format!("{supplied}'FrameworkInfo.roles' must not be set")),
            ("role", json!("a//b"), format!("{supplied}'a//b' is not a valid role")),
            (
                "role",
                json!("x"),
                format!("{supplied}Roles {{ x }} are not present in the master's"),
            ),
            ("failover_timeout", json!(1e10), format!("{supplied}The framework's")),
            (
                "user",
                json!("root"),
                format!("{unsupported}user' is unsupported; attempted to update from 'nobody' to"),
            ),
            (
                "checkpoint",
                json!(true),
                format!(
                    "{unsupported}checkpoint' is unsupported; attempted to update from 'false'"
                ),
            ),
            ("principal", json!("me"), format!("{update_of}Changing framework's principal is not")),
        ] {
            let call = update(&with(info.clone(), field, value));
            let (status, text) = scheduler.answer(&call).await;
            assert_eq!(status, 400, "{field}: {text}");
            assert!(text.starts_with(&why), "{field}: {text}");
        }
        let not_valid = "'UpdateFramework' call is not valid: ";
        let groups = json!({"role_constraints": {"web": {"groups": []}}});
        for (field, value, why) in [
            ("suppressed_roles", json!(["x"]), "Suppressed roles { x } are not contained in"),
            ("offer_constraints", groups, "Offer constraints are not valid: "),
        ] {
            let mut call = update(&info);
            call["update_framework"][field] = value;
            let (status, text) = scheduler.answer(&call).await;
            assert_eq!(status, 400, "{field}: {text}");
            assert!(text.starts_with(&format!("{not_valid}{why}")), "{field}: {text}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn suppressed_roles_and_constraints_are_replaced_as_a_whole() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let info = framework();
        let subscribe = json!({"framework_info": info, "suppressed_roles": ["web"]});
        let scheduler = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
        let mut scheduler = scheduler.expect("let in");
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        // One that no agent meets, and no suppressed role.
        let info = with(info, "id", scheduler.id.clone());
        let group = json!({"attribute_constraints": [EXISTS.clone()]});
        let constraints = json!({"role_constraints": {"web": {"groups": [group]}}});
        let mut call = update(&info);
        call["update_framework"]["offer_constraints"] = constraints.clone();
        assert_eq!(scheduler.answer(&call).await, (200, String::new()));
        assert_eq!(shown(&master).await["offer_constraints"], constraints);
        let mut witness = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        witness.offer_of(&agent.id).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "the agent has no rack");
        witness.call(json!({"type": "TEARDOWN"})).await;
        assert_eq!(scheduler.answer(&update(&info)).await, (200, String::new()));
        let offer = scheduler.offer_of(&agent.id).await;
        let filters = json!({"refuse_seconds": 3_600.0});
        let decline = json!({"offer_ids": [offer["id"]], "filters": filters});
        scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
        // To be suppressed and not any more is as good as a REVIVE.
        let mut call = update(&info);
        call["update_framework"]["suppressed_roles"] = json!(["web"]);
        assert_eq!(scheduler.answer(&call).await, (200, String::new()));
        assert_eq!(scheduler.heard().await, [Value::Null; 0]);
        assert_eq!(scheduler.answer(&update(&info)).await, (200, String::new()));
        scheduler.offer_of(&agent.id).await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn a_framework_that_stays_away_is_over_after_its_time() {
    let master = Alone::started().await;
    for (encoding, timeout) in [(Encoding::Json, 0.0), (Encoding::Protobuf, 0.05)] {
        let (_, mut watch) = Operator::new(&master, encoding).watch().await;
        let info = with(framework(), "failover_timeout", json!(timeout));
        let scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        watch.event("FRAMEWORK_ADDED").await;
        let id = scheduler.id.clone();
        drop(scheduler.hang_up());
        let removed = watch.event("FRAMEWORK_REMOVED").await;
        assert_eq!(removed["framework_info"]["id"], id);
        let subscribe = json!({"framework_info": with(info, "id", id)});
        let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
        assert_eq!(refused.err().as_deref(), Some("Framework has been removed"));
    }
    let over = &master.get("/state").await["completed_frameworks"];
    assert_eq!(over.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_framework_that_is_away_keeps_its_tasks_and_none_of_its_offers() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        agent.launched().await;
        scheduler.offer_of(&agent.id).await;
        let id = scheduler.id.clone();
        drop(scheduler.hang_up());
        let look = async || {
            let all = operator.ask("GET_FRAMEWORKS").await["frameworks"].take();
            let shown = all[0].clone();
            (shown["connected"] == false).then_some(shown)
        };
        let shown = until("it is away", look).await;
        let is = [&shown["active"], &shown["recovered"], &shown["offers"]];
        assert_eq!(is, [&json!(false), &json!(false), &Value::Null]);
        // What it was offered is for others, and its task goes on.
        let mut other = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        other.offer_of(&agent.id).await;
        other.call(json!({"type": "TEARDOWN"})).await;
        let info = with(framework(), "id", id);
        let mut again = Scheduler::subscribed(&master, encoding, &info, None).await;
        again.offer_of(&agent.id).await;
        again.reconcile(None).await;
        assert_eq!(again.update().await["state"], "TASK_STAGING");
        // Its agent repeats what it may not have heard.
        assert!(matches!(agent.hear().await, Some(ToAgent::UpdateFramework(_))));
        again.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
    }
}
