//! Disks besides the one of the work directory: a mounted file system, and a directory.

use crate::harness::{PATIENCE, World, free_ports, until_async};
use crate::operations::{framework, of_kind, start_agent, volumes};
use crate::scheduler::Scheduler;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A file system in memory, for as long as it is held.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a directory");
        let (tmpfs, none): (_, Option<&str>) = (Some("tmpfs"), None);
        mount(tmpfs, &path, tmpfs, MsFlags::empty(), none).expect("these tests run as root");
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

fn disk(kind: &str, root: &Path, amount: f64) -> Value {
    let source = json!({"type": kind, kind.to_lowercase(): {"root": root}});
    let scalar = json!({"value": amount});
    json!({"name": "disk", "type": "SCALAR", "scalar": scalar, "disk": {"source": source}})
}

fn with(resource: &Value, field: &str, value: Value) -> Value {
    let mut resource = resource.clone();
    resource[field] = value;
    resource
}

fn volume(space: &Value, id: &str) -> Value {
    let mut volume = space.clone();
    volume["disk"]["persistence"] = json!({"id": id, "principal": "dba"});
    volume["disk"]["volume"] = json!({"container_path": id, "mode": "RW"});
    volume
}

fn task(offer: &Value, name: &str, command: &str, volumes: &[&Value]) -> Value {
    let scalar = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
    let mut resources = vec![scalar("cpus", 0.1), scalar("mem", 32.0)];
    resources.extend(volumes.iter().map(|volume| (*volume).clone()));
    let task = json!({
        "name": name, "task_id": {"value": name}, "agent_id": offer["agent_id"],
        "command": {"value": command}, "resources": resources,
    });
    json!({"type": "LAUNCH", "launch": {"task_infos": [task]}})
}

fn create(volumes: &[&Value], id: &str) -> Value {
    json!({"type": "CREATE", "id": {"value": id}, "create": {"volumes": volumes}})
}

