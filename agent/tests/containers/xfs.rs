//! Disks that are divided by the projects of XFS. Where the kernel has no quotas of XFS most of these tests
//! say so and do nothing more; that of `cargo xtask vm` has.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agent::containerizer::{
    Containerizer, ContainerizerOptions, Isolation, LaunchSpec, Limitation, Limits,
    PersistentVolume, ProjectCount, ProjectRange, Seccomp, XfsOptions,
};
use serde_json::json;

use crate::host::{Host, PATIENCE, eventually, exited, id, run};
use crate::image::busybox;
use crate::images::{images_of, wanted};
use crate::xfs_disk::{self, Disk};
use agent::images::{Registries, Registry};

const MIB: u64 = 1 << 20;

/// What a shell needs to take some of the disk: says whether it got all, and how many blocks it got.
const TAKE: &str = "echo begun; echo begun >&2; \
    take() { if head -c $2 /dev/zero > $1; then how=taken; else how=refused; fi; \
    blocks=$(stat -c %b $1); rm $1; echo $how $blocks; }; \
    step() { while ! test -e go$1; do sleep 0.01; done; }; ";

fn options(host: &Host, kills: bool) -> ContainerizerOptions {
    let isolation = "cgroups/cpu,namespaces/pid,filesystem/linux,linux/capabilities,linux/seccomp,\
                     disk/xfs";
    ContainerizerOptions {
        isolation: Isolation::parse(isolation).expect("names"),
        enforce_disk: true,
        disk_watch_interval: Duration::from_millis(20),
        xfs: XfsOptions {
            places: vec![host.dir.path().to_owned()],
            range: ProjectRange::new([(70, 73)].into_iter().collect()).expect("numbers"),
            kills,
        },
        hidden: vec![host.dir.path().join("volumes")],
        ..host.options()
    }
}

/// A container that may take so much of the disk.
fn given(host: &Host, name: &str, bytes: u64, command: &str) -> LaunchSpec {
    let mut spec = host.spec(name, command);
    spec.limits.disk_bytes = Some(bytes);
    spec
}

fn volume(host: &Host, name: &str, bytes: u64) -> PersistentVolume {
    let directory = host.dir.path().join("volumes/roles/web").join(name);
    fs::create_dir_all(&directory).expect("a directory");
    PersistentVolume {
        directory,
        container_path: "data".into(),
        read_only: false,
        is_shared: false,
        bytes,
    }
}

/// The project of a file, as the system's own tool tells it.
fn project(path: &Path) -> u32 {
    let text = xfs_disk::run("xfs_io", &["-r", "-c", "stat"], &[path]).expect("it is there");
    let line = text.lines().find_map(|line| line.strip_prefix("fsxattr.projid = "));
    line.and_then(|line| line.trim().parse().ok()).expect("a number")
}

/// The soft and hard limit of a project in KiB, as the system's own tool tells them. Absent: the file system
/// knows of no such project.
fn limits(disk: &Disk, project: u32) -> Option<(u64, u64)> {
    let report = ["-x", "-c", "report -p -n -N -b"];
    let text = xfs_disk::run("xfs_quota", &report, &[&disk.at]).expect("quotas are on");
    let row = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let row = row.into_iter().find(|row| row.first() == Some(&&*format!("#{project}")))?;
    Some((row[2].parse().expect("a number"), row[3].parse().expect("a number")))
}

/// What a container that has run `take` printed: how it went and the bytes that it got.
fn told(host: &Host, name: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (how, blocks) = line.split_once(' ')?;
        Some((how.to_owned(), blocks.parse::<u64>().ok()? * 512))
    };
    host.stdout(name).lines().filter_map(line).collect()
}

