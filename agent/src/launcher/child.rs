//! The container's side of a launch: from the clone to the exec.
//!
//! The launcher has one thread, so its copy may do whatever it could do.

#![expect(unsafe_code, reason = "clone, fork, signal resets and raw wait have no safe form")]

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{ForkResult, Pid};

use super::doors::Doors;
use super::streams::Streams;
use super::title::Title;
use super::{Plan, memory, mounts, privileges};
use crate::executor::ExecutorOptions;

/// The kernel's flag to be born in a cgroup. The `libc` crate has it cut off to 32 bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The ends of the pipes between the launcher and the container's first process.
pub(super) struct Ends<'a> {
    /// Numbers of those that are the launcher's, to be let go of here: as long as they are open
    /// somewhere, nobody sees them close.
    pub(super) launchers: Vec<i32>,
    /// Something is written to it when the process may go on.
    pub(super) gate: &'a OwnedFd,
    /// Takes what could not be done, and is closed when the command runs.
    pub(super) refusal: &'a OwnedFd,
    /// Takes the command's status, if there is an init to tell it.
    pub(super) status: &'a OwnedFd,
}

/// A container's first process.
pub(super) struct Started {
    /// Its number, seen from outside.
    pub(super) pid: Pid,
    /// Whether it was born in the plan's v2 cgroup.
    pub(super) in_cgroup: bool,
}

/// Who has ended.
pub(super) enum Reaped {
    /// The one asked about, with its wait status.
    First(i32),
    /// Somebody else.
    Other,
    /// Nobody, and there are some who will.
    NotYet,
    /// Nobody, and there is nobody left.
    Nobody,
}

/// Clones the container's first process.
pub(super) fn start(
    plan: &Plan,
    title: Option<Title>,
    (doors, output): (&Doors, &Streams),
    ends: &Ends<'_>,
) -> Result<Started, String> {
    doors.enter_pid()?;
    let (pid, in_cgroup) = clone(plan).map_err(|errno| {
        format!("cannot clone into new namespaces: {errno}; run the agent as root, or with --isolation=posix/cpu,posix/mem")
    })?;
    if let Some(pid) = pid {
        return Ok(Started { pid, in_cgroup });
    }
    // From here on this is the new process.
    for end in &ends.launchers {
        let _ = nix::unistd::close(*end);
    }
    let error = match first(plan, title, (doors, output), ends) {
        Ok(code) => leave(code),
        Err(error) => error,
    };
    if let Ok(mut refusal) = ends.refusal.try_clone().map(File::from) {
        let _ = refusal.write_all(error.as_bytes());
    }
    leave(1)
}

/// Ends this process. What libraries would do at the end is of no use to a copy of another one.
pub(super) fn leave(code: i32) -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Forks into the plan's namespaces, and into its v2 cgroup where the kernel can. `None` is the new
/// process's answer.
fn clone(plan: &Plan) -> Result<(Option<Pid>, bool), Errno> {
    let wanted = &plan.namespaces;
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWNS, wanted.mount);
    flags.set(CloneFlags::CLONE_NEWPID, wanted.pid);
    flags.set(CloneFlags::CLONE_NEWIPC, wanted.ipc);
    flags.set(CloneFlags::CLONE_NEWUTS, wanted.uts);
    let flags = u64::from(flags.bits().cast_unsigned());
    if let Some(group) = &plan.cgroup_into {
        let directory = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(group)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
        match clone3(flags, Some(&directory)) {
            // An older kernel, or a filter around this agent that does not know the call: join
            // the cgroup after birth.
            Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM | Errno::E2BIG) => {}
            Ok(pid) => return Ok((pid, true)),
            Err(errno) => return Err(errno),
        }
    }
    match clone3(flags, None) {
        Err(Errno::ENOSYS) => {}
        other => return other.map(|pid| (pid, false)),
    }
    // SAFETY: without CLONE_VM and with no stack given this is fork with flags; the process has
    // one thread, so the copy finds no lock held.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, flags | u64::from(libc::SIGCHLD.cast_unsigned()), 0, 0, 0, 0)
    };
    answer(pid).map(|pid| (pid, false))
}