/// What an agent says that does not start with these resources.
fn refused(world: &World, masters: &str, work_dir: &Path, resources: &str) -> String {
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_agora"));
    agent.args(["agent", "--ip=127.0.0.1", "--port=0"]);
    agent.arg(format!("--resources={resources}")).arg(format!("--master={masters}"));
    agent.arg(format!("--cgroups_root={}", world.cgroups_root));
    let output = agent.arg(format!("--work_dir={}", work_dir.display())).output();
    let output = output.expect("it runs");
    assert!(!output.status.success(), "{resources}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An offer with so many volumes. Others may be on their way, of before or of what is not in use.
async fn offer_with(scheduler: &mut Scheduler, count: usize) -> Value {
    loop {
        let offer = scheduler.offer().await;
        if volumes(&offer).len() == count {
            return offer;
        }
        scheduler.accept(&offer, json!([])).await;
    }
}

#[tokio::test]
async fn volumes_on_path_and_mount_disks_outlive_tasks_and_agents() {
    let world = World::new();
    let mounted = Mounted::at(world.path("mounted"));
    let directory = world.path("directory");
    fs::create_dir(&directory).expect("a directory");
    let (whole, divided) = (disk("MOUNT", &mounted.0, 64.0), disk("PATH", &directory, 128.0));
    let of_db = json!([{"type": "STATIC", "role": "db"}]);
    let mut list = json!([
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 256}},
        {"name": "disk", "type": "SCALAR", "scalar": {"value": 32}},
        whole,
        with(&divided, "reservations", of_db.clone()),
    ]);
    let file = world.path("resources.json");
    fs::write(&file, list.to_string()).expect("written");
    let flag = format!("file://{}", file.display());
    let port = free_ports(1)[0];
    let masters = format!("127.0.0.1:{port}");
    let master = world.start_master("master", port, &masters, &[]).await;
    let mut agent = start_agent(&world, &masters, &flag).await;
    world.leader(&[&master]).await;
    let mut scheduler = Scheduler::subscribe(&master.address, &framework()).await;

    let offer = scheduler.offer().await;
    let sources = of_kind(&offer, |it| !it["disk"]["source"].is_null());
    assert_eq!(sources.len(), 2, "{offer}");
    let by_db = json!([{"type": "DYNAMIC", "role": "db", "principal": "dba"}]);
    let reserved = with(&whole, "reservations", by_db.clone());
    let reserve = |resource: &Value, id: &str| {
        let reserve = json!({"resources": [resource]});
        json!({"type": "RESERVE", "id": {"value": id}, "reserve": reserve})
    };

    // Of a mounted disk there are no parts.
    let half = with(&reserved, "scalar", json!({"value": 32.0}));
    scheduler.accept(&offer, json!([reserve(&half, "half")])).await;
    scheduler.operation("half", "OPERATION_ERROR").await;

    let offer = scheduler.offer().await;
    let on_mount = volume(&reserved, "log");
    let slice = with(&divided, "scalar", json!({"value": 16.0}));
    let on_path = volume(&with(&slice, "reservations", of_db), "data");
    let write = "echo one > log/file && echo two > data/file && id -u > log/who";
    let operations = json!([
        reserve(&reserved, "reserve"),
        create(&[&on_mount, &on_path], "create"),
        task(&offer, "writer", write, &[&on_mount, &on_path]),
    ]);
    scheduler.accept(&offer, operations).await;
    scheduler.operation("reserve", "OPERATION_FINISHED").await;
    scheduler.operation("create", "OPERATION_FINISHED").await;
    scheduler.task("writer", "TASK_FINISHED").await;
    let data = directory.join("volumes/roles/db/data");
    assert_eq!(fs::read_to_string(mounted.0.join("file")).expect("written"), "one\n");
    assert_eq!(fs::read_to_string(data.join("file")).expect("written"), "two\n");

    // A list without the disk does not do, and neither does a disk that is not mounted.
    agent.kill();
    let kept = list[3].take();
    list[3] = json!({"name": "gpus", "type": "SCALAR", "scalar": {"value": 0}});
    for (list, why) in [
        (list.to_string(), "reservations and volumes that were made at run time need it"),
        (
            json!([disk("MOUNT", &directory, 1.0)]).to_string(),
            "element 1 ('disk'): nothing is mounted",
        ),
    ] {
        let said = refused(&world, &masters, &agent.work_dir, &list);
        assert!(said.contains(why), "{why}: {said}");
    }

    // With it, and with more than before, it does.
    list[3] = kept;
    list[2]["scalar"]["value"] = json!(48);
    fs::write(&file, list.to_string()).expect("written");
    let _agent = start_agent(&world, &masters, &flag).await;
    let info = with(&framework(), "id", scheduler.id.clone());
    let mut scheduler = Scheduler::subscribe(&master.address, &info).await;
    let offer = offer_with(&mut scheduler, 2).await;
    assert!([&on_mount, &on_path].iter().all(|it| volumes(&offer).contains(it)), "{offer}");
    // Only who has a volume sees it, wherever it is.
    let look = format!(
        "test $(cat log/file) = one && test ! -e {} && test ! -e data/file",
        data.join("file").display()
    );
    let reading = json!([task(&offer, "reader", &look, &[&on_mount])]);
    scheduler.accept(&offer, reading).await;
    scheduler.task("reader", "TASK_FINISHED").await;

    let offer = offer_with(&mut scheduler, 2).await;
    let destroy = json!({"volumes": [on_mount, on_path]});
    let unreserve = json!({"resources": [reserved]});
    let operations = json!([
        {"type": "DESTROY", "id": {"value": "destroy"}, "destroy": destroy},
        {"type": "UNRESERVE", "id": {"value": "undo"}, "unreserve": unreserve},
    ]);
    scheduler.accept(&offer, operations).await;
    scheduler.operation("destroy", "OPERATION_FINISHED").await;
    scheduler.operation("undo", "OPERATION_FINISHED").await;
    let offer = offer_with(&mut scheduler, 0).await;
    let back = of_kind(&offer, |it| !it["disk"]["source"].is_null());
    assert!(back.contains(&&whole), "{offer}");
    until_async("what was in the volumes is deleted", PATIENCE, async || {
        let put_aside = fs::read_dir(directory.join("volumes/removed")).ok()?.count();
        let on_mount = fs::read_dir(&mounted.0).expect("it is there still").count();
        (put_aside + on_mount == 0 && !data.exists()).then_some(())
    })
    .await;
}
