//! What a container sees at other places.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use agent::containerizer::{Containerizer, ContainerizerOptions, Isolation};
use agent::launcher::{Identity, Memory, Volume, VolumeSource};

use crate::host::{Host, exited, run};

fn volume(source: VolumeSource, container_path: impl Into<PathBuf>, read_only: bool) -> Volume {
    Volume { source, container_path: container_path.into(), read_only }
}

#[tokio::test]
async fn volumes_are_seen_where_they_are_asked_for_and_by_nobody_else() {
    let host = Host::new();
    let containerizer = host.containerizer();
    fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let (shared, place) = (host.dir.path().join("shared"), host.dir.path().join("place"));
    for directory in [&shared, &place] {
        fs::create_dir(directory).expect("a directory");
    }
    fs::write(shared.join("file"), "of the machine\n").expect("a file");
    let mut spec = host.spec(
        "c1",
        "cat in/ro/file one; (echo x > in/ro/new) || echo refused; (echo x > one) || echo refused; \
         echo y > in/rw/new; echo z > ../place/own; ls kept; stat -c %u kept",
    );
    spec.user = Some("nobody".to_owned());
    let nobody = Identity::of("nobody").expect("there is one");
    std::os::unix::fs::chown(&spec.sandbox, Some(nobody.uid), Some(nobody.gid)).expect("ours");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("it is ours");
    spec.wanted.volumes = vec![
        volume(VolumeSource::Host(shared.clone()), "in/ro", true),
        volume(VolumeSource::Host(shared.clone()), "in/rw", false),
        volume(VolumeSource::Host(shared.join("file")), "one", true),
        volume(VolumeSource::Sandbox("kept".into()), place.clone(), false),
    ];
    let sandbox = spec.sandbox.clone();
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
    let expected =
        format!("of the machine\nof the machine\nrefused\nrefused\nown\n{}\n", nobody.uid);
    assert_eq!(host.stdout("c1"), expected);
    assert_eq!(fs::read_to_string(shared.join("new")).expect("it was written"), "y\n");
    assert_eq!(fs::read_to_string(sandbox.join("kept/own")).expect("it was written"), "z\n");
    let left = |path: &Path| fs::read_dir(path).expect("it is there").count();
    assert_eq!((left(&place), left(&sandbox.join("in/ro"))), (0, 0), "nothing shows outside");
    assert_eq!(fs::metadata(sandbox.join("in")).expect("it was made").uid(), nobody.uid);
}

#[tokio::test]
async fn a_path_that_leads_out_of_the_sandbox_is_refused() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let outside = host.dir.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    let own = |path: &str| VolumeSource::Sandbox(path.into());
    for (name, wanted, says) in [
        ("c1", volume(own("link"), "at", false), "'link' leads out of the sandbox"),
        ("c2", volume(own("link/deep"), "at", false), "'link/deep' leads out of the sandbox"),
        ("c3", volume(own("../outside"), "at", false), "'../outside' leads out of the sandbox"),
        ("c4", volume(own("in"), "link/at", false), "'link/at' leads out of the sandbox"),
        ("c5", volume(own("in"), "../at", false), "'../at' leads out of the sandbox"),
        ("c6", volume(VolumeSource::Host("/no/such".into()), "at", false), "No such file"),
        ("c7", volume(own("in"), "/no/such", false), "/no/such: No such file"),
    ] {
        let mut spec = host.spec(name, "echo ran");
        symlink(&outside, spec.sandbox.join("link")).expect("a link");
        spec.wanted.volumes = vec![wanted];
        let error = containerizer.launch(spec).await.expect_err(name).to_string();
        assert!(error.starts_with("cannot mount volume '") && error.contains(says), "{error}");
        host.assert_nothing_left(name);
    }
    assert_eq!(fs::read_dir(outside).expect("it is there").count(), 0);

    let options = ContainerizerOptions {
        isolation: Isolation::parse("filesystem/linux").expect("a name"),
        ..host.options()
    };
    let plain = Containerizer::new(options).expect("these tests run as root");
    let mut spec = host.spec("c8", "echo ran");
    spec.wanted.volumes = vec![volume(VolumeSource::Host("/usr".into()), "usr", true)];
    let error = plain.launch(spec).await.expect_err("nobody mounts it").to_string();
    assert_eq!(
        error,
        "isolator volume/host_path cannot grant volume 'usr': it is not in this agent's --isolation"
    );
    host.assert_nothing_left("c8");
}

#[tokio::test]
async fn a_volume_in_memory_is_empty_and_no_larger_than_it_may_be() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec(
        "c1",
        "ls scratch; stat -c %a scratch; head -c 500000 /dev/zero > scratch/fits && echo fits; \
         head -c 5000000 /dev/zero > scratch/much || echo full; cp /bin/true scratch && chmod 700 scratch/true; \
         scratch/true || echo not executed; (echo x > fixed/file) || echo refused",
    );
    let memory = |read_only| {
        let memory = Memory { bytes: Some(1 << 20), mode: 0o1770, executable: false };
        let at = if read_only { "fixed" } else { "scratch" };
        volume(VolumeSource::Memory(memory), at, read_only)
    };
    spec.wanted.volumes = vec![memory(false), memory(true)];
    let sandbox = spec.sandbox.clone();
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
    let said = host.stdout("c1");
    assert_eq!(said, "1770\nfits\nfull\nnot executed\nrefused\n");
    assert_eq!(fs::read_dir(sandbox.join("scratch")).expect("it was made").count(), 0);
}
