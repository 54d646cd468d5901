//! The process that launchers are copies of.
//!
//! To execute this program costs some milliseconds, most of them for the linking of so large a program,
//! and to copy a process that has done so costs a fraction of one. So the agent executes it once, as
//! this server, and each launch has the server fork. A launcher is the agent's child all the same.
//!
//! A request is one packet on the server's standard input, a socket: the path of the container's runtime
//! directory, and with it the descriptors that become the launcher's output and, for a session, its
//! input. The answer is the launcher's number, or in words why there is none.

#![expect(unsafe_code, reason = "clone as a sibling has no safe form")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use rustix::io::Errno as IoErrno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};

use super::title::Title;
use super::{Files, Launcher, child, memory, shield};
use crate::steps::Steps;

/// The longest request: a path, which the kernel takes no longer.
const REQUEST_BYTES_MAX: usize = 4_096;

/// How many descriptors come with a request at most.
const DESCRIPTORS_MAX: usize = 2;

/// The exit code of Rust programs that have panicked.
const PANICKED: i32 = 101;

/// What is to be launched.
struct Request {
    directory: PathBuf,
    output: OwnedFd,
    /// Absent: there is nothing to be read.
    input: Option<OwnedFd>,
}

/// Forks launchers until the agent that asks for them is gone. To be called before any thread is started.
pub(super) fn serve(steps: &Steps) -> ! {
    // Nobody to whom it could be told but by going on without.
    let shield = shield::go_behind();
    // A session of its own: what is typed at the agent's terminal does not end containers. It fails
    // only for the leader of a group, who has no need of it.
    let _ = nix::unistd::setsid();
    let title = Title::find();
    Title::set(title, c"agora-launchers", &["agora", "launchers"]);
    // Once here and not by each of many executors.
    memory::mark_small();
    let socket = std::io::stdin();
    loop {
        let request = match receive(socket.as_fd()) {
            Ok(Some(request)) => request,
            Ok(None) => std::process::exit(0),
            Err(_) => std::process::exit(1),
        };
        match clone_as_sibling() {
            Ok(None) => {
                let Request { directory, output, input } = request;
                let files = Files::new(directory);
                // There is nobody else whom it could be told, neither of that nor of a panic, which
                // must not lead back to here.
                let launched = AssertUnwindSafe(|| match become_launcher(output, input) {
                    Ok(()) => super::launch(&Launcher { files, shield, title, steps }),
                    Err(_) => 1,
                });
                child::leave(catch_unwind(launched).unwrap_or(PANICKED))
            }
            Ok(Some(pid)) => answer(socket.as_fd(), &pid.to_string()),
            Err(errno) => answer(socket.as_fd(), &format!("cannot fork: {errno}")),
        }
    }
}

/// Gives the answer. An agent that is gone is noticed with the next request.
fn answer(socket: BorrowedFd<'_>, text: &str) {
    let _ = send(socket, text.as_bytes(), SendFlags::NOSIGNAL);
}

/// Puts the launcher's ends where programs have them. With the input goes the server's socket.
fn become_launcher(output: OwnedFd, input: Option<OwnedFd>) -> std::io::Result<()> {
    let input = match input {
        Some(input) => input,
        None => File::open("/dev/null")?.into(),
    };
    nix::unistd::dup2_stdin(&input)?;
    nix::unistd::dup2_stdout(&output)?;
    // As long as one more is open nobody sees that the output is closed.
    drop((input, output));
    Ok(())
}

/// Forks; the new process's parent is the parent of this one. `None` is the new process's answer.
fn clone_as_sibling() -> Result<Option<i32>, Errno> {
    let flags = u64::from(CloneFlags::CLONE_PARENT.bits().cast_unsigned());
    // SAFETY: without CLONE_VM and with no stack given this is fork with a flag; the process has one
    // thread, so the copy finds no lock held. With this flag the parent hears of the end as it does of
    // this process's own.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags | u64::from(libc::SIGCHLD.cast_unsigned()), 0, 0, 0, 0)
    };
    let pid = Errno::result(pid)?;
    Ok(i32::try_from(pid).ok().filter(|pid| *pid != 0))
}

/// The next request. `None`: whoever asked is gone.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<Request>, IoErrno> {
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let mut space =
        [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let into = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(IoErrno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    let mut descriptors = descriptors.next().into_iter().flatten();
    let is_whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let output = descriptors.next().filter(|_| is_whole).ok_or(IoErrno::BADMSG)?;
    let input = descriptors.next();
    let directory = PathBuf::from(OsStr::from_bytes(&bytes[..received.bytes]));
    Ok(Some(Request { directory, output, input }))
}

/// Asks the server at the other end of `socket` for a launcher, and gives its number. Blocks, for about as
/// long as a fork takes. Each time that the socket's time-out for reading passes without an answer
/// `is_worth_waiting` is asked whether to go on.
pub(crate) fn ask(
    socket: BorrowedFd<'_>,
    directory: &Path,
    output: BorrowedFd<'_>,
    input: Option<BorrowedFd<'_>>,
    is_worth_waiting: impl Fn() -> bool,
) -> std::io::Result<i32> {
    let path = directory.as_os_str().as_bytes();
    if path.len() > REQUEST_BYTES_MAX {
        return Err(IoErrno::NAMETOOLONG.into());
    }
    let descriptors: Vec<BorrowedFd<'_>> = [output].into_iter().chain(input).collect();
    let mut space =
        [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(path)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut bytes = [0; 256];
    let length = loop {
        match rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()) {
            Err(IoErrno::INTR) => {}
            Err(IoErrno::AGAIN) if is_worth_waiting() => {}
            other => break other?.0,
        }
    };
    let text = String::from_utf8_lossy(&bytes[..length]);
    if text.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    text.parse().map_err(|_| std::io::Error::other(text.into_owned()))
}
