//! Every field of apps and pods: what is shown where it is left out, that what is given is kept, and
//! which values are refused. The tables in `fields/` say it field by field.

mod table;

use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use table::{Block, Kind, Row, Shown};

use crate::cluster::{Answer, Cluster};

/// Requests under way at once: the order of the rows means nothing.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn every_field_of_an_app_has_its_default_is_kept_and_is_checked() {
    check("fields/apps.txt", include_str!("fields/apps.txt")).await;
}

#[tokio::test]
async fn every_field_of_containers_networks_ports_and_volumes_is_as_apps_have_it() {
    check("fields/containers.txt", include_str!("fields/containers.txt")).await;
}

#[tokio::test]
async fn every_field_of_what_probes_an_app_is_checked() {
    check("fields/checks.txt", include_str!("fields/checks.txt")).await;
}

#[tokio::test]
async fn every_field_of_a_pod_has_its_default_is_kept_and_is_checked() {
    check("fields/pods.txt", include_str!("fields/pods.txt")).await;
}

/// Longer than a table can show it.
#[tokio::test]
async fn what_is_too_long_is_refused() {
    let app = json!({"cmd": "x", "fetch": [{"uri": "u", "destPath": "d"}], "check": {"http": {"path": "/"}},
                     "portDefinitions": [{"name": "http-api"}], "readinessChecks": [{"path": "/"}]});
    let joined = json!({"cmd": "x", "networks": [{"name": "n"}]});
    let endpoint = json!({"name": "e", "hostPort": 0});
    let container = json!({"name": "c", "resources": {}, "image": {"kind": "DOCKER", "id": "i"},
                           "endpoints": [endpoint], "healthCheck": {"http": {"endpoint": "e", "path": "/"}},
                           "volumeMounts": [{"name": "v", "mountPath": "/m"}]});
    let pod = json!({"containers": [container], "volumes": [{"name": "v"}, {"name": "w"}]});
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    for (kind, body, path, longest) in [
        (Kind::App, &app, "/fetch(0)/uri", 1024),
        (Kind::App, &app, "/fetch(0)/destPath", 1024),
        (Kind::App, &app, "/check/http/path", 1024),
        (Kind::App, &app, "/readinessChecks(0)/path", 1024),
        (Kind::App, &joined, "/networks(0)/name", 63),
        (Kind::Pod, &pod, "/containers(0)/name", 63),
        (Kind::Pod, &pod, "/containers(0)/image/id", 1024),
        (Kind::Pod, &pod, "/containers(0)/healthCheck/http/path", 1024),
        (Kind::Pod, &pod, "/containers(0)/volumeMounts(0)/mountPath", 1024),
        (Kind::Pod, &pod, "/volumes(1)/name", 63),
    ] {
        let of_length = |length| table::with(body, path, Some(&"x".repeat(length).into()));
        asking.shown_of(kind, &of_length(longest)).await.expect(path);
        let answer = asking.create(kind, &of_length(longest + 1)).await.1;
        is_refusal(&answer, 422, path).expect(path);
    }
}

#[tokio::test]
async fn service_ports_are_assigned_from_their_range_and_each_once() {
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    let host = json!({"cmd": "x", "portDefinitions": [{"port": 0}, {"port": 0}]});
    let bridge = json!({"cmd": "x", "networks": [{"mode": "container/bridge"}]});
    let own = json!({"cmd": "x", "portDefinitions": [{"port": 10000}, {"port": 30000}]});
    let mut given = Vec::new();
    for body in [&own, &host, &bridge, &host] {
        let shown = asking.shown_of(Kind::App, body).await.expect("created");
        let of = |list: &Value, name: &str| -> Vec<u64> {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| item[name].as_u64()).collect()
        };
        given.extend(of(&shown["portDefinitions"], "port"));
        given.extend(of(&shown["container"]["portMappings"], "servicePort"));
    }
    assert_eq!(given.len(), 7, "{given:?}");
    assert!(
        given.iter().all(|port| *port == 30_000 || (10_000..=20_000).contains(port)),
        "{given:?}"
    );
    let distinct: std::collections::BTreeSet<_> = given.iter().collect();
    assert_eq!(distinct.len(), given.len(), "{given:?}");
    // What somebody wants is given, even twice.
    asking.shown_of(Kind::App, &own).await.expect("created");
}

