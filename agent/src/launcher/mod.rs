//! The launcher: a small process of its own that starts one container and waits for its end.
//!
//! The agent has many threads, and a process with threads cannot safely be cloned into new
//! namespaces. So the agent executes this same program again in another mode, which has one thread and
//! forks the launchers. A launcher reads a [`Plan`], starts the container and stays
//! outside it as its parent. It does not need the agent to live on: what it finds out it leaves in the
//! container's runtime directory ([`Files`]).
//!
//! The launcher tells the agent on its standard output how the start went, in one line, and closes it.

mod capabilities;
mod child;
mod doors;
mod exchange;
mod fork_server;
pub(crate) mod frames;
pub(crate) mod memory;
mod mounts;
mod plan;
mod privileges;
mod relay;
mod rootfs;
mod shield;
pub(crate) mod streams;
mod title;
mod volumes;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use self::doors::Doors;
use self::streams::Streams;
use self::title::Title;
use crate::steps::Steps;

pub use self::capabilities::{Capabilities, UnknownCapability};
pub(crate) use self::exchange::{Exchange, exchange};
pub(crate) use self::fork_server::ask;
pub use self::frames::Channel;
pub use self::memory::stay_small;
pub(crate) use self::mounts::mount_points;
pub use self::plan::{
    Files, Identity, Io, Joined, Memory, Namespaces, Plan, Process, Rlimit, Rootfs, UnknownUser,
    Volume, VolumeSource, Window, write_atomically,
};
pub(crate) use self::title::room;

/// How the launcher's line on its standard output begins when the container runs. The number of its
/// first process follows.
pub const LAUNCHED: &str = "launched ";

/// How the line begins when nothing could be started. The reason follows.
pub const REFUSED: &str = "refused ";

/// Forks launchers for the agent at the other end of the standard input, until that is gone. To be called
/// before any thread is started.
pub fn main() -> ! {
    main_told(&Steps::default())
}

/// As [`main`], with somebody who is told how far each launcher has got.
pub fn main_told(steps: &Steps) -> ! {
    fork_server::serve(steps)
}

/// One launcher, and what it has from the process that it was forked from.
struct Launcher<'a> {
    files: Files,
    /// Whether nobody can write to its program: what came of trying that.
    shield: Result<(), rustix::io::Errno>,
    title: Option<Title>,
    steps: &'a Steps,
}

/// Starts the container, waits for its end, and gives the exit code of the process.
fn launch(launcher: &Launcher<'_>) -> i32 {
    let directory = launcher.files.dir().to_string_lossy();
    Title::set(launcher.title, c"agora-launcher", &["agora", "launch", &directory]);
    match run(launcher) {
        Ok(()) => 0,
        Err(reason) => {
            // Nobody may be reading any more; then there is nobody to tell.
            let _ = writeln!(io::stdout(), "{REFUSED}{}", reason.replace('\n', " "));
            1
        }
    }
}

/// Which process holds a container's launcher lock, if one does.
pub fn find(files: &Files) -> Option<i32> {
    let file = File::open(files.lock()).ok()?;
    let mut lock = write_lock();
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    (i32::from(lock.l_type) != libc::F_UNLCK && lock.l_pid > 0).then_some(lock.l_pid)
}

