//! An agent whose disk is divided by the projects of XFS. As root; where the kernel has no quotas of XFS
//! this says so and does nothing more.

use std::time::Duration;

use model::task::{Reason, TaskState};
use proto::mesos::v1 as mesos;
use serde_json::json;

use crate::master::AGENT;
use crate::xfs_disk::Disk;
use crate::{PATIENCE, Site, command_task};

/// Waits until so many projects are free.
async fn until_free(site: &Site, count: f64) {
    let name = "containerizer/mesos/disk/project_ids_free";
    let told = async {
        while site.get_json("/metrics/snapshot").await[name] != json!(count) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.unwrap_or_else(|_| panic!("there are never {count} free"));
}

#[tokio::test]
async fn a_task_past_its_share_of_a_divided_disk_is_told_of_it_and_its_share_is_free_again() {
    let Some(disk) = Disk::divided() else { return };
    let mut site = Site::with(|options| {
        options.work_dir.clone_from(&disk.at);
        options.isolation = Some("posix/cpu,posix/mem,disk/xfs".to_owned());
        options.enforce_container_disk_quota = true;
        options.xfs_kill_containers = true;
        options.container_disk_watch_interval = Duration::from_millis(20);
        options.disk_watch_interval = Duration::from_millis(50);
        options.gc_delay = Duration::ZERO;
    })
    .await;
    until_free(&site, 5_001.0).await;
    let mut task = command_task(AGENT, "t1", "head -c 12000000 /dev/zero > big; sleep 600");
    let scalar = Some(mesos::value::Scalar { value: 8.0 });
    task.resources.push(mesos::Resource {
        name: "disk".to_owned(),
        scalar,
        ..task.resources[0].clone()
    });
    site.master.launch(task);
    let status = site.master.status_of(TaskState::Failed).await;
    assert_eq!(status.reason, Some(Reason::ContainerLimitationDisk), "{status:?}");
    let message = "Disk limit exceeded: the container may take 8 MB";
    assert_eq!(status.message.as_deref(), Some(message));
    site.master.launch(command_task(AGENT, "t2", "sleep 600"));
    site.master.status_of(TaskState::Running).await;
    // The sandbox of the first is gone, and the second has one.
    until_free(&site, 5_000.0).await;
    site.end().await;
    drop(disk);
}