#[tokio::test]
async fn a_volume_that_is_not_shared_has_one_app() {
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    let app = |name: &str, shared: bool| {
        let options = json!({"dvdi/driver": "rexray"});
        let external =
            json!({"name": name, "provider": "dvdi", "options": options, "shared": shared});
        json!({"cmd": "x", "container": {"type": "MESOS", "volumes": [
            {"containerPath": "a", "hostPath": "/a"}, {"containerPath": "b", "external": external}]}})
    };
    let path = "/container/volumes(1)/external/name";
    let first = asking.shown_of(Kind::App, &app("own", false)).await.expect("created");
    let second = asking.create(Kind::App, &app("own", false)).await.1;
    is_refusal(&second, 422, path).expect("it is used already");
    for body in [app("common", true), app("common", true), app("other", false)] {
        asking.shown_of(Kind::App, &body).await.expect("created");
    }
    // The app whose it is may change.
    let id = format!("/v2/apps{}", first["id"].as_str().expect("an id"));
    let (status, answer) = asking.cluster.send(Method::PUT, &id, &json!({"cmd": "y"})).await;
    assert_eq!(status, 200, "{answer}");
    let answer = asking.cluster.send(Method::PUT, &id, &app("other", false)).await;
    is_refusal(&answer, 422, path).expect("it is used already");
}

/// What clients of 1.8 know, which take no other field.
#[tokio::test]
async fn an_app_shows_no_field_that_strict_clients_do_not_know() {
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    let shown = asking.shown_of(Kind::App, &json!({"cmd": "x"})).await.expect("created");
    let names: Vec<&str> =
        shown.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut known = [
        "id",
        "cmd",
        "backoffFactor",
        "backoffSeconds",
        "cpus",
        "mem",
        "disk",
        "gpus",
        "executor",
        "instances",
        "labels",
        "maxLaunchDelaySeconds",
        "networks",
        "portDefinitions",
        "requirePorts",
        "upgradeStrategy",
        "version",
        "versionInfo",
        "killSelection",
        "unreachableStrategy",
        // Of a single app always.
        "tasks",
        "tasksStaged",
        "tasksRunning",
        "tasksHealthy",
        "tasksUnhealthy",
        "deployments",
    ];
    known.sort_unstable();
    assert_eq!(names, known);
}

