//! What the rules of operators show and tell whom of an agent, over real sockets in both encodings.

use std::sync::Arc;

use agent::{Authentication, Options};
use model::task::{Reason, TaskState};
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::call::{self, Type};
use proto::mesos::v1::agent::{Call, Response};
use serde_json::{Value, json};
use transport::auth::{Credential, Credentials};

use crate::containers::{BOTH, Encoding, answered, of as call_of};
use crate::image::busybox;
use crate::images::{docker_container, mesos_container, with_images};
use crate::master::AGENT;
use crate::{FRAMEWORK, PATIENCE, Site, client, command_task, executor_task};

/// Whom the tests know.
const NAMES: [&str; 2] = ["ops", "web"];

/// A user that every machine has, and that no test runs as.
pub(crate) const OTHER: &str = "nobody";

pub(crate) fn named(name: &str) -> Credential {
    Credential::new(name, "s")
}

/// A rule that lets `who` do something to these objects, which are `kind`.
pub(crate) fn rule(who: &str, kind: &str, objects: &[&str]) -> Value {
    json!({"principals": {"values": [who]}, kind: {"values": objects}})
}

/// A rule that lets `who` do something, whatever the objects are.
fn free(who: &str, kind: &str) -> Value {
    json!({"principals": {"values": [who]}, kind: {"type": "ANY"}})
}

/// A rule that lets anybody do something.
pub(crate) fn open(kind: &str) -> Value {
    json!([{"principals": {"type": "ANY"}, kind: {"type": "ANY"}}])
}

/// Has the agent heed these rules, and know who is who where something may be changed.
pub(crate) fn ruled(options: &mut Options, acls: &Value) {
    options.acls = Arc::new(serde_json::from_value(acls.clone()).expect("rules"));
    options.authentication = Authentication {
        credentials: Some(Arc::new(Credentials::new(NAMES.map(named)))),
        readwrite: true,
        ..Authentication::default()
    };
}

/// A task of a custom executor, both of which run as `user`.
pub(crate) fn of_user(id: &str, executor: &str, user: Option<&str>) -> mesos::TaskInfo {
    let mut task = executor_task(AGENT, id, executor);
    let info = task.executor.as_mut().expect("it has one");
    info.command.as_mut().expect("it has one").user = user.map(str::to_owned);
    task
}

fn read_file(path: &str) -> Call {
    let read = call::ReadFile { path: path.to_owned(), offset: 0, length: None };
    Call { read_file: Some(read), ..call_of(Type::ReadFile) }
}

fn list_files(path: &str) -> Call {
    let list_files = Some(call::ListFiles { path: path.to_owned() });
    Call { list_files, ..call_of(Type::ListFiles) }
}

fn set_level() -> Call {
    let duration = mesos::DurationInfo { nanoseconds: 1 };
    let set_logging_level = Some(call::SetLoggingLevel { level: 1, duration });
    Call { set_logging_level, ..call_of(Type::SetLoggingLevel) }
}

/// A sandbox by the path that people know.
fn sandbox(executor: &str, run: &str) -> String {
    format!("/frameworks/{FRAMEWORK}/executors/{executor}/runs/{run}")
}

/// The values of `name` in a list, in order.
fn each<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    let all = list.as_array().into_iter().flatten();
    let mut all: Vec<&str> = all.filter_map(|it| it[name].as_str()).collect();
    all.sort_unstable();
    all
}

impl Site {
    async fn get_as(&self, path: &str, who: &str) -> (u16, Value) {
        let shown = named(who).basic();
        let answer = client().get(self.url(path)).header("authorization", shown).send().await;
        let answer = answer.expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) async fn ask_as(
        &self,
        call: &Call,
        encoding: Encoding,
        who: &str,
    ) -> (u16, String, Response) {
        let request = self.post(call, encoding).header("authorization", named(who).basic());
        let (status, text, response) = answered(request, encoding).await;
        (status.as_u16(), text, response)
    }

