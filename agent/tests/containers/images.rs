//! Containers of images: whose files they see, and what becomes of what they write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use agent::containerizer::{
    AllowedDevice, ContainerDns, Containerizer, ContainerizerOptions, ImageVolume, Isolation,
    LaunchSpec, NetworkOptions,
};
use agent::images::{
    Collection, Credentials, Images, ImagesOptions, Overrides, Provisioned, Registries, Registry,
    WantedImage, Way,
};
use agent::launcher::{Volume, VolumeSource};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::host::{Host, PATIENCE, eventually, exited, id, run};
use crate::image::busybox;

/// How the test's image is to be run.
fn config() -> serde_json::Value {
    json!({"User": "web", "WorkingDir": "/home/web", "Env": ["PATH=/bin", "COLOUR=green"],
           "Cmd": ["cat", "/old/new"]})
}

/// Images that come from `registry`, kept below the host's directory.
fn images(host: &Host, directory: &Path) -> Images {
    let default = Registry::Directory(directory.to_owned());
    images_of(host, Registries { default, ..Registries::default() })
}

pub(crate) fn images_of(host: &Host, registries: Registries) -> Images {
    let runtime_dir = host.dir.path().join("run");
    let options = ImagesOptions {
        store_dir: host.dir.path().join("store"),
        registries,
        ignore_runtime: false,
        stall_timeout: PATIENCE,
        in_use: Arc::new(move || Containerizer::layers_in_use(&runtime_dir)),
        collection: Collection::default(),
        meters: Arc::default(),
    };
    Images::open(options).expect("these tests run as root")
}

pub(crate) fn wanted(reference: &str) -> WantedImage {
    WantedImage {
        reference: reference.to_owned(),
        cached: true,
        way: Way::Mesos,
        credentials: Credentials::default(),
        overrides: Overrides::default(),
    }
}

/// A container of an image with a command for its shell.
fn spec(host: &Host, name: &str, image: &Provisioned, command: &str) -> LaunchSpec {
    LaunchSpec {
        image: Some(image.clone()),
        workdir: image.workdir(),
        environment: vec![("PATH".to_owned(), "/bin".to_owned())],
        ..host.spec(name, command)
    }
}

#[tokio::test]
async fn a_container_sees_its_image_and_nothing_of_the_machine() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let image = images(&host, &layout).provision(&wanted("busybox")).await.expect("it is there");
    let user = image.user("web").expect("it is in the image");
    assert_eq!((user.identity.uid, user.identity.groups.as_slice()), (1234, &[1235, 77][..]));
    let containerizer = host.containerizer();
    fs::write(host.dir.path().join("shared"), "of the machine\n").expect("a file");
    let mut wanted = spec(
        &host,
        "c1",
        &image,
        "pwd; id -u; ls /; ls /old; cat /old/new; ls /mnt/mesos/sandbox/; cat /mnt/deep/shared; \
         echo mine > /home/web/file && cat /home/web/file; ls /dev; cat /etc/hostname; \
         echo x > /etc/hosts; test -s /etc/resolv.conf && echo resolves; echo > /dev/null && echo null; \
         ls /proc/1/root >/dev/null 2>&1 || echo no root; echo x > /proc/sys/kernel/hostname",
    );
    wanted.identity = Some(user.identity.clone());
    wanted.hostname = Some("inside".to_owned());
    wanted.wanted.volumes = vec![Volume {
        source: VolumeSource::Host(host.dir.path().join("shared")),
        container_path: "/mnt/deep/shared".into(),
        read_only: true,
    }];
    std::os::unix::fs::chown(&wanted.sandbox, Some(1234), Some(1235)).expect("it is ours");
    fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o711)).expect("it is ours");
    let ended = run(&host, &containerizer, wanted).await;
    let output = host.stdout("c1");
    let errors = fs::read_to_string(host.dir.path().join("c1/stderr")).expect("it was made");
    assert_eq!(
        output,
        "/home/web\n1234\nbin\ndev\netc\nhome\nmnt\nold\nproc\nsys\ntmp\nnew\nnew\nstderr\nstdout\n\
         of the machine\nmine\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\n\
         urandom\nzero\ninside\nresolves\nnull\nno root\n",
        "{errors}"
    );
    assert!(errors.contains("can't create /etc/hosts: Permission denied"), "{errors}");
    assert_ne!(ended.status, exited(0), "the kernel's files cannot be written");
    assert!(!host.dir.path().join("run/provisioner/c1").exists());
}

