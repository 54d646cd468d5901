//! Tasks of groups: what they share, and what each has in a container of its own. As root.

use std::fs;
use std::path::PathBuf;

use model::task::{Reason, Status, TaskState};
use proto::mesos::v1 as mesos;
use proto::mesos::v1::volume::source::{SandboxPath, Type as SourceType, sandbox_path};
use serde_json::json;

use crate::checks::often;
use crate::containers::{Encoding, shell};
use crate::image::busybox;
use crate::images::{mesos_container, with_images};
use crate::master::AGENT;
use crate::streams::{attach_output, resized, typed, with_terminal};
use crate::volumes::{make, volume};
use crate::{FRAMEWORK, Site, command_task, eventually, resources};

/// The executor of all groups here.
pub(crate) fn executor() -> mesos::ExecutorInfo {
    let mut resources = resources(0.1, 32.0);
    let scalar = Some(mesos::value::Scalar { value: 10.0 });
    resources.push(mesos::Resource { name: "disk".to_owned(), scalar, ..resources[0].clone() });
    mesos::ExecutorInfo {
        r#type: Some(mesos::executor_info::Type::Default.into()),
        executor_id: mesos::ExecutorId { value: "e1".to_owned() },
        framework_id: Some(mesos::FrameworkId { value: FRAMEWORK.to_owned() }),
        resources,
        ..mesos::ExecutorInfo::default()
    }
}

/// A volume in the sandbox of the executor, which all of its tasks can have.
fn shared(path: &str, at: &str) -> mesos::Volume {
    let source = mesos::volume::Source {
        r#type: Some(SourceType::SandboxPath.into()),
        sandbox_path: Some(SandboxPath {
            r#type: Some(sandbox_path::Type::Parent.into()),
            path: path.to_owned(),
        }),
        ..mesos::volume::Source::default()
    };
    mesos::Volume {
        mode: mesos::volume::Mode::Rw.into(),
        container_path: at.to_owned(),
        source: Some(source),
        ..mesos::Volume::default()
    }
}

/// A task in files of `image`, which has the group's volume at `/shared`.
fn of_image(id: &str, image: &str, command: &str) -> mesos::TaskInfo {
    let volumes = vec![shared("common", "/shared")];
    mesos::TaskInfo {
        container: Some(Box::new(mesos::ContainerInfo { volumes, ..mesos_container(image) })),
        ..command_task(AGENT, id, command)
    }
}

/// The container that a report says its task is in.
fn container_in(status: &Status) -> mesos::ContainerId {
    let wire = proto::convert::task::status_to_wire(status);
    let told = wire.container_status.and_then(|it| it.container_id);
    told.expect("it is told")
}

impl Site {
    /// Where a task's container has its sandbox.
    fn sandbox_of(&self, container: &mesos::ContainerId) -> PathBuf {
        let root = &container.parent.as_ref().expect("it is in its executor's").value;
        let of_executor =
            format!("slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/e1/runs/{root}/containers");
        self.work_dir.path().join(of_executor).join(&container.value)
    }

    /// Hears reports until one of this task is of `state`.
    async fn status_of_task(&mut self, task: &str, state: TaskState) -> Status {
        loop {
            let status = self.master.status().await;
            if status.task.as_str() == task && status.state == state {
                return status;
            }
            let is_other = status.task.as_str() != task;
            assert!(is_other || !status.state.is_terminal(), "{status:?}");
        }
    }
}

