//! An agent in a cgroup that somebody else made for it, as a unit of systemd's or within a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::containerizer::{Containerizer, ContainerizerOptions, Isolation};

use crate::host::{Host, exited, id, is_v2, run};

/// The trees that the isolators below are in.
fn trees() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    if is_v2() {
        return vec![top.to_owned()];
    }
    ["cpu", "memory", "pids", "unified"].map(|tree| top.join(tree)).into()
}

/// This process in a group of its own in each tree, until this is dropped: also where a test fails.
struct Delegated<'a>(&'a Host);

impl<'a> Delegated<'a> {
    fn new(host: &'a Host) -> Self {
        for tree in trees().iter().filter(|tree| tree.is_dir()) {
            let group = tree.join(&host.root);
            fs::create_dir(&group).expect("it is new");
            enter(&group);
        }
        Self(host)
    }
}

impl Drop for Delegated<'_> {
    fn drop(&mut self) {
        for tree in trees().iter().filter(|tree| tree.is_dir()) {
            enter(tree);
        }
        for group in self.0.groups() {
            for name in ["agora-agent", "containers"] {
                let left = group.join(name);
                let is_gone = !left.exists() || fs::remove_dir(&left).is_ok();
                assert!(is_gone || std::thread::panicking(), "{}", left.display());
            }
        }
    }
}

/// Moves this process.
fn enter(group: &Path) {
    fs::write(group.join("cgroup.procs"), "0").expect("it is ours");
}

/// The kernel's list of the groups that this process is in.
fn own_groups() -> String {
    fs::read_to_string("/proc/self/cgroup").expect("it can be read")
}

#[tokio::test]
async fn an_agent_in_a_group_of_its_own_goes_aside_for_its_containers() {
    let host = Host::new();
    let _delegated = Delegated::new(&host);
    let options = ContainerizerOptions {
        cgroups_root: format!("{}/containers", host.root),
        isolation: Isolation::parse("cgroups/cpu,cgroups/mem,cgroups/pids").expect("names"),
        ..host.options()
    };
    // Only in the v2 tree it matters who else is there.
    let mut other = Command::new("sleep").arg("1000").spawn().expect("there is one");
    let refused = Containerizer::new(options.clone()).err();
    other.kill().and_then(|()| other.wait()).expect("it is ours");
    assert_eq!(refused.is_some(), is_v2(), "{refused:?}");
    if let Some(error) = refused {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(source.is_some_and(|it| it.contains("other processes than the agent")), "{error}");
    }

    let containerizer = Containerizer::new(options).expect("these tests run as root");
    assert_eq!(own_groups().contains(&format!("/{}/agora-agent", host.root)), is_v2());
    let command = "while ! test -e end; do sleep 0.01; done";
    let launched = containerizer.launch(host.spec("c1", command)).await.expect("it starts");
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", launched.pid)).expect("it runs");
    assert!(groups.contains(&format!("/{}/containers/c1\n", host.root)), "{groups}");
    let usage = containerizer.usage(&id("c1")).await;
    assert!(usage.mem_bytes.is_some_and(|bytes| bytes > 0), "{usage:?}");
    assert!(usage.pids.is_some_and(|pids| pids > 0), "{usage:?}");
    fs::write(host.dir.path().join("c1/end"), "").expect("the sandbox is there");
    assert_eq!(containerizer.wait(&id("c1")).await.status, exited(0));
    // A later agent finds its way as well.
    drop(containerizer);
    let again = ContainerizerOptions {
        cgroups_root: format!("{}/containers", host.root),
        ..host.options()
    };
    let again = Containerizer::new(again).expect("these tests run as root");
    assert_eq!(run(&host, &again, host.spec("c2", "exit 3")).await.status, exited(3));
}
