//! Secrets as files, and what containers share with the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use agent::containerizer::{Containerizer, ContainerizerOptions, Isolation, SharingOptions};
use agent::secrets::{Hidden, SecretVolume};

use crate::host::{Host, exited, id, run};

/// Nothing of a container's secrets but in memory, and not that once it is over.
fn assert_on_no_disk(host: &Host, value: &str) {
    let mut directories = vec![host.dir.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it can be read").flatten() {
            if entry.file_type().expect("it has one").is_dir() {
                directories.push(entry.path());
                continue;
            }
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(value), "{} holds it", entry.path().display());
        }
    }
}

#[tokio::test]
async fn a_secret_is_a_file_of_the_tasks_user_and_on_no_disk() {
    let host = Host::new();
    fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let containerizer = host.containerizer();
    let command = "test \"$(cat keys/password)\" = blue\"-\"green && stat -f -c %T keys/password && \
                   stat -c '%a %U' keys/password; echo > keys/password; echo $? > tried; sleep 1000";
    let mut spec = host.spec("c1", command);
    spec.user = Some("nobody".to_owned());
    std::os::unix::fs::chown(&spec.sandbox, Some(65_534), Some(65_534)).expect("it is ours");
    spec.wanted.secrets = vec![SecretVolume {
        container_path: "keys/password".into(),
        read_only: true,
        data: Hidden(b"blue-green".to_vec()),
    }];
    let sandbox = spec.sandbox.clone();
    containerizer.launch(spec).await.expect("it starts");
    let tried = || fs::read_to_string(sandbox.join("tried")).is_ok_and(|it| !it.is_empty());
    crate::host::eventually("it has tried to write", tried).await;
    assert_eq!(host.stdout("c1"), "tmpfs\n400 nobody\n");
    assert_ne!(fs::read_to_string(sandbox.join("tried")).expect("it is there"), "0\n");
    assert_eq!(fs::read(sandbox.join("keys/password")).expect("a place for it"), b"");
    let plan = fs::read_to_string(host.dir.path().join("run/containers/c1/plan"));
    assert!(!plan.expect("it was launched").contains("blue-green"));

    // Also the next agent clears it away.
    drop(containerizer);
    let next = host.containerizer();
    assert_eq!(next.recover(&[]).await.expect("it is read").orphans, [id("c1")]);
    host.assert_nothing_left("c1");
    assert_on_no_disk(&host, "blue-green");
    let kept = fs::read_dir(host.dir.path().join("run/isolators/volume/secret"));
    assert_eq!(kept.expect("it was made").count(), 0);

    let options = ContainerizerOptions {
        isolation: Isolation::parse("filesystem/linux").expect("a name"),
        ..host.options()
    };
    let without = Containerizer::new(options).expect("these tests run as root");
    let mut spec = host.spec("c2", "true");
    let data = Hidden(b"x".to_vec());
    spec.wanted.secrets = vec![SecretVolume { container_path: "x".into(), read_only: true, data }];
    let error = without.launch(spec).await.expect_err("nobody shows it").to_string();
    assert_eq!(
        error,
        "isolator volume/secret cannot grant a volume of a secret: it is not in this agent's --isolation"
    );
}

#[tokio::test]
async fn a_container_shares_processes_and_memory_if_it_asks_and_may() {
    let host = Host::new();
    let inside =
        "readlink /proc/self/ns/pid /proc/self/ns/ipc; df --output=size /dev/shm | tail -n 1";
    let sharing = SharingOptions { shm_bytes_default: Some(4 << 20), ..SharingOptions::default() };
    let open = Containerizer::new(ContainerizerOptions { sharing, ..host.options() })
        .expect("these tests run as root");
    let own = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        link.display().to_string()
    };
    let mut spec = host.spec("c1", inside);
    (spec.wanted.shares_pids, spec.wanted.shares_ipc) = (true, true);
    assert_eq!(run(&host, &open, spec).await.status, exited(0));
    let output = host.stdout("c1");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..2], [own("pid"), own("ipc")]);
    assert_ne!(lines[2].trim(), "4096");
    assert_eq!(run(&host, &open, host.spec("c2", inside)).await.status, exited(0));
    let output = host.stdout("c2");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0] != own("pid") && lines[1] != own("ipc"), "{output}");
    assert_eq!(lines[2].trim(), "4096", "shared memory in KiB");

    let sharing =
        SharingOptions { pids_forbidden: true, ipc_forbidden: true, shm_bytes_default: None };
    let closed = Containerizer::new(ContainerizerOptions { sharing, ..host.options() })
        .expect("these tests run as root");
    for (name, pids, flag) in [
        ("c3", true, "--disallow_sharing_agent_pid_namespace"),
        ("c4", false, "--disallow_sharing_agent_ipc_namespace"),
    ] {
        let mut spec = host.spec(name, "true");
        (spec.wanted.shares_pids, spec.wanted.shares_ipc) = (pids, !pids);
        let error = closed.launch(spec).await.expect_err("it is forbidden").to_string();
        assert!(error.ends_with(flag), "{error}");
        host.assert_nothing_left(name);
    }
    let mut spec = host.spec("c5", "true");
    (spec.wanted.shares_ipc, spec.wanted.shm_bytes) = (true, Some(1 << 20));
    let error = open.launch(spec).await.expect_err("one or the other").to_string();
    assert!(error.ends_with("a size is for shared memory of its own"), "{error}");
}
