//! Tasks from launch to end, over restarts of their agent.

use std::time::{Duration, Instant};

use model::link::{FromAgent, ToAgent};
use model::task::{Reason, TaskState};
use proto::mesos::v1 as mesos;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::containers::cgroup_trees;
use crate::master::{AGENT, framework_id};
use crate::{PATIENCE, Site, command_task, executor_task, update};

impl Site {
    /// Asks for `path` until `is_so` says yes to the answer.
    pub(crate) async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let (status, text) = self.get(path).await;
            let value = serde_json::from_str(&text).unwrap_or_default();
            if status == 200 && is_so(&value) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "{path}: {status} {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the agent knows `executor` and its processes have begun.
    pub(crate) async fn launched(&self, executor: &str) {
        self.until("/state", |state| {
            let known = state["frameworks"][0]["executors"].as_array();
            known.is_some_and(|all| all.iter().any(|it| it["id"] == executor))
        })
        .await;
    }

    /// A file in the sandbox of an executor, once there is something in it.
    pub(crate) async fn sandbox_file(&self, executor: &str, name: &str) -> String {
        let framework = framework_id();
        let path = format!(
            "/files/read?path=/frameworks/{framework}/executors/{executor}/runs/latest/{name}&offset=0"
        );
        let read = self.until(&path, |it| it["data"].as_str().is_some_and(|it| !it.is_empty()));
        read.await["data"].as_str().expect("text").to_owned()
    }
}

#[tokio::test]
async fn a_command_task_runs_in_the_built_in_executor() {
    let mut site = Site::new().await;
    site.master.launch(command_task(
        AGENT,
        "t1",
        "echo hello; grep THP_enabled /proc/self/status; exit 3",
    ));
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.message.as_deref(), Some("Command exited with status 3"));
    let state = site
        .until("/state", |state| {
            state["completed_frameworks"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    let executor = &state["completed_frameworks"][0]["completed_executors"][0];
    assert_eq!(executor["name"], "Command Executor (Task: t1) (Command: sh -c 'echo hello; ...')");
    assert_eq!(executor["source"], "t1");
    let output = site.sandbox_file("t1", "stdout").await;
    assert!(output.contains("hello\n"), "{output}");
    // The executor does without huge pages, its task need not.
    assert!(output.contains("THP_enabled:\t1\n"), "{output}");
    site.end().await;
}

#[tokio::test]
async fn a_task_is_killed_by_its_executor_and_before_there_is_one() {
    let mut site = Site::new().await;
    site.master.launch(command_task(AGENT, "t1", "exec sleep 600"));
    site.master.status_of(TaskState::Running).await;
    site.master.kill("t1");
    site.master.status_of(TaskState::Killed).await;
    site.master.launch(executor_task(AGENT, "t2", "e2"));
    site.launched("e2").await;
    site.master.kill("t2");
    let status = site.master.status_of(TaskState::Killed).await;
    assert_eq!(status.reason, Some(Reason::TaskKilledDuringLaunch));
    let FromAgent::ExecutorExited { executor, .. } = site.master.hear().await else {
        panic!("its executor is ended")
    };
    assert_eq!(executor.as_str(), "e2");
    site.end().await;
}

#[tokio::test]
async fn a_restarted_agent_takes_its_tasks_back() {
    let mut site = Site::new().await;
    site.master.launch(command_task(AGENT, "t1", "exec sleep 600"));
    site.master.status_of(TaskState::Running).await;
    site.master.launch(executor_task(AGENT, "t2", "e2"));
    site.launched("e2").await;
    let mut events = site.subscribe("e2", json!({})).await;
    events.expect("SUBSCRIBED").await;
    events.expect("LAUNCH").await;
    site.call(&update("e2", "t2", "TASK_RUNNING", 1)).await;
    assert_eq!(site.master.status().await.state, TaskState::Running);
    let before = site.get_json("/containers").await;

    let mut site = site.restarted().await;
    assert_eq!(
        events.next_or_end().await,
        Some(json!({"type": "ACKNOWLEDGED", "acknowledged": {
        "task_id": {"value": "t2"}, "uuid": crate::uuid(1)}}))
    );
    assert_eq!(events.next_or_end().await, None, "the stream ended with the agent");
    let mut events = site.subscribe("e2", json!({})).await;
    events.expect("SUBSCRIBED").await;
    let brought = site.master.reregister().await;
    let tasks: Vec<_> = brought.tasks.iter().map(|it| (it.spec.id.as_str(), it.state)).collect();
    assert_eq!(tasks, [("t1", TaskState::Running), ("t2", TaskState::Running)]);
    let after = site.get_json("/containers").await;
    let ids = |all: &Value| -> Vec<Value> {
        all.as_array().expect("a list").iter().map(|it| it["container_id"].clone()).collect()
    };
    assert_eq!(ids(&before), ids(&after));
    site.master.kill("t1");
    site.master.status_of(TaskState::Killed).await;
    site.master.say(&ToAgent::ShutdownExecutor {
        framework: framework_id(),
        executor: model::ids::ExecutorId::new("e2").expect("an id"),
    });
    events.expect("SHUTDOWN").await;
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.reason, Some(Reason::ExecutorTerminated), "it did not end by itself");
    site.end().await;
}

#[tokio::test]
async fn an_executor_that_does_not_come_back_is_ended() {
    let mut site = Site::new().await;
    site.master.launch(executor_task(AGENT, "t1", "e1"));
    site.launched("e1").await;
    let mut events = site.subscribe("e1", json!({})).await;
    events.expect("SUBSCRIBED").await;
    site.call(&update("e1", "t1", "TASK_RUNNING", 1)).await;
    site.master.status().await;
    let mut site = site.restarted().await;
    site.master.reregister().await;
    let status = site.master.status_of(TaskState::Gone).await;
    assert_eq!(status.reason, Some(Reason::ExecutorReregistrationTimeout));
    site.end().await;
}

#[tokio::test]
async fn a_launch_that_fails_is_told_with_its_reason() {
    let mut site = Site::new().await;
    let mut task = command_task(AGENT, "t1", "true");
    let uri = proto::mesos::v1::command_info::Uri {
        value: "/no/such/file".to_owned(),
        ..proto::mesos::v1::command_info::Uri::default()
    };
    task.command.get_or_insert_default().uris.push(uri);
    site.master.launch(task);
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.reason, Some(Reason::ContainerLaunchFailed));
    let message = status.message.expect("a message");
    assert!(message.contains("/no/such/file"), "{message}");
    site.end().await;
}

