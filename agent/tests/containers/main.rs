//! Containers as they are: real processes, namespaces and cgroups. Most of it takes root.
//!
//! Where a test waits for something to become true it looks again and again, for a bounded time.

mod crashes;
mod delegated;
mod gpus;
mod hardening;
mod host;
#[path = "../common/image.rs"]
mod image;
mod images;
mod many;
mod nested;
mod nested_volumes;
mod networks;
mod persistent;
mod ports;
mod registry;
mod secrets;
mod volumes;
mod xfs;
#[path = "../common/xfs.rs"]
mod xfs_disk;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::containerizer::{
    CommandLine, Containerizer, ContainerizerOptions, Isolation, LaunchError, Limitation, Limits,
    LogLimits,
};
use agent::launcher::Capabilities;

use host::{Host, PATIENCE, eventually, exited, id, run};

#[tokio::test]
async fn a_container_has_processes_ipc_and_mounts_of_its_own() {
    let host = Host::new();
    // Only for the one mount below.
    let options =
        ContainerizerOptions { capabilities_bounding: Capabilities::ALL, ..host.options() };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let mut spec = host.spec(
        "c1",
        "ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; hostname; pwd; env | sort; \
         for n in mnt pid ipc uts net; do readlink /proc/self/ns/$n; done; \
         mount -t tmpfs none /mnt && echo mounted; touch /dev/shm/agora-test-inside; \
         df --output=size /dev/shm | tail -n 1",
    );
    spec.wanted.shm_bytes = Some(8 << 20);
    spec.hostname = Some("inside".to_owned());
    spec.environment.push(("COLOUR".to_owned(), "blue and green".to_owned()));
    let sandbox = spec.sandbox.display().to_string();
    let termination = run(&host, &containerizer, spec).await;
    assert_eq!(termination.status, exited(0));

    let output = host.stdout("c1");
    let mut lines = output.lines();
    let count: u32 = lines.next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(count <= 5, "it sees {count} processes");
    assert_eq!(lines.next(), Some("agora-init"), "{output}");
    assert_eq!(lines.next(), Some("inside"));
    assert_eq!(lines.next(), Some(sandbox.as_str()));
    let environment: Vec<&str> = lines.by_ref().take(3).collect();
    assert_eq!(environment[0], "COLOUR=blue and green");
    assert_eq!(environment[1], "PATH=/usr/bin:/bin");
    assert!(environment[2].starts_with("PWD="), "set by the shell: {environment:?}");
    for name in ["mnt", "pid", "ipc", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        assert_ne!(lines.next(), own.to_str());
    }
    let network = fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert_eq!(lines.next(), network.to_str(), "the network is the host's");
    assert_eq!(lines.next(), Some("mounted"));
    assert_eq!(lines.next().map(str::trim), Some("8192"), "shared memory in KiB");
    assert!(!Path::new("/dev/shm/agora-test-inside").exists());
    containerizer.forget(&id("c1")).await;
    assert!(!host.dir.path().join("run/containers/c1").exists());
}

#[tokio::test]
async fn the_exit_status_comes_through_as_it_was() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let spec = host.spec("code", "exit 7");
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(7));
    let spec = host.spec("signal", "kill -TERM $$");
    assert_eq!(run(&host, &containerizer, spec).await.status, Some(libc::SIGTERM));
    // What the command leaves behind goes with it.
    let spec = host.spec("daemon", "setsid sleep 1000 >/dev/null 2>&1 & exit 0");
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
}

#[tokio::test]
async fn what_cannot_be_started_says_why_and_leaves_nothing() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec("c1", "");
    spec.command = CommandLine::Program {
        path: "no-such-program".to_owned(),
        arguments: vec!["no-such-program".to_owned()],
    };
    let error = containerizer.launch(spec).await.expect_err("there is no such program");
    assert_eq!(
        error.to_string(),
        "cannot execute 'no-such-program': ENOENT: No such file or directory"
    );
    host.assert_nothing_left("c1");

    let mut spec = host.spec("c2", "true");
    spec.user = Some("no-such-user".to_owned());
    let error = containerizer.launch(spec).await.expect_err("there is no such user");
    assert!(matches!(error, LaunchError::User(_)), "{error}");
    host.assert_nothing_left("c2");

    let mut spec = host.spec("c3", "");
    spec.command = CommandLine::Program {
        path: "echo".to_owned(),
        arguments: vec!["echo".to_owned(), "no $shell".to_owned()],
    };
    assert_eq!(run(&host, &containerizer, spec.clone()).await.status, exited(0));
    assert_eq!(host.stdout("c3"), "no $shell\n");
    let error = containerizer.launch(spec).await.expect_err("an id is used once");
    assert!(matches!(error, LaunchError::Exists { .. }), "{error}");
}

