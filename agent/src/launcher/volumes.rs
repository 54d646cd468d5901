//! Mounts the volumes that a container was asked to have.
//!
//! What lies in a sandbox was put there by others, archives among them: links in it lead wherever
//! they like. Paths in it are resolved by the kernel with the rule that they stay inside, and what
//! was found is mounted by its descriptor, so that nobody exchanges it in between.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::mount::MsFlags;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen,
};

use super::plan::{Memory, Volume, VolumeSource};
use super::{Identity, Plan, mounts, rootfs, shield};

/// Directories below each other that a path in a sandbox may have. File systems allow 4096 bytes of
/// path, and nobody nests deeper on purpose.
const DEPTH_MAX: usize = 256;

/// Takes hold of what is to be mounted, in order. Paths in the sandbox are made.
pub(super) fn take_all(plan: &Plan, volumes: &[Volume]) -> Result<Vec<OwnedFd>, String> {
    let take_one =
        |volume: &Volume| take_one(plan, volume).map_err(|error| not_mounted(volume, &error));
    volumes.iter().map(take_one).collect()
}

fn take_one(plan: &Plan, volume: &Volume) -> Result<OwnedFd, String> {
    let in_sandbox = |sandbox: &Path, path: &Path| {
        inside(unlinked(sandbox)?, path, plan.identity.as_ref(), None)
    };
    let source = match &volume.source {
        VolumeSource::Host(path) => anywhere(path),
        VolumeSource::Sandbox(path) => in_sandbox(&plan.sandbox, path),
        VolumeSource::Around(path) => match &plan.sandbox_around {
            Some(sandbox) => in_sandbox(sandbox, path),
            None => Err("this container is in no other".to_owned()),
        },
        VolumeSource::Image(layers) => return rootfs::take_layers(layers),
        VolumeSource::Memory(memory) => {
            return in_memory(*memory).map_err(|errno| errno.to_string());
        }
    };
    take(&source?).map_err(|errno| errno.to_string())
}

/// Makes a file system in memory that is mounted nowhere yet.
fn in_memory(memory: Memory) -> Result<OwnedFd, Errno> {
    let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(bytes) = memory.bytes {
        fsconfig_set_string(&made, "size", bytes.to_string())?;
    }
    fsconfig_set_string(&made, "mode", format!("{:o}", memory.mode))?;
    fsconfig_create(&made)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, !memory.executable);
    fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts what was taken hold of, in order.
pub(super) fn mount_all(
    plan: &Plan,
    volumes: &[Volume],
    taken: Vec<OwnedFd>,
) -> Result<(), String> {
    for (volume, source) in volumes.iter().zip(taken) {
        mount_one(plan, volume, &source).map_err(|error| not_mounted(volume, &error))?;
    }
    Ok(())
}

fn not_mounted(volume: &Volume, error: &str) -> String {
    format!("cannot mount volume '{}': {error}", volume.container_path.display())
}

fn mount_one(plan: &Plan, volume: &Volume, source: &OwnedFd) -> Result<(), String> {
    let is_file = !is_directory(source)?;
    let target = || {
        let path = &volume.container_path;
        if !path.is_absolute() {
            let sandbox = anywhere(plan.sandbox_inside())?;
            return inside(sandbox, path, plan.identity.as_ref(), Some(is_file));
        }
        if plan.rootfs.is_some() {
            rootfs::make_place(path, is_file)?;
        }
        anywhere(path)
    };
    let failed = |errno: Errno| format!("it cannot be made read-only: {errno}");
    let is_done = match volume.read_only.then(|| shield::make_read_only(source)) {
        None => true,
        // Kernels from before 5.12 cannot: there it is done where all can be seen that is mounted in it.
        Some(Err(Errno::NOSYS)) => false,
        Some(done) => done.map(|()| true).map_err(failed)?,
    };
    put_at(source, &target()?).map_err(|errno| errno.to_string())?;
    if !is_done {
        // Opened again: now it is what is mounted there.
        let place = fs::read_link(by_descriptor(&target()?)).map_err(|error| error.to_string())?;
        mounts::make_read_only(&place, &mounts::mount_points()?, kept_flags)?;
        let there = rustix::fs::statvfs(&place).map_err(|errno| errno.to_string())?;
        if !there.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err("it cannot be made read-only".to_owned());
        }
    }
    Ok(())
}

/// Takes hold of a file, or of a directory with all that is mounted below, to be put elsewhere.
pub(super) fn take(what: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(what, "", flags)
}

/// Has what was taken seen at `place`.
pub(super) fn put_at(taken: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(taken, "", place, "", flags)
}

fn by_descriptor(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens a path as it is seen now, which must be there.
pub(super) fn anywhere(path: &Path) -> Result<OwnedFd, String> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("{}: {errno}", path.display()))
}

/// Opens a sandbox as the agent knows it. One in another's may have been replaced by its owner.
pub(super) fn unlinked(sandbox: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let rules = ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(CWD, sandbox, flags, Mode::empty(), rules)
        .map_err(|errno| format!("{}: {errno}", sandbox.display()))
}

/// Opens a path in the sandbox, and makes what is not there: directories, and a file in the end if
/// `file` says so. `file` being absent, what is there may be either.
pub(super) fn inside(
    sandbox: OwnedFd,
    path: &Path,
    owner: Option<&Identity>,
    file: Option<bool>,
) -> Result<OwnedFd, String> {
    let failed = |errno: Errno| match errno {
        Errno::XDEV | Errno::LOOP => format!("'{}' leads out of the sandbox", path.display()),
        errno => format!("'{}' in the sandbox: {errno}", path.display()),
    };
    let names: Vec<_> = path.components().filter(|it| *it != Component::CurDir).collect();
    if names.len() > DEPTH_MAX || names.iter().any(|it| !matches!(it, Component::Normal(_))) {
        return Err(failed(Errno::XDEV));
    }
    let mut at = sandbox;
    for (place, name) in names.iter().enumerate() {
        let name = name.as_os_str();
        let made = if file == Some(true) && place + 1 == names.len() {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&at, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755))
        };
        match (made, owner) {
            (Ok(()), Some(owner)) => {
                let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&at, name, Some(uid), Some(gid), flags).map_err(failed)?;
            }
            (Ok(()) | Err(Errno::EXIST), _) => {}
            (Err(errno), _) => return Err(failed(errno)),
        }
        at = beneath(&at, Path::new(name)).map_err(failed)?;
    }
    Ok(at)
}

/// Opens what is there below a directory, without following links.
pub(super) fn beneath(at: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(at, path, flags, Mode::empty(), rules)
}

fn is_directory(file: &OwnedFd) -> Result<bool, String> {
    let there = rustix::fs::fstat(file).map_err(|errno| errno.to_string())?;
    Ok(rustix::fs::FileType::from_raw_mode(there.st_mode).is_dir())
}

/// What a mount forbids already, which a remount must say again.
fn kept_flags(mounted: &Path) -> MsFlags {
    let mut kept = MsFlags::empty();
    let Ok(there) = rustix::fs::statvfs(mounted).map(|it| it.f_flag) else { return kept };
    kept.set(MsFlags::MS_NOSUID, there.contains(StatVfsMountFlags::NOSUID));
    kept.set(MsFlags::MS_NODEV, there.contains(StatVfsMountFlags::NODEV));
    kept.set(MsFlags::MS_NOEXEC, there.contains(StatVfsMountFlags::NOEXEC));
    kept
}
