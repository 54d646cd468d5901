//! Tasks in containers of images, through the whole agent. As root.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agent::images::{Registries, Registry};
use agent::{ImageSettings, Options};
use model::task::{Reason, TaskState};
use proto::mesos::v1 as mesos;
use proto::mesos::v1::container_info::docker_info::Network;
use proto::mesos::v1::container_info::{MesosInfo, Type};
use serde_json::json;

use crate::containers::{Encoding, within};
use crate::image::busybox;
use crate::master::AGENT;
use crate::streams::on_terminal;
use crate::{Site, command_task};

/// An agent on which containers have files of their own, from images in `directory`.
pub(crate) fn with_images(options: &mut Options, directory: &Path) {
    let isolation = "namespaces/pid,namespaces/ipc,filesystem/linux,network/cni,volume/host_path,\
                     volume/sandbox_path,volume/image,linux/capabilities,linux/nnp,linux/seccomp";
    options.isolation = Some(isolation.to_owned());
    let default = Registry::Directory(directory.to_owned());
    let registries = Registries { default, ..Registries::default() };
    options.images = Some(ImageSettings { registries, ..ImageSettings::default() });
}

pub(crate) fn mesos_container(name: &str) -> mesos::ContainerInfo {
    let docker = mesos::image::Docker { name: name.to_owned(), ..Default::default() };
    let image = mesos::Image {
        r#type: mesos::image::Type::Docker.into(),
        docker: Some(docker),
        ..mesos::Image::default()
    };
    mesos::ContainerInfo {
        r#type: Type::Mesos.into(),
        mesos: Some(MesosInfo { image: Some(image) }),
        ..mesos::ContainerInfo::default()
    }
}

#[tokio::test]
async fn a_task_runs_in_the_files_of_its_image_as_the_image_says() {
    let images = tempfile::tempdir().expect("a directory");
    let config = json!({"User": "web", "WorkingDir": "/home/web", "Entrypoint": ["/bin/sh", "-c"],
                        "Env": ["PATH=/bin", "COLOUR=green", "SIZE=1", "LD_PRELOAD=/none.so"],
                        "Cmd": ["pwd; id; env; cat /old/new; ls /; touch /mnt/mesos/sandbox/file"]});
    busybox(&config).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let variable = mesos::environment::Variable {
        name: "SIZE".to_owned(),
        value: Some("2".to_owned()),
        ..mesos::environment::Variable::default()
    };
    let task = mesos::TaskInfo {
        command: Some(mesos::CommandInfo {
            shell: Some(false),
            environment: Some(mesos::Environment { variables: vec![variable] }),
            ..mesos::CommandInfo::default()
        }),
        container: Some(mesos_container("app:1").into()),
        ..command_task(AGENT, "t1", "")
    };
    site.master.launch(task);
    let status = site.master.status_of(TaskState::Finished).await;
    assert_eq!(status.message.as_deref(), Some("Command exited with status 0"));
    let output = site.sandbox_file("t1", "stdout").await;
    let has = |line: &str| assert!(output.lines().any(|it| it == line), "{line}: {output}");
    for line in [
        "/home/web",
        "uid=1234(web) gid=1235(web) groups=77(logs),1235(web)",
        "COLOUR=green",
        "SIZE=2",
        "PATH=/bin",
        "HOME=/home/web",
        "MESOS_SANDBOX=/mnt/mesos/sandbox",
        "MESOS_TASK_ID=t1",
        "new",
    ] {
        has(line);
    }
    assert!(!output.contains("AGORA_IMAGE") && !output.contains("\nusr\n"), "{output}");
    let sandbox = output.lines().find_map(|line| line.strip_prefix("MESOS_DIRECTORY="));
    let sandbox = Path::new(sandbox.expect("it is told where that is outside"));
    assert_eq!(sandbox.join("file").metadata().expect("it was made").uid(), 1234);
    site.end().await;
}

