//! Keeps the agent's own program from those whose container is entered.
//!
//! A process that enters a container is seen there before it becomes the command, and has the agent's
//! program as its own. A container can have that opened, by a script whose interpreter is
//! `/proc/self/exe`, and keep it until nobody executes it, to write to it then. So the program that
//! launchers are forked from is executed from a mount of it that can only be read.

#![expect(unsafe_code, reason = "the change of a mount that is nowhere has no safe form")]

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::AtFlags;
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::Plan;

/// This process's program.
const PROGRAM: &str = "/proc/self/exe";

/// The kernel's structure of what is to become of a mount.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// The kernel's flag for a mount that can only be read.
const READ_ONLY: u64 = 1;

/// Executes this program again from where nobody can write to it. Returns when that is done, or cannot be.
pub(super) fn go_behind() -> Result<(), Errno> {
    if is_read_only() {
        return Ok(());
    }
    match again()? {}
}

/// Refuses to enter a container that could see the program of this process, unless that was put where
/// nobody can write to it.
pub(super) fn required(plan: &Plan, shield: Result<(), Errno>) -> Result<(), String> {
    let enters = plan.joined.is_some_and(|joined| joined.mount || joined.pid);
    match shield {
        // Kernels from before 5.12 cannot. There the program is only as safe as its being in use.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) if enters => {
            Err(format!("cannot shield its program from the container: {errno}"))
        }
        Err(_) => Ok(()),
    }
}

fn is_read_only() -> bool {
    let flags = File::open(PROGRAM).ok().and_then(|it| rustix::fs::fstatvfs(&it).ok());
    flags.is_some_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn again() -> Result<Infallible, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let program = open_tree(CWD, PROGRAM, flags)?;
    make_read_only(&program)?;
    let text = |word: std::ffi::OsString| CString::new(word.into_vec()).map_err(|_| Errno::INVAL);
    let arguments = std::env::args_os().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        text(name)
    });
    let environment = environment.collect::<Result<Vec<_>, _>>()?;
    let flags = AtFlags::AT_EMPTY_PATH;
    nix::unistd::execveat(&program, c"", &arguments, &environment, flags)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Has nobody write to what was taken hold of and is mounted nowhere yet, nor to what is mounted in it.
pub(super) fn make_read_only(mount: &OwnedFd) -> Result<(), Errno> {
    let wanted = MountAttributes { set: READ_ONLY, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the kernel reads an empty text and a structure of the size that it is told, which both
    // outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const wanted,
            size_of::<MountAttributes>(),
        )
    };
    nix::errno::Errno::result(done)
        .map(drop)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}
