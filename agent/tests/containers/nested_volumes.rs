//! Volumes of containers in other containers, which have mounts of their own: what can only be read
//! there, and what goes with the container around.

use std::fs;
use std::path::{Path, PathBuf};

use agent::containerizer::{Containerizer, ContainerizerOptions, PersistentVolume};
use agent::launcher::{Capabilities, Volume, VolumeSource};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::host::{Host, PATIENCE, eventually, exited, id};

/// A directory with a file system of its own mounted in it, at `below`, as long as this lives.
struct Divided {
    directory: PathBuf,
}

impl Divided {
    fn at(directory: PathBuf) -> Self {
        const NONE: Option<&str> = None;
        let below = directory.join("below");
        fs::create_dir_all(&below).expect("directories");
        mount(Some("none"), &below, Some("tmpfs"), MsFlags::empty(), NONE).expect("we are root");
        fs::write(below.join("word"), "said\n").expect("there is space");
        Self { directory }
    }
}

impl Drop for Divided {
    fn drop(&mut self) {
        let gone = umount2(&self.directory.join("below"), MntFlags::MNT_DETACH);
        assert!(gone.is_ok() || std::thread::panicking(), "it is mounted");
    }
}

/// Tries all there is to write to `ro` and to what is mounted in it, and says what went well.
const TRY: &str = "for at in ro ro/below; do \
        (echo x > $at/new) && echo written to $at; \
        mount -o remount,bind,rw $at && echo made $at writable; \
        (umount $at/below || umount $at) && echo unmounted from $at; \
    done 2>/dev/null; cat ro/below/word";

/// One that runs until it is destroyed.
const STAY: &str = "while :; do sleep 0.02; done";

fn persistent(directory: &Path, read_only: bool) -> PersistentVolume {
    PersistentVolume {
        directory: directory.to_owned(),
        container_path: "ro".into(),
        read_only,
        is_shared: false,
        bytes: 1 << 20,
    }
}

fn read_only(source: VolumeSource) -> Volume {
    Volume { source, container_path: "ro".into(), read_only: true }
}

async fn ends_well(containerizer: &Containerizer, name: &str) {
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id(name))).await;
    let ended = ended.expect("it ends");
    assert_eq!((ended.status, ended.leftovers.as_str()), (exited(0), ""), "{name}");
}