#[tokio::test]
async fn a_session_sees_the_files_of_an_image_and_the_environment_of_its_task() {
    let images = tempfile::tempdir().expect("a directory");
    let config = json!({"User": "web", "WorkingDir": "/home/web", "Entrypoint": ["/bin/sh", "-c"],
                        "Env": ["PATH=/bin", "COLOUR=green", "SIZE=1"], "Cmd": ["sleep 1000"]});
    busybox(&config).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let secret = mesos::Secret {
        r#type: Some(mesos::secret::Type::Value.into()),
        value: Some(mesos::secret::Value { data: b"2".to_vec().into() }),
        ..mesos::Secret::default()
    };
    let variable = mesos::environment::Variable {
        name: "SIZE".to_owned(),
        r#type: Some(mesos::environment::variable::Type::Secret.into()),
        secret: Some(secret),
        ..mesos::environment::Variable::default()
    };
    site.master.launch(mesos::TaskInfo {
        command: Some(mesos::CommandInfo {
            shell: Some(false),
            environment: Some(mesos::Environment { variables: vec![variable] }),
            ..mesos::CommandInfo::default()
        }),
        container: Some(mesos_container("app:1").into()),
        ..command_task(AGENT, "t1", "")
    });
    site.master.status_of(TaskState::Running).await;
    let root = mesos::ContainerId { value: site.container_of("t1").await, parent: None };
    let command = "pwd; id -un; echo $COLOUR $SIZE $MESOS_TASK_ID $MESOS_SANDBOX; cat /old/new; \
                   echo ${AGORA_IMAGE-none}; ls $MESOS_SANDBOX/stdout; exec 3<>/dev/tty && test -t 3 \
                   && echo controlled; cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
    let call = on_terminal(within(root, "s"), command, 20, 70);
    let (output, _) = site.output(&call, Encoding::Protobuf).await.whole().await;
    let lines: Vec<&str> = output.split("\r\n").collect();
    let seen = ["/home/web", "web", "green 2 t1 /mnt/mesos/sandbox", "new", "none"];
    assert_eq!(lines[..5], seen, "{output}");
    assert_eq!(lines[5..7], ["/mnt/mesos/sandbox/stdout", "controlled"], "{output}");
    assert!(lines[7].contains("sleep 1000"), "{output}");
    site.end().await;
}

#[tokio::test]
async fn a_task_whose_image_is_not_to_be_had_fails_and_says_why() {
    let images = tempfile::tempdir().expect("a directory");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let task = mesos::TaskInfo {
        container: Some(mesos_container("none:1").into()),
        ..command_task(AGENT, "t1", "true")
    };
    site.master.launch(task);
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.reason, Some(Reason::ContainerLaunchFailed));
    let message = status.message.unwrap_or_default();
    assert!(
        message.starts_with("cannot use image 'none:1': there is no such image in"),
        "{message}"
    );
    site.end().await;
}

