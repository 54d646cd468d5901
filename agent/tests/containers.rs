//! Containers as they are: real processes, namespaces and cgroups. Most of it takes root.
//!
//! Where a test waits for something to become true it looks again and again, for a bounded time.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agent::containerizer::{
    CommandLine, Containerizer, ContainerizerOptions, Isolation, LaunchError, LaunchSpec,
    Limitation, Limits, Termination,
};
use model::ids::ContainerId;

/// How long anything here may take. Far more than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent's directories and its cgroups, removed in the end.
struct Host {
    dir: tempfile::TempDir,
    root: String,
}

impl Host {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root =
            format!("agora-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { dir: tempfile::tempdir().expect("a directory"), root }
    }

    fn options(&self) -> ContainerizerOptions {
        let helper = PathBuf::from(env!("CARGO_BIN_EXE_agent-test-helper"));
        let launcher = (helper, vec![OsString::from("launcher")]);
        ContainerizerOptions {
            cgroups_root: self.root.clone(),
            ..ContainerizerOptions::new(self.dir.path().join("run"), launcher)
        }
    }

    fn containerizer(&self) -> Containerizer {
        Containerizer::new(self.options()).expect("these tests run as root, with cgroups")
    }

    fn spec(&self, name: &str, command: &str) -> LaunchSpec {
        let sandbox = self.dir.path().join(name);
        fs::create_dir_all(&sandbox).expect("a sandbox");
        LaunchSpec {
            container: id(name),
            sandbox,
            command: CommandLine::Shell(command.to_owned()),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            user: None,
            limits: Limits { cpus_milli: 500, mem_bytes: 64 << 20, ..Limits::default() },
            hostname: None,
        }
    }

    fn stdout(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name).join("stdout")).expect("it was made")
    }

    /// This host's directory in each cgroup tree.
    fn groups(&self) -> Vec<PathBuf> {
        let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let trees = trees.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        trees.map(|tree| tree.join(&self.root)).filter(|group| group.is_dir()).collect()
    }

    fn groups_of(&self, name: &str) -> Vec<PathBuf> {
        let groups = self.groups().into_iter().map(|group| group.join(name));
        groups.filter(|group| group.is_dir()).collect()
    }

    fn assert_nothing_left(&self, name: &str) {
        assert_eq!(self.groups_of(name), Vec::<PathBuf>::new());
        let sandbox = self.dir.path().join(name).display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        assert!(!mounts.contains(&sandbox), "{mounts}");
        assert!(processes_in(&sandbox).is_empty());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for group in self.groups() {
            let removed = fs::remove_dir(&group);
            assert!(
                removed.is_ok() || std::thread::panicking(),
                "containers of this test are left"
            );
        }
    }
}

/// The processes whose working directory lies in `sandbox`.
fn processes_in(sandbox: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("it can be read").flatten();
    let inside = |path: &PathBuf| {
        fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(Path::new(sandbox)))
    };
    entries.map(|entry| entry.path()).filter(inside).collect()
}

fn id(name: &str) -> ContainerId {
    ContainerId::new(name).expect("an id")
}

async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn run(host: &Host, containerizer: &Containerizer, spec: LaunchSpec) -> Termination {
    let container = spec.container.clone();
    containerizer.launch(spec).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&container)).await;
    let termination = ended.expect("it ends");
    assert_eq!(termination.leftovers, "");
    host.assert_nothing_left(container.as_str());
    termination
}

fn exited(code: u8) -> Option<i32> {
    i32::from(code).checked_shl(8)
}

#[tokio::test]
async fn a_container_has_processes_ipc_and_mounts_of_its_own() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec(
        "c1",
        "ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; hostname; pwd; env | sort; \
         for n in mnt pid ipc uts net; do readlink /proc/self/ns/$n; done; \
         mount -t tmpfs none /mnt && echo mounted; touch /dev/shm/agora-test-inside",
    );
    spec.hostname = Some("inside".to_owned());
    spec.environment.push(("COLOUR".to_owned(), "blue and green".to_owned()));
    let sandbox = spec.sandbox.display().to_string();
    let termination = run(&host, &containerizer, spec).await;
    assert_eq!(termination.status, exited(0));

    let output = host.stdout("c1");
    let mut lines = output.lines();
    let count: u32 = lines.next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(count <= 5, "it sees {count} processes");
    assert!(lines.next().is_some_and(|init| init.starts_with("agent-test-help")), "{output}");
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
