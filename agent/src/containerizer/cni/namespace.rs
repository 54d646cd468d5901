//! A network namespace that lives as long as a file does.
//!
//! It is made before the container, so that its addresses are known when the container starts, and
//! kept by a mount on the file, so that what was joined to it can be undone when all its processes
//! have ended.

#![expect(unsafe_code, reason = "an interface is put up by a call that has no safe form")]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Makes a namespace with a loopback interface that is up, and has the file `at` hold it.
pub(super) fn create(at: &Path) -> io::Result<()> {
    File::create(at)?;
    let at = at.to_owned();
    // A thread has a namespace of its own, and takes it along when it ends.
    let made = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        loopback_up()?;
        let this = "/proc/thread-self/ns/net";
        mount(Some(this), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
    made.join().unwrap_or(Err(Errno::ECANCELED)).map_err(io::Error::from)
}

/// Lets go of the namespace that `at` holds, if it holds one, and removes the file.
pub(super) fn remove(at: &Path) -> io::Result<()> {
    // As often as something was mounted there. What is no mount says so.
    while umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// That an interface is up, in the size that the request has.
const IFF_UP: libc::c_short = 1;

fn loopback_up() -> Result<(), Errno> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes is a request that names no interface.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    // SAFETY: the kernel writes flags into the request, which is valid, and nothing else.
    Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request)
    })?;
    // SAFETY: the call before it has written this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | IFF_UP;
    // SAFETY: the kernel only reads the request.
    Errno::result(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })?;
    Ok(())
}