#[tokio::test]
async fn what_is_mounted_in_a_read_only_volume_can_only_be_read_also_in_a_nested_container() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let shared = Divided::at(host.dir.path().join("shared"));
    let kept = Divided::at(host.dir.path().join("kept"));
    let mut around = host.spec("c1", STAY);
    let common = Divided::at(around.sandbox.join("common"));
    around.limits.mem_bytes = 128 << 20;
    containerizer.launch(around).await.expect("it starts");

    let of_host = || read_only(VolumeSource::Host(shared.directory.clone()));
    let of_around = || read_only(VolumeSource::Around("common".into()));
    for (name, volumes, persistent) in [
        ("c2", vec![of_host()], vec![]),
        ("c3", vec![], vec![persistent(&kept.directory, true)]),
        ("c1.host", vec![of_host()], vec![]),
        ("c1.around", vec![of_around()], vec![]),
        ("c1.kept", vec![], vec![persistent(&kept.directory, true)]),
    ] {
        let mut spec = host.spec(name, TRY);
        (spec.wanted.volumes, spec.wanted.persistent) = (volumes, persistent);
        containerizer.launch(spec).await.expect("it starts");
        ends_well(&containerizer, name).await;
        assert_eq!(host.stdout(name), "said\n", "{name}");
    }
    // One that comes while its container runs is held as they are.
    let script = format!("while ! test -e go; do sleep 0.01; done; {TRY}");
    containerizer.launch(host.spec("c4", &script)).await.expect("it starts");
    let comes = vec![persistent(&kept.directory, true)];
    containerizer.show_volumes(&id("c4"), comes).await.expect("it is there");
    fs::write(host.dir.path().join("c4/go"), "").expect("its sandbox is there");
    ends_well(&containerizer, "c4").await;
    assert_eq!(host.stdout("c4"), "said\n");

    // For others it is as it was.
    let mut spec = host.spec("c1.rw", "echo mine > ro/below/own; cat ro/below/own");
    spec.wanted.persistent = vec![persistent(&kept.directory, false)];
    containerizer.launch(spec).await.expect("it starts");
    ends_well(&containerizer, "c1.rw").await;
    assert_eq!(host.stdout("c1.rw"), "mine\n");
    containerizer.destroy(&id("c1")).await;
    drop(common);
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn who_may_mount_undoes_a_read_only_volume_for_itself_alone() {
    let host = Host::new();
    let options =
        ContainerizerOptions { capabilities_bounding: Capabilities::ALL, ..host.options() };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let shared = host.dir.path().join("shared");
    fs::create_dir(&shared).expect("a directory");
    containerizer.launch(host.spec("c1", STAY)).await.expect("it starts");
    let undo = "mount -o remount,bind,rw ro && echo x > ro/new && echo undone";
    let without = Capabilities::parse(Capabilities::DEFAULT).expect("names");
    for (name, bounding, says) in [("c1.with", None, "undone\n"), ("c1.without", Some(without), "")]
    {
        let mut spec = host.spec(name, &format!("({undo}) 2>/dev/null; true"));
        spec.wanted.volumes = vec![read_only(VolumeSource::Host(shared.clone()))];
        spec.wanted.capabilities_bounding = bounding;
        containerizer.launch(spec).await.expect("it starts");
        ends_well(&containerizer, name).await;
        assert_eq!(host.stdout(name), says, "{name}");
    }
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}

/// Shows what is in its volumes each time that a file of the next number comes, and says so.
const LOOK: &str = "for n in 1 2; do while ! test -e go$n; do sleep 0.01; done; \
    ls one two; echo -; touch did$n; done; sleep 1000";

#[tokio::test]
async fn a_nested_container_shows_no_volume_that_the_one_around_has_no_more() {
    let host = Host::new();
    let first = host.containerizer();
    let volume = |name: &str, at: &str| {
        let directory = host.dir.path().join("volumes").join(name);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join(name), "").expect("a file");
        PersistentVolume { container_path: at.into(), ..persistent(&directory, false) }
    };
    let mut around = host.spec("c1", STAY);
    around.limits.mem_bytes = 128 << 20;
    around.wanted.persistent = vec![volume("v1", "a"), volume("v2", "b")];
    first.launch(around).await.expect("it starts");
    let mut inside = host.spec("c1.task", LOOK);
    inside.wanted.persistent = vec![volume("v1", "one"), volume("v2", "two")];
    first.launch(inside).await.expect("it starts");
    let sandbox = host.dir.path().join("c1.task");
    let looked = async |number: u8| {
        fs::write(sandbox.join(format!("go{number}")), "").expect("the sandbox is there");
        eventually("it has looked", || sandbox.join(format!("did{number}")).exists()).await;
    };

    // What has come for another task is not for this one, and what has gone is gone for it too.
    let left = vec![volume("v2", "b"), volume("v3", "c")];
    first.show_volumes(&id("c1"), left).await.expect("it can do without");
    looked(1).await;
    // The next agent knows what is shown.
    drop(first);
    let second = host.containerizer();
    let recovered = second.recover(&[id("c1")]).await.expect("it is read");
    assert_eq!((recovered.running, second.runs(&id("c1.task"))), (vec![id("c1")], true));
    second.show_volumes(&id("c1"), Vec::new()).await.expect("it can do without");
    looked(2).await;
    assert_eq!(host.stdout("c1.task"), "one:\n\ntwo:\nv2\n-\none:\n\ntwo:\n-\n");
    second.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}
