//! What a master says and shows of how it was started.

use crate::harness::{World, free_ports, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use transport::auth::Credential;
use transport::identity::Identity;

#[tokio::test]
async fn a_master_that_others_can_reach_warns_of_its_open_doors() {
    let world = World::new();
    let warnings = |name: &str| {
        let log = world.log(name);
        let lines = log.lines().filter(|line| line.contains("see the operators' page on security"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let _local = world.start("local", &["master", "--ip=127.0.0.1", "--port=0"]).await;
    assert_eq!(warnings("local"), [""; 0], "nobody else comes by");

    // A network of its own, in which the address is not that of the loopback and leads nowhere.
    let address = "192.0.2.1";
    let script =
        format!("ip link set lo up && ip address add {address}/32 dev lo && exec \"$0\" \"$@\"");
    let by = ["unshare", "--net", "sh", "-c", &script];
    let ip = format!("--ip={address}");
    let _open = world.start_by(&by, "open", &["master", &ip, "--port=0"]).await;
    let warned = until("it warns", || Some(warnings("open")).filter(|all| !all.is_empty())).await;
    let [warning] = &warned[..] else { panic!("{warned:?}") };
    for part in [
        "WARN",
        address,
        "everybody who reaches this address may subscribe frameworks, read, change things, register \
         agents, take part as a master without authentication",
        "without TLS what is said there can be read and changed on the way",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }

    // Whoever has shut the doors hears only of what can be overheard.
    let names = world.path("credentials");
    fs::write(&names, "ops secret\n").expect("written");
    fs::set_permissions(&names, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let names = format!("--credentials={}", names.display());
    let shut = [
        "--authenticate_http_frameworks",
        "--authenticate_http_readonly",
        "--authenticate_http_readwrite",
        "--authenticate_agents",
        "--authenticate_masters",
    ];
    let args = [&["master", &ip, "--port=0", &names], &shut[..]].concat();
    let _shut = world.start_by(&by, "shut", &args).await;
    let warned = until("it warns", || Some(warnings("shut")).filter(|all| !all.is_empty())).await;
    assert!(warned.len() == 1 && !warned[0].contains("may"), "{warned:?}");
    assert!(warned[0].contains("without TLS"), "{warned:?}");
}

#[tokio::test]
async fn every_flag_of_a_master_is_taken_by_its_name_and_told() {
    let mut world = World::new();
    let write = |name: &str, text: &str| {
        let path = world.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path.display().to_string()
    };
    let port = free_ports(1)[0].to_string();
    let whitelist = write("whitelist", "localhost\n");
    let credentials = write("credentials", "ops secret\n");
    let acls = write("acls.json", r#"{"permissive": true}"#);
    let rate_limits = write("limits.json", r#"{"limits": [{"principal": "web", "qps": 5}]}"#);
    let log_dir = world.path("log").display().to_string();
    let flags = [
        ("ip", "127.0.0.1"),
        ("port", &port),
        ("advertise_ip", "127.0.0.1"),
        ("advertise_port", &port),
        ("hostname", "localhost"),
        ("log_dir", &log_dir),
        ("cluster", "north"),
        ("allocation_interval", "2secs"),
        ("agent_ping_timeout", "20secs"),
        ("max_agent_ping_timeouts", "6"),
        ("agent_reregister_timeout", "11mins"),
        ("agent_removal_rate_limit", "1/10mins"),
        ("offer_timeout", "30mins"),
        ("whitelist", &whitelist),
        ("roles", "web,db"),
        ("weights", "web=2"),
        ("role_sorter", "random"),
        ("framework_sorter", "drf"),
        ("fair_sharing_excluded_resource_names", "gpus"),
        ("min_allocatable_resources", "cpus:0.02|mem:64"),
        ("filter_gpu_resources", "false"),
        ("domain", "north/a"),
        ("require_agent_domain", "true"),
        ("max_completed_frameworks", "51"),
        ("max_completed_tasks_per_framework", "1001"),
        ("max_unreachable_tasks_per_framework", "1002"),
        ("max_operator_event_stream_subscribers", "1003"),
        ("registry_max_agent_age", "3weeks"),
        ("registry_max_agent_count", "1004"),
        ("registry_gc_interval", "16mins"),
        ("credentials", &credentials),
        ("acls", &acls),
        ("authenticate_agents", "true"),
        ("authenticate_frameworks", "true"),
        ("authenticate_http_frameworks", "true"),
        ("authenticate_http_readonly", "true"),
        ("authenticate_http_readwrite", "true"),
        ("http_framework_authenticators", "basic"),
        ("rate_limits", &rate_limits),
        ("root_submissions", "false"),
    ];
    let given = flags.map(|(name, value)| format!("--{name}={value}"));
    let args = [&["master"], &given.each_ref().map(String::as_str)[..]].concat();
    let identity = Identity::of(Some(Credential::new("ops", "secret")));
    world.http = identity.http().build().expect("a client");
    let master = world.start("master", &args).await;
    let told = world.json(&format!("127.0.0.1:{port}"), "/flags").await.expect("answered");
    for (name, value) in flags {
        assert_eq!(told["flags"][name], value, "{name}");
    }
    assert_eq!(told["flags"]["work_dir"], master.work_dir.display().to_string());
}
