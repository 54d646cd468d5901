//! Launchers as the agent starts and awaits them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

use crate::launcher;

/// How long the server is waited for before it is looked at. To fork takes a fraction of a millisecond.
const LOOKED_AT_AFTER: Duration = Duration::from_millis(200);

/// Starts launchers.
#[derive(Debug)]
pub(super) struct Launchers {
    /// The program that has the launcher in it, and the arguments that select it.
    program: (PathBuf, Vec<OsString>),
    /// What they are forked from. Absent: it has not been needed.
    server: Mutex<Option<Server>>,
}

/// The process that launchers are forked from. It ends with its socket, should this agent be killed.
#[derive(Debug)]
struct Server {
    child: Child,
    socket: OwnedFd,
}

/// A launcher that this agent has started, and that it therefore has to reap.
#[derive(Debug)]
pub(super) struct OwnLauncher {
    pid: Pid,
    /// What it says of the start.
    pub(super) output: Option<OwnedFd>,
}

impl Launchers {
    pub(super) fn new(program: (PathBuf, Vec<OsString>)) -> Self {
        Self { program, server: Mutex::default() }
    }

    /// The program that has the launcher in it.
    pub(super) fn program(&self) -> &Path {
        &self.program.0
    }

    /// Has a launcher for the container whose runtime directory it is, with an input if it is a session.
    /// Blocks, but not for the launch.
    pub(super) fn start(
        &self,
        directory: &Path,
        input: Option<&OwnedFd>,
    ) -> io::Result<OwnLauncher> {
        let (output, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let input = input.map(AsFd::as_fd);
        let mut server = self.server.lock();
        if let Some(running) = server.as_ref()
            && let Ok(pid) = running.ask(directory, theirs.as_fd(), input)
        {
            return Ok(OwnLauncher { pid: Pid::from_raw(pid), output: Some(output) });
        }
        // There is none yet, or somebody has ended or stopped it. Should it have forked already, the second launcher
        // finds the first one's lock and starts nothing.
        *server = None;
        let fresh = server.insert(Server::start(&self.program)?);
        let pid = fresh.ask(directory, theirs.as_fd(), input)?;
        Ok(OwnLauncher { pid: Pid::from_raw(pid), output: Some(output) })
    }
}

impl Server {
    fn start((program, arguments): &(PathBuf, Vec<OsString>)) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(LOOKED_AT_AFTER))?;
        let child = Command::new(program)
            .args(arguments)
            .arg(launcher::room())
            // The agent's own environment is nothing for processes that outlive it.
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, socket: ours })
    }

    fn ask(
        &self,
        directory: &Path,
        output: BorrowedFd<'_>,
        input: Option<BorrowedFd<'_>>,
    ) -> io::Result<i32> {
        launcher::ask(self.socket.as_fd(), directory, output, input, || !self.is_stopped())
    }

    /// Whether somebody has stopped it by a signal. It would not go on before somebody has it go on.
    fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The state comes after the name, which may have anything in it.
        let state = stat.as_deref().ok().and_then(|stat| stat.rsplit_once(") "));
        let is_stopped = state.is_some_and(|(_, rest)| rest.starts_with('T'));
        if is_stopped {
            tracing::warn!(
                pid = self.child.id(),
                "the process that launchers are forked from was stopped by a signal; another one takes its place"
            );
        }
        is_stopped
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to finish, and if it is stopped it would not see that nobody asks any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OwnLauncher {
    /// Its number, which is its own until it has been waited for.
    pub(super) fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for its end. Blocks.
    pub(super) fn wait(self) {
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}
