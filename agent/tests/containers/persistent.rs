//! Volumes that outlive the containers that write to them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use agent::containerizer::{
    Containerizer, ContainerizerOptions, Isolation, Limitation, PersistentVolume,
};

use crate::host::{Host, PATIENCE, eventually, exited, id, run};

/// A volume as it is when it has been made: root's, and empty.
fn volume(host: &Host, name: &str) -> PersistentVolume {
    let directory = host.dir.path().join("volumes/roles/web").join(name);
    fs::create_dir_all(&directory).expect("a directory");
    PersistentVolume {
        directory,
        container_path: PathBuf::from("data"),
        read_only: false,
        is_shared: false,
        bytes: 1 << 20,
    }
}

fn options(host: &Host) -> ContainerizerOptions {
    // The agent hides where they are from those that have none.
    ContainerizerOptions { hidden: vec![host.dir.path().join("volumes")], ..host.options() }
}

#[tokio::test]
async fn what_is_written_to_a_persistent_volume_is_there_for_the_next_and_for_nobody_else() {
    let host = Host::new();
    fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let containerizer = Containerizer::new(options(&host)).expect("these tests run as root");
    let own = volume(&host, "v1");
    let mut spec = host.spec("c1", "echo kept > data/file && stat -c %U data data/file");
    spec.user = Some("nobody".to_owned());
    std::os::unix::fs::chown(&spec.sandbox, Some(65_534), Some(65_534)).expect("it is ours");
    spec.wanted.persistent = vec![own.clone()];
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
    assert_eq!(host.stdout("c1"), "nobody\nnobody\n");
    assert_eq!(fs::read(host.dir.path().join("c1/data/file")).ok(), None, "it is a mount only");

    // Nobody else sees it, by whatever name.
    let look = format!("ls {}; ls data", own.directory.display());
    let ended = run(&host, &containerizer, host.spec("c2", &look)).await;
    assert_ne!(ended.status, exited(0));
    assert_eq!(host.stdout("c2"), "");

    let mut spec = host.spec("c3", "cat data/file; echo changed > data/file");
    spec.wanted.persistent = vec![PersistentVolume { read_only: true, ..own.clone() }];
    let ended = run(&host, &containerizer, spec).await;
    assert_ne!(ended.status, exited(0), "it can only be read");
    assert_eq!(host.stdout("c3"), "kept\n");
    assert_eq!(fs::read_to_string(own.directory.join("file")).expect("it is there"), "kept\n");

    // What several may have stays whose it was first.
    let mut spec = host.spec("c4", "true");
    spec.user = Some("daemon".to_owned());
    spec.wanted.persistent = vec![PersistentVolume { is_shared: true, ..own.clone() }];
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
    assert_eq!(fs::metadata(&own.directory).expect("it is there").uid(), 65_534);
}

/// Goes through its steps as files of their numbers come, and says so by others.
const IN_STEPS: &str = "step() { while ! test -e go$1; do sleep 0.01; done; }; \
    step 1; ls; echo kept > more/file; (echo x > fixed/own) 2>/dev/null || echo refused; touch did1; \
    step 2; ls data more; cat more/file; touch did2; \
    step 3; ls more; touch did3; sleep 1000";

