//! Tasks in containers of images, through the whole agent. As root.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agent::images::{Registries, Registry};
use agent::{ImageSettings, Options};
use model::task::{Reason, TaskState};
use proto::mesos::v1 as mesos;
use proto::mesos::v1::container_info::{MesosInfo, Type};
use serde_json::json;

use crate::image::busybox;
use crate::master::AGENT;
use crate::{Site, command_task};

/// An agent on which containers have files of their own, from images in `directory`.
fn with_images(options: &mut Options, directory: &Path) {
    let isolation = "namespaces/pid,namespaces/ipc,filesystem/linux,volume/host_path,\
                     volume/sandbox_path,linux/capabilities,linux/nnp,linux/seccomp";
    options.isolation = Some(isolation.to_owned());
    let default = Registry::Directory(directory.to_owned());
    let registries = Registries { default, ..Registries::default() };
    options.images = Some(ImageSettings { registries, ..ImageSettings::default() });
}

fn mesos_container(name: &str) -> mesos::ContainerInfo {
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
        container: Some(mesos_container("app:1")),
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
async fn a_task_whose_image_is_not_to_be_had_fails_and_says_why() {
    let images = tempfile::tempdir().expect("a directory");
    let mut site = Site::with(|options| with_images(options, images.path())).await;
    let task = mesos::TaskInfo {
        container: Some(mesos_container("none:1")),
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
