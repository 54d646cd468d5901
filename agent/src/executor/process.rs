//! Processes of tasks and checks: started, signalled as a tree, waited for.

#![expect(
    unsafe_code,
    reason = "what a process does between its birth and its program has no safe form"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;
use tokio::sync::Notify;

use crate::images::Start;
use crate::launcher::Identity;

/// Bytes that are read of what a check prints.
const OUTPUT_BYTES_MAX: u64 = 1_024;

/// Variables of the executor that are not for tasks.
pub(super) const HIDDEN: [&str; 2] = ["MESOS_EXECUTOR_AUTHENTICATION_TOKEN", Start::VARIABLE];

/// What to execute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// Searched for in `PATH` unless it has a slash in it.
    pub path: String,
    /// The argument vector, the program's own name first.
    pub arguments: Vec<String>,
    /// Added to the executor's own environment; of equal names the later one counts.
    pub environment: Vec<(String, String)>,
    /// Whom to run as. Absent: as the executor.
    pub user: Option<Identity>,
}

impl Program {
    /// To be executed in a group of its own, so that it can be signalled with all it starts.
    fn command(&self) -> Command {
        let mut command = std::process::Command::new(&self.path);
        let mut arguments = self.arguments.iter();
        if let Some(name) = arguments.next() {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
        }
        command.args(arguments).stdin(Stdio::null());
        for name in HIDDEN {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(user) = &self.user {
            let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            // SAFETY: they are system calls, and what they read was made before.
            unsafe {
                std::os::unix::process::CommandExt::pre_exec(&mut command, move || {
                    setgroups(&groups)?;
                    setresgid(gid, gid, gid)?;
                    Ok(setresuid(uid, uid, uid)?)
                });
            }
        }
        command.into()
    }

    /// Starts it as a task: with the executor's own output as its output, and at its terminal if there
    /// is one.
    pub(super) fn start(&self) -> std::io::Result<Awaited> {
        let mut command = self.command();
        if !is_at_terminal() {
            return Awaited::spawn(command.process_group(0));
        }
        let output = stdout().as_fd().try_clone_to_owned()?;
        command.stdin(Stdio::inherit()).stderr(output);
        // SAFETY: both are system calls that change nothing but whom the new process belongs to.
        unsafe {
            command.pre_exec(|| {
                // Its own session has its own group, so it can be signalled with all it starts.
                nix::unistd::setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(stdin())?)
            });
        }
        Awaited::spawn(&mut command)
    }

    /// The same for a check, whose output is nothing for who is at the terminal.
    fn check(&self) -> std::io::Result<Command> {
        let mut command = self.command();
        command.process_group(0);
        if is_at_terminal() {
            command.stdout(stderr().as_fd().try_clone_to_owned()?);
        }
        Ok(command)
    }
}

/// Whether the container of this executor was given a terminal, which then is its task's.
pub(super) fn is_at_terminal() -> bool {
    stdin().is_terminal()
}

/// Runs a check's command; gives its exit code if it had one in time.
pub(crate) async fn exit_code(program: &Program, timeout: Duration) -> Option<i32> {
    let mut child = Awaited::spawn(&mut program.check().ok()?).ok()?;
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    if ended.is_err() {
        end(&mut child).await;
    }
    ended.ok()?.ok()?.code()
}

/// Runs a check's command; gives what it printed if it ended in time.
pub(crate) async fn output(program: &Program, timeout: Duration) -> Option<String> {
    let mut child = Awaited::spawn(program.check().ok()?.stdout(Stdio::piped())).ok()?;
    let mut text = String::new();
    let stdout = child.child.stdout.take()?;
    let read = tokio::time::timeout(timeout, async {
        stdout.take(OUTPUT_BYTES_MAX).read_to_string(&mut text).await.ok()?;
        child.wait().await.ok()
    });
    let ended = read.await;
    if ended.is_err() {
        end(&mut child).await;
    }
    ended.ok()?.map(|_| text)
}

async fn end(child: &mut Awaited) {
    // Once it has been waited for its number may be another's.
    if child.child.id().is_some() {
        signal_tree(child.pid, Signal::SIGKILL);
    }
    let _ = child.wait().await;
}

/// Processes that somebody here waits for.
static AWAITED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Told when one of them has been waited for.
static WAITED_FOR: Notify = Notify::const_new();

/// A process that was started here and is waited for here.
#[derive(Debug)]
pub(super) struct Awaited {
    child: Child,
    /// Its number, which is its own until it has been waited for.
    pub(super) pid: i32,
}