#[tokio::test]
async fn a_task_runs_as_its_user() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec("c1", "id -u; id -g");
    spec.user = Some("nobody".to_owned());
    fs::set_permissions(host.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("it is ours");
    let nobody = agent::launcher::Identity::of("nobody").expect("there is one everywhere");
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
    assert_eq!(host.stdout("c1"), format!("{}\n{}\n", nobody.uid, nobody.gid));
}

#[tokio::test]
async fn a_memory_hog_is_stopped_for_it_and_its_neighbour_is_not() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let neighbour = host.spec("neighbour", "echo up; sleep 1000");
    containerizer.launch(neighbour).await.expect("it starts");
    // The shell outlives the hog, so no exit status would tell.
    let hog = host.spec("hog", "tail /dev/zero; sleep 1000");
    let termination = run(&host, &containerizer, hog).await;
    assert_eq!(termination.limitation, Some(Limitation::Memory));
    assert!(!termination.destroyed);
    assert_eq!(containerizer.limitation(&id("hog")).await, Some(Limitation::Memory));

    assert_eq!(containerizer.limitation(&id("neighbour")).await, None);
    let usage = containerizer.usage(&id("neighbour")).await;
    assert!(usage.mem_bytes.is_some_and(|bytes| bytes < 64 << 20), "{usage:?}");
    assert!(usage.pids.is_some_and(|pids| (2..=4).contains(&pids)), "{usage:?}");
    let destroyed = containerizer.destroy(&id("neighbour")).await;
    assert!(destroyed.destroyed && destroyed.limitation.is_none(), "{destroyed:?}");
    host.assert_nothing_left("neighbour");
}

#[tokio::test]
async fn a_disk_hog_is_stopped_for_it_also_by_the_next_agent_and_its_neighbour_is_not() {
    let host = Host::new();
    let options = ContainerizerOptions {
        isolation: Isolation::parse("cgroups/cpu,disk/du").expect("names"),
        enforce_disk: true,
        disk_watch_interval: Duration::from_millis(20),
        ..host.options()
    };
    let first = Containerizer::new(options.clone()).expect("these tests run as root");
    let hog =
        "while ! test -e go; do sleep 0.01; done; head -c 3000000 /dev/zero > big; sleep 1000";
    for name in ["early", "late", "modest"] {
        let mut spec = host.spec(name, hog);
        spec.limits.disk_bytes = Some(if name == "modest" { 1 << 30 } else { 1 << 20 });
        first.launch(spec).await.expect("it starts");
    }
    let go =
        |name: &str| fs::write(host.dir.path().join(name).join("go"), "").expect("it is there");
    let stopped = async |containerizer: &Containerizer, name: &str| {
        go(name);
        let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id(name))).await;
        let ended = ended.expect("it ends");
        assert_eq!((ended.limitation, ended.destroyed), (Some(Limitation::Disk), false));
        host.assert_nothing_left(name);
    };
    go("modest");
    stopped(&first, "early").await;
    drop(first);
    let second = Containerizer::new(options).expect("these tests run as root");
    let recovered = second.recover(&["early", "late", "modest"].map(id)).await.expect("it is read");
    assert_eq!(recovered.running, [id("late"), id("modest")]);
    stopped(&second, "late").await;
    let until = Instant::now() + PATIENCE;
    let mut usage = second.usage(&id("modest")).await;
    while usage.disk_used_bytes.is_none_or(|bytes| bytes < 3_000_000) {
        assert!(Instant::now() < until, "{usage:?}");
        usage = second.usage(&id("modest")).await;
    }
    assert_eq!(usage.disk_limit_bytes, Some(1 << 30));
    assert_eq!(second.destroy(&id("modest")).await.limitation, None);
    host.assert_nothing_left("modest");
}