/// As all tests of real isolation, this takes root.
#[tokio::test]
async fn a_task_past_its_memory_is_told_of_it() {
    let root = format!("agora-agent-test-{}", std::process::id());
    let mut site = Site::with(|options| {
        options.isolation = None;
        options.cgroups_root.clone_from(&root);
    })
    .await;
    let hog = "x=xxxxxxxxxxxxxxxx; while true; do x=$x$x; done";
    site.master.launch(command_task(AGENT, "t1", hog));
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.reason, Some(Reason::ContainerLimitationMemory), "{status:?}");
    assert_eq!(
        status.message.as_deref(),
        Some("Memory limit exceeded: the container may take 64 MB")
    );
    let wire = proto::convert::task::status_to_wire(&status);
    let limitation = wire.limitation.expect("it says which resource");
    assert_eq!(limitation.resources[0].name, "mem");
    site.master.launch(command_task(AGENT, "t2", "test $(hostname) && exit 0"));
    site.master.status_of(TaskState::Finished).await;
    site.end().await;
    // Empty by now, or this would fail.
    for tree in cgroup_trees() {
        let left = tree.join(&root);
        if left.exists() {
            std::fs::remove_dir(left).expect("nothing is left in it");
        }
    }
}

#[tokio::test]
async fn an_executor_reaps_those_who_lose_their_parents_in_its_container() {
    let isolation = "namespaces/pid,filesystem/linux";
    let mut site = Site::with(|options| options.isolation = Some(isolation.to_owned())).await;
    // Those that have ended are there until somebody waits for them.
    let command = "test $(cat /proc/1/comm) = agora-executor || exit 2; \
        for i in 1 2 3 4 5 6 7 8; do (sleep 0.0$i &); done; \
        while cat /proc/[0-9]*/stat 2>/dev/null | grep -q '(sleep)'; do :; done; exit 3";
    site.master.launch(command_task(AGENT, "t1", command));
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.message.as_deref(), Some("Command exited with status 3"));
    site.end().await;
}

