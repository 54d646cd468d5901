//! What a container sees of file systems: its own `/proc` and `/dev/shm`, and the parts of the
//! machine's that it may not see or change.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use rustix::fs::CWD;
use rustix::mount::MoveMountFlags;

use super::{Plan, rootfs, volumes};

const NONE: Option<&str> = None;

/// What mounts inside a container never need.
const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Makes the new namespaces what the plan says.
///
/// `shared` is the `/dev/shm` of another container, if it has that one.
pub(super) fn furnish(plan: &Plan, shared: Option<&OwnedFd>) -> Result<(), String> {
    if plan.namespaces.mount {
        // Nothing mounted in here gets out; what the host mounts and, above all, unmounts still
        // gets in, so that no container keeps a disk of the host busy.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
            .map_err(failed("make its mounts its own", Path::new("/")))?;
        // What is of the machine is taken hold of while it can still be reached, and what may not be
        // seen of it is not to come in as a volume either.
        let shown = volumes::take_all(plan, &plan.shown)?;
        let mut own = None;
        if let Some(rootfs) = &plan.rootfs {
            let root = rootfs::mount_layers(rootfs)?;
            mask_all(plan)?;
            own = Some(volumes::take_all(plan, &plan.volumes)?);
            rootfs::enter(&root, plan)?;
        }
        // Of a container whose process numbers it has, or of its own.
        if plan.namespaces.pid || plan.joined.is_some_and(|joined| joined.pid) {
            mount(Some("proc"), "/proc", Some("proc"), PLAIN, NONE)
                .map_err(failed("mount", Path::new("/proc")))?;
        }
        let shared_memory = Path::new("/dev/shm");
        if let Some(shared) = shared.filter(|_| shared_memory.is_dir()) {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(shared, "", CWD, shared_memory, flags)
                .map_err(|errno| format!("cannot share {}: {errno}", shared_memory.display()))?;
        } else if plan.namespaces.ipc && shared_memory.is_dir() {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            let size = plan.shm_bytes.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
            let options = format!("mode=1777{size}");
            mount(Some("tmpfs"), shared_memory, Some("tmpfs"), flags, Some(options.as_str()))
                .map_err(failed("mount", shared_memory))?;
        }
        volumes::mount_all(plan, &plan.shown, shown)?;
        mask_all(plan)?;
        // After what is hidden, so that none shows it, and before what is not to be written to.
        let own = own.map_or_else(|| volumes::take_all(plan, &plan.volumes), Ok)?;
        volumes::mount_all(plan, &plan.volumes, own)?;
        read_only(&plan.read_only)?;
    }
    if let Some(hostname) = plan.hostname.as_ref().filter(|_| plan.namespaces.uts) {
        nix::unistd::sethostname(hostname)
            .map_err(|errno| format!("cannot set its host name: {errno}"))?;
    }
    Ok(())
}

fn mask_all(plan: &Plan) -> Result<(), String> {
    plan.masked.iter().try_for_each(|path| mask(path))
}

/// Puts something empty in the place of `path`, if there is anything.
fn mask(path: &Path) -> Result<(), String> {
    let Ok(there) = fs::metadata(path) else { return Ok(()) };
    let hidden = if there.is_dir() {
        let flags = PLAIN | MsFlags::MS_RDONLY;
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=555,nr_blocks=1,nr_inodes=2"))
    } else {
        mount(Some("/dev/null"), path, NONE, MsFlags::MS_BIND, NONE)
    };
    hidden.map_err(failed("hide", path))
}

/// Takes away the writing to `paths`, those there are, and to all that is mounted below them.
fn read_only(paths: &[PathBuf]) -> Result<(), String> {
    let mut mounts = mount_points()?;
    for path in paths.iter().filter(|path| path.exists()) {
        if !mounts.contains(path) {
            mount(Some(path), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
                .map_err(failed("bind", path))?;
            mounts.insert(path.clone());
        }
        // A remount is for one mount only: each below it needs its own.
        for below in mounts.iter().filter(|mounted| mounted.starts_with(path)) {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | PLAIN;
            match mount(NONE, below, NONE, flags, NONE) {
                // Something covers it, so nobody else reaches it either.
                Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
                Err(errno) => return Err(failed("make read-only", below)(errno)),
            }
        }
    }
    Ok(())
}

/// Where anything is mounted.
pub(crate) fn mount_points() -> Result<BTreeSet<PathBuf>, String> {
    let text = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("cannot read the mounts: {error}"))?;
    let at = |line: &str| line.split(' ').nth(4).map(|at| PathBuf::from(at.replace("\\040", " ")));
    Ok(text.lines().filter_map(at).collect())
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl Fn(Errno) -> String + use<> {
    let path = path.to_owned();
    move |errno| format!("cannot {what} {} in the container: {errno}", path.display())
}
