//! Pods on the embedded cluster: from a file to processes, by the verbs of operators.

use crate::harness::{PATIENCE, World, until_async};
use serde_json::{Value, json};

#[tokio::test]
async fn a_pod_runs_its_containers_side_by_side_until_it_is_deleted() {
    let world = World::new();
    let local = world.start_local().await;
    let agora = |args: &[&str]| crate::harness::agora(args, &local.master, &local.marathon);
    until_async("Marathon leads", PATIENCE, async || {
        world.json(&local.marathon, "/v2/leader").await
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pod.json");
    let serve = "exec python3 -m http.server $ENDPOINT_HTTP";
    let pod = json!({
        "id": "/shop/web",
        "executorResources": {"cpus": 0.1, "mem": 32, "disk": 10},
        "volumes": [{"name": "scratch"}],
        "containers": [
            {"name": "server", "resources": {"cpus": 0.1, "mem": 64},
             "exec": {"command": {"shell": serve}},
             "endpoints": [{"name": "http", "hostPort": 0}],
             "healthCheck": {"http": {"endpoint": "http"}, "delaySeconds": 0, "intervalSeconds": 1}},
            {"name": "side", "resources": {"cpus": 0.1, "mem": 32},
             "volumeMounts": [{"name": "scratch", "mountPath": "tmp"}],
             "exec": {"command": {"argv": ["sleep", "1000"]}}},
        ],
    });
    std::fs::write(&file, pod.to_string()).expect("written");
    let file = file.to_str().expect("a plain path");
    let (code, out, err) = agora(&["pod", "create", file]);
    assert_eq!((code, out.as_str()), (Some(0), "/shop/web created\n"), "{err}");
    let (_, out, _) = agora(&["pod", "list"]);
    assert!(out.contains("/shop/web") && out.contains("server,side"), "{out}");
    let (_, out, _) = agora(&["pod", "status", "/shop/web"]);
    assert!(out.contains("STABLE") && out.contains("1/1"), "{out}");
    let (_, out, _) = agora(&["pod", "show", "/shop/web"]);
    assert_eq!(out.matches("TASK_RUNNING").count(), 2, "{out}");
    assert!(out.contains("scratch") && out.contains("side:tmp"), "{out}");
    let (code, out, err) = agora(&["pod", "explain", "/shop/web"]);
    assert!(code == Some(0) && out.contains("/shop/web has 1 of 1 as wanted"), "{out}{err}");

    let status = |json: &str| -> Value { serde_json::from_str(json).expect("JSON") };
    let (_, out, _) = agora(&["pod", "show", "/shop/web", "--json"]);
    let shown = status(&out);
    let port = &shown["instances"][0]["containers"][0]["endpoints"][0]["allocatedHostPort"];
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await.expect("it serves");
    assert_eq!(answer.status(), 200);

    let instance = shown["instances"][0]["id"].as_str().expect("an id").to_owned();
    let (code, _, err) = agora(&["pod", "kill", "/shop/web", &instance]);
    assert_eq!(code, Some(0), "{err}");
    until_async("the pod has its second tasks", PATIENCE, async || {
        let shown = world.json(&local.marathon, "/v2/pods/shop/web::status").await?;
        let id = shown["instances"][0]["containers"][0]["containerId"].as_str()?.to_owned();
        (id.ends_with(".server.2") && shown["status"] == "STABLE").then_some(())
    })
    .await;

    let (code, out, err) = agora(&["pod", "scale", "/shop/web", "2"]);
    assert_eq!((code, out.as_str()), (Some(0), "/shop/web scaled to 2\n"), "{err}");
    let (code, out, err) = agora(&["pod", "delete", "/shop/web"]);
    assert_eq!((code, out.as_str()), (Some(0), "/shop/web deleted\n"), "{err}");
    assert_eq!(agora(&["pod", "show", "/shop/web"]).0, Some(4));
    until_async("processes are gone", PATIENCE, async || {
        world.leftovers().is_empty().then_some(())
    })
    .await;
}
