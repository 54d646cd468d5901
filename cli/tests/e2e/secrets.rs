//! Secrets and roles of apps, from the verb to the process.

use crate::harness::{PATIENCE, World, until_async};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

/// The value that only the task is to see.
const VALUE: &str = "only-the-task-sees-this";

#[tokio::test]
async fn an_app_in_a_role_of_its_own_sees_its_secret_and_nobody_else_does() {
    let world = World::new();
    let local = world.start_local().await;
    let key = world.path("key");
    std::fs::write(&key, "5a".repeat(32)).expect("written");
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&key, permissions).expect("set");
    let master = format!("--master={}", local.master);
    let key = format!("--secrets_key_file={}", key.display());
    let args = [
        "marathon",
        "--http_address=127.0.0.1",
        "--http_port=0",
        "--framework_name=keeper",
        "--new_group_enforce_role=top",
        &master,
        &key,
    ];
    let keeper = world.start("keeper", &args).await;
    let marathon = keeper.address.clone();
    let agora = |args: &[&str]| crate::harness::agora(args, &local.master, &marathon);
    until_async("Marathon leads", PATIENCE, async || world.json(&marathon, "/v2/leader").await)
        .await;
    let file = world.path("value");
    std::fs::write(&file, VALUE).expect("written");
    let file = file.to_str().expect("a plain path");
    let (code, out, err) = agora(&["secret", "put", "shop/key", file]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(agora(&["secret", "list"]).1.contains("shop/key"));

    let cmd = "echo env=${#KEY} file=$(cat key | wc -c); exec sleep 1000";
    let app = json!({
        "id": "/shop/web", "cmd": cmd, "cpus": 0.1, "mem": 32,
        "secrets": {"k": {"source": "shop/key"}}, "env": {"KEY": {"secret": "k"}},
        "container": {"type": "MESOS", "volumes": [{"containerPath": "key", "secret": "k"}]},
    });
    world.deploy(&marathon, &app).await;
    world.deployed(&marathon).await;
    let tasks = world.tasks(&marathon, "/shop/web").await;
    assert_eq!(tasks[0]["role"], "shop", "the group gives it its role");
    let id = tasks[0]["id"].as_str().expect("an id").to_owned();
    let said = format!("env={0} file={0}", VALUE.len());
    until_async("the task has read both", PATIENCE, async || {
        agora(&["task", "logs", &id]).1.contains(&said).then_some(())
    })
    .await;

    for (address, path) in [
        (&local.master, "/state"),
        (&local.master, "/tasks"),
        (&local.agent, "/state"),
        (&marathon, "/v2/apps/shop/web"),
        (&marathon, "/v2/queue"),
        (&marathon, "/config"),
    ] {
        let (_, told) = world.get(address, path).await.expect("answered");
        assert!(!told.contains(VALUE), "{path} tells it");
    }
    for log in ["keeper", "local"] {
        assert!(!world.log(log).contains(VALUE), "the log of {log} tells it");
    }
    let state = world.json(&local.master, "/state").await.expect("answered");
    let frameworks = state["frameworks"].as_array().expect("frameworks");
    let framework = frameworks.iter().find(|it| it["name"] == "keeper").expect("it is there");
    assert_eq!(framework["roles"], json!(["*", "shop"]), "the master was told of the new role");
    let (code, _, err) = agora(&["secret", "delete", "shop/key"]);
    assert_eq!(code, Some(1), "it is used");
    assert!(err.contains("/shop/web"), "{err}");
    let (code, _, err) = agora(&["app", "delete", "/shop/web"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(agora(&["secret", "delete", "shop/key"]).0, Some(0));
}