#[tokio::test]
async fn what_is_reserved_for_data_cannot_be_changed() {
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    let volume = json!({"containerPath": "a", "persistent": {"size": 10}});
    let app = json!({"cmd": "x", "role": "of-fields", "cpus": 0.5, "mem": 32, "disk": 1, "requirePorts": true,
                     "portDefinitions": [{"port": 31000}],
                     "container": {"type": "MESOS", "volumes": [volume]}});
    let id = asking.shown_of(Kind::App, &app).await.expect("created")["id"].clone();
    let path = format!("/v2/apps{}", id.as_str().expect("an id"));
    for (changed, value) in [
        ("/cpus", json!(1)),
        ("/mem", json!(64)),
        ("/disk", json!(2)),
        ("/gpus", json!(1)),
        ("/portDefinitions(0)/port", json!(31001)),
        ("/container/volumes(0)/persistent/size", json!(20)),
        ("/container/volumes", json!([])),
        ("/role", json!("*")),
        ("/upgradeStrategy/maximumOverCapacity", json!(0.5)),
    ] {
        let body = table::with(&app, changed, Some(&value));
        let (status, answer) = asking.cluster.send(Method::PUT, &path, &body).await;
        assert_eq!(status, 422, "{changed}: {answer}");
    }
    let body = table::with(&app, "/cmd", Some(&json!("y")));
    let (status, answer) = asking.cluster.send(Method::PUT, &path, &body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Asks for all that a table says, and tells of every row that does not hold.
async fn check(name: &str, text: &str) {
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    let blocks = table::read(name, text);
    assert!(blocks.iter().any(|block| !block.rows.is_empty()), "{name} says nothing");
    let mut wrong = Vec::new();
    for block in &blocks {
        let shown = asking.shown_of(block.kind, &block.body).await;
        let rows = stream::iter(&block.rows).map(|row| asking.row(block, row, &shown));
        let found: Vec<_> = rows.buffer_unordered(AT_ONCE).collect().await;
        wrong.extend(found.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
    asking.all_is_written_back().await;
}

struct Asking {
    cluster: Cluster,
    asked: AtomicU32,
}

impl Asking {
    /// What does not hold of a row. `shown` is what became of the body of its block.
    async fn row(&self, block: &Block, row: &Row, shown: &Result<Value, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        match shown {
            Ok(shown) => {
                let default = row.default.as_ref();
                wrong.extend(default.and_then(|it| differs(shown, &row.path, it)));
            }
            Err(why) => wrong.push(why.clone()),
        }
        for (value, wanted) in &row.kept {
            let body = table::with(&block.body, &row.path, Some(value));
            match self.shown_of(block.kind, &body).await {
                Ok(_) if row.path == "/" => {}
                Ok(shown) => wrong.extend(differs(&shown, &row.path, wanted)),
                Err(why) => wrong.push(format!("{value}: {why}")),
            }
        }
        for refused in &row.refused {
            let body = table::with(&block.body, &row.path, refused.value.as_ref());
            let answer = self.create(block.kind, &body).await.1;
            let refusal = is_refusal(&answer, refused.status, &refused.path);
            wrong.extend(refusal.err().map(|why| format!("{:?}: {why}", refused.value)));
        }
        if let Some(other) = of_another_type(row) {
            let body = table::with(&block.body, &row.path, Some(&other));
            let answer = self.create(block.kind, &body).await.1;
            let refusal = is_refusal(&answer, 400, &row.path);
            wrong.extend(refusal.err().map(|why| format!("{other}: {why}")));
        }
        wrong.into_iter().map(|why| format!("{} {}: {why}", row.place, row.path)).collect()
    }

    /// Creates it without an instance, under an id of its own.
    async fn create(&self, kind: Kind, body: &Value) -> (String, Answer) {
        let id = format!("/of-fields/{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let mut body = body.clone();
        if body.get("id").is_none() {
            body["id"] = id.clone().into();
        }
        let path = match kind {
            Kind::App => {
                if body.get("instances").is_none() {
                    body["instances"] = 0.into();
                }
                "/v2/apps"
            }
            Kind::Pod => {
                if body.get("scaling").is_none() {
                    body["scaling"] = json!({"kind": "fixed", "instances": 0});
                }
                "/v2/pods"
            }
        };
        (id, self.cluster.send(Method::POST, path, &body).await)
    }

    /// What a GET shows of what was created.
    async fn shown_of(&self, kind: Kind, body: &Value) -> Result<Value, String> {
        let (id, (status, answer)) = self.create(kind, body).await;
        if status != 201 {
            return Err(format!("is refused: {status} {answer}"));
        }
        let id = answer["id"].as_str().unwrap_or(&id);
        let path = match kind {
            Kind::App => format!("/v2/apps{id}"),
            Kind::Pod => format!("/v2/pods{id}"),
        };
        let mut shown = self.cluster.json(&path).await.ok_or("is not there when asked for")?;
        if has_null(&shown) {
            return Err(format!("what is not there is shown as null: {shown}"));
        }
        if let Kind::App = kind {
            shown = shown["app"].take();
        }
        self.is_written_back(kind, &path, &shown).await?;
        Ok(shown)
    }

    /// Writes what was read where it was read: nothing of it is unknown, and nothing changes.
    async fn is_written_back(&self, kind: Kind, path: &str, shown: &Value) -> Result<(), String> {
        let mut body = shown.clone();
        if let Kind::App = kind {
            // With it alone one goes back to a version.
            body.as_object_mut().expect("an object").remove("version");
        }
        let strict = format!("{path}?strict=true&partialUpdate=false");
        let (status, answer) = self.cluster.send(Method::PUT, &strict, &body).await;
        if status != 200 {
            return Err(format!("cannot be written back: {status} {answer}"));
        }
        let after = self.cluster.json(path).await.ok_or("is not there when it is written back")?;
        let after = if let Kind::App = kind { &after["app"] } else { &after };
        let is_same = after["version"] == shown["version"];
        is_same.then_some(()).ok_or_else(|| format!("is changed when it is written back: {after}"))
    }

    /// The same of all that there is, in its groups.
    async fn all_is_written_back(&self) {
        let mut root = self.cluster.json("/v2/groups").await.expect("the root is always there");
        root.as_object_mut().expect("an object").remove("version");
        let path = "/v2/groups?strict=true&dryRun=true&diff=true";
        let (status, answer) = self.cluster.send(Method::PUT, path, &root).await;
        assert_eq!((status, &answer["changes"]), (200, &json!([])), "{answer}");
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// How `shown` differs from what is wanted at `path`.
fn differs(shown: &Value, path: &str, wanted: &Shown) -> Option<String> {
    let found = table::at(shown, path);
    let is_as_wanted = match wanted {
        Shown::Nothing => found.is_none(),
        Shown::Anything => found.is_some(),
        Shown::Is(value) => found == Some(value),
    };
    (!is_as_wanted).then(|| {
        let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!("shows {found}, not {wanted:?}")
    })
}

/// Whether an answer refuses something at `path`, as Marathon's do.
fn is_refusal((status, body): &Answer, wanted: u16, path: &str) -> Result<(), String> {
    let message = if wanted == 400 { "Invalid JSON" } else { "Object is not valid" };
    let details = body["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_told = details.iter().any(|one| {
        let errors = one["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        one["path"] == path && errors.first().is_some_and(Value::is_string)
    });
    if *status == wanted && body["message"] == message && is_told {
        return Ok(());
    }
    let body = if *status == 201 { "it is created".to_owned() } else { body.to_string() };
    Err(format!("is to be refused with {wanted} at {path}, but {status}: {body}"))
}

/// A value whose type none of those has that are kept.
fn of_another_type(row: &Row) -> Option<Value> {
    let is_kept = |other: &Value| {
        row.kept
            .iter()
            .any(|(kept, _)| std::mem::discriminant(kept) == std::mem::discriminant(other))
    };
    let is_field = row.path != "/" && !row.kept.is_empty();
    let mut others = [json!("7"), json!(7), json!({"0": 7})].into_iter();
    others.find(|other| !is_kept(other)).filter(|_| is_field)
}