#[tokio::test]
async fn a_task_is_given_its_secrets_in_variables_and_one_without_its_secret_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("password"), "blue").expect("a file");
    let resolver = dir.path().to_owned();
    let mut site = Site::with(|options| options.secret_resolver = Some(resolver)).await;
    let with_secret = |id: &str, name: &str| {
        let mut task = command_task(AGENT, id, "test \"$KEY\" = blue");
        let reference = mesos::secret::Reference { name: name.to_owned(), key: None };
        let secret = mesos::Secret {
            r#type: Some(mesos::secret::Type::Reference.into()),
            reference: Some(reference),
            ..mesos::Secret::default()
        };
        let variable = mesos::environment::Variable {
            name: "KEY".to_owned(),
            r#type: Some(mesos::environment::variable::Type::Secret.into()),
            secret: Some(secret),
            ..mesos::environment::Variable::default()
        };
        let environment = mesos::Environment { variables: vec![variable] };
        task.command.as_mut().expect("it has one").environment = Some(environment);
        task
    };
    site.master.launch(with_secret("t1", "password"));
    site.master.status_of(TaskState::Finished).await;
    site.master.launch(with_secret("t2", "passphrase"));
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.reason, Some(Reason::ContainerLaunchFailed));
    let message = status.message.expect("it says why");
    assert!(
        message.contains("'KEY': the secret 'passphrase' is not in --secret_resolver"),
        "{message}"
    );
    site.end().await;
}

#[tokio::test]
async fn executors_come_by_the_socket_where_they_are_told_to() {
    let place = tempfile::tempdir().expect("a directory");
    let location = place.path().join("socket/agent.sock");
    let given = location.clone();
    let mut site = Site::with(|options| {
        options.http_executor_domain_sockets = true;
        options.domain_socket_location = Some(given);
    })
    .await;
    site.master.launch(command_task(AGENT, "t1", "echo $MESOS_DOMAIN_SOCKET; exec sleep 600"));
    site.master.status_of(TaskState::Running).await;
    assert_eq!(site.sandbox_file("t1", "stdout").await, format!("{}\n", location.display()));
    // It is seen in containers, so nothing is there that they have no business with.
    for (request, status) in [
        ("GET /state HTTP/1.0\r\n\r\n", "404"),
        ("GET /files/debug HTTP/1.0\r\n\r\n", "404"),
        ("GET /flags HTTP/1.0\r\n\r\n", "404"),
        ("GET /api/v1 HTTP/1.0\r\n\r\n", "405"),
        ("GET /api/v1/executor HTTP/1.0\r\n\r\n", "405"),
    ] {
        let mut stream = UnixStream::connect(&location).await.expect("it is there");
        stream.write_all(request.as_bytes()).await.expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it is answered");
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}: {answer}");
    }
    // Also to the next agent.
    let mut site = site
        .restarted_with(|options| {
            options.http_executor_domain_sockets = true;
            options.domain_socket_location = Some(location);
        })
        .await;
    site.master.reregister().await;
    site.master.kill("t1");
    site.master.status_of(TaskState::Killed).await;
    site.end().await;
}

#[tokio::test]
async fn an_agent_without_cgroups_where_it_is_to_have_them_does_not_start() {
    let work_dir = tempfile::tempdir().expect("a directory");
    let master = crate::master::Master::start().await;
    let refused = agent::start(agent::Options {
        isolation: Some("cgroups/cpu".to_owned()),
        cgroups_hierarchy: work_dir.path().to_owned(),
        ..crate::options(work_dir.path(), &master)
    });
    let why = refused.await.expect_err("none are mounted there").to_string();
    assert!(why.contains("mounted below --cgroups_hierarchy"), "{why}");
}

#[tokio::test]
async fn a_work_directory_that_containers_would_not_see_is_refused() {
    let work_dir = tempfile::tempdir_in("/dev/shm").expect("memory");
    let master = crate::master::Master::start().await;
    let isolation = |names: &str| agent::Options {
        isolation: Some(names.to_owned()),
        ..crate::options(work_dir.path(), &master)
    };
    let refused = agent::start(isolation("namespaces/ipc,filesystem/linux")).await;
    let why = refused.expect_err("it would run nothing").to_string();
    let path = work_dir.path().display();
    assert!(why.contains(&format!("--work_dir={path}: containers have a /dev/shm")), "{why}");
    // Containers that share it see it.
    let agent = agent::start(isolation("posix/cpu,posix/mem")).await.expect("it starts");
    agent.stop(agent::StopMode::KeepTasks).await;
}