#[tokio::test]
async fn what_a_container_writes_is_its_own_and_goes_with_it_also_after_a_restart() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let image = images(&host, &layout).provision(&wanted("busybox")).await.expect("it is there");
    let first = host.containerizer();
    let command = "cat /old/new; echo changed > /old/new; cat /old/new; \
                   while ! test -e /mnt/mesos/sandbox/end; do sleep 0.01; done";
    for name in ["stays", "orphan"] {
        first.launch(spec(&host, name, &image, command)).await.expect("it starts");
    }
    for name in ["stays", "orphan"] {
        eventually("it has written", || host.stdout(name) == "new\nchanged\n").await;
    }
    let kept = |name: &str| host.dir.path().join("run/provisioner").join(name);
    assert!(kept("stays").join("upper/old/new").exists());
    let in_use = Containerizer::layers_in_use(&host.dir.path().join("run")).expect("it is read");
    assert_eq!(in_use.into_iter().collect::<Vec<_>>().len(), image.layers.len());
    drop(first);
    // A machine that went down left this of a container that it has forgotten.
    fs::create_dir_all(kept("forgotten").join("upper")).expect("a directory");

    let second = host.containerizer();
    assert!(!kept("forgotten").exists());
    let recovered = second.recover(&[id("stays")]).await.expect("it is read");
    assert_eq!((recovered.running.len(), recovered.orphans.len()), (1, 1));
    assert!(kept("stays").exists() && !kept("orphan").exists());
    fs::write(host.dir.path().join("stays/end"), "").expect("the sandbox is there");
    let ended = tokio::time::timeout(PATIENCE, second.wait(&id("stays"))).await.expect("it ends");
    assert_eq!((ended.status, ended.leftovers.as_str()), (exited(0), ""));
    assert!(!kept("stays").exists());
    host.assert_nothing_left("stays");
    host.assert_nothing_left("orphan");
    let lower = fs::read_to_string(image.layers[0].join("old/new")).expect("it is there");
    assert_eq!(lower, "new\n", "layers are everybody's");
}

#[tokio::test]
async fn an_image_without_an_isolator_for_it_is_refused() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let image = images(&host, &layout).provision(&wanted("busybox")).await.expect("it is there");
    let isolation = Isolation::parse("namespaces/pid").expect("a name");
    let options = ContainerizerOptions { isolation, ..host.options() };
    let plain = Containerizer::new(options).expect("these tests run as root");
    let error = plain.launch(spec(&host, "c1", &image, "true")).await.expect_err("nobody does it");
    assert_eq!(
        error.to_string(),
        "isolator filesystem/linux cannot grant an image: it is not in this agent's --isolation"
    );
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn images_that_nobody_uses_go_and_those_in_use_or_excluded_stay() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let images = images(&host, &layout);
    let image = images.provision(&wanted("busybox")).await.expect("it is there");
    let layers = image.layers.clone();
    let there = || layers.iter().filter(|layer| layer.is_dir()).count();
    assert_eq!(images.prune(&[]).await.expect("it is ours"), 0, "a launch is under way");
    let containerizer = host.containerizer();
    let command = "while ! test -e /mnt/mesos/sandbox/end; do sleep 0.01; done; cat /old/new";
    containerizer.launch(spec(&host, "c1", &image, command)).await.expect("it starts");
    drop(image);
    let always = Collection { headroom_milli: 1_000, ..Collection::default() };
    assert_eq!(images.prune(&[]).await.expect("it is ours"), 0);
    assert_eq!(images.make_room(&always).await.expect("it is ours"), 0);
    fs::write(host.dir.path().join("c1/end"), "").expect("the sandbox is there");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
    assert_eq!(ended.expect("it ends").status, exited(0));
    assert_eq!(host.stdout("c1"), "new\n");
    containerizer.forget(&id("c1")).await;

    let excluded = ["docker.io/library/busybox".to_owned()];
    assert_eq!(images.prune(&excluded).await.expect("it is ours"), 0);
    let never = Collection { headroom_milli: 0, ..Collection::default() };
    assert_eq!(images.make_room(&never).await.expect("it is ours"), 0);
    assert_eq!(there(), 2);
    assert_eq!(images.make_room(&always).await.expect("it is ours"), 2);
    assert_eq!(there(), 0);
    let error = images.prune(&["No Image".to_owned()]).await.expect_err("it is none").to_string();
    assert!(error.starts_with("'No Image' is no reference"), "{error}");
    images.provision(&wanted("busybox")).await.expect("it comes again");
    assert_eq!(images.prune(&[]).await.expect("it is ours"), 2);
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn an_image_is_seen_as_a_volume_and_what_is_written_to_it_goes_with_the_container() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let images = images(&host, &layout);
    let image = images.provision(&wanted("busybox")).await.expect("it is there");
    // Where they lie nobody sees into.
    let hidden = vec![host.dir.path().join("store"), host.dir.path().join("run")];
    let options = ContainerizerOptions { hidden, ..host.options() };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let volume = |at: &str, read_only| ImageVolume {
        image: image.clone(),
        container_path: at.into(),
        read_only,
    };
    let look = "cat pages/old/new; (echo x > pages/old/own) 2>/dev/null || echo refused; \
                echo changed > own/old/new && cat own/old/new pages/old/new; ls own; touch up; \
                while ! test -e end; do sleep 0.01; done";
    let mut plain = host.spec("c1", look);
    plain.image_volumes = vec![volume("pages", true), volume("own", false)];
    containerizer.launch(plain).await.expect("it starts");
    let sandbox = host.dir.path().join("c1");
    eventually("it has looked", || sandbox.join("up").exists()).await;
    let top = "bin\netc\nhome\nold\ntmp\n";
    assert_eq!(host.stdout("c1"), format!("new\nrefused\nchanged\nnew\n{top}"));
    assert_eq!(fs::read_dir(sandbox.join("own")).expect("it was made").count(), 0);
    // In files of an image, at any place, and for itself.
    let mut other = spec(&host, "c2", &image, "cat /data/old/new; cat /old/new");
    other.image_volumes = vec![volume("/data", false)];
    assert_eq!(run(&host, &containerizer, other).await.status, exited(0));
    assert_eq!(host.stdout("c2"), "new\nnew\n");

    let layers = image.layers.clone();
    drop(image);
    assert_eq!(images.prune(&[]).await.expect("it is ours"), 0, "they are in use");
    fs::write(sandbox.join("end"), "").expect("the sandbox is there");
    let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
    assert_eq!(ended.expect("it ends").leftovers, "");
    host.assert_nothing_left("c1");
    assert!(!host.dir.path().join("run/provisioner/c1").exists());
    let lower = fs::read_to_string(layers[0].join("old/new")).expect("it is there");
    assert_eq!(lower, "new\n", "layers are everybody's");
    containerizer.forget(&id("c1")).await;
    containerizer.forget(&id("c2")).await;
    assert_eq!(images.prune(&[]).await.expect("it is ours"), 2);
}

