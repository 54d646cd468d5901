//! Containers in networks of their own, by Debian's plug-ins and by one that tells what it was told.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agent::containerizer::{
    ContainerDns, Containerizer, ContainerizerOptions, NetworkOptions, Networks,
};
use proto::mesos::v1::network_info::{IpAddress, PortMapping};
use proto::mesos::v1::{Label, Labels, NetworkInfo};
use serde_json::{Value, json};

use crate::host::{Host, PATIENCE, eventually, id};

/// Where Debian has them.
const PLUGINS: &str = "/usr/lib/cni";

/// Tells what it was told in a file beside it, and has a result of its own if it is the first.
const TELLER: &str = r#"#!/usr/bin/python3
import json, os, sys
config = json.load(sys.stdin)
command = os.environ["CNI_COMMAND"]
with open(os.path.join(config["log"], "log"), "a") as log:
    told = {"command": command, "config": config, "interface": os.environ["CNI_IFNAME"]}
    log.write(json.dumps(told) + "\n")
if config.get("fails") == command:
    print(json.dumps({"code": 11, "msg": "out of order", "details": "try later"}))
    sys.exit(1)
if command == "ADD":
    own = {"cniVersion": config["cniVersion"], "ips": [{"address": config.get("address", "::1/128")}],
           "dns": {"nameservers": ["192.0.2.53"], "search": ["cluster.example"]}}
    print(json.dumps(config.get("prevResult") or own))
"#;

/// A host with a directory of networks and what they take.
struct Site {
    host: Host,
    bridge: String,
}

impl Site {
    fn new() -> Self {
        // Names of interfaces are short, and tests run at the same time.
        let site = Self { host: Host::new(), bridge: format!("agt{}", std::process::id()) };
        fs::create_dir(site.path("networks")).expect("a directory");
        let teller = site.path("plugins/teller");
        fs::create_dir(site.path("plugins")).expect("a directory");
        fs::write(&teller, TELLER).expect("a file");
        fs::set_permissions(&teller, fs::Permissions::from_mode(0o755)).expect("it is ours");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.host.dir.path().join(name)
    }

    fn network(&self, config: &Value) {
        let name = config["name"].as_str().expect("it has a name");
        let file = self.path("networks").join(format!("{name}.conflist"));
        fs::write(file, config.to_string()).expect("it is written");
    }

    /// A bridge with addresses of its own and ports of the machine.
    fn bridged(&self, name: &str) -> Value {
        let number = std::process::id();
        let subnet = format!("10.{}.{}.0/24", 240 + number % 15, number / 15 % 256);
        json!({"cniVersion": "0.4.0", "name": name, "plugins": [
            {"type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": true,
             "ipam": {"type": "host-local", "subnet": subnet, "dataDir": self.path("leases")},
             "dns": {"nameservers": ["192.0.2.1"], "domain": "example"}},
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ]})
    }

    fn told(&self, name: &str, more: &Value) -> Value {
        let mut plugin = json!({"type": "teller", "log": self.host.dir.path()});
        for (key, value) in more.as_object().expect("an object") {
            plugin[key] = value.clone();
        }
        json!({"cniVersion": "1.0.0", "name": name, "plugins": [plugin]})
    }

    /// What the plug-in was told: command, interface, configuration.
    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn commands(&self) -> Vec<String> {
        let text = |told: &Value| {
            let tag = told["config"]["tag"].as_str().unwrap_or_default();
            format!("{} {tag}", told["command"].as_str().unwrap_or_default())
        };
        self.log().iter().map(text).collect()
    }

    fn options(&self) -> ContainerizerOptions {
        let networks = NetworkOptions {
            config_dir: Some(self.path("networks")),
            plugins_dirs: vec![self.path("plugins"), PLUGINS.into()],
            root_dir: None,
            // For networks that say nothing of names.
            dns: ContainerDns::parse(
                r#"{"mesos": [{"network_mode": "CNI", "dns": {"nameservers": ["192.0.2.99"]}}]}"#,
            )
            .expect("it makes sense"),
        };
        ContainerizerOptions { networks, ..self.host.options() }
    }

