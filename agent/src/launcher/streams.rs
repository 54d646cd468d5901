//! Where a container's input comes from and its output goes: files, pipes, or a terminal.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::relay::{Printed, Reader, Relay};
use super::{Channel, Files, Plan, Window, pipe};

/// The command's ends.
pub(super) struct Streams {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    pub(super) error: OwnedFd,
}

impl Streams {
    /// Opens them, with what is between them and others if there is anything.
    pub(super) fn open(plan: &Plan, files: &Files) -> Result<(Self, Option<Relay>), String> {
        let Some(io) = plan.io else {
            let append = |name| log(plan, name);
            let input = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
            let streams =
                Self { input: input.into(), output: append("stdout")?, error: append("stderr")? };
            return Ok((streams, None));
        };
        let reader = if io.is_session {
            Reader::Session(session()?)
        } else {
            Reader::Log(File::from(log(plan, "stdout")?), listen(files)?)
        };
        let (streams, typed, printed) = match io.terminal {
            Some(window) => on_terminal(plan, window)?,
            None => on_pipes()?,
        };
        Ok((streams, Some(Relay::new(typed, io.terminal.is_some(), printed, reader)?)))
    }
}

/// The command's ends, the one for what is typed, and those for what is printed.
type Ends = (Streams, OwnedFd, Vec<Printed>);

fn on_pipes() -> Result<Ends, String> {
    let ((input, typed), (printed, output), (complaints, error)) = (pipe()?, pipe()?, pipe()?);
    let printed =
        vec![Printed::new(Channel::Stdout, printed), Printed::new(Channel::Stderr, complaints)];
    Ok((Streams { input, output, error }, typed, printed))
}

fn on_terminal(plan: &Plan, window: Window) -> Result<Ends, String> {
    let failed = |error: std::io::Error| format!("cannot open a terminal: {error}");
    let opened = || -> std::io::Result<(OwnedFd, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        resize(&ours, window)?;
        if let Some(identity) = &plan.identity {
            // Programs open it again by its name.
            rustix::fs::fchown(&theirs, Some(Uid::from_raw(identity.uid)), None)?;
        }
        Ok((ours, theirs))
    };
    let (ours, theirs) = opened().map_err(failed)?;
    let again = |fd: &OwnedFd| fd.try_clone().map_err(failed);
    // What the agent's own executor has to say is for its log, not for whoever is at the terminal.
    let error = if plan.is_executor { log(plan, "stderr")? } else { again(&theirs)? };
    let streams = Streams { input: again(&theirs)?, output: theirs, error };
    let typed = again(&ours)?;
    Ok((streams, typed, vec![Printed::new(Channel::Stdout, ours)]))
}

/// Gives a terminal another size. Whoever is in its foreground gets a signal by it.
pub(super) fn resize(terminal: &impl AsFd, window: Window) -> rustix::io::Result<()> {
    let size = Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size)
}

/// The connection to the agent, which a launcher for a session has as its input.
fn session() -> Result<UnixStream, String> {
    let taken = || -> std::io::Result<UnixStream> {
        let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        // Nobody else is to hold it: with it the session ends.
        let null = File::open("/dev/null")?;
        nix::unistd::dup2_stdin(&null)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    taken().map_err(|error| format!("a session needs a connection to its agent: {error}"))
}

/// The socket by which agents bring what is typed.
fn listen(files: &Files) -> Result<UnixListener, String> {
    let bound = || -> std::io::Result<UnixListener> {
        // The name of a socket is short; that of its directory may be long.
        let directory = File::open(files.dir())?;
        let listener = UnixListener::bind(by_handle(&directory, &files.io()))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bound().map_err(|error| format!("cannot listen on {}: {error}", files.io().display()))
}

/// A path that is short however deep the directory lies that `directory` is open on.
pub(crate) fn by_handle(directory: &File, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
        .join(path.file_name().unwrap_or_default())
}

/// Opens a file of the sandbox to be written to.
fn log(plan: &Plan, name: &str) -> Result<OwnedFd, String> {
    // The sandbox belongs to the task's user: a link there may lead anywhere. One that is in another
    // sandbox could itself be such a link.
    let rules =
        if plan.joined.is_some() { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
    let flags =
        OFlags::APPEND | OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = plan.sandbox.join(name);
    rustix::fs::openat2(CWD, &path, flags, Mode::from_raw_mode(0o644), rules)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))
}
