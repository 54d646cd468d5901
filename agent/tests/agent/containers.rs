//! `POST /api/v1`: containers in others' containers and standalone ones, in both encodings. Containers
//! are real and isolated: this takes root.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use agent::Options;
use prost::Message;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::call::{self, Type};
use proto::mesos::v1::agent::{Call, Response};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::master::AGENT;
use crate::{PATIENCE, Site, client, executor_task};

/// How calls are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    pub(crate) fn mime(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    pub(crate) fn write(self, call: &Call) -> Vec<u8> {
        match self {
            Self::Json => proto::json::to_vec(call),
            Self::Protobuf => call.encode_to_vec(),
        }
    }
}

/// A site with isolation, and an executor's container in it.
pub(crate) struct Isolated {
    pub(crate) site: Site,
    pub(crate) cgroups_root: String,
    /// The executor's container.
    pub(crate) root: String,
}

impl Isolated {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::running(change, &["t1"]).await
    }

    /// With these tasks of the executor, which come all at once.
    pub(crate) async fn running(change: impl FnOnce(&mut Options), tasks: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroups_root = format!("agora-test-api-{}-{number}", std::process::id());
        let site = Site::with(|options| {
            isolate(options, &cgroups_root);
            change(options);
        })
        .await;
        for task in tasks {
            site.master.launch(executor_task(AGENT, task, "e1"));
        }
        site.launched("e1").await;
        site.sandbox_file("e1", "environment").await;
        let root = site.container_of("e1").await;
        Self { site, cgroups_root, root }
    }

    /// As after `kill -9` of the agent.
    pub(crate) async fn restarted(self) -> Self {
        let root = self.cgroups_root.clone();
        let site = self.site.restarted_with(|options| isolate(options, &root)).await;
        Self { site, ..self }
    }

    pub(crate) fn id(&self, names: &[&str]) -> mesos::ContainerId {
        let root = mesos::ContainerId { value: self.root.clone(), parent: None };
        names.iter().fold(root, |parent, name| within(parent, name))
    }

    /// The directory of the executor's sandbox.
    pub(crate) fn sandbox(&self) -> PathBuf {
        let tail = format!(
            "slaves/{AGENT}/frameworks/{}/executors/e1/runs/{}",
            crate::FRAMEWORK,
            self.root
        );
        self.site.work_dir.path().join(tail)
    }

    /// Ends all, and looks whether anything is left.
    pub(crate) async fn end(self) {
        self.site.end().await;
        for tree in cgroup_trees() {
            let group = tree.join(&self.cgroups_root);
            if group.is_dir() {
                fs::remove_dir(&group).expect("no container is left");
            }
        }
    }
}

/// Where cgroups may be mounted: the v2 tree, or the one of each v1 controller.
pub(crate) fn cgroup_trees() -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    let below = fs::read_dir(&top).expect("it is mounted").flatten().map(|entry| entry.path());
    below.chain([top.clone()]).collect()
}

pub(crate) fn isolate(options: &mut Options, cgroups_root: &str) {
    options.isolation = None;
    cgroups_root.clone_into(&mut options.cgroups_root);
}

pub(crate) fn within(parent: mesos::ContainerId, name: &str) -> mesos::ContainerId {
    mesos::ContainerId { value: name.to_owned(), parent: Some(Box::new(parent)) }
}

impl Site {
    /// The container of an executor.
    pub(crate) async fn container_of(&self, executor: &str) -> String {
        let all = self.get_json("/containers").await;
        let all = all.as_array().expect("a list").iter();
        let mut of = all.filter(|it| it["executor_id"] == executor);
        of.next().expect("it runs")["container_id"].as_str().expect("an id").to_owned()
    }

    /// A call, not made yet.
    pub(crate) fn post(&self, call: &Call, encoding: Encoding) -> RequestBuilder {
        let kind = encoding.mime();
        let request = client().post(self.url("/api/v1")).body(encoding.write(call));
        request.header("content-type", kind).header("accept", kind)
    }

    /// Makes a call and gives status, body as text, and the response where there is one.
    pub(crate) async fn operate(
        &self,
        call: &Call,
        encoding: Encoding,
    ) -> (StatusCode, String, Response) {
        answered(self.post(call, encoding), encoding).await
    }

    /// Makes a call that is answered with this status and nothing.
    pub(crate) async fn expect(&self, call: &Call, encoding: Encoding, status: u16) {
        let (got, text, _) = self.operate(call, encoding).await;
        assert_eq!(got.as_u16(), status, "{call:?}: {text}");
    }
}