#[tokio::test]
async fn a_running_container_shows_volumes_that_come_and_none_that_have_gone() {
    let host = Host::new();
    let first = Containerizer::new(options(&host)).expect("these tests run as root");
    let sandbox = host.dir.path().join("c1");
    let done = async |number: u8| {
        fs::write(sandbox.join(format!("go{number}")), "").expect("the sandbox is there");
        eventually("it has looked", || sandbox.join(format!("did{number}")).exists()).await;
    };
    let of = |name: &str, at: &str, read_only| PersistentVolume {
        container_path: at.into(),
        read_only,
        ..volume(&host, name)
    };
    let (data, more, fixed) =
        (of("v1", "data", false), of("v2", "more", false), of("v3", "fixed", true));
    fs::write(data.directory.join("own"), "").expect("it is there");
    let mut spec = host.spec("c1", IN_STEPS);
    spec.wanted.persistent = vec![data.clone()];
    first.launch(spec).await.expect("it starts");
    let all = vec![data.clone(), more.clone(), fixed];
    first.show_volumes(&id("c1"), all.clone()).await.expect("they are there");
    first.show_volumes(&id("c1"), all).await.expect("they are shown already");
    done(1).await;
    let kept = more.directory.join("file");
    assert_eq!(fs::read_to_string(&kept).expect("it was written"), "kept\n");

    first.show_volumes(&id("c1"), vec![more.clone()]).await.expect("it can do without");
    done(2).await;
    // The next agent knows what is shown.
    drop(first);
    let second = Containerizer::new(options(&host)).expect("these tests run as root");
    let recovered = second.recover(&[id("c1")]).await.expect("it is read");
    assert_eq!(recovered.running, [id("c1")]);
    second.show_volumes(&id("c1"), Vec::new()).await.expect("it can do without");
    done(3).await;
    let said = "data\nfixed\ngo1\nmore\nstderr\nstdout\nrefused\ndata:\n\nmore:\nfile\nkept\n";
    assert_eq!(host.stdout("c1"), said);
    assert!(data.directory.join("own").exists() && kept.exists());

    // What leads elsewhere by now is no place, and what is not there is no volume.
    std::os::unix::fs::symlink("/etc", sandbox.join("link")).expect("a link");
    let error = second.show_volumes(&id("c1"), vec![of("v2", "link/at", false)]).await;
    let error = error.expect_err("it leads out").to_string();
    assert!(error.contains("'link/at' leads out of the sandbox"), "{error}");
    let none = PersistentVolume { directory: data.directory.join("none"), ..data };
    let error = second.show_volumes(&id("c1"), vec![none]).await.expect_err("it is not there");
    assert!(error.to_string().contains("it is not there"), "{error}");
    second.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
    second.show_volumes(&id("c1"), vec![more]).await.expect("it is over");
}

