//! Tasks in networks of their own, which have no way to their agent's port.

use std::fs;
use std::path::Path;
use std::process::Command;

use agent::Options;
use model::task::TaskState;
use proto::mesos::v1 as mesos;
use serde_json::{Value, json};

use crate::master::AGENT;
use crate::{FRAMEWORK, Site, client, command_task};

/// A bridge without any way out.
struct Network {
    bridge: String,
}

impl Network {
    fn new(dir: &Path) -> Self {
        let bridge = format!("aga{}", std::process::id());
        let config = json!({"cniVersion": "0.4.0", "name": "blue", "type": "bridge",
            "bridge": bridge,
            "ipam": {"type": "host-local", "subnet": "198.18.7.0/24", "dataDir": dir.join("leases")}});
        fs::write(dir.join("blue.conf"), config.to_string()).expect("it is written");
        Self { bridge }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).status();
    }
}

fn set(options: &mut Options, dir: &Path) {
    options.isolation = Some("namespaces/pid,filesystem/linux,network/cni".to_owned());
    options.network_cni_config_dir = Some(dir.to_owned());
}

/// Serves `/up` while there is a file of that name, and is looked at every 50 milliseconds.
fn task() -> mesos::TaskInfo {
    let check = mesos::health_check::HttpCheckInfo {
        port: 8_000,
        path: Some("/up".to_owned()),
        ..mesos::health_check::HttpCheckInfo::default()
    };
    let info = mesos::NetworkInfo { name: Some("blue".to_owned()), ..Default::default() };
    mesos::TaskInfo {
        health_check: Some(Box::new(mesos::HealthCheck {
            r#type: Some(mesos::health_check::Type::Http.into()),
            http: Some(check),
            delay_seconds: Some(0.0),
            interval_seconds: Some(0.05),
            grace_period_seconds: Some(600.0),
            consecutive_failures: Some(1_000_000),
            ..mesos::HealthCheck::default()
        })),
        container: Some(Box::new(mesos::ContainerInfo {
            r#type: mesos::container_info::Type::Mesos.into(),
            network_infos: vec![info],
            ..mesos::ContainerInfo::default()
        })),
        ..command_task(AGENT, "t1", "touch up; exec /usr/bin/python3 -m http.server 8000")
    }
}

fn networks(status: &model::task::Status) -> Vec<mesos::NetworkInfo> {
    let wire: mesos::TaskStatus = proto::convert::unpack_own(&status.rest);
    wire.container_status.expect("the agent knows the container").network_infos
}

#[tokio::test]
async fn a_task_in_its_own_network_is_led_and_checked_also_after_a_restart_of_its_agent() {
    let dir = tempfile::tempdir().expect("a directory");
    let network = Network::new(dir.path());
    let mut site = Site::with(|options| set(options, dir.path())).await;
    site.master.launch(task());
    let running = site.master.status_of(TaskState::Running).await;
    let told = networks(&running);
    assert_eq!(told[0].name(), "blue");
    let address = told[0].ip_addresses[0].ip_address();
    assert!(address.starts_with("198.18.7."), "{address}");
    while site.master.status().await.healthy != Some(true) {}

    let containers = site.get_json("/containers").await;
    let shown = &containers[0]["status"]["network_infos"][0];
    assert_eq!(shown["ip_addresses"][0]["ip_address"], address);
    let call = json!({"type": "GET_CONTAINERS"});
    let asked = client().post(site.url("/api/v1")).json(&call).header("accept", "application/json");
    let text = asked.send().await.expect("an answer").text().await.expect("a body");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let shown = answer.pointer("/get_containers/containers/0/container_status/network_infos/0");
    assert_eq!(shown.map(|it| &it["name"]), Some(&json!("blue")), "{answer}");

    site.agent.stop(agent::StopMode::KeepTasks).await;
    let mut options = crate::options(site.work_dir.path(), &site.master);
    set(&mut options, dir.path());
    site.agent = agent::start(options).await.expect("it starts again");
    site.master.reregister().await;
    let executor = format!("slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/t1");
    let sandbox = site.work_dir.path().join(executor).join("runs/latest");
    fs::remove_file(sandbox.join("up")).expect("it is there");
    let mut status = site.master.status().await;
    while status.healthy != Some(false) {
        status = site.master.status().await;
    }
    assert_eq!(networks(&status)[0].ip_addresses[0].ip_address(), address);
    site.master.kill("t1");
    site.master.status_of(TaskState::Killed).await;
    site.end().await;
    let leases = fs::read_dir(dir.path().join("leases/blue")).expect("it is there").flatten();
    let names: Vec<_> = leases.filter_map(|it| it.file_name().into_string().ok()).collect();
    assert!(!names.iter().any(|name| name.starts_with("198.18.7.")), "{names:?}");
    drop(network);
}
