//! Roles: what may be one, and which there are.

use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, agent_info, cores_of, eager};
use crate::words::{BOTH, in_roles, launch, task, with};

/// Names that no role may have, and why.
const BAD: [(&str, &str); 17] = [
    ("", "Role name cannot be empty"),
    ("/a", "Role '/a' cannot start or end with a slash, nor have two in a row"),
    ("a/", "Role 'a/' cannot start or end with a slash, nor have two in a row"),
    ("/", "Role '/' cannot start or end with a slash, nor have two in a row"),
    ("a//b", "Role 'a//b' cannot start or end with a slash, nor have two in a row"),
    (".", "Role '.' has the invalid component '.'"),
    ("a/..", "Role 'a/..' has the invalid component '..'"),
    ("a/./b", "Role 'a/./b' has the invalid component '.'"),
    ("*/a", "Role '*/a' has the invalid component '*'"),
    ("a/*", "Role 'a/*' has the invalid component '*'"),
    ("-a", "Role '-a' has the invalid component '-a'"),
    ("a/-b", "Role 'a/-b' has the invalid component '-b'"),
    ("a b", "Role 'a b' contains invalid characters"),
    ("a\tb", r"Role 'a\tb' contains invalid characters"),
    ("a\nb", r"Role 'a\nb' contains invalid characters"),
    ("a\u{8}b", r"Role 'a\u{8}b' contains invalid characters"),
    ("a\u{7f}b", r"Role 'a\u{7f}b' contains invalid characters"),
];

#[tokio::test]
async fn a_role_is_a_path_of_names_and_nothing_else() {
    let master = Alone::started().await;
    for encoding in BOTH {
        let subscribed = async |role: &str| {
            let subscribe = json!({"framework_info": in_roles(&[role])});
            Scheduler::subscribed_by(&master, encoding, &subscribe, None).await
        };
        for good in ["*", "web", "eng/web/api", "a-b", "a.b", "..a", "a*", "ä"] {
            let scheduler = subscribed(good).await;
            let scheduler = scheduler.unwrap_or_else(|why| panic!("{good}: {why}"));
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
        for (bad, why) in BAD {
            let told = subscribed(bad).await.err().unwrap_or_else(|| panic!("{bad:?} is let in"));
            assert_eq!(told, format!("'{bad}' is not a valid role: {why}"));
        }
    }
}

/// The names, by the call and by the endpoint, which must be the same, and what else is said of them.
async fn listed(operator: &Operator<'_>) -> Vec<Value> {
    let by_call = operator.ask("GET_ROLES").await["roles"].take();
    let shown = operator.master.get("/roles").await["roles"].take();
    let shown = shown.as_array().expect("a list");
    let of = |role: &Value| (role["name"].clone(), role["weight"].clone());
    let by_call: Vec<_> = by_call.as_array().expect("a list").iter().map(of).collect();
    assert_eq!(by_call, shown.iter().map(of).collect::<Vec<_>>());
    shown.clone()
}

#[tokio::test]
async fn a_role_is_known_by_its_use_and_so_are_those_above_it() {
    for encoding in BOTH {
        let master = Alone::with(eager()).await;
        let operator = Operator::new(&master, encoding);
        assert_eq!(operator.ask("GET_ROLES").await, json!({}));
        let mut info = agent_info(5_051);
        info.resources.push(cores_of("kept/for", 1.0));
        let mut agent = FakeAgent::registered_with(master.address(), &info).await;
        let quota = json!({"role": "capped", "limits": {"cpus": {"value": 2.0}}});
        for (kind, body) in [
            ("UPDATE_WEIGHTS", json!({"weight_infos": [{"role": "heavy/one", "weight": 2.5}]})),
            ("UPDATE_QUOTA", json!({"quota_configs": [quota]})),
        ] {
            operator.done(json!({"type": kind, kind.to_lowercase(): body})).await;
        }
        // What runs for a role stays its own when its framework has left it.
        let info = in_roles(&["left/behind"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        agent.launched().await;
        let info = with(in_roles(&["team/one"]), "id", scheduler.id.clone());
        let update = json!({"framework_info": info});
        let update = json!({"type": "UPDATE_FRAMEWORK", "update_framework": update});
        assert_eq!(scheduler.answer(&update).await, (200, String::new()));

        let roles = listed(&operator).await;
        let names: Vec<_> = roles.iter().map(|role| role["name"].as_str().expect("text")).collect();
        assert_eq!(
            names,
            [
                "capped",
                "heavy",
                "heavy/one",
                "kept",
                "kept/for",
                "left",
                "left/behind",
                "team",
                "team/one"
            ]
        );
        let of = |name: &str| roles.iter().find(|role| role["name"] == name).expect("listed");
        assert_eq!(
            (&of("heavy/one")["weight"], &of("heavy")["weight"]),
            (&json!(2.5), &json!(1.0))
        );
        assert_eq!(of("kept/for")["reserved"]["cpus"], 1.0);
        assert_eq!(of("capped")["quota"]["limit"], json!({"cpus": 2.0}));
        assert_eq!(of("left/behind")["allocated"]["cpus"], 0.1);
        assert_eq!(of("left/behind")["frameworks"], json!([]));
        assert_eq!(of("team/one")["frameworks"], json!([scheduler.id["value"]]));
    }
}
