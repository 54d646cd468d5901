//! Apps and pods in images and in networks of containers, from Marathon to what answers there.

use crate::harness::{Daemon, PATIENCE, World, free_ports, until_async};
use crate::image::busybox;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Serves a file that only the image has.
const SERVE: &str = "cd $MESOS_SANDBOX && cp /old/new index.html && exec busybox httpd -f";

/// A bridge of which the machine has an end.
struct Network {
    bridge: String,
}

impl Network {
    fn new(dir: &Path) -> Self {
        let bridge = format!("agm{}", std::process::id());
        let config = json!({"cniVersion": "0.4.0", "name": "blue", "type": "bridge",
            "bridge": bridge, "isGateway": true,
            "ipam": {"type": "host-local", "subnet": "198.18.9.0/24", "dataDir": dir.join("leases")}});
        std::fs::write(dir.join("blue.conf"), config.to_string()).expect("it is written");
        Self { bridge }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).status();
    }
}

/// A cluster whose only images are in a directory, and whose only network is in another.
struct Site {
    world: World,
    marathon: Daemon,
    _others: [Daemon; 2],
    _network: Network,
}

impl Site {
    async fn start() -> Self {
        let world = World::new();
        let images = world.path("images");
        let config = json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", "exit 3"]});
        busybox(&config).write_layout(&images.join("app:1"), "1");
        let networks = world.path("networks");
        std::fs::create_dir(&networks).expect("a directory");
        let network = Network::new(&networks);
        let ports = free_ports(1);
        let masters = format!("127.0.0.1:{}", ports[0]);
        let master = world.start_master("master", ports[0], &masters, &[]).await;
        let flags = [
            format!("--docker_registry={}", images.display()),
            format!("--network_cni_config_dir={}", networks.display()),
        ];
        let flags = flags.each_ref().map(String::as_str);
        let agent = world.start_agent_with("agent", &masters, "31000-31499", &flags).await;
        let marathon = world.start_marathon("marathon", &masters).await;
        Self { world, marathon, _others: [master, agent], _network: network }
    }

    /// Waits until `address` answers with what the image has.
    async fn answers(&self, address: &str) {
        until_async("it answers with the image's file", PATIENCE, async || {
            let answer = self.world.get(address, "/").await?;
            (answer == (200, "new\n".to_owned())).then_some(())
        })
        .await;
    }

    /// The first task of an app, once it runs.
    async fn task(&self, app: &str) -> Value {
        until_async("it runs", PATIENCE, async || {
            let tasks = self.world.tasks(&self.marathon.address, app).await;
            tasks.into_iter().find(|task| task["state"] == "TASK_RUNNING")
        })
        .await
    }
}

#[tokio::test]
async fn apps_and_pods_run_in_the_files_of_their_images() {
    let site = Site::start().await;
    let marathon = &site.marathon.address;
    // Its own containers, and those that were meant for a Docker daemon.
    for kind in ["MESOS", "DOCKER"] {
        let name = format!("/of-{}", kind.to_lowercase());
        let app = json!({
            "id": name, "cmd": format!("{SERVE} -p 127.0.0.1:$PORT0"), "cpus": 0.1, "mem": 32,
            "container": {"type": kind, "docker": {"image": "app:1"}},
        });
        site.world.create(marathon, "/v2/apps", &app).await;
        let task = site.task(&name[1..]).await;
        site.answers(&format!("127.0.0.1:{}", task["ports"][0])).await;
    }
    let pod = json!({
        "id": "/pod",
        "containers": [
            {"name": "server", "image": {"kind": "DOCKER", "id": "app:1"},
             "exec": {"command": {"shell": format!("{SERVE} -p 127.0.0.1:$ENDPOINT_HTTP")}},
             "resources": {"cpus": 0.1, "mem": 32}, "endpoints": [{"name": "http", "hostPort": 0}]},
            // The machine's files are not those of the image beside.
            {"name": "plain", "exec": {"command": {"shell": "! test -e /old/new && exec sleep 1000"}},
             "resources": {"cpus": 0.1, "mem": 32}},
        ],
    });
    site.world.create(marathon, "/v2/pods", &pod).await;
    let port = until_async("both containers run", PATIENCE, async || {
        let status = site.world.json(marathon, "/v2/pods/pod::status").await?;
        let instance = &status["instances"][0];
        let port = instance["containers"][0]["endpoints"][0]["allocatedHostPort"].as_u64()?;
        (instance["status"] == "STABLE").then_some(port)
    })
    .await;
    site.answers(&format!("127.0.0.1:{port}")).await;
    // Without a command it runs what its image says, which those before did not.
    let app = json!({"id": "/as-it-says", "cpus": 0.1, "mem": 32,
                     "container": {"type": "MESOS", "docker": {"image": "app:1"}}});
    site.world.create(marathon, "/v2/apps", &app).await;
    until_async("it ends as its image says", PATIENCE, async || {
        let answer = site.world.json(marathon, "/v2/apps/as-it-says").await?;
        let failure = &answer["app"]["lastTaskFailure"];
        (failure["message"] == "Command exited with status 3").then_some(())
    })
    .await;
}

#[tokio::test]
async fn apps_and_pods_join_networks_of_containers_and_are_found_there() {
    let site = Site::start().await;
    let marathon = &site.marathon.address;
    let serve = format!("{SERVE} -p 8000");
    let app = json!({
        "id": "/web", "cmd": serve, "cpus": 0.1, "mem": 32,
        "networks": [{"mode": "container", "name": "blue"}],
        "container": {"type": "MESOS", "docker": {"image": "app:1"},
                      "portMappings": [{"containerPort": 8000, "name": "http"}]},
        "healthChecks": [{"protocol": "MESOS_HTTP", "portIndex": 0, "delaySeconds": 0,
                          "intervalSeconds": 1}],
    });
    site.world.deploy(marathon, &app).await;
    let task = site.task("web").await;
    let address = task["ipAddresses"][0]["ipAddress"].as_str().expect("it is told").to_owned();
    assert!(address.starts_with("198.18.9."), "{task}");
    assert_eq!(task["healthCheckResults"][0]["alive"], true, "it is looked at from inside: {task}");
    site.answers(&format!("{address}:8000")).await;
    let pod = json!({
        "id": "/pod", "networks": [{"mode": "container", "name": "blue"}],
        "containers": [{
            "name": "server", "image": {"kind": "DOCKER", "id": "app:1"},
            "exec": {"command": {"shell": serve}}, "resources": {"cpus": 0.1, "mem": 32},
            "endpoints": [{"name": "http", "containerPort": 8000}],
            "healthCheck": {"http": {"endpoint": "http"}, "delaySeconds": 0, "intervalSeconds": 1},
        }],
    });
    site.world.create(marathon, "/v2/pods", &pod).await;
    let of_pod = until_async("the pod is stable", PATIENCE, async || {
        let status = site.world.json(marathon, "/v2/pods/pod::status").await?;
        let instance = &status["instances"][0];
        let address = instance["networks"][0]["addresses"][0].as_str()?.to_owned();
        (instance["status"] == "STABLE").then_some(address)
    })
    .await;
    assert_ne!(of_pod, address);
    site.answers(&format!("{of_pod}:8000")).await;
}
