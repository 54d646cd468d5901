//! A cluster in which everything is said by TLS, and nobody takes part without a certificate.

use crate::harness::{Daemon, Masters, PATIENCE, World, until_async};
use framework_sdk::builders::framework;
use framework_sdk::{Client, ClientOptions, Protocol, SessionEvent};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use transport::identity::Identity;
use transport::tls::{ClientCerts, OwnFiles, Tls, TlsFiles};

/// Whoever issues the certificates of a cluster.
pub(crate) struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(world: &World) -> Self {
        let dir = world.path("tls");
        fs::create_dir(&dir).expect("a directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(dir.join("ca.pem"), certificate.pem()).expect("written");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Issues a certificate for `agora:<name>` on this machine.
    pub(crate) fn issue(&self, name: &str) -> OwnFiles {
        let uri = format!("agora:{name}");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI(uri.as_str().try_into().expect("ASCII")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        fs::write(path("pem"), certificate.pem()).expect("written");
        fs::write(path("key"), key.serialize_pem()).expect("written");
        OwnFiles { cert: path("pem"), key: path("key") }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The flags of a daemon of that name that lets nobody in without a certificate.
    fn flags(&self, name: &str) -> Vec<String> {
        let OwnFiles { cert, key } = self.issue(name);
        vec![
            format!("--tls_cert_file={}", cert.display()),
            format!("--tls_key_file={}", key.display()),
            format!("--tls_ca_file={}", self.ca().display()),
            "--tls_client_certs=required".to_owned(),
        ]
    }

    pub(crate) fn identity(&self, own: Option<OwnFiles>) -> Identity {
        let files = TlsFiles { own, ca: self.ca(), client_certs: ClientCerts::None };
        Identity::default().with_tls(Some(Tls::load(files).expect("they fit together")))
    }
}

pub(crate) fn client(identity: &Identity) -> reqwest::Client {
    let client = identity.http().redirect(reqwest::redirect::Policy::none());
    client.timeout(Duration::from_secs(15)).build().expect("a client")
}

impl World {
    pub(crate) async fn start_with(&self, name: &str, flags: &[&str], more: &[String]) -> Daemon {
        let all: Vec<&str> = flags.iter().copied().chain(more.iter().map(String::as_str)).collect();
        self.start(name, &all).await
    }

    async fn start_secured_marathon(
        &self,
        name: &str,
        masters: &str,
        authority: &Authority,
    ) -> Daemon {
        let master = format!("--master={masters}");
        let flags = ["marathon", "--http_address=127.0.0.1", "--http_port=0", &master];
        self.start_with(name, &flags, &authority.flags("marathon")).await
    }
}

/// Three masters to which certificates are all there is to show.
async fn start_masters(world: &World, authority: &Authority) -> Masters {
    let acls = json!({
        "permissive": true,
        "register_frameworks": [
            {"principals": {"values": ["agora:marathon", "agora:sdk"]}, "roles": {"type": "ANY"}},
            {"principals": {"type": "ANY"}, "roles": {"type": "NONE"}},
        ],
        "register_agents": [
            {"principals": {"values": ["agora:agent"]}, "agents": {"type": "ANY"}},
            {"principals": {"type": "ANY"}, "agents": {"type": "NONE"}},
        ],
        "act_as_masters": [
            {"principals": {"values": ["agora:master"]}, "masters": {"type": "ANY"}},
            {"principals": {"type": "ANY"}, "masters": {"type": "NONE"}},
        ],
    });
    let mut flags = authority.flags("master");
    flags.push(format!("--acls={acls}"));
    flags.extend(
        ["http_frameworks", "http_readonly", "http_readwrite", "agents", "masters"]
            .map(|realm| format!("--authenticate_{realm}")),
    );
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    world.start_masters(&flags).await
}

#[tokio::test]
async fn a_cluster_lives_through_its_leader_by_mutual_tls() {
    let mut world = World::new();
    let authority = Authority::new(&world);
    let ops = authority.issue("ops");
    let identity = authority.identity(Some(ops.clone()));
    (world.http, world.scheme) = (client(&identity), identity.scheme());

    let mut masters = start_masters(&world, &authority).await;
    let peers = masters.peers.clone();
    let root = format!("--cgroups_root={}/agent", world.cgroups_root);
    let master = format!("--master={peers}");
    let resources = "--resources=cpus:4;mem:2048;disk:1024;ports:[31000-31099]";
    let of_agent = ["agent", "--ip=127.0.0.1", "--port=0", &master, &root, resources];
    let mut agent = world.start_with("agent", &of_agent, &authority.flags("agent")).await;
    let marathon = world.start_secured_marathon("marathon", &peers, &authority).await;
    let asked = world.path("asked-to-end");
    let cmd = format!("trap 'touch {}; exit' TERM; sleep 1000 & wait", asked.display());
    world.deploy(&marathon.address, &json!({"id": "/web", "cmd": cmd, "mem": 32})).await;
    let task = world.tasks(&marathon.address, "/web").await[0]["id"].clone();
    let standby = world.start_secured_marathon("standby", &peers, &authority).await;
    another_instance_passes_on(&world, &standby.address, &marathon.address).await;

    let daemons: Vec<&Daemon> = masters.daemons.iter().collect();
    let leads = world.leader(&daemons).await;
    let leader = masters.daemons[leads].address.clone();
    let follower = masters.daemons[(leads + 1) % 3].address.clone();
    frameworks_subscribe(&authority, &follower).await;
    let state = world.json(&leader, "/state").await.expect("for ops");
    assert_eq!(state["activated_slaves"], 1.0);
    assert_eq!(state["frameworks"][0]["principal"], "agora:marathon", "{state:#}");
    let metrics = world.get(&leader, "/metrics").await.expect("an answer");
    assert_eq!((metrics.0, metrics.1.contains("master_slaves_active")), (200, true));
    assert_eq!(world.get(&agent.address, "/health").await.expect("an answer").0, 200);
    let closed = [&leader, &follower, &marathon.address, &standby.address];
    who_shows_nothing_is_kept_out(&authority, closed, &agent.address).await;

    let operator = Operator { ca: authority.ca(), master: follower, marathon: &marathon.address };
    let id = task.as_str().expect("an id");
    for args in [
        &["app", "list"][..],
        &["node", "list"],
        &["operator", "raft", "list"],
        &["task", "logs", id],
        &["task", "exec", id, "true"],
    ] {
        let (code, said) = operator.does(args, Some(&ops));
        assert_eq!(code, Some(0), "{args:?}: {said}");
        let (code, said) = operator.does(args, None);
        assert_eq!(code, Some(3), "{args:?}: {said}");
        assert!(said.contains("asks for a certificate"), "{args:?}: {said}");
    }

    masters.daemons[leads].kill();
    let rest: Vec<&Daemon> = masters.daemons.iter().filter(|one| one.address != leader).collect();
    let leader = &rest[world.leader(&rest).await].address;
    world.deploy(&marathon.address, &json!({"id": "/more", "cmd": "sleep 1000", "mem": 32})).await;
    let apps = operator.does(&["app", "list", "--json"], Some(&ops)).1;
    assert!(apps.contains("/web") && apps.contains("/more"), "{apps}");
    let tasks = world.tasks(&marathon.address, "/web").await;
    let running = json!("TASK_RUNNING");
    assert_eq!((tasks.len(), &tasks[0]["id"], &tasks[0]["state"]), (1, &task, &running));

    // An executor finds its agent again, which has another certificate: what is not to run any more is
    // asked to end, and not killed with its container.
    agent.kill();
    let _agent = world.start_with("agent", &of_agent, &authority.flags("agent")).await;
    until_async("the agent is back", PATIENCE, async || {
        (world.json(leader, "/state").await?["activated_slaves"] == 1.0).then_some(())
    })
    .await;
    assert_eq!(world.tasks(&marathon.address, "/web").await[0]["id"], task);
    let (status, answer) =
        world.send(reqwest::Method::DELETE, &marathon.address, "/v2/apps//web", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    until_async("the task hears that it is to end", PATIENCE, async || {
        asked.exists().then_some(())
    })
    .await;
}

/// A Marathon that does not lead has the leader answer, and says where its events are.
async fn another_instance_passes_on(world: &World, standby: &str, leader: &str) {
    let (status, app) = until_async("the standby knows who leads", PATIENCE, async || {
        let answer = world.get(standby, "/v2/apps//web").await?;
        (answer.0 != 503).then_some(answer)
    })
    .await;
    assert_eq!(status, 200, "{app}");
    let events = world.http.get(format!("https://{standby}/v2/events"));
    let events = events.header("accept", "text/event-stream").send().await.expect("an answer");
    let location = events.headers()["location"].to_str().expect("text");
    assert_eq!(location, format!("https://{leader}/v2/events"));
    let info = world.json(leader, "/v2/info").await.expect("an answer");
    assert_eq!(info["marathon_config"]["webui_url"], json!(format!("https://{leader}")));
    let port = leader.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    assert_eq!(info["http_config"], json!({"https_port": port}));
}

/// Who has no certificate, and who does not speak TLS.
async fn who_shows_nothing_is_kept_out(authority: &Authority, closed: [&String; 4], agent: &str) {
    let nobody = client(&authority.identity(None));
    for address in closed {
        let answer = nobody.get(format!("https://{address}/health")).send().await;
        let told = transport::tls::explain(&answer.expect_err("refused")).expect("it is TLS");
        assert!(told.contains("asks for a certificate"), "{told}");
        let plain = nobody.get(format!("http://{address}/health")).send().await.expect("an answer");
        assert_eq!(plain.status(), 400);
    }
    // Executors come to agents without one, and to nothing but what is for them.
    for (path, is_open) in [("/state", false), ("/api/v1", false), ("/api/v1/executor", true)] {
        let url = format!("https://{agent}{path}");
        let answer = nobody.post(url).body("{}").send().await.expect("an answer");
        assert_eq!(answer.status() != 401, is_open, "{path}: {answer:?}");
    }
}

/// Whoever types verbs.
struct Operator<'a> {
    ca: PathBuf,
    master: String,
    marathon: &'a str,
}

impl Operator<'_> {
    /// The exit code of a verb and what it says, with a certificate or without.
    fn does(&self, args: &[&str], own: Option<&OwnFiles>) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agora"));
        command.args(args).env("AGORA_MASTER", &self.master);
        command.env("AGORA_MARATHON", self.marathon).env("AGORA_TLS_CA_FILE", &self.ca);
        if let Some(own) = own {
            command.env("AGORA_TLS_CERT_FILE", &own.cert).env("AGORA_TLS_KEY_FILE", &own.key);
        }
        let output = command.output().expect("the binary is built");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), said + &String::from_utf8(output.stderr).expect("UTF-8"))
    }
}

/// Frameworks of each protocol subscribe through a master that sends them on, known by their
/// certificate, and only those that may.
async fn frameworks_subscribe(authority: &Authority, follower: &str) {
    for protocol in [Protocol::HttpJson, Protocol::HttpProtobuf, Protocol::Grpc] {
        for (name, is_known) in [("sdk", true), ("eve", false)] {
            let info = framework("by-sdk", "root", Duration::ZERO);
            let identity = authority.identity(Some(authority.issue(name)));
            let options = ClientOptions::new(vec![follower.to_owned()], info);
            let options = ClientOptions { protocol, identity, ..options };
            let (handle, mut events) = Client::connect(options);
            let heard = async {
                loop {
                    match events.next().await.expect("something comes of it") {
                        SessionEvent::Subscribed { .. } => return true,
                        SessionEvent::Ended(_) => return false,
                        SessionEvent::Event(_) | SessionEvent::Disconnected { .. } => {}
                    }
                }
            };
            let heard = tokio::time::timeout(PATIENCE, heard).await.expect("in time");
            assert_eq!(heard, is_known, "{protocol:?}, {name}");
            if is_known {
                handle.teardown().await.expect("the leader answers");
            }
        }
    }
}