#[tokio::test]
async fn tasks_of_a_group_run_in_images_of_their_own_and_share_network_and_volumes() {
    let images = tempfile::tempdir().expect("a directory");
    let config = json!({"User": "web", "WorkingDir": "/home/web", "Entrypoint": ["/bin/sh", "-c"],
        "Env": ["PATH=/bin", "COLOUR=green", "SIZE=1"],
        "Cmd": ["pwd; id -u; env; cat /old/new; ls /; cat /shared/word; while ! test -e /shared/end; do sleep 0.02; done; exit 4"]});
    busybox(&config).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let mut app = of_image("app", "app:1", "");
    app.command = Some(mesos::CommandInfo {
        shell: Some(false),
        environment: Some(mesos::Environment {
            variables: vec![mesos::environment::Variable {
                name: "SIZE".to_owned(),
                value: Some("2".to_owned()),
                ..mesos::environment::Variable::default()
            }],
        }),
        ..mesos::CommandInfo::default()
    });
    // A plain one beside it, in the files of the machine and the same volume.
    let writer = "echo said > data/word; readlink /proc/self/ns/net > data/net; touch data/done; exec sleep 600";
    let mut beside = command_task(AGENT, "side", writer);
    beside.container = Some(Box::new(mesos::ContainerInfo {
        r#type: mesos::container_info::Type::Mesos.into(),
        volumes: vec![shared("common", "data")],
        ..mesos::ContainerInfo::default()
    }));
    site.master.launch_group(executor(), vec![beside]);
    let running = site.status_of_task("side", TaskState::Running).await;
    let common = site.sandbox_of(&container_in(&running));
    let common = common.ancestors().nth(2).expect("its executor's").join("common");
    eventually("it has written", || common.join("done").exists()).await;
    let network = fs::read_link("/proc/self/ns/net").expect("a link").display().to_string();
    let theirs = fs::read_to_string(common.join("net")).expect("it is written");
    assert_eq!(theirs.trim(), network, "its executor's, which is the machine's");
    // Everybody may write to what several users share, if it is let.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&common, mode).expect("it is ours");
    site.master.launch_group(executor(), vec![app]);
    let running = site.status_of_task("app", TaskState::Running).await;
    let container = container_in(&running);
    let sandbox = site.sandbox_of(&container);
    let printed = || fs::read_to_string(sandbox.join("stdout")).unwrap_or_default();
    eventually("it has read", || printed().ends_with("said\n")).await;
    let output = printed();
    let has = |line: &str| assert!(output.lines().any(|it| it == line), "{line}: {output}");
    assert!(output.starts_with("/home/web\n1234\n"), "{output}");
    for line in [
        "COLOUR=green",
        "SIZE=2",
        "HOME=/home/web",
        "MESOS_TASK_ID=app",
        "new",
        "MESOS_SANDBOX=/mnt/mesos/sandbox",
        "MESOS_EXECUTOR_ID=e1",
    ] {
        has(line);
    }
    assert!(!output.contains("AGORA_IMAGE") && !output.contains("\nusr\n"), "{output}");
    assert!(!output.contains("TOKEN") && !output.contains("MESOS_DIRECTORY"), "{output}");

    // It outlives the agent, which hears of its end all the same.
    let mut site = site.restarted_with(|options| with_images(options, images.path())).await;
    site.master.reregister().await;
    fs::write(common.join("end"), "").expect("it is there");
    let failed = site.status_of_task("app", TaskState::Failed).await;
    assert_eq!(failed.message.as_deref(), Some("Command exited with status 4"));
    assert_eq!(container_in(&failed), container);
    // The other one is of another group.
    site.master.kill("side");
    site.status_of_task("side", TaskState::Killed).await;
    site.end().await;
}

#[tokio::test]
async fn a_task_of_a_group_that_cannot_start_takes_the_others_with_it() {
    let images = tempfile::tempdir().expect("a directory");
    busybox(&json!({"Env": ["PATH=/bin"]})).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let tasks = vec![of_image("none", "none:1", "true"), of_image("good", "app:1", "sleep 600")];
    site.master.launch_group(executor(), tasks);
    let mut over = Vec::new();
    while over.len() < 2 {
        let status = site.master.status().await;
        if status.state.is_terminal() {
            over.push((status.task.to_string(), status.state, status.reason));
        }
    }
    over.sort();
    assert_eq!(over[0], ("good".to_owned(), TaskState::Killed, None));
    let reason = Some(Reason::ContainerLaunchFailed);
    assert_eq!(over[1], ("none".to_owned(), TaskState::Failed, reason));
    site.end().await;
}