fn clone3(flags: u64, group: Option<&File>) -> Result<Option<Pid>, Errno> {
    // SAFETY: all fields are integers, for which zero means "not used".
    let mut wanted: libc::clone_args = unsafe { std::mem::zeroed() };
    wanted.flags = flags;
    wanted.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    if let Some(group) = group {
        wanted.flags |= CLONE_INTO_CGROUP;
        wanted.cgroup = group.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: as for clone above; the structure outlives the call and its size is told.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const wanted, size_of::<libc::clone_args>())
    };
    answer(pid)
}

fn answer(returned: libc::c_long) -> Result<Option<Pid>, Errno> {
    let pid = Errno::result(returned)?;
    let pid = i32::try_from(pid).expect("process numbers are small");
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

/// What the container's first process does. Returns the exit code of an init, or why the command
/// does not run; where there is no init it does not return from a good start.
fn first(
    plan: &Plan,
    title: Option<Title>,
    (doors, output): (&Doors, &Streams),
    ends: &Ends<'_>,
) -> Result<i32, String> {
    // A container without its launcher has nobody to say how it ended: it goes with it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("tie it to the launcher"))?;
    let mut go = [0];
    let gate = ends.gate.try_clone().map_err(|error| error.to_string())?;
    File::from(gate).read_exact(&mut go).map_err(|_| "the launcher gave up".to_owned())?;

    let _ = nix::unistd::setsid();
    if plan.joined.is_some_and(|joined| joined.mount || joined.pid) {
        // What is in there already is to look neither at its memory nor at its files, until it is one
        // of them.
        let _ = nix::sys::prctl::set_dumpable(false);
    }
    let shared_memory = doors.shared_memory(plan)?;
    doors.enter_others()?;
    if let Some(network) = &plan.network {
        let namespace = File::open(network)
            .map_err(|error| format!("cannot open {}: {error}", network.display()))?;
        nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)
            .map_err(failed("enter its network"))?;
    }
    if plan.namespaces.cgroup {
        // Not at the clone: it has been moved into its groups since.
        match nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP) {
            // A kernel without such namespaces.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed("have its groups as roots")(errno)),
        }
    }
    mounts::furnish(plan, shared_memory.as_ref())?;
    privileges::restrict(plan)?;
    nix::unistd::dup2_stdin(&output.input).map_err(failed("set up its input"))?;
    nix::unistd::dup2_stdout(&output.output).map_err(failed("set up its output"))?;
    nix::unistd::dup2_stderr(&output.error).map_err(failed("set up its output"))?;
    if !plan.has_init() {
        return command(plan, title).map(|never| match never {});
    }
    Title::set(title, c"agora-init", &["agora", "init"]);
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }.map_err(failed("fork"))? {
        ForkResult::Child => command(plan, title).map(|never| match never {}),
        ForkResult::Parent { child } => {
            let _ = nix::unistd::close(ends.refusal.as_raw_fd());
            let _ = nix::unistd::chdir("/");
            privileges::disarm();
            let seen = init(child);
            if let Ok(mut status) = ends.status.try_clone().map(File::from) {
                let _ = status.write_all(seen.to_string().as_bytes());
            }
            // With the first process of its namespace the kernel ends all the others.
            Ok(0)
        }
    }
}

/// The first process of a PID namespace: it reaps whoever lost its parent, and ends with the
/// command. The command itself is not first, since the kernel keeps signals from that one.
fn init(command: Pid) -> i32 {
    loop {
        match reap(command, WaitPidFlag::empty()) {
            Reaped::First(status) => return status,
            Reaped::Nobody => return libc::SIGKILL,
            Reaped::Other | Reaped::NotYet => {}
        }
    }
}

/// What cannot be: an exec that returns is an error.
enum Never {}

