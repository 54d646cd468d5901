//! Where instances go: every operator on every kind of field.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Place, sleeper};

/// Beside the three in the master's region, one in another.
const FAR: Place = Place { hostname: "d.test", rack: "r2", region: "west", zone: "w1" };

/// How many instances go to which agents, by the letters of their hostnames.
type Spread = &'static [(&'static str, usize)];

/// Constraints, and how they spread instances.
type Case = (&'static [&'static [&'static str]], Spread);

/// Where it says nothing of regions or zones, an app stays with the master: a, b and c.
const SPREAD: &[Case] = &[
    (&[], &[("abc", 3)]),
    (&[&["hostname", "UNIQUE"]], &[("a", 1), ("b", 1), ("c", 1)]),
    (&[&["@hostname", "UNIQUE"]], &[("a", 1), ("b", 1), ("c", 1)]),
    (&[&["rack", "UNIQUE"]], &[("ab", 1), ("c", 1)]),
    (&[&["@zone", "UNIQUE"]], &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
    (&[&["@region", "UNIQUE"]], &[("abc", 1), ("d", 1)]),
    (&[&["hostname", "CLUSTER", "b.test"]], &[("b", 3)]),
    (&[&["@hostname", "CLUSTER", "c.test"]], &[("c", 2)]),
    (&[&["rack", "CLUSTER", "r2"]], &[("c", 2)]),
    (&[&["@zone", "CLUSTER", "e2"]], &[("b", 2)]),
    (&[&["@region", "CLUSTER", "west"]], &[("d", 2)]),
    (&[&["hostname", "LIKE", "[ab]\\.test"]], &[("ab", 3)]),
    (&[&["@hostname", "LIKE", "a.*"]], &[("a", 2)]),
    (&[&["rack", "LIKE", ".2"]], &[("c", 2)]),
    (&[&["@zone", "LIKE", "w.|e1"]], &[("ad", 2)]),
    (&[&["@region", "LIKE", "we.t"]], &[("d", 2)]),
    (&[&["hostname", "UNLIKE", "[ab].*"]], &[("c", 2)]),
    (&[&["@hostname", "UNLIKE", "[^a].*"]], &[("a", 2)]),
    (&[&["rack", "UNLIKE", "r1"]], &[("c", 2)]),
    (&[&["@zone", "UNLIKE", "e."]], &[("d", 2)]),
    (&[&["@region", "UNLIKE", "east"]], &[("d", 2)]),
    (&[&["hostname", "IS", "a.test"]], &[("a", 2)]),
    (&[&["@hostname", "IS", "b.test"]], &[("b", 2)]),
    (&[&["rack", "IS", "r2"]], &[("c", 2)]),
    (&[&["@zone", "IS", "e3"]], &[("c", 2)]),
    (&[&["@region", "IS", "west"]], &[("d", 2)]),
    (&[&["hostname", "MAX_PER", "1"]], &[("a", 1), ("b", 1), ("c", 1)]),
    (&[&["@hostname", "MAX_PER", "2"]], &[("a", 2), ("b", 2), ("c", 2)]),
    (&[&["rack", "MAX_PER", "2"]], &[("ab", 2), ("c", 2)]),
    (&[&["@zone", "MAX_PER", "1"]], &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
    (&[&["@region", "MAX_PER", "2"]], &[("abc", 2), ("d", 2)]),
    (&[&["hostname", "GROUP_BY"]], &[("a", 2), ("b", 2), ("c", 2)]),
    (&[&["@hostname", "GROUP_BY", "3"]], &[("a", 1), ("b", 1), ("c", 1)]),
    (&[&["rack", "GROUP_BY"]], &[("ab", 2), ("c", 2)]),
    (&[&["@zone", "GROUP_BY", "9"]], &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
    (&[&["@region", "GROUP_BY"]], &[("abc", 2), ("d", 2)]),
    (&[&["rack", "LIKE", "r1"], &["hostname", "GROUP_BY"]], &[("a", 2), ("b", 2)]),
    (&[&["@region", "LIKE", ".*"], &["hostname", "unique"]], &[("abc", 3), ("d", 1)]),
];

/// Constraints that gather instances wherever the first one is, and the places that may be.
const GATHERED: &[(&str, &[&str])] = &[
    ("hostname", &["a", "b", "c"]),
    ("@hostname", &["a", "b", "c"]),
    ("rack", &["ab", "c"]),
    ("@zone", &["a", "b", "c", "d"]),
    ("@region", &["abc", "d"]),
];

fn on(hosts: &[String], letters: &str) -> usize {
    hosts.iter().filter(|host| host.starts_with(|letter| letters.contains(letter))).count()
}

fn constrained(id: &str, instances: usize, constraints: &Value) -> Value {
    let mut app = sleeper(id);
    app["cpus"] = 0.01.into();
    app["mem"] = 16.into();
    app["instances"] = instances.into();
    app["constraints"] = constraints.clone();
    app
}

async fn four_agents() -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster.start_another(&FAR).await;
    // Who has once been offered all agents knows what there is to spread over.
    let all = constrained("/all", 4, &json!([["@zone", "UNIQUE"]]));
    cluster.deploy(&all).await;
    cluster
}

#[tokio::test]
async fn every_operator_holds_on_every_kind_of_field() {
    let cluster = four_agents().await;
    let id = |at: usize| format!("app-{at}");
    let of_case = |(at, (constraints, spread)): (usize, &Case)| {
        let instances = spread.iter().map(|(_, count)| count).sum();
        constrained(&id(at), instances, &json!(constraints))
    };
    let mut apps: Vec<Value> = SPREAD.iter().enumerate().map(of_case).collect();
    let gathered = GATHERED.iter().enumerate();
    apps.extend(gathered.map(|(at, (field, _))| {
        constrained(&format!("gathered-{at}"), 3, &json!([[field, "CLUSTER"]]))
    }));
    cluster.change("/v2/groups/table", &json!({"apps": apps})).await;
    for (at, (constraints, spread)) in SPREAD.iter().enumerate() {
        let hosts = cluster.hosts(&format!("table/{}", id(at))).await;
        for (letters, count) in *spread {
            assert_eq!(on(&hosts, letters), *count, "{constraints:?} on {letters}: {hosts:?}");
        }
    }
    for (at, (field, places)) in GATHERED.iter().enumerate() {
        let hosts = cluster.hosts(&format!("table/gathered-{at}")).await;
        let is_one = places.iter().any(|letters| on(&hosts, letters) == 3);
        assert!(is_one && hosts.len() == 3, "{field} CLUSTER: {hosts:?}");
    }
}

#[tokio::test]
async fn pods_go_where_their_constraints_say() {
    let cluster = four_agents().await;
    let cases: [(&str, Value, Spread); 7] = [
        (
            "unique",
            json!({"fieldName": "hostname", "operator": "UNIQUE"}),
            &[("a", 1), ("b", 1), ("c", 1)],
        ),
        (
            "cluster",
            json!({"fieldName": "rack", "operator": "CLUSTER", "value": "r2"}),
            &[("c", 2)],
        ),
        (
            "group",
            json!({"fieldName": "@zone", "operator": "GROUP_BY"}),
            &[("a", 1), ("b", 1), ("c", 1), ("d", 1)],
        ),
        (
            "like",
            json!({"fieldName": "@hostname", "operator": "LIKE", "value": "b.*"}),
            &[("b", 2)],
        ),
        (
            "unlike",
            json!({"fieldName": "@region", "operator": "UNLIKE", "value": "ea.*"}),
            &[("d", 2)],
        ),
        (
            "most",
            json!({"fieldName": "hostname", "operator": "MAX_PER", "value": "1"}),
            &[("a", 1), ("b", 1), ("c", 1)],
        ),
        ("is", json!({"fieldName": "@zone", "operator": "IS", "value": "w1"}), &[("d", 1)]),
    ];
    let pod = |(name, constraint, spread): &(&str, Value, Spread)| {
        let instances: usize = spread.iter().map(|(_, count)| count).sum();
        json!({
            "id": name,
            "scaling": {"kind": "fixed", "instances": instances},
            "scheduling": {"placement": {"constraints": [constraint]}},
            "containers": [{"name": "one", "resources": {"cpus": 0.01, "mem": 16},
                            "exec": {"command": {"argv": ["sleep", "1000"]}}}],
        })
    };
    let pods: Vec<Value> = cases.iter().map(pod).collect();
    cluster.change("/v2/groups/pods", &json!({"pods": pods})).await;
    for (name, constraint, spread) in &cases {
        let hosts = cluster.hosts_of_pod(&format!("pods/{name}")).await;
        assert_eq!(hosts.len(), spread.iter().map(|(_, count)| count).sum::<usize>());
        for (letters, count) in *spread {
            assert_eq!(on(&hosts, letters), *count, "{constraint} on {letters}: {hosts:?}");
        }
    }
}

#[tokio::test]
async fn what_constrains_nothing_is_refused_by_its_place() {
    let cluster = Cluster::start().await;
    let number = "Value was specified but is not a number";
    let needs_number = "Value was not specified or is not a number";
    let needs_pattern = "A regular expression value must be provided";
    let wrong = [
        (json!(["hostname", "UNIQUE", "x"]), "Value specified but not used"),
        (json!(["hostname", "GROUP_BY", "x"]), number),
        (json!(["hostname", "GROUP_BY", "0"]), number),
        (json!(["rack", "MAX_PER"]), needs_number),
        (json!(["rack", "MAX_PER", "few"]), needs_number),
        (json!(["@zone", "LIKE"]), needs_pattern),
        (json!(["@zone", "UNLIKE"]), needs_pattern),
        (json!(["@region", "LIKE", "("]), "'(' is not a valid regular expression"),
        (json!(["rack", "IS", "a b"]), "Value must match text value"),
    ];
    for (constraint, error) in wrong {
        let app = constrained("/wrong", 1, &json!([["hostname", "UNIQUE"], constraint]));
        let (status, answer) = cluster.send(Method::POST, "/v2/apps", &app).await;
        assert_eq!((status, &answer["message"]), (422, &json!("Object is not valid")), "{answer}");
        let detail = &answer["details"][0];
        assert_eq!(detail["path"], "/constraints(1)", "{constraint}: {answer}");
        let told = detail["errors"][0].as_str().expect("an error");
        assert!(told.contains(error), "{constraint}: {told}");
    }
    for constraint in [json!(["hostname", "NEAR"]), json!(["hostname"]), json!("hostname:UNIQUE")] {
        let app = constrained("/wrong", 1, &json!([constraint]));
        let (status, answer) = cluster.send(Method::POST, "/v2/apps", &app).await;
        assert!(status == 422 || status == 400, "{constraint}: {status} {answer}");
        let path = answer["details"][0]["path"].as_str().expect("a path");
        assert!(path.starts_with("/constraints(0)"), "{constraint}: {answer}");
    }
}
