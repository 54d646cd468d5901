//! Who is let in by an agent that asks for names and secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::Authentication;
use transport::auth::{Credential, Credentials};

use model::task::TaskState;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::Type;
use reqwest::StatusCode;
use serde_json::json;
use transport::auth::TokenKey;

use crate::containers::{
    BOTH, Encoding, Isolated, kill_nested, launch_nested, of as call_of, remove_nested, wait,
    wait_nested, within,
};
use crate::master::AGENT;
use crate::streams::{attach_input, attach_output, session};
use crate::{PATIENCE, Site, client, command_task, executor_task, of};

#[tokio::test]
async fn an_agent_asks_for_a_name_and_its_secret() {
    let known = Credentials::new([Credential::new("ops", "o")]);
    let site = Site::with(move |options| {
        options.authentication = Authentication {
            credentials: Some(Arc::new(known)),
            readonly: true,
            readwrite: true,
            executors: None,
        };
    })
    .await;
    for (path, realm) in [
        ("/state", "mesos-agent-readonly"),
        ("/slave(1)/files/browse", "mesos-agent-readonly"),
        ("/metrics", "mesos-agent-readonly"),
        ("/api/v1", "mesos-agent-readwrite"),
    ] {
        let answer = client().get(site.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
        assert_eq!(challenge, format!("Basic realm=\"{realm}\""), "{path}");
        for (secret, is_let_in) in [("o", true), ("x", false)] {
            let shown = Credential::new("ops", secret).basic();
            let answer = client().get(site.url(path)).header("authorization", shown).send().await;
            assert_eq!(answer.expect("an answer").status() != 401, is_let_in, "{path}");
        }
    }
    // Executors have their own proof, and balancers ask without any.
    for path in ["/health", "/version", "/api/v1/executor"] {
        let answer = client().get(site.url(path)).send().await.expect("an answer");
        assert_ne!(answer.status(), 401, "{path}");
    }
    site.end().await;
}

#[tokio::test]
async fn endpoints_of_an_agent_that_are_shut_answer_nobody() {
    let rules = r#"{"disabled_endpoints": {"paths": ["/files/browse", "/slave(1)/state"]}}"#;
    let site = Site::with(|options| {
        options.firewall = serde_json::from_str(rules).expect("rules");
    })
    .await;
    for (path, endpoint) in [
        ("/files/browse?path=/", "/files/browse"),
        ("/slave(1)/files/browse", "/files/browse"),
        ("/state", "/state"),
        ("/slave(1)/state", "/state"),
    ] {
        let (status, text) = site.get(path).await;
        assert_eq!((status.as_u16(), text), (403, format!("Endpoint '{endpoint}' is disabled")));
    }
    for path in ["/health", "/flags", "/files/debug"] {
        assert_eq!(site.get(path).await.0, 200, "{path}");
    }
    site.end().await;
}

#[tokio::test]
async fn an_executor_speaks_for_itself_by_its_token_and_for_nobody_else() {
    let key = TokenKey::new(b"0123456789abcdef0123456789abcdef");
    let mut site = Site::with(|options| {
        options.authentication =
            Authentication { executors: Some(Arc::new(key.clone())), ..Authentication::default() };
    })
    .await;
    // The built-in one has its token and shows it.
    site.master.launch(command_task(AGENT, "t1", "sleep 1000"));
    site.master.status_of(TaskState::Running).await;
    site.master.launch(executor_task(AGENT, "t2", "e2"));
    let token = until_written(site.work_dir.path()).await;

    let subscribe = |executor: &str| {
        let mut call = of(executor, "SUBSCRIBE");
        call["subscribe"] = json!({"unacknowledged_tasks": [], "unacknowledged_updates": []});
        call
    };
    let foreign = TokenKey::new(b"fedcba9876543210fedcba9876543210");
    let claims = key.check_bearer(&format!("Bearer {token}")).expect("of this agent");
    let claims = claims.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let of_another_run = key.sign(&claims.clone().chain([("cid", "another")]).collect());
    for (executor, shown, status) in [
        ("e2", None, 401),
        ("e2", Some(foreign.sign(&claims.collect())), 401),
        ("e2", Some(of_another_run), 403),
        ("t1", Some(token.clone()), 403),
        ("unknown", Some(token.clone()), 403),
        ("e2", Some(token), 200),
    ] {
        let mut request = client().post(site.url("/api/v1/executor")).json(&subscribe(executor));
        if let Some(token) = &shown {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::from_u16(status).expect("one"), "{executor}");
        if status == 401 {
            let challenge = &answer.headers()["www-authenticate"];
            assert_eq!(challenge, "Bearer realm=\"mesos-agent-executor\"");
        }
    }
    site.end().await;
}

/// What an executor may do, to a container in its own.
fn of_own(own: &mesos::ContainerId) -> Vec<Call> {
    vec![
        launch_nested(own.clone(), "sleep 1000"),
        kill_nested(own.clone(), None),
        wait_nested(own.clone()),
        remove_nested(own.clone()),
        session(own.clone(), "true"),
        wait(own.clone()),
        remove_nested(own.clone()),
        call_of(Type::GetHealth),
    ]
}

/// What the executor in `own` may not do.
fn of_others(own: &mesos::ContainerId, other: &mesos::ContainerId) -> Vec<Call> {
    let theirs = within(other.clone(), "n");
    vec![
        launch_nested(theirs.clone(), "true"),
        wait_nested(theirs.clone()),
        kill_nested(theirs.clone(), None),
        remove_nested(theirs.clone()),
        session(theirs.clone(), "true"),
        attach_output(theirs),
        attach_output(other.clone()),
        wait(other.clone()),
        // Its own one is its framework's.
        wait(own.clone()),
        attach_output(own.clone()),
        // One in no other is an operator's.
        wait(mesos::ContainerId { value: "alone".to_owned(), parent: None }),
        call_of(Type::GetState),
        call_of(Type::GetContainers),
        call_of(Type::PruneImages),
        call_of(Type::SetLoggingLevel),
    ]
}

#[tokio::test]
async fn an_executor_has_only_to_do_with_containers_in_its_own() {
    let key = TokenKey::new(b"0123456789abcdef0123456789abcdef");
    let settings = Authentication {
        credentials: Some(Arc::new(Credentials::new([Credential::new("ops", "o")]))),
        readonly: false,
        readwrite: true,
        executors: Some(Arc::new(key.clone())),
    };
    let isolated = Isolated::with(|options| options.authentication = settings).await;
    let site = &isolated.site;
    site.master.launch(executor_task(AGENT, "t2", "e2"));
    site.launched("e2").await;
    let of_other = site.container_of("e2").await;
    let token = key.sign(&BTreeMap::from([
        ("fid", crate::FRAMEWORK),
        ("eid", "e1"),
        ("cid", isolated.root.as_str()),
    ]));
    let ask = async |call: &Call, shown: String, encoding: Encoding| {
        let request = site.post(call, encoding).header("authorization", shown);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let by_token = async |call: &Call, encoding: Encoding| {
        ask(call, format!("Bearer {token}"), encoding).await
    };
    let other = mesos::ContainerId { value: of_other, parent: None };
    for encoding in BOTH {
        for call in of_own(&isolated.id(&["n"])) {
            let (status, text) = by_token(&call, encoding).await;
            assert_eq!(status, 200, "{call:?}: {text}");
        }
        for call in of_others(&isolated.id(&[]), &other) {
            let (status, text) = by_token(&call, encoding).await;
            assert_eq!(status, 403, "{call:?}: {text}");
        }
        // Input comes as a stream.
        let record = proto::recordio::encode(&encoding.write(&attach_input(other.clone())));
        let request = site.streamed(encoding).bearer_auth(&token).body(record);
        assert_eq!(request.send().await.expect("an answer").status(), 403);
        // Operators may do all of it.
        let by_name = Credential::new("ops", "o").basic();
        assert_eq!(ask(&call_of(Type::GetState), by_name, encoding).await.0, 200);
    }
    isolated.end().await;
}

/// The token in the environment that the custom executor has written to its sandbox.
fn written_token(directory: &std::path::Path) -> Option<String> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = written_token(&path) {
                return Some(found);
            }
        } else if path.ends_with("environment") {
            let text = std::fs::read_to_string(&path).ok()?;
            let mut lines = text.lines();
            let token =
                lines.find_map(|line| line.strip_prefix("MESOS_EXECUTOR_AUTHENTICATION_TOKEN="))?;
            return Some(token.to_owned());
        }
    }
    None
}

/// Waits until an executor has written its token to its sandbox.
async fn until_written(work_dir: &std::path::Path) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(token) = written_token(work_dir) {
            return token;
        }
        assert!(tokio::time::Instant::now() < deadline, "the executor did not start");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