fn write_lock() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK.try_into().expect("a small constant"),
        l_whence: libc::SEEK_SET.try_into().expect("a small constant"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Starts the container and waits for its end. An error means that nothing runs.
fn run(launcher: &Launcher<'_>) -> Result<(), String> {
    let Launcher { files, steps, .. } = launcher;
    let plan = fs::read(files.plan()).map_err(|error| format!("cannot read the plan: {error}"))?;
    let plan: Plan = serde_json::from_slice(&plan).map_err(|error| format!("bad plan: {error}"))?;
    shield::required(&plan, launcher.shield)?;

    // Held until this process ends, by the kernel's doing.
    let lock = lock(files)?;
    steps.reached("locked");
    // Looked at under the lock: either the agent sees the lock, or this sees the mark.
    if files.destroyed().exists() {
        return Err("the container is to be destroyed already".to_owned());
    }

    let signals = block_signals()?;
    let (output, mut relay) = Streams::open(&plan, files)?;
    let doors = Doors::open(plan.joined.as_ref())?;
    // Whoever loses its parent inside comes to this process, which can then end it too.
    nix::sys::prctl::set_child_subreaper(true).map_err(failed("become the reaper"))?;
    let gate = pipe()?;
    let refusal = pipe()?;
    let status = pipe()?;

    let mut launchers = relay.as_ref().map(relay::Relay::numbers).unwrap_or_default();
    launchers.extend([&gate.1, &refusal.0, &status.0].map(AsRawFd::as_raw_fd));
    let ends = child::Ends { launchers, gate: &gate.0, refusal: &refusal.1, status: &status.1 };
    let started = child::start(&plan, launcher.title, (&doors, &output), &ends)?;
    let (gate_read, gate_write) = gate;
    let (refusal_read, refusal_write) = refusal;
    let (status_read, status_write) = status;
    drop((gate_read, refusal_write, status_write, output, doors));
    steps.reached("cloned");

    let opened = open_gate(files, &plan, &started, gate_write, steps);
    steps.reached("let go");
    let refused = read_to_end(refusal_read);
    if opened.is_err() || !refused.is_empty() {
        child::kill(started.pid);
        reap_all(started.pid);
        opened?;
        return Err(refused);
    }
    steps.reached("running");
    tell(&format!("{LAUNCHED}{}\n", started.pid));
    steps.reached("told");

    let seen = match &mut relay {
        Some(relay) => relay.serve(started.pid, &signals),
        None => wait(started.pid, &signals),
    };
    steps.reached("over");
    // An init between tells what the command's status was; without one it was the command itself.
    let told = read_to_end(status_read);
    let status = if plan.has_init() { told.trim().parse().unwrap_or(libc::SIGKILL) } else { seen };
    write_atomically(&files.exit_status(), status.to_string().as_bytes())
        .map_err(|error| format!("cannot write the exit status: {error}"))?;
    // Only now: whoever sees the end of a session may ask for its status.
    drop(relay);
    drop(lock);
    Ok(())
}

/// Puts the new process where it belongs, writes down which it is, and lets it go on.
fn open_gate(
    files: &Files,
    plan: &Plan,
    started: &child::Started,
    gate: OwnedFd,
    steps: &Steps,
) -> Result<(), String> {
    let process = Process::find(started.pid.as_raw())
        .ok_or_else(|| "the container's first process died at once".to_owned())?;
    let text = serde_json::to_vec(&process).map_err(|error| error.to_string())?;
    write_atomically(&files.pid(), &text)
        .map_err(|error| format!("cannot write the pid file: {error}"))?;
    steps.reached("pid written");
    let into = plan.cgroup_into.iter().filter(|_| !started.in_cgroup);
    for group in plan.cgroups_joined.iter().chain(into) {
        fs::write(group.join("cgroup.procs"), started.pid.to_string())
            .map_err(|error| format!("cannot join cgroup {}: {error}", group.display()))?;
        steps.reached("joined a cgroup");
    }
    File::from(gate).write_all(b"x").map_err(|error| format!("the container is gone: {error}"))
}

fn lock(files: &Files) -> Result<File, String> {
    let path = files.lock();
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    fcntl(&file, FcntlArg::F_SETLK(&write_lock()))
        .map_err(|errno| format!("another launcher is at work in {}: {errno}", path.display()))?;
    Ok(file)
}

fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed("open a pipe"))
}

fn read_to_end(from: OwnedFd) -> String {
    let mut text = String::new();
    // What cannot be read counts as not written.
    let _ = File::from(from).read_to_string(&mut text);
    text
}

/// Writes the one line the agent waits for and closes the way to it.
fn tell(line: &str) {
    let mut stdout = io::stdout();
    // The agent may have died meanwhile. The container runs, and the next agent will find it.
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    if let Ok(null) = fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&null);
    }
}

/// Keeps the signals this process acts on from interrupting anything: they are waited for.
fn block_signals() -> Result<SigSet, String> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(failed("block signals"))?;
    Ok(signals)
}

/// Waits until `first` and all that came of it have ended; gives the wait status of `first`.
///
/// SIGTERM asks for a quick end: everything below is killed.
fn wait(first: Pid, signals: &SigSet) -> i32 {
    loop {
        match child::reap(first, WaitPidFlag::WNOHANG) {
            child::Reaped::First(status) => {
                reap_all(first);
                return status;
            }
            child::Reaped::Other => {}
            child::Reaped::Nobody => return libc::SIGKILL,
            child::Reaped::NotYet => {
                if signals.wait() == Ok(Signal::SIGTERM) {
                    child::kill(first);
                    kill_children();
                }
            }
        }
    }
}

/// Ends what is left below this process and waits for it.
fn reap_all(first: Pid) {
    loop {
        kill_children();
        if matches!(child::reap(first, WaitPidFlag::empty()), child::Reaped::Nobody) {
            return;
        }
    }
}

/// Kills the processes whose parent is this one. Their children then come to this one.
fn kill_children() {
    let own = std::process::id();
    let Ok(listed) = fs::read_to_string(format!("/proc/{own}/task/{own}/children")) else {
        return;
    };
    for pid in listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
        child::kill(Pid::from_raw(pid));
    }
}

fn failed(what: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("cannot {what}: {errno}")
}
