//! Daemons to measure: started in a directory of their own, gone with the value.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

/// How long a daemon may take to say where it listens.
const BOUND_WITHIN: Duration = Duration::from_secs(30);

/// How long a daemon may take to end when asked; an agent ends its tasks first.
const END_WITHIN: Duration = Duration::from_secs(20);

/// How long what is waited for may take before it counts as not coming.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A directory for the daemons of one run, removed at the end.
pub(crate) struct Site {
    directory: tempfile::TempDir,
}

/// A daemon.
pub(crate) struct Daemon {
    child: Child,
    /// Where it listens: `host:port`.
    pub(crate) address: String,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// CPU time.
    pub(crate) cpu: Duration,
    /// The same with that of all who have ended below it.
    pub(crate) cpu_with_ended: Duration,
    /// Resident memory of its own and its part of what it shares, in MiB.
    pub(crate) pss_mib: f64,
    /// The most that was ever resident, in MiB.
    pub(crate) peak_mib: f64,
}

impl Site {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the daemons")?;
        Ok(Self { directory })
    }

    /// Starts a master that is alone.
    pub(crate) async fn master(&self) -> anyhow::Result<Daemon> {
        self.start("master", "master", &["--ip=127.0.0.1", "--port=0"]).await
    }

    /// Starts three masters, of which any may lead.
    pub(crate) async fn three_masters(&self) -> anyhow::Result<Vec<Daemon>> {
        // Held until all are chosen, so that no port is given twice.
        let free = || TcpListener::bind("127.0.0.1:0").context("no free port");
        let held = (0..3).map(|_| free()).collect::<anyhow::Result<Vec<_>>>()?;
        let port = |one: &TcpListener| Ok(one.local_addr().context("no address")?.port());
        let ports = held.iter().map(port).collect::<anyhow::Result<Vec<u16>>>()?;
        drop(held);
        let peers = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        let peers = format!("--peers={}", peers.join(","));
        let mut masters = Vec::new();
        for (at, port) in ports.iter().enumerate() {
            let arguments = ["--ip=127.0.0.1", &format!("--port={port}"), &peers];
            masters.push(self.start(&format!("master-{at}"), "master", &arguments).await?);
        }
        Ok(masters)
    }

    /// Starts an agent with plenty of resources, so that tasks never wait for those.
    pub(crate) async fn agent(&self, master: &Daemon) -> anyhow::Result<Daemon> {
        let master = format!("--master={}", master.address);
        let cgroups = format!("--cgroups_root={}", cgroups_root());
        let resources = "--resources=cpus:1000;mem:1000000;disk:1000000";
        // In memory, as by default, and by a name that is known here.
        let runtime_dir = format!("--runtime_dir={}", runtime_dir().display());
        let flags = ["--ip=127.0.0.1", "--port=0", &master, &cgroups, resources, &runtime_dir];
        self.start("agent", "agent", &flags).await
    }

    /// Starts a Marathon. It keeps nothing of its own on disk.
    pub(crate) async fn marathon(&self, master: &Daemon) -> anyhow::Result<Daemon> {
        let master = format!("--master={}", master.address);
        let arguments = ["--http_address=127.0.0.1", "--http_port=0", &master];
        self.spawn("marathon", "marathon", &arguments).await
    }

    async fn start(&self, name: &str, role: &str, arguments: &[&str]) -> anyhow::Result<Daemon> {
        let work_dir = format!("--work_dir={}", self.directory.path().join(name).display());
        let arguments: Vec<&str> = arguments.iter().copied().chain([&*work_dir]).collect();
        self.spawn(name, role, &arguments).await
    }

    async fn spawn(&self, name: &str, role: &str, arguments: &[&str]) -> anyhow::Result<Daemon> {
        let said = self.directory.path().join(format!("{name}.out"));
        let log = self.directory.path().join(format!("{name}.log"));
        let file = |path: &Path| {
            fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let child = Command::new(binary()?)
            .arg(role)
            .args(arguments)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(file(&said)?)
            .stderr(file(&log)?)
            .spawn()
            .context("cannot start agora")?;
        let mut daemon = Daemon { child, address: String::new() };
        let deadline = Instant::now() + BOUND_WITHIN;
        loop {
            let text = fs::read_to_string(&said).unwrap_or_default();
            if let Some((line, _)) = text.rsplit_once('\n')
                && let Some((_, address)) = line.split_once("http://")
            {
                address.trim().clone_into(&mut daemon.address);
                return Ok(daemon);
            }
            let has_ended = daemon.child.try_wait().context("cannot ask for the daemon")?.is_some();
            if has_ended || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                bail!("{name} does not come up: {log}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Agents keep their root for the next start; here there is none.
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            let _ = fs::remove_dir(hierarchy.path().join(cgroups_root()));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(cgroups_root()));
        let _ = fs::remove_dir_all(runtime_dir());
    }
}

/// The cgroup below which the agents of this process have their containers.
fn cgroups_root() -> String {
    format!("agora-bench-{}", std::process::id())
}

/// Where the agents of this process keep what does not outlive the machine: in memory, as `/run` is
/// on most machines and `/dev/shm` on all.
fn runtime_dir() -> PathBuf {
    PathBuf::from("/dev/shm").join(cgroups_root())
}

/// The `agora` binary beside this one.
fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the own binary")?;
    let binary = own.with_file_name("agora");
    anyhow::ensure!(
        binary.is_file(),
        "{} is not there: run 'cargo xtask bench', which builds it",
        binary.display()
    );
    Ok(binary)
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until nothing runs below this agent any more: it would run on after the agent's end.
    pub(crate) async fn emptied(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let is_launched = |(_, arguments): &(u32, Vec<String>)| !is_fork_server(arguments);
        while descendants(self.pid()).iter().any(is_launched) {
            anyhow::ensure!(Instant::now() < deadline, "the agent's tasks do not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot end the daemon")?;
        self.child.wait().context("cannot wait for the daemon")?;
        Ok(())
    }

    /// What it has used so far, with what an agent's launchers are forked from.
    pub(crate) fn used(&self) -> anyhow::Result<Used> {
        let mut whole = used(self.pid())?;
        let below = descendants(self.pid());
        if let Some((server, _)) = below.iter().find(|(_, arguments)| is_fork_server(arguments)) {
            let server = used(*server)?;
            whole.cpu += server.cpu;
            whole.cpu_with_ended += server.cpu_with_ended;
            whole.pss_mib += server.pss_mib;
            whole.peak_mib += server.peak_mib;
        }
        Ok(whole)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap_or(i32::MAX));
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = std::time::Instant::now() + END_WITHIN;
        while let Ok(None) = self.child.try_wait() {
            if std::time::Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What process `pid` has used so far.
pub(crate) fn used(pid: u32) -> anyhow::Result<Used> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let kibibytes = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        number.unwrap_or(0.0) / 1_024.0
    };
    let stat = read("stat")?;
    // The name in parentheses may hold blanks; utime, stime, cutime and cstime are the 12th to 15th
    // after it. The kernel counts in hundredths of a second for everybody outside of it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let cpu = |times: usize| {
        let ticks = fields.split_whitespace().skip(11).take(times);
        Duration::from_millis(ticks.filter_map(|it| it.parse::<u64>().ok()).sum::<u64>() * 10)
    };
    Ok(Used {
        cpu: cpu(2),
        cpu_with_ended: cpu(4),
        pss_mib: kibibytes(&read("smaps_rollup")?, "Pss:"),
        peak_mib: kibibytes(&read("status")?, "VmHWM:"),
    })
}

/// Whether these are the words of the process that an agent's launchers are forked from.
fn is_fork_server(arguments: &[String]) -> bool {
    arguments.get(1).is_some_and(|word| word == "launchers")
}

/// Processes below `pid`, each with its arguments.
pub(crate) fn descendants(pid: u32) -> Vec<(u32, Vec<String>)> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()) {
                let cmdline = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                let arguments = cmdline.split(|byte| *byte == 0);
                let arguments = arguments.map(|it| String::from_utf8_lossy(it).into_owned());
                found.push((child, arguments.collect()));
                parents.push(child);
            }
        }
    }
    found
}
