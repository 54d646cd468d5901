//! A cluster in which everybody must prove to be who they are.

use crate::harness::{Daemon, PATIENCE, World, until, until_async};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use transport::auth::Credential;
use transport::identity::Identity;

/// What nobody may read anywhere.
const SECRET: &str = "c0rrect-h0rse";

impl World {
    /// Writes a file that only its owner can read.
    pub(crate) fn secret_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    }
}

#[tokio::test]
async fn in_a_closed_cluster_only_those_with_a_secret_take_part() {
    let mut world = World::new();
    let all = ["master", "agent", "marathon", "ops"];
    let lines: String = all.map(|name| format!("{name} {SECRET}-{name}\n")).concat();
    let credentials = world.secret_file("credentials", &lines);
    let own = |name: &str| {
        let text = format!("{name} {SECRET}-{name}\n");
        world.secret_file(&format!("{name}.credential"), &text)
    };
    let (of_master, of_agent, of_ops) = (own("master"), own("agent"), own("ops"));
    let secret = world.secret_file("marathon.secret", &format!("{SECRET}-marathon\n"));
    let flags = [
        format!("--credentials=file://{}", credentials.display()),
        format!("--credential={}", of_master.display()),
        "--authenticate_http_frameworks".to_owned(),
        "--authenticate_http_readonly".to_owned(),
        "--authenticate_http_readwrite=true".to_owned(),
        "--authenticate_agents".to_owned(),
        "--authenticate_masters".to_owned(),
    ];
    let ops = Identity::of(Some(Credential::new("ops", &format!("{SECRET}-ops"))));
    world.http = ops
        .http()
        .timeout(std::time::Duration::from_secs(15))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let masters = world.start_masters(&flags).await;
    let peers = &masters.peers;

    // One without a credential comes first, and is kept out all the time.
    let intruder = world.start_agent("intruder", peers, "31000-31099").await;
    let root = format!("--cgroups_root={}/agent", world.cgroups_root);
    let agent = [
        "agent",
        "--ip=127.0.0.1",
        "--port=0",
        &format!("--master={peers}"),
        &root,
        "--resources=cpus:4;mem:2048;disk:1024;ports:[31100-31199]",
        &format!("--credential={}", of_agent.display()),
        &format!("--http_credentials={}", credentials.display()),
        "--authenticate_http_readonly",
        "--authenticate_http_readwrite",
    ];
    let agent = world.start("agent", &agent).await;
    let marathon = [
        "marathon",
        "--http_address=127.0.0.1",
        "--http_port=0",
        &format!("--master={peers}"),
        "--mesos_authentication_principal=marathon",
        &format!("--mesos_authentication_secret_file={}", secret.display()),
        &format!("--http_credentials=ops:{SECRET}-ops"),
    ];
    let marathon = world.start("marathon", &marathon).await;
    world.deploy(&marathon.address, &json!({"id": "/web", "cmd": "sleep 1000", "mem": 32})).await;

    let daemons: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = &masters.daemons[world.leader(&daemons).await].address;
    let state = world.json(leader, "/state").await.expect("for ops");
    assert_eq!(state["activated_slaves"], 1.0);
    assert_eq!(state["frameworks"][0]["principal"], "marathon");
    until_async("the intruder is told in its log", PATIENCE, async || {
        world.log("intruder").contains("Valid credentials for the realm").then_some(())
    })
    .await;

    // Through a follower, which redirects.
    let follower = daemons.iter().find(|one| one.address != *leader).expect("there are three");
    let verb = |args: &[&str], is_known: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agora"));
        command.args(args).env("AGORA_MASTER", &follower.address);
        command.env("AGORA_MARATHON", &marathon.address);
        if is_known {
            command.env("AGORA_CREDENTIAL", &of_ops);
        }
        let output = command.output().expect("the binary is built");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), said + &String::from_utf8(output.stderr).expect("UTF-8"))
    };
    for args in [
        &["status"][..],
        &["app", "list"],
        &["node", "list"],
        &["operator", "raft", "list"],
        &["task", "exec", "web", "true"],
    ] {
        let (code, said) = verb(args, true);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        let (code, said) = verb(args, false);
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.contains("credential"), "{args:?}: {said}");
    }

    // Secrets are nowhere to be read.
    let mut texts = vec![state.to_string()];
    for (daemon, path) in [(*follower, "/flags"), (&agent, "/flags"), (&marathon, "/v2/info")] {
        let (status, text) = world.get(&daemon.address, path).await.expect("an answer");
        assert_eq!(status, 200, "{path}");
        texts.push(text);
    }
    texts.push(world.get(&marathon.address, "/config").await.expect("an answer").1);
    texts.extend(daemons.iter().map(|one| world.log(&one.name)));
    texts.extend([&agent, &marathon, &intruder].map(|one| world.log(&one.name)));
    assert!(texts.iter().all(|text| !text.contains(SECRET)), "{texts:#?}");
}

