//! Containers in other containers.

use std::fs;
use std::path::Path;

use crate::host::{Host, PATIENCE, eventually, exited, id};
use agent::containerizer::{
    Class, CommandLine, Containerizer, KillError, Kind, LaunchError, LaunchSpec, Limitation,
    Limits, NoPlace,
};
use agent::launcher::{Volume, VolumeSource};

/// One that runs until it is told to end, and says when it is up.
fn outer(host: &Host, name: &str) -> LaunchSpec {
    let mut spec = host.spec(
        name,
        "echo inside > /dev/shm/agora-test-shared; export HERE=$PWD; touch up; \
         while ! test -e end; do sleep 0.01; done",
    );
    spec.limits.mem_bytes = 128 << 20;
    spec.hostname = Some("outside".to_owned());
    spec.environment.push(("COLOUR".to_owned(), "blue".to_owned()));
    spec
}

async fn launched(host: &Host, containerizer: &Containerizer, spec: LaunchSpec) {
    let name = spec.container.to_string();
    containerizer.launch(spec).await.expect("it starts");
    let up = host.dir.path().join(&name).join("up");
    eventually("it is up", || up.exists()).await;
}

async fn run(containerizer: &Containerizer, spec: LaunchSpec) -> Option<i32> {
    let container = spec.container.clone();
    containerizer.launch(spec).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&container)).await;
    let ended = ended.expect("it ends");
    assert_eq!(ended.leftovers, "");
    ended.status
}

/// The namespaces of a process.
fn namespaces(pid: i32) -> Vec<String> {
    let link = |name| fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns").join(name));
    let all = ["pid", "ipc", "uts", "net", "mnt"].map(link);
    all.into_iter().map(|it| it.expect("it runs").display().to_string()).collect()
}

const LOOK: &str = "for n in pid ipc uts net mnt; do readlink /proc/self/ns/$n; done; hostname; \
                    cat /dev/shm/agora-test-shared; ls /proc | grep -c '^[0-9]'; pwd; echo $COLOUR";

