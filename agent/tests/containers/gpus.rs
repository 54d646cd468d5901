//! Graphics processors, played by device files that no driver stands behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use agent::containerizer::{Containerizer, ContainerizerOptions, GpuOptions, Isolation, Limits};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::host::{Host, eventually, id};

/// The number that the kernel has for the driver.
const MAJOR: u64 = 195;

/// Says of each device file whether the kernel would let it be opened if there was a driver.
const OPENS: &str = "open() { for n in nvidia0 nvidia1 nvidiactl; do \
    (: < dev/$n) 2>&1 | grep -q 'not permitted' && printf '%s:no ' $n || printf '%s:yes ' $n; done; }; ";

struct Site {
    host: Host,
}

impl Site {
    fn new() -> Self {
        let host = Host::new();
        let dir = host.dir.path().join("dev");
        fs::create_dir(&dir).expect("a directory");
        for (name, minor) in [("nvidia0", 0), ("nvidia1", 1), ("nvidiactl", 255)] {
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&dir.join(name), SFlag::S_IFCHR, mode, makedev(MAJOR, minor)).expect("root can");
            let mode = fs::Permissions::from_mode(0o666);
            fs::set_permissions(dir.join(name), mode).expect("it is ours");
        }
        Self { host }
    }

    fn containerizer(&self) -> Containerizer {
        let isolation = "cgroups/devices,gpu/nvidia,namespaces/pid,filesystem/linux";
        let options = ContainerizerOptions {
            isolation: Isolation::parse(isolation).expect("names"),
            gpus: GpuOptions { dir: self.host.dir.path().join("dev"), devices: None },
            ..self.host.options()
        };
        Containerizer::new(options).expect("these tests run as root, with cgroups")
    }

    /// Starts a container that looks, and looks again when it is told to.
    async fn launched(
        &self,
        containerizer: &Containerizer,
        name: &str,
        gpus: u64,
    ) -> Result<(), String> {
        let command = format!(
            "{OPENS} cd ..; open > {name}/first.new; mv {name}/first.new {name}/first; \
             while ! test -e {name}/go; do sleep 0.01; done; \
             open > {name}/again.new; mv {name}/again.new {name}/again; sleep 1000"
        );
        let mut spec = self.host.spec(name, &command);
        spec.limits.gpus = gpus;
        // One in another that has none of its own shares the other's.
        spec.wanted.has_own_limits = gpus > 0;
        containerizer.launch(spec).await.map(drop).map_err(|error| error.to_string())
    }

    async fn seen(&self, name: &str, file: &str) -> String {
        let path = self.host.dir.path().join(name).join(file);
        eventually("it has looked", || path.exists()).await;
        fs::read_to_string(path).expect("it is there")
    }
}

#[tokio::test]
async fn a_container_opens_the_graphics_processors_it_was_given_and_no_others() {
    let site = Site::new();
    let first = site.containerizer();
    for (name, gpus) in [("one", 1), ("none", 0)] {
        site.launched(&first, name, gpus).await.expect("there are enough");
    }
    assert_eq!(site.seen("one", "first").await, "nvidia0:yes nvidia1:no nvidiactl:yes ");
    assert_eq!(site.seen("none", "first").await, "nvidia0:no nvidia1:no nvidiactl:no ");
    let error = site.launched(&first, "many", 2).await.expect_err("there is one left");
    assert_eq!(
        error,
        "isolator gpu/nvidia cannot grant 2 graphics processors: this agent has 2 of them, and 1 are in use"
    );
    // The next agent knows whose is which.
    drop(first);
    let second = site.containerizer();
    let recovered = second.recover(&["one", "none"].map(id)).await.expect("it is read");
    assert_eq!(recovered.running.len(), 2);
    site.launched(&second, "other", 1).await.expect("there is one left");
    assert_eq!(site.seen("other", "first").await, "nvidia0:no nvidia1:yes nvidiactl:yes ");
    // What one gives back is another's.
    second.update(&id("one"), Limits::default()).await.expect("it runs");
    fs::write(site.host.dir.path().join("one/go"), "").expect("it is there");
    assert_eq!(site.seen("one", "again").await, "nvidia0:no nvidia1:no nvidiactl:no ");
    second.destroy(&id("other")).await;
    site.launched(&second, "both", 2).await.expect("both are free");
    assert_eq!(site.seen("both", "first").await, "nvidia0:yes nvidia1:yes nvidiactl:yes ");
    for name in ["one", "none", "both"] {
        second.destroy(&id(name)).await;
        site.host.assert_nothing_left(name);
    }

    // What is in a container has some of what the container has.
    site.launched(&second, "two", 2).await.expect("all are free");
    site.launched(&second, "two.own", 1).await.expect("it has two");
    assert_eq!(site.seen("two.own", "first").await, "nvidia0:yes nvidia1:no nvidiactl:yes ");
    site.launched(&second, "two.shares", 0).await.expect("it takes none");
    assert_eq!(site.seen("two.shares", "first").await, "nvidia0:yes nvidia1:yes nvidiactl:yes ");
    let error = site.launched(&second, "two.many", 2).await.expect_err("there is one left");
    assert_eq!(
        error,
        "isolator gpu/nvidia cannot grant 2 graphics processors: the container around it has 2 of them, \
         and 1 are in use"
    );
    // It gives away first what is in nobody's hands.
    second.update(&id("two"), Limits { gpus: 1, ..Limits::default() }).await.expect("it runs");
    fs::write(site.host.dir.path().join("two.own/go"), "").expect("it is there");
    assert_eq!(site.seen("two.own", "again").await, "nvidia0:yes nvidia1:no nvidiactl:yes ");
    second.destroy(&id("two")).await;
    site.host.assert_nothing_left("two");

    let options = ContainerizerOptions {
        isolation: Isolation::parse("gpu/nvidia").expect("a name"),
        ..site.host.options()
    };
    let error = Containerizer::new(options).expect_err("it takes another").to_string();
    assert!(error.starts_with("isolator gpu/nvidia: it takes cgroups/devices"), "{error}");
}