#[tokio::test]
async fn a_task_of_a_group_is_checked_inside_of_its_image() {
    let images = tempfile::tempdir().expect("a directory");
    busybox(&json!({"Env": ["PATH=/bin"]})).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let mut task = of_image("app", "app:1", "sleep 600");
    // Of the image, and with the task's environment.
    let command = "test -e /old/new && test \"$MESOS_TASK_ID\" = app && ! test -e /shared/ill";
    task.health_check = Some(Box::new(often(shell(command))));
    site.master.launch_group(executor(), vec![task]);
    let mut status = site.status_of_task("app", TaskState::Running).await;
    let common = site.sandbox_of(&container_in(&status));
    let common = common.ancestors().nth(2).expect("its executor's").join("common");
    while status.healthy.is_none() {
        status = site.status_of_task("app", TaskState::Running).await;
    }
    assert_eq!(status.healthy, Some(true));
    fs::write(common.join("ill"), "").expect("it is there");
    let killed = site.status_of_task("app", TaskState::Killed).await;
    assert_eq!(killed.healthy, Some(false));
    site.end().await;
}

#[tokio::test]
async fn a_task_of_a_group_is_attached_to_at_its_own_terminal() {
    let images = tempfile::tempdir().expect("a directory");
    busybox(&json!({"Env": ["PATH=/bin"]})).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let look = "exec 3<>/dev/tty && test -t 3 && echo controlled; while read line; do echo got $line; done";
    let mut task = of_image("app", "app:1", look);
    let container = task.container.as_mut().expect("it has one");
    container.tty_info = with_terminal(20, 70).tty_info;
    // The other one has none.
    let plain = of_image("plain", "app:1", "test -t 0 || echo none > /shared/plain; sleep 600");
    site.master.launch_group(executor(), vec![task, plain]);
    let running = site.status_of_task("app", TaskState::Running).await;
    let container = container_in(&running);
    let mut output = site.output(&attach_output(container.clone()), Encoding::Protobuf).await;
    let typist = site.types(&container, Encoding::Protobuf).await;
    typist.sends(&resized(10, 30)).await;
    typist.sends(&typed("word\n")).await;
    output.until("got word\r\n").await;
    let sandbox = site.sandbox_of(&container);
    let printed = fs::read_to_string(sandbox.join("stdout")).expect("it is written too");
    assert!(printed.starts_with("controlled\r\n"), "{printed}");
    let plain = sandbox.ancestors().nth(2).expect("its executor's").join("common/plain");
    eventually("the other has none", || plain.exists()).await;
    // An end of the input is the end of the task, and that its group goes on.
    typist.sends(&typed("")).await;
    site.status_of_task("app", TaskState::Finished).await;
    site.master.kill("plain");
    site.status_of_task("plain", TaskState::Killed).await;
    site.end().await;
}

#[tokio::test]
async fn tasks_of_later_groups_have_persistent_volumes_of_their_own() {
    let images = tempfile::tempdir().expect("a directory");
    busybox(&json!({"Env": ["PATH=/bin"]})).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| {
        with_images(options, images.path());
        options.resources = Some("cpus:4;mem:4096;disk:64;disk(web):128".to_owned());
    })
    .await;
    let (first, second) = (volume("v1", "data"), volume("v2", "data"));
    let places = [make(&site, 1, &first), make(&site, 2, &second)];
    let with = |mut task: mesos::TaskInfo, volume: mesos::Resource| {
        task.resources.push(volume);
        task
    };
    let write = "echo $MESOS_TASK_ID > data/who; while ! test -e data/end; do sleep 0.02; done";
    let plain = with(command_task(AGENT, "plain", write), first.clone());
    site.master.launch_group(executor(), vec![plain]);
    site.status_of_task("plain", TaskState::Running).await;
    let of_image = with(of_image("image", "app:1", write), second);
    site.master.launch_group(executor(), vec![of_image]);
    site.status_of_task("image", TaskState::Running).await;
    for (place, name) in places.iter().zip(["plain", "image"]) {
        let who = || fs::read_to_string(place.join("who")).unwrap_or_default();
        eventually("it is written", || who() == format!("{name}\n")).await;
    }
    for (place, name) in places.iter().zip(["plain", "image"]) {
        fs::write(place.join("end"), "").expect("it is there");
        site.status_of_task(name, TaskState::Finished).await;
    }
    site.end().await;
}