/// Becomes the command.
fn command(plan: &Plan, title: Option<Title>) -> Result<Never, String> {
    if !plan.is_executor {
        memory::allow_large();
    }
    if plan.io.is_some_and(|io| io.terminal.is_some()) && !plan.is_executor {
        control_terminal()?;
    }
    privileges::limit(plan)?;
    privileges::become_user(plan)?;
    // An init is the parent of its command, which is tied to it by the namespace. Else the switch of user
    // undid the earlier request, so it is made again.
    if plan.identity.is_some() && !plan.has_init() {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(failed("tie it to the launcher"))?;
    }
    let workdir = plan.workdir.as_deref().unwrap_or(plan.sandbox_inside());
    nix::unistd::chdir(workdir)
        .map_err(|errno| format!("cannot enter {}: {errno}", workdir.display()))?;
    reset_signals();
    if plan.is_executor {
        return executor(plan, title);
    }
    // What this program or a library of it left open and unmarked must not reach the task.
    // SAFETY: the call changes marks of descriptors only, and nothing here is used after exec.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };

    let text = |what: &[u8]| {
        CString::new(what).map_err(|_| "the command has a zero byte in it".to_owned())
    };
    let arguments = plan.arguments.iter().map(|argument| text(argument.as_bytes()));
    let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
    let environment = environment(plan)?;
    let mut last = Errno::ENOENT;
    for program in &plan.programs {
        let program = text(program.as_os_str().as_bytes())?;
        let Err(errno) = nix::unistd::execve(&program, &arguments, &environment);
        // "Permission denied" says more than "not found" in the next directory of the path.
        if last == Errno::ENOENT {
            last = errno;
        }
    }
    let name = plan.arguments.first().map_or("", String::as_str);
    Err(format!("cannot execute '{name}': {last}"))
}

/// The plan's environment as programs get it.
fn environment(plan: &Plan) -> Result<Vec<CString>, String> {
    let variables = plan.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let texts = variables.map(CString::new).collect::<Result<_, _>>();
    texts.map_err(|_| "its environment has a zero byte in it".to_owned())
}

/// Goes on as the built-in executor: the same program, which need not be executed again, nor be there for
/// who sees other files.
fn executor(plan: &Plan, title: Option<Title>) -> Result<Never, String> {
    let environment = environment(plan)?;
    // Rust programs do without this signal.
    // SAFETY: to ignore a signal runs no code of this process.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let variables: Vec<_> = environment.iter().map(|it| it.as_ptr().cast_mut()).collect();
    let variables = [variables, vec![std::ptr::null_mut()]].concat();
    // SAFETY: nobody else reads it in a process of one thread, and what it points to stays to the end.
    unsafe { ENVIRONMENT = variables.leak().as_mut_ptr() };
    std::mem::forget(environment);
    let options = ExecutorOptions::from_env().map_err(|error| error.to_string())?;
    Title::set(title, c"agora-executor", &["agora", "executor"]);
    // Nothing of the launcher's is open from here on; who waits sees by that that all went well.
    // SAFETY: whatever owned these is not used again, since nothing after this returns.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0) };
    leave(crate::executor::main(&options))
}

unsafe extern "C" {
    /// The environment of this process, as the C library has it.
    #[link_name = "environ"]
    static mut ENVIRONMENT: *mut *mut libc::c_char;
}

/// Makes the terminal that this process has as its input the one that it is controlled by.
fn control_terminal() -> Result<(), String> {
    // It fails for who leads a session already, which is what is needed.
    let _ = nix::unistd::setsid();
    rustix::process::ioctl_tiocsctty(std::io::stdin())
        .map_err(|errno| format!("cannot take control of its terminal: {errno}"))
}

/// Gives the command the signals as a fresh process has them: Rust programs ignore SIGPIPE, and the
/// launcher blocks some.
fn reset_signals() {
    for signal in Signal::iterator() {
        // SAFETY: the default action runs no code of this process.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Waits for a child, with the status as the kernel gives it: what is reported later is exactly that.
pub(super) fn reap(first: Pid, how: WaitPidFlag) -> Reaped {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the one integer that is written.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, how.bits()) };
        match Errno::result(pid) {
            Ok(0) => return Reaped::NotYet,
            Ok(pid) if pid == first.as_raw() => return Reaped::First(status),
            Ok(_) => return Reaped::Other,
            Err(Errno::EINTR) => {}
            Err(_) => return Reaped::Nobody,
        }
    }
}

/// Ends one process. One that has ended already is as good.
pub(super) fn kill(pid: Pid) {
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
}

fn failed(what: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("cannot {what}: {errno}")
}
