//! What a container sees of file systems: its own `/proc` and `/dev/shm`, and the parts of the
//! machine's that it may not see or change.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
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
        make_read_only(path, &mounts, |_| PLAIN)?;
    }
    Ok(())
}

/// Takes away the writing to what is mounted at `path` and to all that is mounted below. `kept` says what
/// each forbids besides.
pub(super) fn make_read_only(
    path: &Path,
    mounts: &BTreeSet<PathBuf>,
    kept: impl Fn(&Path) -> MsFlags,
) -> Result<(), String> {
    // A remount is for one mount only: each below it needs its own.
    for below in mounts.iter().filter(|mounted| mounted.starts_with(path)) {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept(below);
        match mount(NONE, below, NONE, flags, NONE) {
            // Something covers it, so nobody else reaches it either.
            Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(errno) => return Err(failed("make read-only", below)(errno)),
        }
    }
    Ok(())
}

/// Where anything is mounted.
pub(crate) fn mount_points() -> Result<BTreeSet<PathBuf>, String> {
    mount_points_of("self")
}

/// Where anything is mounted, as a process sees it: its number, or `self`.
pub(super) fn mount_points_of(process: &str) -> Result<BTreeSet<PathBuf>, String> {
    let text = fs::read(format!("/proc/{process}/mountinfo"))
        .map_err(|error| format!("cannot read the mounts: {error}"))?;
    let at = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescaped);
    Ok(text.split(|byte| *byte == b'\n').filter_map(at).collect())
}

/// A path as it is: the kernel writes some of its bytes as a backslash and three octal digits.
fn unescaped(written: &[u8]) -> PathBuf {
    let (mut rest, mut path) = (written, Vec::with_capacity(written.len()));
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let digits = digits.and_then(|it| std::str::from_utf8(it).ok());
        if let Some(escaped) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            path.push(escaped);
            rest = &after[3..];
        } else {
            path.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(path).into()
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl Fn(Errno) -> String + use<> {
    let path = path.to_owned();
    move |errno| format!("cannot {what} {} in the container: {errno}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_mounts_are_read_whatever_is_in_them() {
        for (written, path) in [
            ("/plain", "/plain"),
            ("/with\\040a\\011space", "/with a\tspace"),
            ("/line\\012back\\134040", "/line\nback\\040"),
            ("/end\\04", "/end\\04"),
        ] {
            assert_eq!(unescaped(written.as_bytes()), PathBuf::from(path));
        }
        assert!(mount_points().expect("they can be read").contains(Path::new("/proc")));
    }
}