impl Awaited {
    fn spawn(command: &mut Command) -> std::io::Result<Self> {
        // Whoever reaps orphans has to see it among these as soon as it can end.
        let mut awaited = AWAITED.lock();
        let child = command.spawn()?;
        let pid = child.id().expect("nobody has waited for it").cast_signed();
        awaited.insert(pid);
        Ok(Self { child, pid })
    }

    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        AWAITED.lock().remove(&self.pid);
        WAITED_FOR.notify_one();
    }
}

/// Reaps those whose parents have ended. They come to the first process of their PID namespace, so
/// if this one is it they would stay as long as it.
pub(super) async fn reap_orphans() {
    if std::process::id() != 1 {
        return;
    }
    let Ok(mut ended) = tokio::signal::unix::signal(SignalKind::child()) else { return };
    loop {
        while let Some(pid) = first_ended().filter(|pid| !AWAITED.lock().contains(pid)) {
            let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
        // One that somebody waits for hides those that ended after it, until it has been waited for.
        tokio::select! {
            _ = ended.recv() => {}
            () = WAITED_FOR.notified() => {}
        }
    }
}

/// A child that has ended and that nobody has waited for.
fn first_ended() -> Option<i32> {
    // SAFETY: all fields are integers or room for some, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a place for what is written. Where nobody has ended the number in it stays zero.
    let pid = unsafe {
        libc::waitid(libc::P_ALL, 0, &raw mut info, how);
        info.si_pid()
    };
    (pid > 0).then_some(pid)
}

/// Sends `signal` to a process that leads its group, to that group, and to all that descend from
/// the process, also in other groups.
pub(super) fn signal_tree(pid: i32, signal: Signal) {
    // Looked up before anyone dies and leaves children whose descent cannot be seen any more.
    let below = descendants(pid);
    let _ = killpg(Pid::from_raw(pid), signal);
    for descendant in below {
        // Those in the group get it twice, which is no matter for the signals that end things.
        let _ = kill(Pid::from_raw(descendant), signal);
    }
}

/// All processes that descend from `of`.
pub(crate) fn descendants(of: i32) -> Vec<i32> {
    let mut parents: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent(pid) {
            parents.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![of];
    while let Some(pid) = next.pop() {
        let children = parents.remove(&pid).unwrap_or_default();
        next.extend(&children);
        found.extend(children);
    }
    found
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, so count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A wait status in words, after "Command ".
pub(super) fn describe(status: i32) -> String {
    let status = ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("terminated with signal {}{core}", signal_name(signal))
        }
        (None, None) => "ended for a reason unknown".to_owned(),
    }
}

/// A signal by the name that shells give it.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "Hangup",
        libc::SIGINT => "Interrupt",
        libc::SIGQUIT => "Quit",
        libc::SIGILL => "Illegal instruction",
        libc::SIGTRAP => "Trace/breakpoint trap",
        libc::SIGABRT => "Aborted",
        libc::SIGBUS => "Bus error",
        libc::SIGFPE => "Floating point exception",
        libc::SIGKILL => "Killed",
        libc::SIGUSR1 => "User defined signal 1",
        libc::SIGSEGV => "Segmentation fault",
        libc::SIGUSR2 => "User defined signal 2",
        libc::SIGPIPE => "Broken pipe",
        libc::SIGALRM => "Alarm clock",
        libc::SIGTERM => "Terminated",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "File size limit exceeded",
        libc::SIGSYS => "Bad system call",
        other => return format!("{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_the_words_that_tools_look_for() {
        for (status, text) in [
            (0, "exited with status 0"),
            (3 << 8, "exited with status 3"),
            (libc::SIGKILL, "terminated with signal Killed"),
            (libc::SIGTERM, "terminated with signal Terminated"),
            (libc::SIGSEGV | 0x80, "terminated with signal Segmentation fault (core dumped)"),
        ] {
            assert_eq!(describe(status), text);
        }
    }

    #[tokio::test]
    async fn who_becomes_another_user_has_all_groups_of_that_one_and_no_others() {
        let command = "test $(id -u) = 65534 && test \"$(id -G)\" = '65533 1 7'";
        let program = Program {
            path: "/bin/sh".to_owned(),
            arguments: ["sh", "-c", command].map(str::to_owned).into(),
            environment: Vec::new(),
            user: Some(Identity { uid: 65_534, gid: 65_533, groups: vec![1, 7] }),
        };
        let code = exit_code(&program, Duration::from_secs(60)).await;
        // Others than root become nobody else.
        let expected = nix::unistd::geteuid().is_root().then_some(0);
        assert_eq!(code, expected);
    }
}