#[tokio::test]
async fn a_task_sees_an_image_as_a_volume() {
    let images = tempfile::tempdir().expect("a directory");
    busybox(&json!({})).write_layout(&images.path().join("pages:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let task = |id: &str, image: &str| {
        let image = mesos_container(image).mesos.and_then(|mesos| mesos.image);
        let mut volume =
            mesos::Volume { container_path: "pages".to_owned(), image, ..Default::default() };
        volume.set_mode(mesos::volume::Mode::Ro);
        let container = mesos::ContainerInfo {
            r#type: Type::Mesos.into(),
            volumes: vec![volume],
            ..mesos::ContainerInfo::default()
        };
        mesos::TaskInfo {
            container: Some(container.into()),
            ..command_task(AGENT, id, "cat pages/old/new && ! touch pages/own")
        }
    };
    site.master.launch(task("t1", "pages:1"));
    site.master.status_of(TaskState::Finished).await;
    assert!(site.sandbox_file("t1", "stdout").await.ends_with("new\n"));
    site.master.launch(task("t2", "none:1"));
    let status = site.master.status_of(TaskState::Failed).await;
    let message = status.message.unwrap_or_default();
    assert!(message.starts_with("volume 'pages': cannot use image 'none:1'"), "{message}");
    site.end().await;
}

/// A container of type DOCKER with parameters.
pub(crate) fn docker_container(name: &str, parameters: &[(&str, &str)]) -> mesos::ContainerInfo {
    let parameters = parameters.iter().map(|(key, value)| mesos::Parameter {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    });
    let docker = mesos::container_info::DockerInfo {
        image: name.to_owned(),
        parameters: parameters.collect(),
        force_pull_image: Some(true),
        ..mesos::container_info::DockerInfo::default()
    };
    mesos::ContainerInfo {
        r#type: Type::Docker.into(),
        docker: Some(docker),
        ..mesos::ContainerInfo::default()
    }
}

#[tokio::test]
async fn a_container_meant_for_docker_runs_as_docker_would_run_it() {
    let images = tempfile::tempdir().expect("a directory");
    let config = json!({"Entrypoint": ["/bin/sh", "-c", "pwd; id -u; hostname; cat /etc/hosts; env; cat $0"],
                        "Cmd": ["/none"], "Env": ["PATH=/bin", "SIZE=1"]});
    busybox(&config).write_layout(&images.path().join("app:1"), "1");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let parameters = [
        ("env", "SIZE=2"),
        ("hostname", "docked"),
        ("add-host", "db:10.0.0.1"),
        ("cap-drop", "ALL"),
        ("ulimit", "nofile=100:100"),
        ("label", "a=b"),
    ];
    let task = |id: &str, parameters: &[(&str, &str)]| mesos::TaskInfo {
        command: Some(mesos::CommandInfo {
            shell: Some(false),
            arguments: vec!["/old/new".to_owned()],
            ..mesos::CommandInfo::default()
        }),
        container: Some(docker_container("app:1", parameters).into()),
        ..command_task(AGENT, id, "")
    };
    site.master.launch(task("t1", &parameters));
    site.master.status_of(TaskState::Finished).await;
    let output = site.sandbox_file("t1", "stdout").await;
    assert!(output.starts_with("/\n0\ndocked\n"), "{output}");
    for line in ["10.0.0.1 db", "SIZE=2", "HOME=/root", "MESOS_SANDBOX=/mnt/mesos/sandbox"] {
        assert!(output.lines().any(|it| it == line), "{line}: {output}");
    }
    assert!(output.contains("MESOS_CONTAINER_NAME=mesos-"), "{output}");
    assert!(output.ends_with("\nnew\n"), "{output}");

    site.master.launch(task("t2", &[("log-driver", "syslog")]));
    let status = site.master.status_of(TaskState::Failed).await;
    let message = status.message.unwrap_or_default();
    assert!(
        message.starts_with("docker parameter 'log-driver': this agent has nothing for it"),
        "{message}"
    );

    // Alone in a network its executor reaches the agent by the socket in the sandbox.
    let mut alone = task("t3", &[]);
    let docker = alone.container.as_mut().and_then(|container| container.docker.as_mut());
    docker.expect("it is set").set_network(Network::None);
    site.master.launch(alone);
    site.master.status_of(TaskState::Finished).await;

    let prune = json!({"type": "PRUNE_IMAGES", "prune_images": {"excluded_images": [
        {"type": "DOCKER", "docker": {"name": "app:1"}}]}});
    let layers = site.work_dir.path().join("store/docker/layers");
    let count = || std::fs::read_dir(&layers).expect("it is there").count();
    assert_eq!(operator(&site, &prune).await, 200);
    assert_eq!(count(), 2);
    let metrics = site.get_json("/metrics/snapshot").await;
    let pulls = "containerizer/mesos/provisioner/docker_store/image_pull_ms/count";
    assert_eq!(metrics[pulls], 2.0, "{metrics}");
    let prune = json!({"type": "PRUNE_IMAGES", "prune_images": {}});
    // What has ended is soon forgotten.
    let until = std::time::Instant::now() + crate::PATIENCE;
    while count() > 0 {
        assert!(std::time::Instant::now() < until, "they are still there");
        assert_eq!(operator(&site, &prune).await, 200);
    }
    site.end().await;
}

/// The status that an operator's call is answered with.
async fn operator(site: &Site, call: &serde_json::Value) -> u16 {
    let request = crate::client()
        .post(site.url("/api/v1"))
        .header("content-type", "application/json")
        .body(call.to_string());
    request.send().await.expect("an answer").status().as_u16()
}