#[tokio::test]
async fn what_a_container_prints_is_cut_while_it_prints() {
    let host = Host::new();
    let options = ContainerizerOptions {
        disk_watch_interval: Duration::from_millis(10),
        logs: Some(LogLimits { bytes_max: 50_000, files_max: 2 }),
        ..host.options()
    };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let command = "n=0; while ! test -e end; do n=$((n+1)); echo a line of the log: $n; done";
    containerizer.launch(host.spec("c1", command)).await.expect("it starts");
    let sandbox = host.dir.path().join("c1");
    eventually("there are two older files", || sandbox.join("stdout.2").exists()).await;
    fs::write(sandbox.join("end"), "").expect("the sandbox is there");
    assert_eq!(containerizer.wait(&id("c1")).await.status, exited(0));
    host.assert_nothing_left("c1");
    assert!(!sandbox.join("stdout.3").exists());
    let older = fs::read_to_string(sandbox.join("stdout.1")).expect("it is there");
    let last = older + &host.stdout("c1");
    assert!(last.lines().last().is_some_and(|line| line.starts_with("a line of the log: ")));
}

#[tokio::test]
async fn a_fork_bomb_ends_at_its_limit() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec("bomb", "sleep 1000 & bomb() { bomb | bomb & }; bomb; wait");
    spec.limits.pids = Some(20);
    let container = spec.container.clone();
    containerizer.launch(spec).await.expect("it starts");
    let refused = || {
        let text = fs::read_to_string(host.dir.path().join("bomb/stderr")).unwrap_or_default();
        text.to_lowercase().contains("cannot fork")
    };
    eventually("the kernel refuses to fork", refused).await;
    let usage = containerizer.usage(&container).await;
    assert!(usage.pids.is_some_and(|pids| pids <= 20), "{usage:?}");
    let termination = containerizer.destroy(&container).await;
    assert!(termination.destroyed, "{termination:?}");
    assert_eq!(termination.leftovers, "");
    host.assert_nothing_left("bomb");
    let again = containerizer.destroy(&container).await;
    assert_eq!(again, termination, "destroying it again changes nothing");
}

#[tokio::test]
async fn cpu_is_a_weight_and_a_quota_that_can_be_changed() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec("c1", "while :; do :; done");
    spec.limits.cpus_limit_milli = Some(200);
    let container = spec.container.clone();
    let limits = spec.limits;
    containerizer.launch(spec).await.expect("it starts");
    let setting = || {
        let groups = host.groups_of("c1");
        let read =
            |name: &str| groups.iter().find_map(|group| fs::read_to_string(group.join(name)).ok());
        let v1 = read("cpu.shares").zip(read("cpu.cfs_quota_us"));
        let (weight, quota) = v1.or_else(|| read("cpu.weight").zip(read("cpu.max"))).expect("one");
        (weight.trim().to_owned(), quota.trim().to_owned())
    };
    assert!(
        [("512", "20000"), ("20", "20000 100000")]
            .iter()
            .any(|(weight, quota)| setting() == ((*weight).to_owned(), (*quota).to_owned()))
    );
    let mut throttled = 0;
    let until = Instant::now() + PATIENCE;
    while throttled < 3 {
        assert!(Instant::now() < until, "it is never throttled");
        throttled = containerizer.usage(&container).await.cpu_throttled_periods;
    }
    let raised = Limits { cpus_milli: 1_000, cpus_limit_milli: None, ..limits };
    containerizer.update(&container, raised).await.expect("it runs");
    assert!(
        [("1024", "-1"), ("39", "max 100000")]
            .iter()
            .any(|(weight, quota)| setting() == ((*weight).to_owned(), (*quota).to_owned()))
    );
    containerizer.destroy(&container).await;
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn containers_outlive_their_agent_and_are_taken_back() {
    let host = Host::new();
    let first = host.containerizer();
    for (name, command) in [
        ("stays", "while ! test -e end; do sleep 0.01; done; exit 5"),
        ("leaves", "exit 6"),
        ("orphan", "sleep 1000"),
    ] {
        first.launch(host.spec(name, command)).await.expect("it starts");
    }
    let pid = |name: &str| {
        let file = host.dir.path().join("run/containers").join(name).join("pid");
        fs::read_to_string(file).expect("it was launched")
    };
    let before = pid("stays");
    // The end of this agent: nobody watches any more.
    drop(first);
    let status = host.dir.path().join("run/containers/leaves/exit_status");
    eventually("the launcher notes the end", || status.exists()).await;

    let second = host.containerizer();
    let known = ["stays", "leaves", "never"].map(id);
    let recovered = second.recover(&known).await.expect("the directory can be read");
    assert_eq!(recovered.running, [id("stays")]);
    assert_eq!(recovered.ended, [id("leaves")]);
    assert_eq!(recovered.missing, [id("never")]);
    assert_eq!(recovered.orphans, [id("orphan")]);
    host.assert_nothing_left("orphan");
    assert_eq!(pid("stays"), before);

    let left = second.wait(&id("leaves")).await;
    assert_eq!((left.status, left.destroyed), (exited(6), false));
    host.assert_nothing_left("leaves");
    fs::write(host.dir.path().join("stays/end"), "").expect("the sandbox is there");
    let stayed = tokio::time::timeout(PATIENCE, second.wait(&id("stays"))).await.expect("it ends");
    assert_eq!((stayed.status, stayed.leftovers.as_str()), (exited(5), ""));
    host.assert_nothing_left("stays");

    // And once more: the ends are still known to the next agent.
    drop(second);
    let third = host.containerizer();
    let recovered = third.recover(&known).await.expect("the directory can be read");
    assert_eq!(recovered.ended, [id("leaves"), id("stays")]);
    assert_eq!(third.wait(&id("stays")).await.status, exited(5));
}

