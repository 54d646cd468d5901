//! Whom checks by commands run as, in real containers. As root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent::launcher::Identity;
use model::task::{Status, TaskState};
use proto::mesos::v1 as mesos;
use serde_json::json;

use crate::acls::OTHER;
use crate::containers::shell;
use crate::image::busybox;
use crate::images::{mesos_container, with_images};
use crate::master::AGENT;
use crate::{Site, command_task, pods};

/// A user that is neither whom the task runs as nor [`OTHER`].
const THIRD: &str = "daemon";

/// Fails if somebody else runs it. An image may not know the user's name.
fn only_as(user: &str) -> String {
    let Identity { uid, gid, .. } = Identity::of(user).expect("every machine has that one");
    format!("test $(id -u):$(id -g) = {uid}:{gid}")
}

fn as_user(command: &str, user: &str) -> mesos::CommandInfo {
    mesos::CommandInfo { user: Some(user.to_owned()), ..shell(command) }
}

/// A health check by a command, made over and over, that the first failure decides.
pub(crate) fn often(command: mesos::CommandInfo) -> mesos::HealthCheck {
    mesos::HealthCheck {
        r#type: Some(mesos::health_check::Type::Command.into()),
        command: Some(command),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.05),
        timeout_seconds: Some(30.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(1),
        ..mesos::HealthCheck::default()
    }
}

/// A task that runs as `user` and has a health check that runs `command` as `other`, over and over.
fn checked(id: &str, user: &str, command: &str, other: &str) -> mesos::TaskInfo {
    let mut task = command_task(AGENT, id, &format!("{} && sleep 600", only_as(user)));
    task.command.as_mut().expect("it has one").user = Some(user.to_owned());
    task.health_check = Some(Box::new(often(as_user(command, other))));
    task
}

/// With a check beside, which says by its exit code whether `user` runs it.
fn with_check(task: mesos::TaskInfo, user: &str) -> mesos::TaskInfo {
    let command = mesos::check_info::Command { command: as_user(&only_as(user), user) };
    let check = mesos::CheckInfo {
        r#type: Some(mesos::check_info::Type::Command.into()),
        command: Some(command),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.05),
        timeout_seconds: Some(30.0),
        ..mesos::CheckInfo::default()
    };
    mesos::TaskInfo { check: Some(Box::new(check)), ..task }
}

/// Where a check is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// In the container of a task that is alone.
    Alone,
    /// In that of the executor of its group.
    Group,
    /// In a container of its own in that, which has an image.
    Own,
}

/// Launches a task in its place.
fn launch(site: &Site, task: mesos::TaskInfo, place: Place) {
    // One that has ended its last task takes no more.
    let executor_id = mesos::ExecutorId { value: format!("{place:?}") };
    let executor = mesos::ExecutorInfo { executor_id, ..pods::executor() };
    match place {
        Place::Alone => site.master.launch(task),
        Place::Group => site.master.launch_group(executor, vec![task]),
        Place::Own => {
            let container = Some(Box::new(mesos_container("app:1")));
            site.master.launch_group(executor, vec![mesos::TaskInfo { container, ..task }]);
        }
    }
}

/// An agent whose containers have processes, files and rights of their own.
async fn site(images: &Path) -> Site {
    // Where everybody may start.
    let config = json!({"Env": ["PATH=/bin"], "WorkingDir": "/"});
    busybox(&config).write_layout(&images.join("app:1"), "1");
    Site::with(|options| with_images(options, images)).await
}

/// What a check has told of the task: its exit code.
fn code(status: &Status) -> Option<i32> {
    let wire = proto::convert::task::status_to_wire(status);
    wire.check_status.and_then(|it| it.command).and_then(|it| it.exit_code)
}

#[tokio::test]
async fn checks_run_as_the_users_that_they_name() {
    let images = tempfile::tempdir().expect("a directory");
    let mut site = site(images.path()).await;
    for place in [Place::Alone, Place::Group, Place::Own] {
        let task = with_check(checked("t", "root", &only_as(OTHER), OTHER), THIRD);
        launch(&site, task, place);
        let mut status = site.master.status_of(TaskState::Running).await;
        while status.healthy.is_none() || code(&status).is_none() {
            status = site.master.status_of(TaskState::Running).await;
        }
        assert_eq!((status.healthy, code(&status)), (Some(true), Some(0)), "{place:?}");
        site.master.kill("t");
        site.master.status_of(TaskState::Killed).await;
    }
    site.end().await;
}

#[tokio::test]
async fn a_check_makes_nobody_root_who_may_not_become_it() {
    let images = tempfile::tempdir().expect("a directory");
    let mut site = site(images.path()).await;
    // Its sandbox is for it to enter.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(site.work_dir.path(), open).expect("it is ours");
    // It cannot be made, whatever its command would say.
    launch(&site, checked("t", OTHER, "true", "root"), Place::Alone);
    let killed = site.master.status_of(TaskState::Killed).await;
    assert_eq!(killed.healthy, Some(false));
    site.end().await;
}
