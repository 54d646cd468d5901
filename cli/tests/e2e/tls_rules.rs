//! Rules on who may do what, of those whom certificates and secrets name, by TLS.

use crate::harness::{Daemon, PATIENCE, World, free_ports, until, until_async};
use crate::tls::{Authority, client};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use transport::auth::Credential;
use transport::tls::OwnFiles;

const SECRET: &str = "c0rrect-h0rse";

/// Who may: a certificate names `agora:ops`, a secret `ops`.
fn only(kind: &str, objects: &Value) -> Value {
    json!([
        {"principals": {"values": ["agora:ops", "ops"]}, kind: objects},
        {"principals": {"type": "ANY"}, kind: {"type": "NONE"}},
    ])
}

/// What a caller shows: the name in a certificate, and a name with its secret.
#[derive(Clone, Copy, Debug)]
struct Shown {
    certificate: Option<&'static str>,
    secret: Option<(&'static str, &'static str)>,
}

/// Everybody who calls, with what comes of it where the rules let `ops` do something and nobody else.
const CALLERS: [(Shown, StatusCode); 9] = {
    const fn shown(
        certificate: Option<&'static str>,
        secret: Option<(&'static str, &'static str)>,
    ) -> Shown {
        Shown { certificate, secret }
    }
    const OK: StatusCode = StatusCode::OK;
    const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
    const UNKNOWN: StatusCode = StatusCode::UNAUTHORIZED;
    [
        (shown(None, None), UNKNOWN),
        (shown(Some("ops"), None), OK),
        (shown(Some("web"), None), FORBIDDEN),
        (shown(None, Some(("ops", SECRET))), OK),
        (shown(None, Some(("web", SECRET))), FORBIDDEN),
        (shown(None, Some(("ops", "wrong"))), UNKNOWN),
        // The secret is what counts of both, also where the certificate would do.
        (shown(Some("web"), Some(("ops", SECRET))), OK),
        (shown(Some("ops"), Some(("web", SECRET))), FORBIDDEN),
        (shown(Some("ops"), Some(("ops", "wrong"))), UNKNOWN),
    ]
};

/// Clients by what they show.
struct Callers(Vec<(Shown, StatusCode, reqwest::Client)>);

impl Callers {
    fn new(authority: &Authority, [ops, web]: [&OwnFiles; 2]) -> Self {
        let of = |(shown, expected): (Shown, StatusCode)| {
            let own = shown.certificate.map(|name| if name == "ops" { ops } else { web });
            (shown, expected, client(&authority.identity(own.cloned())))
        };
        Self(CALLERS.map(of).into())
    }

    /// Has everybody ask, and compares what comes of it.
    async fn ask(
        &self,
        method: Method,
        daemon: &Daemon,
        path: &str,
        body: impl Fn(usize) -> Option<Value>,
    ) {
        for (number, (shown, expected, client)) in self.0.iter().enumerate() {
            let url = format!("https://{}{path}", daemon.address);
            let mut request = client.request(method.clone(), url);
            if let Some(body) = body(number) {
                request = request.json(&body);
            }
            if let Some((name, secret)) = shown.secret {
                let shown = Credential::new(name, secret).basic();
                request = request.header("authorization", shown);
            }
            let answer = request.send().await.expect("an answer");
            let status = answer.status();
            let text = answer.text().await.expect("a body");
            assert_eq!(status, *expected, "{} {path}, {shown:?}: {text}", daemon.name);
        }
    }
}

#[tokio::test]
async fn rules_speak_of_whom_a_certificate_or_a_secret_names() {
    let mut world = World::new();
    let authority = Authority::new(&world);
    let (ops, web) = (authority.issue("ops"), authority.issue("web"));
    let identity = authority.identity(Some(ops.clone()));
    (world.http, world.scheme) = (client(&identity), identity.scheme());
    let known = world.secret_file("credentials", &format!("ops {SECRET}\nweb {SECRET}\n"));
    let flags = |name: &str, acls: Value, credentials: &str| {
        let OwnFiles { cert, key } = authority.issue(name);
        let (cert, key, ca) = (cert.display(), key.display(), authority.ca());
        let files = [
            format!("--tls_cert_file={cert}"),
            format!("--tls_key_file={key}"),
            format!("--tls_ca_file={}", ca.display()),
            "--tls_client_certs=accepted".to_owned(),
            format!("--{credentials}={}", known.display()),
            format!("--acls={acls}"),
        ];
        let realms = ["readonly", "readwrite"].map(|it| format!("--authenticate_http_{it}"));
        files.into_iter().chain(realms).collect::<Vec<_>>()
    };
    let any = json!({"type": "ANY"});
    let of_master = json!({
        "view_flags": only("flags", &any),
        "update_weights": only("roles", &json!({"values": ["team"]})),
        "register_agents": [
            {"principals": {"values": ["agora:agent"]}, "agents": any},
            {"principals": any, "agents": {"type": "NONE"}},
        ],
    });
    let (ip, port) = ("--ip=127.0.0.1", free_ports(1)[0]);
    let mut of_master = flags("master", of_master, "credentials");
    of_master.push("--authenticate_agents".to_owned());
    let port = format!("--port={port}");
    let master = world.start_with("master", &["master", ip, &port], &of_master).await;

    let of_agent = json!({
        "view_flags": only("flags", &any),
        "launch_standalone_containers": only("users", &json!({"values": ["root"]})),
    });
    let to = format!("--master={}", master.address);
    let root = format!("--cgroups_root={}/agent", world.cgroups_root);
    let resources = "--resources=cpus:4;mem:2048;disk:1024";
    let line = ["agent", ip, "--port=0", &to, &root, resources];
    let own = flags("web", of_agent.clone(), "http_credentials");
    let _stranger = world.start_with("stranger", &line, &own).await;
    let own = flags("agent", of_agent, "http_credentials");
    let agent = world.start_with("agent", &line, &own).await;

    let callers = Callers::new(&authority, [&ops, &web]);
    let weights = |_| Some(json!([{"role": "team", "weight": 2.0}]));
    let container = |number| {
        let launch = json!({
            "container_id": {"value": format!("c{number}")},
            "command": {"value": "true", "user": "root"},
        });
        Some(json!({"type": "LAUNCH_CONTAINER", "launch_container": launch}))
    };
    callers.ask(Method::GET, &master, "/flags", |_| None).await;
    callers.ask(Method::PUT, &master, "/weights", weights).await;
    callers.ask(Method::GET, &agent, "/flags", |_| None).await;
    callers.ask(Method::POST, &agent, "/api/v1", container).await;

    // What rules do not let even those do.
    let others = json!([{"role": "other", "weight": 2.0}]);
    let (status, _) = world.send(Method::PUT, &master.address, "/weights", &others).await;
    assert_eq!(status, 403);
    // Of agents only that comes in whose certificate has the name.
    until_async("the agent is registered", PATIENCE, async || {
        let state = world.json(&master.address, "/state").await?;
        (state["activated_slaves"] == 1.0).then_some(())
    })
    .await;
    until("the other one says that it is refused", || {
        let says = "Not authorized to register an agent as 'agora:web'";
        world.log("stranger").contains(says).then_some(())
    })
    .await;
    let state = world.json(&master.address, "/state").await.expect("it leads");
    assert_eq!(state["activated_slaves"], 1.0, "{state}");
}