/// The processes that launchers of this process are forked from.
fn fork_servers() -> Vec<nix::unistd::Pid> {
    let own = fs::read_dir("/proc/self/task").expect("it has threads").flatten();
    let children = own.map(|it| fs::read_to_string(it.path().join("children")).unwrap_or_default());
    let children: Vec<i32> = children
        .flat_map(|it| it.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|it| it.parse().ok())
        .collect();
    let is_server = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"agora\0launchers\0")
    };
    children.into_iter().filter(is_server).map(nix::unistd::Pid::from_raw).collect()
}

#[tokio::test]
async fn launches_go_on_when_somebody_has_ended_or_stopped_the_process_they_are_forked_from() {
    let host = Host::new();
    let containerizer = host.containerizer();
    containerizer.launch(host.spec("c1", "sleep 1000")).await.expect("it starts");
    for (signal, name) in
        [(nix::sys::signal::SIGKILL, "killed"), (nix::sys::signal::SIGSTOP, "stopped")]
    {
        let servers = fork_servers();
        let [server] = servers[..] else { panic!("{servers:?}") };
        nix::sys::signal::kill(server, signal).expect("it is ours");
        let ended = run(&host, &containerizer, host.spec(name, "exit 7")).await;
        assert_eq!(ended.status, exited(7), "{name}");
        assert!(!fork_servers().contains(&server), "{name}: it has been reaped");
    }

    let first = containerizer.destroy(&id("c1")).await;
    assert_eq!((first.destroyed, first.leftovers.as_str()), (true, ""));
    host.assert_nothing_left("c1");
    drop(containerizer);
    eventually("the fork server ends with the agent", || fork_servers().is_empty()).await;
}

#[tokio::test]
async fn a_container_goes_with_its_launcher() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let spec = host.spec("c1", "sleep 1000");
    containerizer.launch(spec).await.expect("it starts");
    let files = agent::launcher::Files::new(host.dir.path().join("run/containers/c1"));
    let launcher = agent::launcher::find(&files).expect("it holds its lock");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(launcher), nix::sys::signal::SIGKILL)
        .expect("it is ours");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
    assert_eq!(ended.expect("it ends").status, None);
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn launches_overlap() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let specs: Vec<_> = (0..20).map(|n| host.spec(&format!("c{n}"), "exit 0")).collect();
    let launches = specs.into_iter().map(|spec| run(&host, &containerizer, spec));
    for termination in futures::future::join_all(launches).await {
        assert_eq!(termination.status, exited(0));
    }
}

#[tokio::test]
async fn without_isolation_a_container_is_its_process_tree() {
    let host = Host::new();
    let options = ContainerizerOptions {
        isolation: Isolation::parse("posix/cpu,posix/mem").expect("names"),
        ..host.options()
    };
    let containerizer = Containerizer::new(options).expect("this needs nothing");
    let spec = host.spec("c1", "setsid sleep 1000 & sleep 1000 & echo up; wait");
    containerizer.launch(spec).await.expect("it starts");
    eventually("it is up", || host.stdout("c1") == "up\n").await;
    let usage = containerizer.usage(&id("c1")).await;
    assert!(usage.pids.is_some_and(|pids| pids >= 3), "{usage:?}");
    assert!(usage.mem_bytes.is_some_and(|bytes| bytes > 0), "{usage:?}");
    let termination = containerizer.destroy(&id("c1")).await;
    assert_eq!(termination.leftovers, "");
    host.assert_nothing_left("c1");

    let spec = host.spec("c2", "exit 3");
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(3));
}