    fn containerizer(&self) -> Containerizer {
        Containerizer::new(self.options()).expect("these tests run as root")
    }

    /// No file for it, no namespace, no address taken, no rule of the firewall, no interface.
    fn assert_nothing_left(&self, name: &str) {
        self.host.assert_nothing_left(name);
        assert!(!self.path("run/isolators/network/cni").join(name).exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        assert!(!mounts.contains(&self.path("run").display().to_string()), "{mounts}");
        for network in fs::read_dir(self.path("leases")).into_iter().flatten().flatten() {
            for file in fs::read_dir(network.path()).expect("a directory").flatten() {
                let name = file.file_name();
                let is_lease = name.to_str().is_some_and(|it| it.parse::<IpAddr>().is_ok());
                assert!(!is_lease, "{} is still taken", name.display());
            }
        }
        let ports = PathBuf::from(format!("/sys/class/net/{}/brif", self.bridge));
        assert_eq!(fs::read_dir(ports).into_iter().flatten().count(), 0, "interfaces are left");
        let rules = Command::new("iptables-save").output().expect("it is installed").stdout;
        let rules = String::from_utf8_lossy(&rules).into_owned();
        let left = rules.lines().find(|rule| rule.contains(&format!("id: \"{name}\"")));
        assert_eq!(left, None);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It belongs to the network and stays with it.
        if PathBuf::from(format!("/sys/class/net/{}", self.bridge)).exists() {
            let _ = Command::new("ip").args(["link", "delete", &self.bridge]).status();
        }
    }
}

fn network(name: &str) -> NetworkInfo {
    NetworkInfo { name: Some(name.to_owned()), ..NetworkInfo::default() }
}

fn addresses(info: &NetworkInfo) -> Vec<&str> {
    info.ip_addresses.iter().filter_map(|address| address.ip_address.as_deref()).collect()
}

/// What a web server answers.
fn page(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// A port of the machine that nobody has.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

#[tokio::test]
async fn a_server_is_reached_by_its_own_address_and_by_a_port_of_the_machine() {
    let site = Site::new();
    site.network(&site.bridged("blue"));
    let containerizer = site.containerizer();
    let command = "echo hello > page; ls /sys/class/net > /dev/null; cat /proc/net/dev > devices; \
                   cp /etc/hosts /etc/hostname /etc/resolv.conf .; hostname > seen; \
                   echo $MESOS_CONTAINER_IP $LIBPROCESS_IP > address; \
                   exec /usr/bin/python3 -m http.server 8000";
    let mut spec = site.host.spec("c1", command);
    let port = free_port();
    let mapping =
        PortMapping { host_port: port.into(), container_port: 8_000, protocol: Some("tcp".into()) };
    let wanted = NetworkInfo { port_mappings: vec![mapping.clone()], ..network("blue") };
    spec.wanted.networks = Networks::Own(vec![wanted]);
    containerizer.launch(spec).await.expect("it starts");

    let told = containerizer.networks(&id("c1")).await.expect("it has its own");
    assert_eq!((told[0].name(), told[0].port_mappings.len()), ("blue", 1));
    let ip: IpAddr = addresses(&told[0])[0].parse().expect("an address");
    let own = SocketAddr::new(ip, 8_000);
    eventually("the server is up", || page(own).is_some()).await;
    assert_eq!(page(own).as_deref(), Some("hello\n"));
    let mapped = SocketAddr::new([127, 0, 0, 1].into(), port);
    assert_eq!(page(mapped).as_deref(), Some("hello\n"));

    let read =
        |name: &str| fs::read_to_string(site.path("c1").join(name)).expect("it is in the sandbox");
    let devices = read("devices");
    let devices: Vec<&str> =
        devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert_eq!(devices, ["lo", "eth0"]);
    assert_eq!((read("seen"), read("hostname")), ("c1\n".to_owned(), "c1\n".to_owned()));
    assert!(read("hosts").ends_with(&format!("\n{ip} c1\n")));
    assert_eq!(read("resolv.conf"), "domain example\nnameserver 192.0.2.1\n");
    assert_eq!(read("address"), format!("{ip} 0.0.0.0\n"));

    containerizer.destroy(&id("c1")).await;
    assert_eq!(containerizer.networks(&id("c1")).await, None);
    assert_eq!(page(mapped), None);
    site.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_network_that_says_nothing_of_names_has_the_servers_of_the_agent() {
    let site = Site::new();
    let mut plain = site.bridged("plain");
    plain["plugins"][0].as_object_mut().expect("an object").remove("dns");
    site.network(&plain);
    let containerizer = site.containerizer();
    let mut spec = site.host.spec("c1", "cat /etc/resolv.conf");
    let info = NetworkInfo { name: Some("plain".to_owned()), ..NetworkInfo::default() };
    spec.wanted.networks = Networks::Own(vec![info]);
    let container = spec.container.clone();
    containerizer.launch(spec).await.expect("it starts");
    containerizer.wait(&container).await;
    assert_eq!(site.host.stdout("c1"), "nameserver 192.0.2.99\n");
    site.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_container_in_several_networks_is_told_of_all_and_they_of_it() {
    let site = Site::new();
    site.network(&site.told("blue", &json!({"address": "192.0.2.7/24"})));
    let asks =
        json!({"address": "2001:db8::7/64", "capabilities": {"portMappings": true, "ips": true}});
    site.network(&site.told("green", &asks));
    let containerizer = site.containerizer();
    let mut spec = site.host.spec("c1", "cat /etc/hosts /etc/resolv.conf; hostname");
    spec.hostname = Some("web".to_owned());
    let labels = Labels { labels: vec![Label { key: "tier".into(), value: Some("front".into()) }] };
    let wish = IpAddress { ip_address: Some("2001:db8::7".to_owned()), ..IpAddress::default() };
    let mapping = PortMapping { host_port: 31_999, container_port: 80, protocol: None };
    let green = NetworkInfo {
        labels: Some(labels),
        ip_addresses: vec![wish],
        port_mappings: vec![mapping],
        ..network("green")
    };
    spec.wanted.networks = Networks::Own(vec![network("blue"), green]);
    let ended = crate::host::run(&site.host, &containerizer, spec).await;
    assert_eq!(ended.status, Some(0));
    let output = site.host.stdout("c1");
    assert!(output.contains("\n192.0.2.7 web\n2001:db8::7 web\n"), "{output}");
    assert!(output.ends_with("search cluster.example\nnameserver 192.0.2.53\nweb\n"), "{output}");

    let log = site.log();
    assert_eq!(site.commands(), ["ADD ", "ADD ", "DEL ", "DEL "]);
    let interfaces: Vec<&Value> = log.iter().map(|told| &told["interface"]).collect();
    assert_eq!(interfaces, ["eth0", "eth1", "eth1", "eth0"]);
    let told = &log[1]["config"];
    assert_eq!(
        told["runtimeConfig"],
        json!({"portMappings": [{"hostPort": 31_999, "containerPort": 80, "protocol": "tcp"}],
               "ips": ["2001:db8::7"]})
    );
    let info = &told["args"]["org.apache.mesos"]["network_info"];
    assert_eq!(info["labels"], json!({"labels": [{"key": "tier", "value": "front"}]}));
    assert_eq!((&info["name"], &told["name"]), (&json!("green"), &json!("green")));
    assert_eq!(log[2]["config"]["prevResult"]["ips"][0]["address"], "2001:db8::7/64");
    site.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_network_that_fails_fails_the_launch_with_its_reason_and_is_undone() {
    let site = Site::new();
    let mut chain = site.told("blue", &json!({"tag": "first"}));
    let broken = site.told("", &json!({"tag": "second", "fails": "ADD"}))["plugins"][0].clone();
    chain["plugins"].as_array_mut().expect("a list").push(broken);
    site.network(&chain);
    let missing = json!({"cniVersion": "1.0.0", "name": "green", "plugins": [{"type": "nothing"}]});
    site.network(&missing);
    let containerizer = site.containerizer();
    let refused = async |name: &str, wanted: Vec<NetworkInfo>| {
        let mut spec = site.host.spec(name, "true");
        spec.wanted.networks = Networks::Own(wanted);
        containerizer.launch(spec).await.expect_err(name).to_string()
    };
    assert_eq!(
        refused("c1", vec![network("blue")]).await,
        "isolator network/cni cannot set up network 'blue': plug-in 'teller': out of order; try later"
    );
    assert_eq!(site.commands(), ["ADD first", "ADD second", "DEL second", "DEL first"]);
    site.assert_nothing_left("c1");
    let mapping = PortMapping { host_port: 31_999, container_port: 80, protocol: None };
    let mapped = NetworkInfo { port_mappings: vec![mapping], ..network("blue") };
    for (name, wanted, why) in [
        (
            "c2",
            network("red"),
            "network 'red': this agent has no network of this name; it has blue, green",
        ),
        ("c3", mapped, "network 'blue': it leads no ports into containers"),
    ] {
        let error = refused(name, vec![wanted]).await;
        assert!(error.contains(why), "{error}");
        site.assert_nothing_left(name);
    }
    let error = refused("c4", vec![network("green")]).await;
    assert!(
        error.contains("plug-in 'nothing': it is not in --network_cni_plugins_dir="),
        "{error}"
    );
    site.assert_nothing_left("c4");

    let plain = site.host.containerizer();
    let mut spec = site.host.spec("c5", "true");
    spec.wanted.networks = Networks::Own(vec![network("blue")]);
    let error = plain.launch(spec).await.expect_err("it knows no networks").to_string();
    assert!(error.ends_with("describe them in --network_cni_config_dir"), "{error}");
    let mut spec = site.host.spec("c6", "cat /proc/net/dev; hostname");
    spec.wanted.networks = Networks::Own(Vec::new());
    let ended = crate::host::run(&site.host, &plain, spec).await;
    assert_eq!(ended.status, Some(0));
    assert!(!site.host.stdout("c6").contains("eth0"), "there is only the loopback");
}

#[tokio::test]
async fn what_a_dead_agent_joined_is_undone_also_after_a_boot() {
    let site = Site::new();
    site.network(&site.bridged("blue"));
    let root_dir = Some(site.path("kept"));
    let mut options = site.options();
    options.networks.root_dir = root_dir;
    let first = Containerizer::new(options.clone()).expect("these tests run as root");
    for name in ["stays", "orphan", "lost"] {
        let mut spec = site.host.spec(name, "sleep 1000");
        spec.wanted.networks = Networks::Own(vec![network("blue")]);
        first.launch(spec).await.expect("it starts");
    }
    let before = first.networks(&id("stays")).await.expect("it has its own");
    // What a boot leaves of a container: the processes are gone, and all in the runtime directory.
    let record = site.path("kept/lost/networks.json");
    let kept = fs::read(&record).expect("it is there");
    first.destroy(&id("lost")).await;
    first.forget(&id("lost")).await;
    fs::create_dir(site.path("kept/lost")).expect("a directory");
    fs::write(&record, kept).expect("it is written");
    drop(first);

    let second = Containerizer::new(options).expect("these tests run as root");
    // Whether the network is still described does not matter any more.
    fs::remove_file(site.path("networks/blue.conflist")).expect("it is there");
    let recovered = second.recover(&[id("stays")]).await.expect("it can be read");
    assert_eq!(recovered.running, [id("stays")]);
    assert_eq!(recovered.orphans, [id("lost"), id("orphan")]);
    assert!(!site.path("kept/lost").exists());
    assert_eq!(second.networks(&id("stays")).await, Some(before));
    second.destroy(&id("stays")).await;
    for name in ["stays", "orphan", "lost"] {
        site.assert_nothing_left(name);
    }
}