#[tokio::test]
async fn a_volume_of_an_image_without_an_isolator_for_it_is_refused() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let image = images(&host, &layout).provision(&wanted("busybox")).await.expect("it is there");
    let isolation = Isolation::parse("filesystem/linux").expect("a name");
    let options = ContainerizerOptions { isolation, ..host.options() };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let mut wanted = host.spec("c1", "true");
    wanted.image_volumes =
        vec![ImageVolume { image, container_path: "pages".into(), read_only: true }];
    let error = containerizer.launch(wanted).await.expect_err("nobody does it").to_string();
    let expected = "isolator volume/image cannot grant a volume of an image: it is not in this agent's \
                    --isolation";
    assert_eq!(error, expected);
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn a_container_of_an_image_has_files_for_the_devices_it_may_use() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let image = images(&host, &layout).provision(&wanted("busybox")).await.expect("it is there");
    let device = |name: &str| {
        let path = host.dir.path().join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3))
            .expect("these tests run as root");
        path.display().to_string()
    };
    let [open, shut] = [device("open"), device("shut")];
    let listed = json!({"allowed_devices": [
        {"device": {"path": open}, "access": {"read": true, "write": true}},
        {"device": {"path": shut}, "access": {"mknod": true}},
        {"device": {"number": {"major_number": 1, "minor_number": 11}}, "access": {"read": true}}]});
    let with = |isolation: &str| ContainerizerOptions {
        isolation: Isolation::parse(isolation).expect("names"),
        allowed_devices: AllowedDevice::parse_list(&listed.to_string()).expect("a list"),
        ..host.options()
    };
    let look = format!("test -c {open} && cat {open} && echo opened; test -e {shut} || echo none");
    for (name, isolation, said) in [
        ("c1", "filesystem/linux,linux/devices", "opened\nnone\n"),
        ("c2", "filesystem/linux", "none\n"),
    ] {
        let containerizer = Containerizer::new(with(isolation)).expect("these tests run as root");
        run(&host, &containerizer, spec(&host, name, &image, &look)).await;
        assert_eq!(host.stdout(name), said);
    }
}

#[tokio::test]
async fn names_are_looked_up_as_the_agent_says_in_the_machines_network() {
    let host = Host::new();
    let layout = host.dir.path().join("layout");
    busybox(&config()).write_layout(&layout, "latest");
    let image = images(&host, &layout).provision(&wanted("busybox")).await.expect("it is there");
    let dns = json!({"mesos": [{"network_mode": "HOST",
        "dns": {"nameservers": ["10.0.0.1"], "search": ["cluster"], "options": ["ndots:2"]}}]});
    let dns = ContainerDns::parse(&dns.to_string()).expect("it makes sense");
    let networks = NetworkOptions { dns, ..NetworkOptions::default() };
    let options = ContainerizerOptions { networks, ..host.options() };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let look = spec(&host, "c1", &image, "cat /etc/resolv.conf");
    assert_eq!(run(&host, &containerizer, look).await.status, exited(0));
    assert_eq!(host.stdout("c1"), "search cluster\noptions ndots:2\nnameserver 10.0.0.1\n");
}
