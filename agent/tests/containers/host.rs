//! An agent's directories and cgroups for a test, and what there must not be of it afterwards.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agent::containerizer::{
    CommandLine, Containerizer, ContainerizerOptions, Kind, LaunchSpec, Limits, Termination, Wanted,
};
use model::amount::Ranges;
use model::ids::ContainerId;

/// How long anything here may take. Far more than it does on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An agent's directories and its cgroups, removed in the end.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) root: String,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::at(&std::env::temp_dir())
    }

    /// With its directories in another one.
    pub(crate) fn at(place: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root =
            format!("agora-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { dir: tempfile::tempdir_in(place).expect("a directory"), root }
    }

    pub(crate) fn options(&self) -> ContainerizerOptions {
        let helper = PathBuf::from(env!("CARGO_BIN_EXE_agent-test-helper"));
        let launcher = (helper, vec![OsString::from("launcher")]);
        ContainerizerOptions {
            cgroups_root: self.root.clone(),
            ..ContainerizerOptions::new(self.dir.path().join("run"), launcher)
        }
    }

    pub(crate) fn containerizer(&self) -> Containerizer {
        Containerizer::new(self.options()).expect("these tests run as root, with cgroups")
    }

    pub(crate) fn spec(&self, name: &str, command: &str) -> LaunchSpec {
        let sandbox = self.dir.path().join(name);
        fs::create_dir_all(&sandbox).expect("a sandbox");
        LaunchSpec {
            container: id(name),
            sandbox,
            command: CommandLine::Shell(command.to_owned()),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            user: None,
            identity: None,
            known_as: None,
            image: None,
            image_volumes: Vec::new(),
            workdir: None,
            limits: Limits { cpus_milli: 500, mem_bytes: 64 << 20, ..Limits::default() },
            hostname: None,
            wanted: Wanted::default(),
            ports: Ranges::default(),
            shown: Vec::new(),
            kind: Kind::default(),
        }
    }

    pub(crate) fn stdout(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name).join("stdout")).expect("it was made")
    }

    /// This host's directory in each cgroup tree.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let trees = trees.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        trees.map(|tree| tree.join(&self.root)).filter(|group| group.is_dir()).collect()
    }

    pub(crate) fn groups_of(&self, name: &str) -> Vec<PathBuf> {
        let groups = self.groups().into_iter().map(|group| group.join(name));
        groups.filter(|group| group.is_dir()).collect()
    }

    pub(crate) fn assert_nothing_left(&self, name: &str) {
        assert_eq!(self.groups_of(name), Vec::<PathBuf>::new());
        let sandbox = self.dir.path().join(name).display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        assert!(!mounts.contains(&sandbox), "{mounts}");
        assert!(processes_in(&sandbox).is_empty());
    }
}

impl Host {
    /// Ends what a failed test leaves, so that it does not fail others.
    fn clear(&self) {
        let inside = |group: &PathBuf| fs::read_dir(group).into_iter().flatten().flatten();
        let mut left: Vec<PathBuf> =
            self.groups().iter().flat_map(inside).map(|it| it.path()).collect();
        left.retain(|group| group.is_dir());
        let until = Instant::now() + PATIENCE;
        while !left.is_empty() && Instant::now() < until {
            for group in &left {
                let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in listed.lines().filter_map(|line| line.parse().ok()) {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
                }
            }
            left.retain(|group| fs::remove_dir(group).is_err());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.clear();
        }
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
pub(crate) fn processes_in(sandbox: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("it can be read").flatten();
    let inside = |path: &PathBuf| {
        fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(Path::new(sandbox)))
    };
    entries.map(|entry| entry.path()).filter(inside).collect()
}

pub(crate) fn id(name: &str) -> ContainerId {
    ContainerId::new(name).expect("an id")
}

pub(crate) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn run(
    host: &Host,
    containerizer: &Containerizer,
    spec: LaunchSpec,
) -> Termination {
    let container = spec.container.clone();
    containerizer.launch(spec).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&container)).await;
    let termination = ended.expect("it ends");
    assert_eq!(termination.leftovers, "");
    host.assert_nothing_left(container.as_str());
    termination
}

pub(crate) fn exited(code: u8) -> Option<i32> {
    i32::from(code).checked_shl(8)
}

/// Whether there are v2 groups alone on this machine.
pub(crate) fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