#[tokio::test]
async fn what_is_past_a_share_of_the_disk_is_refused_and_a_neighbour_writes_on() {
    let Some(disk) = Disk::divided() else { return };
    let host = Host::at(&disk.at);
    let containerizer = Containerizer::new(options(&host, false)).expect("root, and such a disk");
    let command = format!(
        "{TAKE} take big 20000000; chattr -p 0 . && echo changed || echo unchanged; \
         step 1; take big 20000000; step 2"
    );
    let hog = given(&host, "hog", 8 * MIB, &command);
    // What was fetched before it runs is its own as well.
    fs::create_dir(hog.sandbox.join("fetched")).expect("the sandbox is there");
    fs::write(hog.sandbox.join("fetched/file"), vec![1; 4 << 20]).expect("there is room");
    let mut neighbour = given(&host, "neighbour", 64 * MIB, &command);
    neighbour.wanted.seccomp = Seccomp::Unconfined;
    for spec in [hog, neighbour] {
        containerizer.launch(spec).await.expect("it starts");
    }
    let sandbox = |name: &str| host.dir.path().join(name);
    let (first, second) = (project(&sandbox("hog")), project(&sandbox("neighbour")));
    assert_eq!((first, second), (70, 71));
    assert_eq!(project(&sandbox("hog").join("fetched/file")), first);
    assert_eq!(limits(&disk, first), Some((8_192, 8_192)));

    for name in ["hog", "neighbour"] {
        eventually("it has tried", || host.stdout(name).contains("changed")).await;
    }
    let (how, bytes) = told(&host, "hog").remove(0);
    assert_eq!(how, "refused");
    assert!((2 * MIB..=4 * MIB).contains(&bytes), "{bytes}");
    let errors = fs::read_to_string(sandbox("hog").join("stderr")).expect("it was made");
    assert!(
        errors.contains("No space left on device") || errors.contains("Disk quota exceeded"),
        "{errors}"
    );
    assert_eq!(told(&host, "neighbour").remove(0).0, "taken");
    // Whose files they are can take them out of their project, but for the filter of system calls.
    assert!(host.stdout("hog").ends_with("\nunchanged\n"));
    assert!(host.stdout("neighbour").ends_with("\nchanged\n"));
    assert_eq!((project(&sandbox("hog")), project(&sandbox("neighbour"))), (first, 0));

    let usage = containerizer.usage(&id("hog")).await;
    assert_eq!(usage.disk_limit_bytes, Some(8 * MIB));
    assert!(usage.disk_used_bytes.is_some_and(|bytes| bytes >= 4 * MIB), "{usage:?}");
    assert_eq!(containerizer.limitation(&id("hog")).await, None, "it is refused more, not ended");

    // More tasks bring more.
    let raised = Limits { disk_bytes: Some(40 * MIB), ..Limits::default() };
    containerizer.update(&id("hog"), raised).await.expect("it runs");
    assert_eq!(limits(&disk, first), Some((40 * 1_024, 40 * 1_024)));
    fs::write(sandbox("hog").join("go1"), "").expect("there is room");
    eventually("it has tried again", || told(&host, "hog").len() == 2).await;
    assert_eq!(told(&host, "hog").remove(1).0, "taken");
    for name in ["hog", "neighbour"] {
        containerizer.destroy(&id(name)).await;
        host.assert_nothing_left(name);
    }
    assert_eq!(limits(&disk, first), Some((40 * 1_024, 40 * 1_024)), "the sandbox is still there");
}

#[tokio::test]
async fn who_takes_more_than_a_share_of_the_disk_is_ended_if_so_wanted_before_it_has_much_more() {
    let Some(disk) = Disk::divided() else { return };
    let host = Host::at(&disk.at);
    let containerizer = Containerizer::new(options(&host, true)).expect("root, and such a disk");
    let hog = |at: &str| format!("head -c 60000000 /dev/zero > {at}; sleep 1000");
    let sandbox = given(&host, "sandbox", 8 * MIB, &hog("big"));
    let mut of_volume = given(&host, "volume", 8 * MIB, &hog("data/big"));
    let data = volume(&host, "v1", 4 * MIB);
    of_volume.wanted.persistent = vec![data.clone()];
    let modest = given(&host, "modest", 64 * MIB, "head -c 20000000 /dev/zero > big; sleep 1000");
    for spec in [sandbox, of_volume, modest] {
        containerizer.launch(spec).await.expect("it starts");
    }
    for (name, limitation) in
        [("sandbox", Limitation::Disk), ("volume", Limitation::Volume { bytes: 4 * MIB })]
    {
        let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id(name))).await;
        let ended = ended.expect("it ends");
        assert_eq!((ended.limitation, ended.destroyed), (Some(limitation), false), "{name}");
        host.assert_nothing_left(name);
    }
    let length = |path: &Path| fs::metadata(path).expect("it is there").len();
    let taken = length(&host.dir.path().join("sandbox/big"));
    assert!(taken <= 18 * MIB, "{taken}");
    let taken = length(&data.directory.join("big"));
    assert!(taken <= 14 * MIB, "{taken}");
    let big = host.dir.path().join("modest/big");
    let has_all = || fs::metadata(&big).is_ok_and(|big| big.len() == 20_000_000);
    eventually("it has its share", has_all).await;
    assert_eq!(containerizer.destroy(&id("modest")).await.limitation, None);
    host.assert_nothing_left("modest");
}