/// Sends a call and gives status, body as text, and the response where there is one.
pub(crate) async fn answered(
    request: RequestBuilder,
    encoding: Encoding,
) -> (StatusCode, String, Response) {
    let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("in time");
    let answer = answer.expect("an answer");
    let status = answer.status();
    let body = answer.bytes().await.expect("a body");
    let response = match encoding {
        _ if status != 200 || body.is_empty() => Response::default(),
        Encoding::Json => proto::json::from_slice(&body).expect("a response"),
        Encoding::Protobuf => proto::wire::decode(&body).expect("a response"),
    };
    (status, String::from_utf8_lossy(&body).into_owned(), response)
}

pub(crate) fn shell(command: &str) -> mesos::CommandInfo {
    mesos::CommandInfo { value: Some(command.to_owned()), ..Default::default() }
}

pub(crate) fn of(kind: Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

pub(crate) fn launch_nested(container_id: mesos::ContainerId, command: &str) -> Call {
    let launch = call::LaunchNestedContainer {
        container_id,
        command: Some(shell(command)),
        container: None,
    };
    Call { launch_nested_container: Some(launch), ..of(Type::LaunchNestedContainer) }
}

pub(crate) fn launch(container_id: mesos::ContainerId, command: &str) -> Call {
    let launch =
        call::LaunchContainer { container_id, command: Some(shell(command)), ..Default::default() };
    Call { launch_container: Some(launch), ..of(Type::LaunchContainer) }
}

pub(crate) fn wait_nested(container_id: mesos::ContainerId) -> Call {
    let wait_nested_container = Some(call::WaitNestedContainer { container_id });
    Call { wait_nested_container, ..of(Type::WaitNestedContainer) }
}

pub(crate) fn wait(container_id: mesos::ContainerId) -> Call {
    let wait_container = Some(call::WaitContainer { container_id });
    Call { wait_container, ..of(Type::WaitContainer) }
}

pub(crate) fn kill_nested(container_id: mesos::ContainerId, signal: Option<i32>) -> Call {
    let kill_nested_container = Some(call::KillNestedContainer { container_id, signal });
    Call { kill_nested_container, ..of(Type::KillNestedContainer) }
}

pub(crate) fn kill(container_id: mesos::ContainerId, signal: Option<i32>) -> Call {
    let kill_container = Some(call::KillContainer { container_id, signal });
    Call { kill_container, ..of(Type::KillContainer) }
}

pub(crate) fn remove_nested(container_id: mesos::ContainerId) -> Call {
    let remove_nested_container = Some(call::RemoveNestedContainer { container_id });
    Call { remove_nested_container, ..of(Type::RemoveNestedContainer) }
}

pub(crate) fn remove(container_id: mesos::ContainerId) -> Call {
    let remove_container = Some(call::RemoveContainer { container_id });
    Call { remove_container, ..of(Type::RemoveContainer) }
}

pub(crate) fn show(nested: bool, standalone: bool) -> Call {
    let show = call::GetContainers { show_nested: Some(nested), show_standalone: Some(standalone) };
    Call { get_containers: Some(show), ..of(Type::GetContainers) }
}

fn scalar(name: &str, value: f64) -> mesos::Resource {
    crate::resources(value, value).into_iter().find(|it| it.name == name).expect("it has one")
}

pub(crate) const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

#[tokio::test]
async fn a_nested_container_is_launched_waited_for_killed_and_removed() {
    let isolated = Isolated::new().await;
    let site = &isolated.site;
    for encoding in BOTH {
        let name = format!("{encoding:?}");
        let id = isolated.id(&[&name]);
        let sandbox = isolated.sandbox().join("containers").join(&name);
        let command = "pwd; echo $MESOS_SANDBOX $COLOUR; readlink /proc/self/ns/pid; exit 3";
        let mut call = launch_nested(id.clone(), command);
        let variable = mesos::environment::Variable {
            name: "COLOUR".to_owned(),
            value: Some("blue".to_owned()),
            ..Default::default()
        };
        let launch = call.launch_nested_container.as_mut().expect("it is set");
        launch.command.as_mut().expect("it is set").environment =
            Some(mesos::Environment { variables: vec![variable] });
        site.expect(&call, encoding, 200).await;
        let (status, _, response) = site.operate(&wait_nested(id.clone()), encoding).await;
        assert_eq!(status, 200);
        let over = response.wait_nested_container.expect("it is answered");
        assert_eq!((over.exit_status, over.state, over.message), (Some(3 << 8), None, None));
        site.expect(&call, encoding, 202).await;
        let output = fs::read_to_string(sandbox.join("stdout")).expect("it was made");
        let lines: Vec<&str> = output.lines().collect();
        let shown = sandbox.display().to_string();
        assert_eq!(lines[..2], [shown.clone(), format!("{shown} blue")]);
        assert_ne!(Some(lines[2]), fs::read_link("/proc/self/ns/pid").expect("a link").to_str());

        site.expect(&remove_nested(id.clone()), encoding, 200).await;
        site.expect(&remove_nested(id.clone()), encoding, 200).await;
        assert!(!sandbox.exists());
        let (status, text, _) = site.operate(&wait_nested(id.clone()), encoding).await;
        assert_eq!(
            (status.as_u16(), text),
            (404, format!("Container {}.{name} cannot be found", isolated.root))
        );

        // Its name is free again.
        site.expect(
            &launch_nested(
                id.clone(),
                "trap 'exit 7' TERM; touch up; while :; do sleep 0.01; done",
            ),
            encoding,
            200,
        )
        .await;
        site.expect(&remove_nested(id.clone()), encoding, 409).await;
        let inner = within(id.clone(), "inner");
        site.expect(&launch_nested(inner.clone(), "sleep 1000"), encoding, 200).await;
        let until = Instant::now() + PATIENCE;
        while !sandbox.join("up").exists() {
            assert!(Instant::now() < until, "it does not come up");
            tokio::task::yield_now().await;
        }
        site.expect(&kill_nested(id.clone(), Some(libc::SIGTERM)), encoding, 200).await;
        let (_, _, response) = site.operate(&wait_nested(id.clone()), encoding).await;
        assert_eq!(response.wait_nested_container.expect("it is over").exit_status, Some(7 << 8));
        site.expect(&wait_nested(inner.clone()), encoding, 404).await;
        site.expect(&kill_nested(id.clone(), None), encoding, 404).await;
        site.expect(&remove(id), encoding, 200).await;
    }
    isolated.end().await;
}

#[tokio::test]
async fn a_standalone_container_has_what_it_asks_for_and_outlives_the_agent() {
    let isolated = Isolated::new().await;
    let id = mesos::ContainerId { value: "alone".to_owned(), parent: None };
    for encoding in BOTH {
        let site = &isolated.site;
        let mut call = launch(id.clone(), "tail /dev/zero; sleep 1000");
        let wanted = call.launch_container.as_mut().expect("it is set");
        wanted.resources = vec![scalar("cpus", 0.1), scalar("mem", 40.0)];
        site.expect(&call, encoding, 200).await;
        let (_, _, response) = site.operate(&wait(id.clone()), encoding).await;
        let over = response.wait_container.expect("it is over");
        assert_eq!(over.state(), mesos::TaskState::TaskFailed);
        assert_eq!(over.reason(), mesos::task_status::Reason::ContainerLimitationMemory);
        let message = over.message.clone().expect("it says why");
        assert_eq!(message, "Memory limit exceeded: the container may take 40 MB");
        let limited = over.limitation.clone().expect("it says what").resources;
        assert_eq!(limited, [scalar("mem", 40.0)]);
        site.expect(&remove(id.clone()), encoding, 200).await;
    }
    isolated.site.expect(&launch(id.clone(), "exec sleep 1000"), Encoding::Json, 200).await;
    let inside = within(id.clone(), "inside");
    isolated.site.expect(&launch(inside.clone(), "exec sleep 1000"), Encoding::Json, 200).await;
    let nested = isolated.id(&["n"]);
    isolated.site.expect(&launch(nested.clone(), "exec sleep 1000"), Encoding::Json, 200).await;

    let isolated = isolated.restarted().await;
    let site = &isolated.site;
    for encoding in BOTH {
        for (call, names) in [
            (of(Type::GetContainers), vec![isolated.root.as_str()]),
            (show(true, false), vec![&isolated.root, "inside", "n"]),
            (show(false, true), vec![&isolated.root, "alone"]),
            (show(true, true), vec![&isolated.root, "alone", "inside", "n"]),
        ] {
            let (_, _, response) = site.operate(&call, encoding).await;
            let listed = response.get_containers.expect("it is answered").containers;
            let mut ids: Vec<&str> =
                listed.iter().map(|it| it.container_id.value.as_str()).collect();
            ids.sort_unstable();
            let mut names = names;
            names.sort_unstable();
            assert_eq!(ids, names);
            if let Some(n) = listed.iter().find(|it| it.container_id.value == "n") {
                let status = n.container_status.as_ref().expect("it runs");
                assert_eq!(status.container_id, Some(nested.clone()));
                assert!(status.executor_pid.is_some());
                assert_eq!(n.executor_id.as_ref().expect("it is in one's").value, "e1");
            }
        }
    }
    site.expect(&kill(id.clone(), Some(libc::SIGKILL)), Encoding::Json, 200).await;
    let (_, _, response) = site.operate(&wait(id.clone()), Encoding::Json).await;
    let over = response.wait_container.expect("it is over");
    assert_eq!(over.exit_status, Some(libc::SIGKILL));
    assert_eq!(over.message.as_deref(), Some("Container destroyed"));
    site.expect(&wait(inside), Encoding::Json, 404).await;
    site.expect(&remove(id), Encoding::Json, 200).await;
    assert!(!isolated.site.work_dir.path().join("containers/alone").exists());
    isolated.end().await;
}

pub(crate) const PREFIX: &str = "Failed to validate agent::Call: ";

impl Isolated {
    /// Makes calls in both encodings, each of which is refused with a status and words.
    pub(crate) async fn refused(&self, cases: Vec<(Call, u16, String)>) {
        for encoding in BOTH {
            for (call, status, text) in &cases {
                let (got, said, _) = self.site.operate(call, encoding).await;
                let is_so = got.as_u16() == *status && said.starts_with(text);
                assert!(is_so, "{call:?}: {got} {said}");
            }
        }
    }
}

#[tokio::test]
async fn calls_about_containers_need_a_body_and_a_good_id() {
    let isolated = Isolated::new().await;
    let (root, other) = (isolated.id(&[]), mesos::ContainerId::default());
    let other = mesos::ContainerId { value: "no-such".to_owned(), ..other };
    let absent = |field: &str| format!("{PREFIX}Expecting '{field}' to be present");
    let no_parent = |field: &str| absent(&format!("{field}.container_id.parent"));
    let mut cases: Vec<_> = [
        (Type::LaunchNestedContainer, "launch_nested_container"),
        (Type::WaitNestedContainer, "wait_nested_container"),
        (Type::KillNestedContainer, "kill_nested_container"),
        (Type::RemoveNestedContainer, "remove_nested_container"),
        (Type::LaunchContainer, "launch_container"),
        (Type::WaitContainer, "wait_container"),
        (Type::KillContainer, "kill_container"),
        (Type::RemoveContainer, "remove_container"),
    ]
    .map(|(kind, field)| (of(kind), 400, absent(field)))
    .into();
    cases.extend(vec![
        (launch_nested(other.clone(), "true"), 400, no_parent("launch_nested_container")),
        (wait_nested(other.clone()), 400, no_parent("wait_nested_container")),
        (kill_nested(other.clone(), None), 400, no_parent("kill_nested_container")),
        (remove_nested(other.clone()), 400, no_parent("remove_nested_container")),
    ]);
    let deep = (0..16).fold(root.clone(), |id, _| within(id, "d"));
    let is_bad = |why: &str| format!("{PREFIX}'launch_container.container_id' is invalid: {why}");
    let unknown = |id: &str| format!("Container {id} cannot be found");
    let of_executor = format!("Container {} is that of an executor", isolated.root);
    cases.extend(vec![
        (
            launch(isolated.id(&["a.b"]), "true"),
            400,
            is_bad("'ContainerID.value' 'a.b' contains invalid characters"),
        ),
        (
            launch(isolated.id(&[".."]), "true"),
            400,
            is_bad("'ContainerID.value' '..' is invalid: '..' is disallowed"),
        ),
        (launch(deep, "true"), 400, is_bad("Containers may be nested 16 deep")),
        (launch(within(other.clone(), "n"), "true"), 404, unknown("no-such")),
        (launch(root.clone(), "true"), 403, of_executor.clone()),
        (kill(root.clone(), None), 403, of_executor.clone()),
        (remove(root), 403, of_executor),
        (wait(other.clone()), 404, unknown("no-such")),
        (kill(other.clone(), None), 404, unknown("no-such")),
        (kill_nested(isolated.id(&["n"]), None), 404, unknown(&format!("{}.n", isolated.root))),
        (remove(other), 200, String::new()),
    ]);
    isolated.refused(cases).await;
    let site = &isolated.site;
    site.expect(&launch(isolated.id(&["n"]), "sleep 1000"), Encoding::Json, 200).await;
    let no_signal = format!("{PREFIX}there is no signal 99");
    isolated.refused(vec![(kill(isolated.id(&["n"]), Some(99)), 400, no_signal)]).await;
    site.expect(&kill(isolated.id(&["n"]), None), Encoding::Json, 200).await;
    isolated.end().await;
}

#[tokio::test]
async fn what_a_container_asks_for_is_checked() {
    let isolated = Isolated::new().await;
    let with = |change: &dyn Fn(&mut call::LaunchContainer)| {
        let mut call = launch(isolated.id(&["n"]), "true");
        change(call.launch_container.as_mut().expect("it is set"));
        call
    };
    // With limits of its own.
    let own = |resources: &[mesos::Resource], limits: &[(&str, f64)]| {
        let linux = mesos::LinuxInfo { share_cgroups: Some(false), ..Default::default() };
        let info = mesos::ContainerInfo { linux_info: Some(linux), ..Default::default() };
        with(&|it| {
            it.container = Some(info.clone());
            it.resources = resources.to_vec();
            let limit = |(name, value): &(&str, f64)| {
                ((*name).to_owned(), mesos::value::Scalar { value: *value })
            };
            it.limits = limits.iter().map(limit).collect();
        })
    };
    let share = |field: &str| {
        format!(
            "{PREFIX}'launch_container.{field}' must not be set for a container that shares the \
             cgroups of its parent; set 'share_cgroups' to false"
        )
    };
    let reserved = mesos::Resource { role: Some("web".to_owned()), ..scalar("cpus", 1.0) };
    let revocable = mesos::Resource {
        revocable: Some(mesos::resource::RevocableInfo::default()),
        ..scalar("cpus", 1.0)
    };
    let cpus = [scalar("cpus", 1.0)];
    let resource = |why: &str| format!("{PREFIX}'launch_container.resources': 'cpus' {why}");
    let limit = |why: &str| format!("{PREFIX}'launch_container.limits': {why}");
    let failed = |why: &str| format!("Failed to launch container: {why}");
    let gone = format!("container {}.gone does not run", isolated.root);
    let nobody = |it: &mut call::LaunchContainer| {
        it.command.as_mut().expect("one").user = Some("no-such-user".to_owned());
    };
    let limited = |it: &mut call::LaunchContainer| {
        it.limits.insert("cpus".to_owned(), mesos::value::Scalar { value: 1.0 });
    };
    isolated
        .refused(vec![
            (launch(isolated.id(&["gone", "n"]), "true"), 400, failed(&gone)),
            (launch(isolated.id(&["n"]), ""), 400, failed("the command has no value;")),
            (
                with(&|it| it.command = None),
                400,
                format!("{PREFIX}Expecting 'command' to be present"),
            ),
            (with(&nobody), 400, failed("user 'no-such-user' does not exist")),
            (with(&|it| it.resources = cpus.to_vec()), 400, share("resources")),
            (with(&limited), 400, share("limits")),
            (own(&[reserved], &[]), 400, resource("is reserved")),
            (own(&[revocable], &[]), 400, resource("is revocable")),
            (own(&[], &[("cpus", 1.0)]), 400, limit("'cpus' is not among the resources")),
            (own(&[], &[("disk", 1.0)]), 400, limit("'disk' cannot be limited")),
            (own(&cpus, &[("cpus", 0.5)]), 400, limit("'cpus' is limited to less")),
        ])
        .await;
    isolated.end().await;
}

#[tokio::test]
async fn only_streams_are_answered_as_streams() {
    let site = Site::new().await;
    let ask = async |headers: &[(&str, &str)], call: Value| {
        let mut request = client().post(site.url("/api/v1")).body(call.to_string());
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let health = json!({"type": "GET_HEALTH"});
    let (status, text) = ask(&[("accept", "application/recordio")], health.clone()).await;
    assert_eq!(
        (status, text.as_str()),
        (406, "Streaming 'Accept' application/recordio is not supported for GET_HEALTH call")
    );
    for headers in [
        &[("accept", "text/html")][..],
        &[("accept", "application/json"), ("message-accept", "application/json")],
        &[("message-accept", "application/json")],
        &[("accept", "application/recordio"), ("message-accept", "text/html")],
    ] {
        assert_eq!(ask(headers, health.clone()).await.0, 406, "{headers:?}");
    }
    site.end().await;
}