#[tokio::test]
async fn a_volume_is_taken_from_a_container_that_has_moved_it() {
    let host = Host::new();
    let containerizer = Containerizer::new(options(&host)).expect("these tests run as root");
    let own = PersistentVolume { container_path: "deep/data".into(), ..volume(&host, "v1") };
    let other = PersistentVolume { container_path: "deep/other".into(), ..volume(&host, "v2") };
    let command = "mv deep 'moved away'; echo kept > 'moved away/data/file'; mkdir -p deep/data; \
        touch moved; while ! test -e go; do sleep 0.01; done; ls 'moved away/data'; echo looked; \
        ls 'moved away/other'; touch looked; sleep 1000";
    let mut spec = host.spec("c1", command);
    spec.wanted.persistent = vec![own.clone(), other.clone()];
    fs::write(other.directory.join("stays"), "").expect("it is there");
    containerizer.launch(spec).await.expect("it starts");
    let sandbox = host.dir.path().join("c1");
    eventually("it has moved it", || sandbox.join("moved").exists()).await;
    containerizer.show_volumes(&id("c1"), vec![other]).await.expect("it can do without");
    fs::write(sandbox.join("go"), "").expect("it is there");
    eventually("it has looked", || sandbox.join("looked").exists()).await;
    assert_eq!(host.stdout("c1"), "looked\nstays\n");
    assert!(own.directory.join("file").exists(), "the volume has kept it");
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_link_in_the_place_of_a_persistent_volume_leads_nowhere() {
    let host = Host::new();
    let containerizer = Containerizer::new(options(&host)).expect("these tests run as root");
    let own = volume(&host, "v1");
    fs::remove_dir(&own.directory).expect("it is empty");
    let refused = async |name: &str| {
        let mut spec = host.spec(name, "true");
        spec.wanted.persistent = vec![own.clone()];
        let error = containerizer.launch(spec).await.expect_err(name).to_string();
        host.assert_nothing_left(name);
        error
    };
    let error = refused("c1").await;
    assert!(error.ends_with("it is not there; its disk may not be mounted"), "{error}");
    std::os::unix::fs::symlink("/etc", &own.directory).expect("a link");
    let error = refused("c2").await;
    assert!(error.starts_with("isolator filesystem/linux cannot set up /"), "{error}");

    // In the sandbox, a link of the task's own is none to follow either.
    let own = volume(&host, "v2");
    let mut spec = host.spec("c3", "true");
    std::os::unix::fs::symlink("/etc", spec.sandbox.join("data")).expect("a link");
    spec.wanted.persistent = vec![own];
    let error = containerizer.launch(spec).await.expect_err("it leads out").to_string();
    assert!(error.contains("'data' leads out of the sandbox"), "{error}");
    host.assert_nothing_left("c3");
}

#[tokio::test]
async fn without_mounts_a_persistent_volume_is_a_link() {
    let host = Host::new();
    let options = ContainerizerOptions {
        isolation: Isolation::parse("posix/cpu,filesystem/posix").expect("names"),
        ..host.options()
    };
    let containerizer = Containerizer::new(options).expect("it takes no rights");
    let own = volume(&host, "v1");
    let mut spec = host.spec("c1", "echo kept > data/file");
    spec.wanted.persistent = vec![own.clone()];
    containerizer.launch(spec).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
    assert_eq!(ended.expect("it ends").status, exited(0));
    assert_eq!(fs::read_to_string(own.directory.join("file")).expect("it is there"), "kept\n");
    let mut spec = host.spec("c2", "true");
    spec.wanted.persistent = vec![PersistentVolume { read_only: true, ..own }];
    let error = containerizer.launch(spec).await.expect_err("a link can be written by").to_string();
    assert!(error.contains("read-only ones and absolute paths take filesystem/linux"), "{error}");

    containerizer.launch(host.spec("c3", "sleep 1000")).await.expect("it starts");
    let link = host.dir.path().join("c3/data");
    let own = volume(&host, "v1");
    containerizer.show_volumes(&id("c3"), vec![own]).await.expect("it is there");
    assert_eq!(fs::read_to_string(link.join("file")).expect("it is there"), "kept\n");
    containerizer.show_volumes(&id("c3"), Vec::new()).await.expect("it can do without");
    assert!(fs::symlink_metadata(&link).is_err(), "it is gone");
    // What the task has put there instead is the task's.
    containerizer.show_volumes(&id("c3"), vec![volume(&host, "v1")]).await.expect("it is there");
    fs::remove_file(&link).expect("it is a link");
    fs::write(&link, "own").expect("its sandbox is there");
    containerizer.show_volumes(&id("c3"), Vec::new()).await.expect("it can do without");
    assert_eq!(fs::read_to_string(&link).expect("it is there"), "own");
    containerizer.destroy(&id("c3")).await;
}

#[tokio::test]
async fn a_persistent_volume_that_takes_more_than_its_size_ends_its_container() {
    let host = Host::new();
    let options = ContainerizerOptions {
        isolation: Isolation::parse("filesystem/linux,disk/du").expect("names"),
        enforce_disk: true,
        disk_watch_interval: Duration::from_millis(20),
        ..options(&host)
    };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let mut spec = host.spec("c1", "head -c 3000000 /dev/zero > data/big; sleep 1000");
    spec.limits.disk_bytes = Some(1 << 30);
    spec.wanted.persistent = vec![volume(&host, "v1")];
    containerizer.launch(spec).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
    let ended = ended.expect("it ends");
    assert_eq!(ended.limitation, Some(Limitation::Volume { bytes: 1 << 20 }));
    host.assert_nothing_left("c1");
}