#[tokio::test]
async fn who_holds_space_for_a_file_to_grow_into_is_not_ended_for_that() {
    let Some(disk) = Disk::ahead() else { return };
    let host = Host::at(&disk.at);
    let containerizer = Containerizer::new(options(&host, true)).expect("root, and such a disk");
    let command = "exec 3>log; head -c 1000000 /dev/zero >&3; echo written; sleep 1000";
    containerizer.launch(given(&host, "c1", 8 * MIB, command)).await.expect("it starts");
    eventually("it has written", || host.stdout("c1") == "written\n").await;
    let given_up = async {
        // At first it holds twice its share.
        while containerizer.usage(&id("c1")).await.disk_used_bytes.is_none_or(|it| it > 2 * MIB) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, given_up).await.expect("it holds no more than it needs");
    let ended = containerizer.destroy(&id("c1")).await;
    assert_eq!((ended.limitation, ended.destroyed), (None, true));
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn shares_of_the_disk_outlast_the_agent_and_are_free_once_nothing_has_them() {
    let Some(disk) = Disk::divided() else { return };
    let host = Host::at(&disk.at);
    let first = Containerizer::new(options(&host, true)).expect("root, and such a disk");
    let sandbox = |name: &str| host.dir.path().join(name);
    let hog =
        "while ! test -e go; do sleep 0.01; done; head -c 12000000 /dev/zero > big; sleep 1000";
    first.launch(given(&host, "stays", 8 * MIB, hog)).await.expect("it starts");
    run(&host, &first, given(&host, "over", 8 * MIB, "true")).await;
    let free = |of: &Containerizer| {
        of.reclaim();
        let ProjectCount { total, free } = of.projects();
        assert_eq!(total, 4);
        free
    };
    assert_eq!(free(&first), 2, "that of who is over is kept with its sandbox");
    drop(first);

    let second = Containerizer::new(options(&host, true)).expect("root, and such a disk");
    let recovered = second.recover(&[id("stays"), id("over")]).await.expect("it is read");
    assert_eq!((recovered.running, recovered.ended), (vec![id("stays")], vec![id("over")]));
    assert_eq!(free(&second), 2);
    let mut spec = given(&host, "new", 8 * MIB, "sleep 1000");
    let data = volume(&host, "v1", 4 * MIB);
    fs::create_dir_all(data.directory.join("of/earlier")).expect("it is there");
    spec.wanted.persistent = vec![data.clone()];
    second.launch(spec).await.expect("it starts");
    let mut all = [sandbox("stays"), sandbox("over"), sandbox("new"), data.directory.clone()]
        .map(|directory| project(&directory));
    let of_volume = all[3];
    assert_eq!(project(&data.directory.join("of/earlier")), of_volume);
    assert_eq!(limits(&disk, of_volume), Some((4 * 1_024, 14 * 1_024)));
    let told = second.usage(&id("new")).await.volumes;
    assert_eq!((told.len(), &told[0].directory), (1, &data.directory));
    assert_eq!((told[0].limit_bytes, told[0].used_bytes), (4 * MIB, 0), "directories are small");
    all.sort_unstable();
    assert_eq!((all, free(&second)), ([70, 71, 72, 73], 0));
    let error = second.launch(given(&host, "more", MIB, "true")).await.expect_err("there is none");
    let error = error.to_string();
    assert!(error.contains("all projects of --xfs_project_range are in use"), "{error}");

    // The next agent ends it just as well.
    fs::write(sandbox("stays").join("go"), "").expect("the sandbox is there");
    let ended = tokio::time::timeout(PATIENCE, second.wait(&id("stays"))).await.expect("it ends");
    assert_eq!(ended.limitation, Some(Limitation::Disk));
    second.destroy(&id("new")).await;
    assert_eq!(free(&second), 0, "all of it is still there");
    let given_back = project(&sandbox("over"));
    fs::remove_dir_all(sandbox("over")).expect("it is there");
    fs::remove_dir_all(sandbox("new")).expect("it is there");
    // The file system counts what is removed a little later.
    eventually("two are free", || free(&second) == 2).await;
    assert_eq!(limits(&disk, given_back), None, "nothing is left of its limit");

    // A volume keeps its own from one to the next.
    let mut spec = given(&host, "next", 8 * MIB, "true");
    spec.wanted.persistent = vec![PersistentVolume { bytes: 6 * MIB, ..data.clone() }];
    assert_eq!(run(&host, &second, spec).await.status, exited(0));
    assert_eq!(project(&data.directory), of_volume);
    assert_eq!(limits(&disk, of_volume), Some((6 * 1_024, 16 * 1_024)), "it has grown");
    for directory in [sandbox("stays"), sandbox("next"), data.directory] {
        fs::remove_dir_all(directory).expect("it is there");
    }
    eventually("all are free", || free(&second) == 4).await;
    host.assert_nothing_left("stays");
}

#[tokio::test]
async fn who_marks_a_volume_as_anothers_gets_nothing_of_that_ones() {
    let Some(disk) = Disk::divided() else { return };
    let host = Host::at(&disk.at);
    let containerizer = Containerizer::new(options(&host, false)).expect("root, and such a disk");
    containerizer.launch(given(&host, "c1", 8 * MIB, "sleep 1000")).await.expect("it starts");
    let theirs = project(&host.dir.path().join("c1"));
    let data = volume(&host, "v1", 64 * MIB);
    let mark = format!("chattr -p {theirs} data; true");
    for name in ["c2", "c3"] {
        let mut spec = given(&host, name, 8 * MIB, &mark);
        spec.wanted.seccomp = Seccomp::Unconfined;
        spec.wanted.persistent = vec![data.clone()];
        assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
        assert_eq!(project(&data.directory), theirs, "it says so");
        assert_eq!(limits(&disk, theirs), Some((8_192, 8_192)), "that is not changed by it");
        fs::remove_dir_all(host.dir.path().join(name)).expect("it is there");
    }
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn what_is_written_to_an_image_counts_with_the_sandbox_also_in_a_container_inside() {
    let Some(disk) = Disk::divided() else { return };
    let host = Host::at(&disk.at);
    let layout = host.dir.path().join("layout");
    busybox(&json!({"Env": ["PATH=/bin"]})).write_layout(&layout, "latest");
    let default = Registry::Directory(layout);
    let images = images_of(&host, Registries { default, ..Registries::default() });
    let image = images.provision(&wanted("busybox")).await.expect("it is there");
    let containerizer = Containerizer::new(options(&host, false)).expect("root, and such a disk");
    let of_image = |name: &str, command: &str| LaunchSpec {
        image: Some(image.clone()),
        environment: vec![("PATH".to_owned(), "/bin".to_owned())],
        ..given(&host, name, 8 * MIB, command)
    };
    let take = "echo begun; if /bin/busybox head -c 20000000 /dev/zero > /big; then how=taken; \
                else how=refused; fi; /bin/busybox rm /big; echo $how";
    let ended = run(&host, &containerizer, of_image("c1", take)).await;
    assert_eq!((ended.status, &*host.stdout("c1")), (exited(0), "begun\nrefused\n"));

    containerizer.launch(given(&host, "c2", 8 * MIB, "sleep 1000")).await.expect("it starts");
    let mut inside = of_image("c2.task", take);
    inside.sandbox = host.dir.path().join("c2/containers/task");
    fs::create_dir_all(&inside.sandbox).expect("the sandbox is there");
    let printed = inside.sandbox.join("stdout");
    let around = project(&host.dir.path().join("c2"));
    assert_eq!(project(&inside.sandbox), around, "it was made in that one's sandbox");
    containerizer.launch(inside).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c2.task"))).await;
    assert_eq!(ended.expect("it ends").status, exited(0));
    assert_eq!(fs::read_to_string(printed).expect("it was made"), "begun\nrefused\n");
    containerizer.destroy(&id("c2")).await;
    host.assert_nothing_left("c2");
    // Its layers are on the same disk.
    drop(image);
}

#[tokio::test]
async fn a_disk_that_is_not_divided_is_refused_with_what_to_do() {
    let Some(disk) = Disk::plain() else { return };
    let host = Host::at(&disk.at);
    let refused = Containerizer::new(options(&host, false)).expect_err("it has no quotas");
    let expected = format!(
        "isolator disk/xfs: the file system of {}: project quotas are not on there; mount it with \
         'prjquota'",
        host.dir.path().display()
    );
    assert!(refused.to_string().starts_with(&expected), "{refused}");
}
