//! Files of its own for a container: an image's layers mounted over each other become the root.
//!
//! Nothing of it is mounted where others see it: it goes with the container's mount namespace. What is
//! brought in from the machine is taken hold of first, and put in place when the image is the root and
//! the machine's files are out of reach. So links in the image lead to nothing but the image.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::mounts::failed;
use super::volumes::{anywhere, put_at, take};
use super::{Plan, Rootfs};

/// Where a container sees what its agent gives it.
const GIVEN: &str = "/mnt/mesos";

/// Devices that everybody needs and that harm nobody.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// What programs expect in `/dev` besides.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Makes the root that was mounted the root of all, and brings in what belongs to every container.
/// Absolute paths are those of the image from here on. `/proc` is still to be mounted where processes
/// are the container's own.
pub(super) fn enter(root: &OwnedFd, plan: &Plan) -> Result<(), String> {
    let sandbox = taken(&plan.sandbox)?;
    let sys = taken(Path::new("/sys"))?;
    let devices: Vec<_> = DEVICES
        .into_iter()
        .filter_map(|name| Some((name, taken(&Path::new("/dev").join(name)).ok()?)))
        .collect();
    let shared = |owned: bool, path: &str| (!owned).then(|| taken(Path::new(path))).transpose();
    let joined = plan.joined.as_ref();
    let has_proc = plan.namespaces.pid || joined.is_some_and(|it| it.pid);
    let proc = shared(has_proc, "/proc")?;
    let has_memory = plan.namespaces.ipc || joined.is_some_and(|it| it.shared_memory);
    let memory = shared(has_memory, "/dev/shm")?;

    become_root(root)?;
    make_directory(Path::new("/proc"))?;
    if let Some(proc) = &proc {
        put(proc, Path::new("/proc"))?;
    }
    put(&sys, Path::new("/sys"))?;
    make_devices(devices)?;
    if let Some(memory) = &memory {
        put(memory, Path::new("/dev/shm"))?;
    }
    make_directory(Path::new(GIVEN))?;
    mount_tmpfs(GIVEN, "mode=755,size=64k")?;
    put(&sandbox, Path::new(Rootfs::SANDBOX))?;
    plan.workdir.as_deref().map_or(Ok(()), make_directory)
}

/// Makes a mounted directory the root. The machine's files are gone then.
fn become_root(root: &OwnedFd) -> Result<(), String> {
    let top = Path::new("/");
    let outside = anywhere(top)?;
    nix::unistd::fchdir(root).map_err(failed("enter", top))?;
    // Both places being the same, what was the root is mounted over what is, and can be taken away
    // without a directory for it in the image.
    nix::unistd::pivot_root(".", ".").map_err(failed("change", top))?;
    nix::unistd::fchdir(&outside).map_err(failed("leave", top))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("unmount the machine's", top))?;
    nix::unistd::chdir(top).map_err(failed("enter", top))
}

/// Takes hold of a file or of all that is mounted at a directory, to be put elsewhere.
fn taken(path: &Path) -> Result<OwnedFd, String> {
    take(&anywhere(path)?).map_err(|errno| format!("{}: {errno}", path.display()))
}

/// Mounts the layers, with what the container writes on top, and gives the root of that.
pub(super) fn mount_layers(rootfs: &Rootfs) -> Result<OwnedFd, String> {
    // By descriptor: the options have to fit into one page, which the paths of many layers do not,
    // and paths with commas and colons in them would be taken for something else.
    let open = |path: &PathBuf| anywhere(path);
    let layers: Vec<OwnedFd> = rootfs.layers.iter().map(open).collect::<Result<_, _>>()?;
    let (upper, work) = (anywhere(&rootfs.upper())?, anywhere(&rootfs.work())?);
    let name = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
    let lower = layers.iter().map(name).collect::<Vec<_>>().join(":");
    let options = format!("lowerdir={lower},upperdir={},workdir={}", name(&upper), name(&work));
    let at = rootfs.merged();
    // Devices that an image has in it are nobody's.
    let flags = MsFlags::MS_NODEV;
    mount(Some("overlay"), &at, Some("overlay"), flags, Some(options.as_str()))
        .map_err(failed("mount the image's layers at", &at))?;
    anywhere(&at)
}

/// Takes hold of mounted layers, to be put elsewhere, and leaves them mounted nowhere.
pub(super) fn take_layers(rootfs: &Rootfs) -> Result<OwnedFd, String> {
    let root = mount_layers(rootfs)?;
    let at = rootfs.merged();
    let layers = take(&root).map_err(|errno| format!("{}: {errno}", at.display()))?;
    drop(root);
    umount2(&at, MntFlags::MNT_DETACH).map_err(failed("unmount", &at))?;
    Ok(layers)
}

fn make_devices(devices: Vec<(&'static str, OwnedFd)>) -> Result<(), String> {
    let dev = Path::new("/dev");
    make_directory(dev)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), dev, Some("tmpfs"), flags, Some("mode=755,size=64k"))
        .map_err(failed("mount", dev))?;
    for (name, device) in devices {
        let place = dev.join(name);
        make_place(&place, true)?;
        put(&device, &place)?;
    }
    for (target, name) in DEVICE_LINKS {
        symlink(target, dev.join(name)).map_err(|error| format!("/dev/{name}: {error}"))?;
    }
    let terminals = dev.join("pts");
    make_directory(&terminals)?;
    let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(Some("devpts"), &terminals, Some("devpts"), flags, Some(options))
        .map_err(failed("mount", &terminals))?;
    make_directory(&dev.join("shm"))
}

fn mount_tmpfs(at: &str, options: &str) -> Result<(), String> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))
        .map_err(failed("mount", Path::new(at)))
}

/// Puts at `at` what was taken hold of; a directory for it is made.
fn put(what: &OwnedFd, at: &Path) -> Result<(), String> {
    if !at.exists() {
        make_directory(at)?;
    }
    let place = anywhere(at)?;
    put_at(what, &place).map_err(|errno| format!("cannot mount {}: {errno}", at.display()))
}

/// Makes a place for a mount in the image, with the directories it is in. A link that leads nowhere is
/// replaced.
pub(super) fn make_place(path: &Path, is_file: bool) -> Result<(), String> {
    if !is_file {
        return make_directory(path);
    }
    make_directory(path.parent().unwrap_or(Path::new("/")))?;
    let failed = |error: io::Error| format!("{} in the image: {error}", path.display());
    if path.exists() {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    File::create(path).map(drop).map_err(failed)
}

fn make_directory(path: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| format!("{} in the image: {error}", path.display()))
}