#[tokio::test]
async fn a_nested_container_has_its_own_processes_and_its_parents_memory_name_and_network() {
    let host = Host::new();
    let containerizer = host.containerizer();
    launched(&host, &containerizer, outer(&host, "c1")).await;
    let theirs = namespaces(containerizer.pid(&id("c1")).expect("it runs"));

    let spec = host.spec("c1.task", LOOK);
    assert_eq!(run(&containerizer, spec).await, exited(0));
    let output = host.stdout("c1.task");
    let lines: Vec<&str> = output.lines().collect();
    assert_ne!(lines[0], theirs[0], "the processes are its own");
    assert_eq!(lines[1..4], theirs[1..4]);
    assert_ne!(lines[4], theirs[4], "the mounts are its own");
    assert_eq!(lines[5..7], ["outside", "inside"]);
    assert!(lines[7].parse::<u32>().is_ok_and(|count| count <= 6), "{output}");
    let sandbox = host.dir.path().join("c1.task").display().to_string();
    assert_eq!(lines[8..], [sandbox.as_str(), ""]);

    let mut spec = host.spec("c1.apart", "hostname; cat /dev/shm/agora-test-shared; ls /proc");
    spec.wanted.has_own_ipc = true;
    spec.wanted.shares_pids = true;
    spec.hostname = Some("apart".to_owned());
    assert_eq!(run(&containerizer, spec).await, exited(0));
    let output = host.stdout("c1.apart");
    assert!(output.starts_with("apart\n") && !output.contains("inside"), "{output}");
    assert!(output.lines().any(|line| line == "1"), "the processes are its parent's: {output}");

    let mut spec = host.spec("c1.look", LOOK);
    spec.kind = Kind { class: Class::Debug, ..Kind::default() };
    assert_eq!(run(&containerizer, spec).await, exited(0));
    let output = host.stdout("c1.look");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..5], theirs, "all is its parent's");
    let sandbox = host.dir.path().join("c1").display().to_string();
    assert_eq!(lines[8..], [sandbox.as_str(), "blue"]);
    let ended = containerizer.destroy(&id("c1")).await;
    assert_eq!((ended.destroyed, ended.leftovers.as_str()), (true, ""));
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn who_is_entered_cannot_write_to_the_program_that_enters() {
    let host = Host::new();
    let containerizer = host.containerizer();
    launched(&host, &containerizer, outer(&host, "c1")).await;
    let mut spec = host.spec("c1.look", "touch ../c1.look/up; sleep 1000");
    spec.kind = Kind { class: Class::Debug, ..Kind::default() };
    launched(&host, &containerizer, spec).await;
    let is_read_only = |name: &str| {
        let files = agent::launcher::Files::new(host.dir.path().join("run/containers").join(name));
        let launcher = agent::launcher::find(&files).expect("it holds its lock");
        let program = fs::File::open(format!("/proc/{launcher}/exe")).expect("it runs");
        let flags = rustix::fs::fstatvfs(&program).expect("it is open").f_flag;
        flags.contains(rustix::fs::StatVfsMountFlags::RDONLY)
    };
    assert!(is_read_only("c1") && is_read_only("c1.look"));
    // Not even by the way that a container has to open it.
    let script = host.dir.path().join("c1/script");
    fs::write(&script, "#!/proc/self/exe\n").expect("the sandbox is there");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("it is ours");
    let mut spec = host.spec("c1.trick", "");
    spec.command = CommandLine::Program {
        path: script.display().to_string(),
        arguments: vec!["script".to_owned()],
    };
    spec.kind = Kind { class: Class::Debug, ..Kind::default() };
    assert_eq!(run(&containerizer, spec).await, exited(2));
    let said = fs::read_to_string(host.dir.path().join("c1.trick/stderr")).expect("it was made");
    assert!(said.starts_with("there is no mode"), "it is the program that was executed: {said}");
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_nested_container_breaks_its_own_limits_and_not_its_parents() {
    let host = Host::new();
    let containerizer = host.containerizer();
    launched(&host, &containerizer, outer(&host, "c1")).await;
    let mut spec = host.spec("c1.hog", "tail /dev/zero; sleep 1000");
    spec.wanted.has_own_limits = true;
    spec.limits = Limits { cpus_milli: 100, mem_bytes: 40 << 20, ..Limits::default() };
    containerizer.launch(spec).await.expect("it starts");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1.hog"))).await;
    assert_eq!(ended.expect("it ends").limitation, Some(Limitation::Memory));
    assert_eq!(containerizer.limitation(&id("c1")).await, None);
    assert_eq!(host.groups_of("c1/mesos/hog"), Vec::<std::path::PathBuf>::new());

    // One without limits of its own takes of its parent's.
    launched(&host, &containerizer, host.spec("c1.task", "touch up; sleep 1000")).await;
    let usage = containerizer.usage(&id("c1")).await;
    assert!(usage.pids.is_some_and(|pids| pids >= 4), "{usage:?}");
    let ended = containerizer.destroy(&id("c1")).await;
    assert_eq!(ended.limitation, None);
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn nested_containers_end_with_their_parent_and_are_forgotten_with_it() {
    let host = Host::new();
    let containerizer = host.containerizer();
    launched(&host, &containerizer, outer(&host, "c1")).await;
    let stubborn = "trap '' TERM; touch up; setsid sleep 1000 & while :; do sleep 1; done";
    for name in ["c1.a", "c1.a.b", "c1.z"] {
        let mut spec = host.spec(name, stubborn);
        spec.wanted.shares_pids = name == "c1.z";
        launched(&host, &containerizer, spec).await;
    }
    let mut spec = host.spec("c1.over", "exit 4");
    spec.wanted.has_own_limits = true;
    assert_eq!(run(&containerizer, spec).await, exited(4));
    assert_eq!(containerizer.wait(&id("c1.over")).await.status, exited(4), "asked again");
    assert_eq!(containerizer.not_of_executors(), ["c1.a", "c1.a.b", "c1.z"].map(id));

    fs::write(host.dir.path().join("c1/end"), "").expect("the sandbox is there");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
    assert_eq!(ended.expect("it ends").status, exited(0));
    for name in ["c1", "c1.a", "c1.a.b", "c1.z", "c1.over"] {
        host.assert_nothing_left(name);
        assert_eq!(containerizer.knows(&id(name)), name == "c1", "{name}");
    }
    let records = fs::read_dir(host.dir.path().join("run/containers")).expect("it is there");
    assert_eq!(records.count(), 1, "that of the outermost one");
    let error = containerizer.launch(host.spec("c1.late", "true")).await.expect_err("no parent");
    assert!(matches!(error, LaunchError::Parent(NoPlace::NoParent { .. })), "{error}");
}

#[tokio::test]
async fn signals_reach_the_command_and_a_request_to_end_all_of_it() {
    let host = Host::new();
    let containerizer = host.containerizer();
    launched(&host, &containerizer, outer(&host, "c1")).await;
    let task = "trap 'echo reloaded >> said' HUP; \
                setsid sh -c 'trap \"echo HUP >> ../c1.task/said\" HUP; \
                              trap \"echo asked >> said; exit\" TERM; while :; do sleep 0.01; done' & \
                trap 'exit 5' TERM; sleep 0.05; touch up; while :; do sleep 0.01; done";
    launched(&host, &containerizer, host.spec("c1.task", task)).await;
    let said = || fs::read_to_string(host.dir.path().join("c1.task/said")).unwrap_or_default();
    containerizer.signal(&id("c1.task"), libc::SIGHUP).await.expect("it runs");
    eventually("it has reloaded", || !said().is_empty()).await;
    assert_eq!(said(), "reloaded\n");
    containerizer.signal(&id("c1.task"), libc::SIGTERM).await.expect("it runs");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1.task"))).await;
    assert_eq!(ended.expect("it ends").status, exited(5));
    let unknown = containerizer.signal(&id("c1.task"), libc::SIGTERM).await;
    assert_eq!(unknown, Err(KillError::Unknown(id("c1.task"))));
    assert_eq!(containerizer.signal(&id("c1"), 99).await, Err(KillError::NoSignal(99)));
    containerizer.signal(&id("c1"), libc::SIGKILL).await.expect("it runs");
    assert!(containerizer.wait(&id("c1")).await.destroyed);
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn nested_and_standalone_containers_are_taken_back_and_orphans_go_innermost_first() {
    let host = Host::new();
    let first = host.containerizer();
    for name in ["c1", "gone", "alone"] {
        let mut spec = outer(&host, name);
        spec.kind.is_standalone = name == "alone";
        launched(&host, &first, spec).await;
    }
    let wait = "touch up; while ! test -e end; do sleep 0.01; done; exit 6";
    for name in ["c1.a", "c1.a.b", "gone.a", "gone.a.b", "alone.a"] {
        let mut spec = host.spec(name, wait);
        spec.wanted.has_own_limits = true;
        launched(&host, &first, spec).await;
    }
    run(&first, host.spec("c1.over", "exit 4")).await;
    drop(first);
    let second = host.containerizer();
    let recovered = second.recover(&[id("c1")]).await.expect("the directory can be read");
    assert_eq!(recovered.running, [id("c1")]);
    assert_eq!(recovered.orphans, ["gone.a.b", "gone.a", "gone"].map(id));
    for name in ["gone", "gone.a", "gone.a.b"] {
        host.assert_nothing_left(name);
    }
    let left = ["alone", "alone.a", "c1.a", "c1.a.b"].map(id);
    assert_eq!(second.not_of_executors(), left);
    assert!(second.is_standalone(&id("alone")) && !second.is_standalone(&id("c1")));
    assert_eq!(second.wait(&id("c1.over")).await.status, exited(4));
    fs::write(host.dir.path().join("c1.a.b/end"), "").expect("the sandbox is there");
    let ended = tokio::time::timeout(PATIENCE, second.wait(&id("c1.a.b"))).await;
    assert_eq!(ended.expect("it ends").status, exited(6));

    // Ended while nobody watches: what was in it goes too.
    drop(second);
    fs::write(host.dir.path().join("c1/end"), "").expect("the sandbox is there");
    let status = host.dir.path().join("run/containers/c1/exit_status");
    eventually("the launcher notes the end", || status.exists()).await;
    let third = host.containerizer();
    let recovered = third.recover(&[id("c1")]).await.expect("the directory can be read");
    assert_eq!(recovered.ended, [id("c1")]);
    assert_eq!(third.not_of_executors(), ["alone", "alone.a"].map(id));
    assert!(third.destroy(&id("alone")).await.destroyed);
    for name in ["c1", "c1.a", "c1.a.b", "c1.over", "alone", "alone.a"] {
        host.assert_nothing_left(name);
    }
}

#[tokio::test]
async fn a_link_in_the_parents_sandbox_leads_nobody_out_of_it() {
    let host = Host::new();
    let containerizer = host.containerizer();
    launched(&host, &containerizer, outer(&host, "c1")).await;
    let elsewhere = host.dir.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).expect("a directory");
    let link = host.dir.path().join("c1/containers");
    std::os::unix::fs::symlink(&elsewhere, &link).expect("a link");
    let mut spec = host.spec("c1.task", "echo here");
    spec.sandbox = link;
    let error = containerizer.launch(spec).await.expect_err("it leads elsewhere");
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    assert_eq!(fs::read_dir(&elsewhere).expect("it is there").count(), 0);
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_container_shares_the_sandbox_of_the_one_it_is_in_as_far_as_it_asks() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let around = |path: &str| Volume {
        source: VolumeSource::Around(path.into()),
        container_path: "seen".into(),
        read_only: false,
    };
    let mut alone = host.spec("c0", "true");
    alone.wanted.volumes = vec![around("common")];
    let error = containerizer.launch(alone).await.expect_err("it is in no other").to_string();
    assert!(error.contains("'seen': it is to be in the sandbox of a parent"), "{error}");

    let mut first = outer(&host, "c1");
    let kept = host.dir.path().join("kept");
    fs::create_dir(&kept).expect("a directory");
    first.wanted.volumes = vec![Volume {
        source: VolumeSource::Host(kept),
        container_path: "own".into(),
        read_only: false,
    }];
    launched(&host, &containerizer, first).await;
    for (name, command) in
        [("c1.a", "echo said > seen/word"), ("c1.b", "cat seen/word; ls; ls seen")]
    {
        let mut spec = host.spec(name, command);
        spec.wanted.volumes = vec![around("common")];
        assert_eq!(run(&containerizer, spec).await, exited(0));
    }
    // What its parent was given is its parent's.
    assert_eq!(host.stdout("c1.b"), "said\nseen\nstderr\nstdout\nword\n");
    let common = host.dir.path().join("c1/common/word");
    assert_eq!(fs::read_to_string(common).expect("it is there"), "said\n");

    let elsewhere = host.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    std::os::unix::fs::symlink(&elsewhere, host.dir.path().join("c1/link")).expect("a link");
    for (name, path) in [("c1.x", "link"), ("c1.y", "../elsewhere")] {
        let mut spec = host.spec(name, "echo ran");
        spec.wanted.volumes = vec![around(path)];
        let error = containerizer.launch(spec).await.expect_err(path).to_string();
        assert!(error.ends_with(&format!("'{path}' leads out of the sandbox")), "{error}");
    }
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}
