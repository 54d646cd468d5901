//! Persistent volumes of tasks that join an executor which runs already. As root.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use model::ids::OperationUuid;
use model::link::ToAgent;
use model::operation::{Conversion, Operation};
use model::task::TaskState;
use proto::mesos::v1 as mesos;
use serde_json::{Value, json};

use crate::master::AGENT;
use crate::{FRAMEWORK, PATIENCE, Site, command_task, eventually, executor_task, update};

/// A volume of 32 MiB that is called `id` and seen at `at`.
pub(crate) fn volume(id: &str, at: &str) -> mesos::Resource {
    let json = json!({
        "name": "disk", "type": "SCALAR", "scalar": {"value": 32.0},
        "reservations": [{"type": "STATIC", "role": "web"}],
        "disk": {"persistence": {"id": id}, "volume": {"mode": "RW", "container_path": at}},
    });
    proto::json::from_slice(json.to_string().as_bytes()).expect("well formed")
}

/// Has the agent make a volume, and says where it is.
pub(crate) fn make(site: &Site, number: u8, volume: &mesos::Resource) -> PathBuf {
    let made = proto::convert::resources::from_wire(std::slice::from_ref(volume));
    let operation = Operation {
        uuid: OperationUuid([number; 16]),
        framework: None,
        id: None,
        conversion: Conversion::Create(made.expect("well formed")),
    };
    site.master.say(&ToAgent::Apply(Box::new(operation)));
    let id = volume.disk.as_ref().and_then(|disk| disk.persistence.as_ref()).map(|it| &it.id);
    site.work_dir.path().join("volumes/roles/web").join(id.expect("it has one"))
}

#[tokio::test]
async fn a_task_that_joins_a_running_executor_finds_its_volume_there() {
    let mut site = Site::with(|options| {
        options.isolation = Some("namespaces/pid,filesystem/linux".to_owned());
        options.resources = Some("cpus:4;mem:4096;disk(web):128".to_owned());
    })
    .await;
    let volume = volume("v1", "data");
    let place = make(&site, 1, &volume);
    let mut first = executor_task(AGENT, "t1", "e1");
    let executor = first.executor.as_mut().expect("it has one");
    executor.command.as_mut().expect("it has one").value = Some(
        "while ! test -e told; do sleep 0.01; done; echo said > data/word; \
         while test -e data/word; do sleep 0.01; done; touch gone; exec sleep 600"
            .to_owned(),
    );
    let second =
        mesos::TaskInfo { executor: first.executor.clone(), ..executor_task(AGENT, "t2", "e1") };
    let second = mesos::TaskInfo {
        resources: second.resources.iter().cloned().chain([volume]).collect(),
        ..second
    };
    site.master.launch(first);
    site.launched("e1").await;
    let mut events = site.subscribe("e1", json!({})).await;
    events.expect("SUBSCRIBED").await;
    events.expect("LAUNCH").await;
    site.master.launch(second);
    events.expect("LAUNCH").await;
    // It is told, so it has it.
    let run = format!("slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/e1/runs/latest");
    let sandbox = site.work_dir.path().join(run);
    fs::write(sandbox.join("told"), "").expect("the sandbox is there");
    let word = place.join("word");
    let written = || fs::read_to_string(&word).is_ok_and(|text| text == "said\n");
    eventually("it is written to the volume", written).await;
    assert_eq!(site.call(&update("e1", "t2", "TASK_FINISHED", 1)).await.0, 202);
    site.master.status_of(TaskState::Finished).await;
    eventually("it is gone with its task", || sandbox.join("gone").exists()).await;
    assert!(word.exists(), "and nowhere else");
    site.end().await;
}

/// What is told of volumes once the first one takes so much.
async fn disks_until_used(site: &Site, bytes: u64) -> Value {
    loop {
        let all = site.get_json("/containers").await;
        let disks = all[0]["statistics"]["disk_statistics"].clone();
        if disks[0]["used_bytes"].as_u64().is_some_and(|used| used >= bytes) {
            return disks;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_volume_takes_is_told_with_what_it_is() {
    let mut site = Site::with(|options| {
        options.isolation = Some("posix/cpu,filesystem/posix,disk/du".to_owned());
        options.resources = Some("cpus:4;mem:4096;disk(web):128".to_owned());
        options.container_disk_watch_interval = Duration::from_millis(20);
    })
    .await;
    let volume = volume("v1", "data");
    make(&site, 1, &volume);
    let mut task = command_task(AGENT, "t1", "head -c 3000000 /dev/zero > data/file; sleep 600");
    task.resources.push(volume);
    site.master.launch(task);
    site.master.status_of(TaskState::Running).await;
    let told = disks_until_used(&site, 3_000_000);
    let mut disks = tokio::time::timeout(PATIENCE, told).await.expect("it is told");
    let used = disks[0]["used_bytes"].take();
    assert!(used.as_u64().is_some_and(|used| used < 4_000_000), "{used}");
    let expected = json!([{
        "persistence": {"id": "v1"}, "limit_bytes": 32 << 20, "used_bytes": null,
    }]);
    assert_eq!(disks, expected);
    site.end().await;
}