    pub(crate) async fn done_as(&self, call: &Call, encoding: Encoding, who: &str) {
        let (status, text, _) = self.ask_as(call, encoding, who).await;
        assert_eq!(status, 200, "{who}: {call:?}: {text}");
    }

    /// Makes a call as `web`, which may not do `what`.
    pub(crate) async fn refused_web(&self, call: &Call, encoding: Encoding, what: &str) {
        let (status, text, _) = self.ask_as(call, encoding, "web").await;
        let why = format!("Not authorized to {what} as principal 'web'");
        assert_eq!((status, text), (403, why), "{call:?}");
    }
}

/// What somebody sees of what every test below has: an executor of each user, with a task.
struct Sees<'a> {
    who: &'a str,
    executors: &'a [&'a str],
    tasks: &'a [&'a str],
    roles: &'a [&'a str],
}

#[tokio::test]
async fn everybody_sees_only_what_the_rules_of_an_agent_show() {
    let users = || json!([free("ops", "users"), rule("web", "users", &[OTHER])]);
    let acls = json!({
        "permissive": false,
        "run_tasks": open("users"),
        "view_frameworks": open("users"),
        "view_executors": users(),
        "view_tasks": users(),
        "view_containers": users(),
        "access_sandboxes": users(),
        "view_flags": [free("ops", "flags")],
        "view_roles": [free("ops", "roles"), rule("web", "roles", &["web"])],
        "get_endpoints": [
            free("ops", "paths"), rule("web", "paths", &["/containers", "/files/debug"])
        ],
    });
    let site = Site::with(|options| {
        ruled(options, &acls);
        options.authentication.readonly = true;
        options.resources = Some("cpus:4;mem:4096;cpus(web):1;cpus(db):1".to_owned());
    })
    .await;
    site.master.launch(of_user("t1", "e1", None));
    site.master.launch(of_user("t2", "e2", Some(OTHER)));
    let known = async {
        while each(&site.get_as("/containers", "ops").await.1, "executor_id") != ["e1", "e2"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, known).await.expect("both are known");
    for sees in [
        Sees { who: "ops", executors: &["e1", "e2"], tasks: &["t1", "t2"], roles: &["db", "web"] },
        Sees { who: "web", executors: &["e2"], tasks: &["t2"], roles: &["web"] },
    ] {
        site.endpoints_show(&sees).await;
        for encoding in BOTH {
            site.calls_show(&sees, encoding).await;
        }
    }
    site.end().await;
}

impl Site {
    async fn endpoints_show(&self, sees: &Sees<'_>) {
        let who = sees.who;
        let (_, state) = self.get_as("/state", who).await;
        let framework = &state["frameworks"][0];
        assert_eq!(each(&framework["executors"], "id"), sees.executors, "{who}");
        let executors = framework["executors"].as_array().into_iter().flatten();
        let tasks: Vec<_> =
            executors.flat_map(|executor| each(&executor["queued_tasks"], "id")).collect();
        assert_eq!(tasks, sees.tasks, "{who}");
        assert_eq!(state.get("flags").is_some(), who == "ops");
        for reserved in ["reserved_resources", "reserved_resources_full"] {
            let roles: Vec<_> = state[reserved].as_object().expect("an object").keys().collect();
            assert_eq!(roles, sees.roles, "{who}");
        }
        let (_, containers) = self.get_as("/containers", who).await;
        assert_eq!(each(&containers, "executor_id"), sees.executors, "{who}");
        let (_, debug) = self.get_as("/files/debug", who).await;
        let paths: Vec<_> = debug.as_object().expect("an object").keys().collect();
        for executor in ["e1", "e2"] {
            let latest = sandbox(executor, "latest");
            let is_seen = sees.executors.contains(&executor);
            assert_eq!(paths.iter().any(|path| **path == latest), is_seen, "{who}: {paths:?}");
        }
    }

    async fn calls_show(&self, sees: &Sees<'_>, encoding: Encoding) {
        let who = sees.who;
        let ask = async |kind: Type| self.ask_as(&call_of(kind), encoding, who).await.2;
        let state = ask(Type::GetState).await.get_state.expect("it is answered");
        let executors = [ask(Type::GetExecutors).await.get_executors, state.get_executors];
        for executors in executors.map(|it| it.expect("it is answered").executors) {
            let ids = executors.iter().map(|it| it.executor_info.executor_id.value.as_str());
            assert_eq!(ids.collect::<Vec<_>>(), sees.executors, "{who}");
        }
        for tasks in [ask(Type::GetTasks).await.get_tasks, state.get_tasks] {
            let tasks = tasks.expect("it is answered").queued_tasks;
            let ids = tasks.iter().map(|it| it.task_id.value.as_str());
            assert_eq!(ids.collect::<Vec<_>>(), sees.tasks, "{who}");
        }
        let frameworks = ask(Type::GetFrameworks).await.get_frameworks.expect("it is answered");
        assert_eq!(frameworks.frameworks.len(), 1, "{who}");
        let containers = ask(Type::GetContainers).await.get_containers.expect("it is answered");
        let executors = containers.containers.iter().filter_map(|it| it.executor_id.as_ref());
        let ids: Vec<_> = executors.map(|id| id.value.as_str()).collect();
        assert_eq!(ids, sees.executors, "{who}");
        let info = ask(Type::GetAgent).await.get_agent.expect("it is answered").agent_info;
        let resources = info.expect("it is told").resources;
        let reserved = resources.iter().filter_map(|it| it.reservations.first());
        let mut roles: Vec<_> = reserved.map(|one| one.role().to_owned()).collect();
        roles.sort_unstable();
        assert_eq!(roles, sees.roles, "{who}");
    }
}

#[tokio::test]
async fn what_an_agent_tells_and_does_is_for_those_who_may_have_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("agora-agent.log");
    std::fs::write(&log, "0123456789").expect("a file");
    let names = ["flags", "logs", "level", "images"];
    let [flags, logs, level, images] = names.map(|kind| json!([free("ops", kind)]));
    let acls = json!({
        "permissive": false,
        "run_tasks": open("users"),
        "access_sandboxes": [free("ops", "users"), rule("web", "users", &[OTHER])],
        "view_flags": flags,
        "access_mesos_logs": logs,
        "set_log_level": level,
        "prune_images": images,
        "get_endpoints": [free("ops", "paths")],
    });
    let site = Site::with(|options| {
        ruled(options, &acls);
        options.authentication.readonly = true;
        options.log_file = Some(log.clone());
    })
    .await;
    site.master.launch(of_user("t1", "e1", None));
    site.master.launch(of_user("t2", "e2", Some(OTHER)));
    let theirs = format!("/files/browse?path={}", sandbox("e2", "latest"));
    let made = async {
        while site.get_as(&theirs, "web").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.expect("its sandbox is made and web may see it");
    let ours = format!("/files/browse?path={}", sandbox("e1", "latest"));
    let made = async {
        while site.get_as(&ours, "ops").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.expect("its sandbox is made");

    let of_e1 = format!("read the sandbox of executor 'e1' of framework {FRAMEWORK}");
    let of_gone = format!("read the sandbox of executor 'gone' of framework {FRAMEWORK}");
    let read_log = "read the log of the agent";
    for (path, what, of_ops) in [
        ("/flags".to_owned(), "see the flags", 200),
        ("/containers".to_owned(), "see the containers", 200),
        ("/monitor/statistics".to_owned(), "see the containers", 200),
        ("/metrics/snapshot".to_owned(), "read the metrics", 200),
        ("/metrics".to_owned(), "read the metrics", 200),
        ("/files/debug".to_owned(), "see where files lead", 200),
        ("/files/read?path=/slave/log".to_owned(), read_log, 200),
        (format!("/files/read?path={}", log.display()), read_log, 200),
        ("/slave(1)/files/download?path=/slave/log".to_owned(), read_log, 200),
        (ours, &of_e1, 200),
        (format!("/files/read?path={}/stdout", sandbox("e1", "latest")), &of_e1, 200),
        (format!("/files/download?path={}/stdout", sandbox("e1", "latest")), &of_e1, 200),
        // Nobody knows whose it was.
        (format!("/files/browse?path={}", sandbox("gone", "r")), &of_gone, 404),
    ] {
        assert_eq!(site.get_as(&path, "ops").await.0, of_ops, "{path}");
        let why = json!(format!("Not authorized to {what} as principal 'web'"));
        assert_eq!(site.get_as(&path, "web").await, (403, why), "{path}");
    }
    for encoding in BOTH {
        for (call, what) in [
            (&call_of(Type::GetFlags), "see the flags"),
            (&set_level(), "change how much is logged"),
            (&call_of(Type::PruneImages), "remove images"),
            (&read_file("/slave/log"), read_log),
            (&read_file(&format!("{}/stdout", sandbox("e1", "latest"))), &of_e1),
            (&list_files(&sandbox("e1", "latest")), &of_e1),
        ] {
            site.refused_web(call, encoding, what).await;
            assert_ne!(site.ask_as(call, encoding, "ops").await.0, 403, "{call:?}");
        }
        site.done_as(&list_files(&sandbox("e2", "latest")), encoding, "web").await;
        site.done_as(&call_of(Type::GetHealth), encoding, "web").await;
    }
    site.end().await;
}

#[tokio::test]
async fn an_agent_has_rules_of_its_own_on_whom_tasks_run_as() {
    let acls = json!({"run_tasks": [
        {"principals": {"type": "ANY"}, "users": {"values": [OTHER]}},
        {"principals": {"type": "ANY"}, "users": {"type": "NONE"}},
    ]});
    let mut site = Site::with(|options| ruled(options, &acls)).await;
    let mut task = command_task(AGENT, "t1", "true");
    task.command.as_mut().expect("it has one").user = Some("root".to_owned());
    site.master.launch(task);
    let status = site.master.status().await;
    assert_eq!((status.state, status.reason), (TaskState::Error, Some(Reason::TaskUnauthorized)));
    let why = "Not authorized to run tasks as user 'root' without authentication";
    assert_eq!(status.message.as_deref(), Some(why));
    site.master.launch(of_user("t2", "e2", Some(OTHER)));
    site.launched("e2").await;
    site.end().await;
}

#[tokio::test]
async fn an_image_makes_no_task_somebody_whom_rules_forbid() {
    let images = tempfile::tempdir().expect("a directory");
    for (name, user) in [("root:1", json!({})), ("web:1", json!({"User": "web"}))] {
        busybox(&user).write_layout(&images.path().join(name), "1");
    }
    let acls = json!({"run_tasks": [
        {"principals": {"type": "NONE"}, "users": {"values": ["root", "0"]}},
    ]});
    let mut site = Site::with(|options| {
        with_images(options, images.path());
        ruled(options, &acls);
    })
    .await;
    let task = |id: &str, container: mesos::ContainerInfo| mesos::TaskInfo {
        container: Some(container.into()),
        ..command_task(AGENT, id, "id -u")
    };
    site.master.launch(task("t1", docker_container("web:1", &[])));
    site.master.status_of(TaskState::Finished).await;
    assert!(site.sandbox_file("t1", "stdout").await.contains("1234\n"));

    // Nobody says who, so it is root.
    for (id, container) in
        [("t2", docker_container("root:1", &[])), ("t3", mesos_container("root:1"))]
    {
        site.master.launch(task(id, container));
        let status = site.master.status_of(TaskState::Failed).await;
        let why = status.message.unwrap_or_default();
        assert!(why.contains("its image is run as user '0'"), "{id}: {why}");
        assert!(why.contains("run_tasks); name another user"), "{id}: {why}");
    }
    // A parameter says who, and that is known before there is an image.
    site.master.launch(task("t4", docker_container("web:1", &[("user", "root")])));
    let status = site.master.status().await;
    assert_eq!((status.state, status.reason), (TaskState::Error, Some(Reason::TaskUnauthorized)));
    site.master.launch(task("t5", docker_container("root:1", &[("user", "web:logs")])));
    site.master.status_of(TaskState::Finished).await;
    site.end().await;
}
