//! A web app on the embedded cluster, from its creation to its end.

use crate::harness::{World, kill, listener, until, until_async, web_app};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_web_app_is_kept_alive_scaled_and_deleted_without_a_trace() {
    let world = World::new();
    let mut local = world.start_local().await;
    let marathon = local.marathon.clone();
    world.deploy(&marathon, &web_app("/web", 3)).await;
    let before = world.answering(&marathon, "web", 3, Duration::from_secs(20)).await;

    // A kill from outside is noticed and made good quickly.
    let killed = listener(&before[0]);
    kill(killed, Signal::SIGKILL);
    until("the killed process is gone", || {
        (!std::path::Path::new(&format!("/proc/{killed}")).exists()).then_some(())
    })
    .await;
    world.answering(&marathon, "web", 3, Duration::from_secs(3)).await;

    for (instances, patience) in [(5, 30), (1, 30)] {
        let body = json!({ "instances": instances });
        let (status, answer) =
            world.send(reqwest::Method::PUT, &marathon, "/v2/apps/web", &body).await;
        assert_eq!(status, 200, "{answer}");
        world.deployed(&marathon).await;
        let count = usize::try_from(instances).expect("small");
        world.answering(&marathon, "web", count, Duration::from_secs(patience)).await;
    }

    let (status, _) =
        world.send(reqwest::Method::DELETE, &marathon, "/v2/apps/web", &json!(null)).await;
    assert_eq!(status, 200);
    until_async("processes and cgroups are gone", Duration::from_secs(20), async || {
        (world.leftovers().is_empty() && world.container_cgroups().is_empty()).then_some(())
    })
    .await;
    assert_eq!(local.daemon.interrupt().await, Some(0), "Ctrl-C is a clean end");
}

#[tokio::test]
async fn state_is_kept_across_restarts() {
    let world = World::new();
    let mut local = world.start_local().await;
    world.deploy(&local.marathon, &web_app("/kept", 2)).await;
    world.answering(&local.marathon, "kept", 2, Duration::from_secs(20)).await;
    let framework = |info: &serde_json::Value| info["frameworkId"].as_str().map(str::to_owned);
    let info = world.json(&local.marathon, "/v2/info").await.expect("answered");
    let id = framework(&info).expect("registered");
    assert_eq!(local.daemon.interrupt().await, Some(0));

    let local = world.start_local().await;
    world.answering(&local.marathon, "kept", 2, Duration::from_secs(40)).await;
    let info = world.json(&local.marathon, "/v2/info").await.expect("answered");
    assert_eq!(framework(&info), Some(id), "the framework keeps its id");
    let apps = world.json(&local.marathon, "/v2/apps").await.expect("answered");
    assert_eq!(apps["apps"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn operators_verbs_work_on_a_running_cluster() {
    let world = World::new();
    let local = world.start_local().await;
    let agora = |args: &[&str]| crate::harness::agora(args, &local.master, &local.marathon);
    let cmd = "echo said-on-stdout; exec sleep 1000";
    until_async("Marathon leads", crate::harness::PATIENCE, async || {
        world.json(&local.marathon, "/v2/leader").await
    })
    .await;
    let create = ["app", "create", "--id=/shop/a", "--cmd", cmd, "--instances=2"];
    let (code, out, err) = agora(&create);
    assert_eq!((code, out.as_str()), (Some(0), "/shop/a created\n"), "{err}");
    let (code, _, err) = agora(&create);
    assert_eq!(code, Some(1));
    assert!(err.contains("already exists"), "{err}");

    let (code, out, _) = agora(&["app", "list"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("/shop/a") && out.contains("2/2"), "{out}");
    let (_, out, _) = agora(&["app", "show", "/shop/a"]);
    assert_eq!(out.matches("TASK_RUNNING").count(), 2, "{out}");

    let (_, out, _) = agora(&["task", "list", "--json"]);
    let tasks: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let id = tasks[0]["id"].as_str().expect("an id").to_owned();
    until_async("the task has written", Duration::from_secs(10), async || {
        agora(&["task", "logs", &id]).1.contains("said-on-stdout\n").then_some(())
    })
    .await;
    let (code, out, err) = agora(&["task", "kill", &id]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, _, err) = agora(&["task", "kill", "no-such-task"]);
    assert_eq!(code, Some(4), "{err}");

    let (code, _, err) = agora(&["app", "scale", "/shop/a", "1", "--force"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, _) = agora(&["node", "list"]);
    assert!(code == Some(0) && out.contains("active"), "{out}");
    let (code, out, _) = agora(&["framework", "list"]);
    assert!(code == Some(0) && out.contains("marathon"), "{out}");
    let (code, out, _) = agora(&["status"]);
    assert!(code == Some(0) && out.contains("agents     1 active"), "{out}");
    let (code, _, err) = agora(&["app", "restart", "/shop/a"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = agora(&["app", "rebalance", "/shop/a"]);
    assert_eq!((code, &*out), (Some(0), "Nothing of /shop/a needs to move\n"), "{err}");
    let (code, _, err) = agora(&["app", "delete", "/shop/a"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = agora(&["app", "show", "/shop/a"]);
    assert_eq!(code, Some(4), "{err}");
}

#[tokio::test]
async fn marathons_flags_have_their_effect_in_a_local_cluster() {
    let world = World::new();
    let flags = ["--max_running_deployments=1", "--http-credentials=ops:hidden-from-all"];
    let local = world.start_local_with(&flags).await;
    let ask = |method: reqwest::Method, path: &str| {
        let url = format!("http://{}{path}", local.marathon);
        world.http.request(method, url).basic_auth("ops", Some("hidden-from-all"))
    };
    until_async("Marathon leads", crate::harness::PATIENCE, async || {
        let answer = ask(reqwest::Method::GET, "/v2/leader").send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let create = async |id: &str| {
        let app = json!({"id": id, "cmd": "x", "cpus": 100_000});
        let answer = ask(reqwest::Method::POST, "/v2/apps").json(&app).send().await;
        answer.expect("Marathon answers").status().as_u16()
    };
    assert_eq!((create("/first").await, create("/second").await), (201, 403));
    let (status, _) = world.get(&local.marathon, "/v2/apps").await.expect("an answer");
    assert_eq!(status, 401, "without a name");

    let config = ask(reqwest::Method::GET, "/config").send().await.expect("an answer");
    let config: serde_json::Value = config.json().await.expect("JSON");
    for (flag, value) in [
        ("max_running_deployments", "1"),
        ("launch_tokens", "0"),
        ("http_credentials", "<hidden>"),
        ("allocation_interval", "1secs"),
    ] {
        assert_eq!(config[flag], value, "{flag}: {config}");
    }
    for address in [&local.master, &local.agent] {
        let (_, flags) = world.get(address, "/flags").await.expect("an answer");
        assert!(flags.contains("max_running_deployments") && !flags.contains("hidden-from-all"));
    }
}