#[test]
fn a_master_does_not_start_with_limits_that_mean_nothing() {
    let world = World::new();
    let file = world.path("limits.json");
    fs::write(&file, r#"{"limits": [{"principal": "web", "qps": 0}]}"#).expect("written");
    let file = file.display();
    for (flag, why) in [
        (file.to_string(), "0 calls a second is no rate for principal 'web'".to_owned()),
        (format!("file://{file}"), "give a number above 0".to_owned()),
        (format!("{file}.not"), format!("--rate_limits: cannot read {file}.not")),
        (r#"{"limits": 5}"#.to_owned(), "--rate_limits: invalid type".to_owned()),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agora"));
        command.args(["master", "--ip=127.0.0.1", "--port=0", &format!("--rate_limits={flag}")]);
        let output = command.arg(format!("--work_dir={}", world.path("work").display())).output();
        let output = output.expect("the binary is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(&why), "{flag}: {said}");
    }
}

#[tokio::test]
async fn an_agent_takes_its_rules_by_flag_and_warns_of_those_that_mean_nothing() {
    let world = World::new();
    let any = json!({"type": "ANY"});
    let acls = json!({
        "view_flags": [{"principals": any, "flags": {"type": "NONE"}}],
        "kill_nested_containers": [{"principals": any, "users": {"type": "NONE"}}],
        "register_agents": [{"principals": any, "agents": any}],
        "create_block_disks": [{"principals": any, "roles": any}],
    });
    let file = world.path("acls.json");
    fs::write(&file, acls.to_string()).expect("written");
    let root = format!("--cgroups_root={}/agent", world.cgroups_root);
    // There need be no master for this.
    let common = ["agent", "--ip=127.0.0.1", "--port=0", "--master=127.0.0.1:1", &root];
    let by_file = format!("--acls=file://{}", file.display());
    let strict = ["--acls={}", "--permissive=false"];
    for (name, flags) in [("ruled", &[by_file.as_str()][..]), ("strict", &strict[..])] {
        let agent = world.start(name, &[&common, flags].concat()).await;
        let why = "Not authorized to see the flags without authentication";
        let told = world.get(&agent.address, "/flags").await;
        assert_eq!(told, Some((403, why.to_owned())), "{name}");
    }
    let warning = |name: &str, what: &str| {
        let log = world.log(name);
        let mut lines = log.lines().filter(|line| line.contains("WARN") && line.contains(what));
        lines.next().map(str::to_owned)
    };
    for (name, action, why) in [
        ("ruled", "register_agents", "masters heed them, and agents do not"),
        ("ruled", "create_block_disks", "there are no resource providers"),
        ("ruled", "kill_nested_containers", "task groups will fail"),
        ("strict", "launch_nested_containers_under", "task groups will fail"),
    ] {
        let line = until("it warns", || warning(name, action)).await;
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(warning("ruled", "view_flags"), None);

    let output = Command::new(env!("CARGO_BIN_EXE_agora"))
        .args(common)
        .arg(r#"--acls={"run_task": []}"#)
        .arg(format!("--work_dir={}", world.path("work").display()))
        .output()
        .expect("the binary is built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("'run_task' is no action"), "{said}");
}
