//! Groups and deployments by the verbs of operators, on the embedded cluster.

use crate::harness::{Local, PATIENCE, World, until_async};
use serde_json::{Value, json};
use std::path::PathBuf;

/// An embedded cluster whose Marathon leads, and a place for files.
struct Site {
    local: Local,
    directory: tempfile::TempDir,
    /// Last, since what is left of its cgroups goes with it.
    _world: World,
}

impl Site {
    async fn new() -> Self {
        let world = World::new();
        let local = world.start_local().await;
        until_async("Marathon leads", PATIENCE, async || {
            world.json(&local.marathon, "/v2/leader").await
        })
        .await;
        let directory = tempfile::tempdir().expect("a directory");
        Self { local, directory, _world: world }
    }

    fn agora(&self, args: &[&str]) -> (Option<i32>, String, String) {
        crate::harness::agora(args, &self.local.master, &self.local.marathon)
    }

    fn write(&self, name: &str, body: &Value) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, body.to_string()).expect("written");
        path
    }
}

fn sleeper(id: &str) -> Value {
    json!({"id": id, "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 32})
}

#[tokio::test]
async fn groups_are_put_scaled_and_taken_back() {
    let site = Site::new().await;
    let agora = |args: &[&str]| site.agora(args);
    let write = |name: &str, body: &Value| site.write(name, body);
    // A group: told first, then put, shown and deleted.
    let body = json!({"id": "/shop", "apps": [sleeper("web")],
                      "groups": [{"id": "db", "apps": [sleeper("mongo")]}]});
    let file = write("shop.json", &body);
    let file = file.to_str().expect("plain");
    let (code, out, err) = agora(&["group", "put", file, "--dry-run"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "/shop/db/mongo would be created\n/shop/web would be created\n");
    let (code, out, err) = agora(&["group", "put", file]);
    assert_eq!((code, out.as_str()), (Some(0), "/shop changed\n"), "{err}");
    let (_, out, _) = agora(&["group", "show", "/shop"]);
    assert_eq!(out.matches("1/1").count(), 2, "{out}");
    let (_, out, _) = agora(&["group", "list"]);
    assert!(out.contains("/shop/db"), "{out}");
    let (code, out, err) = agora(&["group", "scale", "/shop", "2"]);
    assert_eq!((code, out.as_str()), (Some(0), "/shop scaled by 2\n"), "{err}");
    let (_, out, _) = agora(&["group", "versions", "/shop"]);
    let versions: Vec<_> = out.lines().collect();
    assert_eq!(versions.len(), 2, "{out}");
    let (code, _, err) = agora(&["group", "rollback", "/shop", versions[1]]);
    assert_eq!(code, Some(0), "{err}");
    let (_, out, _) = agora(&["group", "show", "/shop"]);
    assert_eq!(out.matches("1/1").count(), 2, "{out}");
    let (code, _, err) = agora(&["group", "delete", "/shop"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(agora(&["group", "show", "/shop"]).0, Some(4));
}

#[tokio::test]
async fn a_deployment_that_fails_or_is_left_tells_how_tasks_failed() {
    let site = Site::new().await;
    let agora = |args: &[&str]| site.agora(args);
    let write = |name: &str, body: &Value| site.write(name, body);
    // A deployment that fails says why, how the last task failed, and what it wrote last.
    let mut bad = sleeper("/bad");
    bad["cmd"] = "echo broken >&2; exit 7".into();
    bad["healthChecks"] = json!([{"protocol": "COMMAND", "command": {"value": "true"}}]);
    bad["labels"] = json!({"AGORA_DEPLOYMENT_MAX_FAILURES": "0"});
    let file = write("bad.json", &bad);
    let (code, _, err) = agora(&["app", "create", file.to_str().expect("plain")]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("1 new tasks of /bad failed"), "{err}");
    assert!(err.contains("the last task to fail was bad.instance-"), "{err}");
    assert!(err.contains("the last it wrote to stderr:\n  broken"), "{err}");
    assert_eq!(agora(&["app", "delete", "/bad"]).0, Some(0));

    let (_, out, _) = agora(&["deployment", "list", "--all"]);
    assert!(out.contains("failed"), "{out}");

    // So does one that goes on when it is not watched any longer, and its app that it is held back.
    bad["labels"] = json!({});
    bad["backoffSeconds"] = 600.into();
    let file = write("bad.json", &bad);
    let file = file.to_str().expect("plain");
    let (code, _, err) = agora(&["app", "create", file, "--timeout=2secs"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("1 held back for a while after failures"), "{err}");
    assert!(err.contains("the last it wrote to stderr:\n  broken"), "{err}");
    let (_, out, _) = agora(&["app", "explain", "/bad"]);
    assert!(out.contains("wants no offer before the next attempt"), "{out}");
    let (_, out, _) = agora(&["deployment", "list", "--json"]);
    let running: Value = serde_json::from_str(&out).expect("JSON");
    let id = running[0]["id"].as_str().expect("it runs");
    let (code, _, err) = agora(&["deployment", "follow", id, "--timeout=1secs"]);
    assert!(code == Some(1) && err.contains("it goes on"), "{err}");
    assert_eq!(agora(&["deployment", "follow", "none"]).0, Some(4));
    let (code, out, err) = agora(&["app", "retry", "/bad"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("started as soon as there is an offer"), "{out}");
    let (code, _, err) = agora(&["app", "delete", "/bad", "--force"]);
    assert_eq!(code, Some(0), "{err}");
}

#[tokio::test]
async fn fields_of_an_app_change_and_it_goes_back_to_a_version() {
    let site = Site::new().await;
    let agora = |args: &[&str]| site.agora(args);
    let write = |name: &str, body: &Value| site.write(name, body);
    // Some fields of an app change, and the others stay.
    let file = write("plain.json", &sleeper("/plain"));
    assert_eq!(agora(&["app", "create", file.to_str().expect("plain")]).0, Some(0));
    let update = ["app", "update", "/plain", "instances=2", "cmd=exec sleep 2000"];
    let (code, out, err) = agora(&[&update[..], &["--dry-run"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("/plain would be restarted\n") && out.contains("instances: 1 -> 2"),
        "{out}"
    );
    let (code, out, err) = agora(&update);
    assert_eq!((code, out.as_str()), (Some(0), "/plain changed\n"), "{err}");
    let file = write("part.json", &json!({"labels": {"tier": "front"}}));
    let (code, _, err) =
        agora(&["app", "update", "/plain", "--file", file.to_str().expect("plain")]);
    assert_eq!(code, Some(0), "{err}");
    let (_, out, _) = agora(&["app", "show", "/plain", "--json"]);
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&shown["cmd"], &shown["tasksRunning"], &shown["mem"], &shown["labels"]["tier"]),
        (&json!("exec sleep 2000"), &json!(2), &json!(32), &json!("front"))
    );
    let (code, _, err) = agora(&["app", "update", "/plain", "instance=2"]);
    assert!(code == Some(1) && err.contains("/instance: is an unknown field"), "{err}");
    assert_eq!(agora(&["app", "update", "/none", "instances=2"]).0, Some(4));
    let (_, out, _) = agora(&["app", "versions", "/plain"]);
    let first = out.lines().last().expect("the one it began with").to_owned();
    let (code, out, err) = agora(&["app", "rollback", "/plain", &first]);
    let done = format!("/plain is as it was at {first}\n");
    assert_eq!((code, out), (Some(0), done), "{err}");
    let (_, out, _) = agora(&["app", "show", "/plain", "--json"]);
    assert!(out.contains("\"exec sleep 1000\""), "{out}");
    assert_eq!(agora(&["app", "versions", "/none"]).0, Some(4));
    let (code, _, err) = agora(&["app", "retry", "/plain"]);
    assert!(code == Some(4) && err.contains("no instance of '/plain' waits"), "{err}");
    assert_eq!(agora(&["app", "delete", "/plain"]).0, Some(0));
}

#[tokio::test]
async fn a_deployment_that_waits_is_explained_held_and_taken_back() {
    let site = Site::new().await;
    let agora = |args: &[&str]| site.agora(args);
    let write = |name: &str, body: &Value| site.write(name, body);
    // One that waits is explained, held, and taken back.
    let mut big = sleeper("/big");
    big["cpus"] = 10_000.into();
    let file = write("big.json", &big);
    let (code, out, err) = agora(&["app", "create", file.to_str().expect("plain"), "--detach"]);
    assert_eq!(code, Some(0), "{err}");
    let id = out.split("deployment ").nth(1).and_then(|rest| rest.split(' ').next());
    let id = id.expect("it is named").to_owned();
    until_async("an offer was refused", PATIENCE, async || {
        agora(&["app", "explain", "/big"]).1.contains("10000 cpus wanted").then_some(())
    })
    .await;
    let (_, out, _) = agora(&["deployment", "show", &id]);
    assert!(out.contains("InsufficientCpus on 1 agent)"), "{out}");
    assert_eq!(agora(&["deployment", "pause", &id]).0, Some(0));
    let (_, out, _) = agora(&["deployment", "list"]);
    assert!(out.contains(&id) && out.contains("held"), "{out}");
    assert_eq!(agora(&["deployment", "continue", &id, "--detach"]).0, Some(0));
    let (code, _, err) = agora(&["deployment", "cancel", &id]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(agora(&["app", "show", "/big"]).0, Some(4), "it went with what made it");
    let (_, out, _) = agora(&["deployment", "list", "--all"]);
    assert!(out.contains("reverted"), "{out}");
    assert_eq!(agora(&["deployment", "show", "none"]).0, Some(4));
}
