//! Starting clusters, asking them, and leaving nothing behind.

use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take on a busy machine before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Tells apart the cgroups of tests that share a process.
static WORLDS: AtomicU32 = AtomicU32::new(0);

/// One test's machine: a directory, a cgroup root, and the daemons started on it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) cgroups_root: String,
    pub(crate) http: reqwest::Client,
    /// What daemons are asked by.
    pub(crate) scheme: &'static str,
}

impl World {
    pub(crate) fn new() -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // Another library of this process may have installed one; any will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(15))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("plain HTTP needs nothing");
        Self {
            dir: TempDir::new().expect("a directory"),
            cgroups_root: format!("agora-e2e-{}-{number}", std::process::id()),
            http,
            scheme: "http",
        }
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts `agora` with `args`; its work directory is `name`. Waits until it is bound.
    pub(crate) async fn start(&self, name: &str, args: &[&str]) -> Daemon {
        self.start_by(&[], name, args).await
    }

    /// The same, by another program that becomes `agora`: it is given its path and `args` behind its own.
    pub(crate) async fn start_by(&self, by: &[&str], name: &str, args: &[&str]) -> Daemon {
        let work_dir = self.path(name);
        fs::create_dir_all(&work_dir).expect("a directory");
        // The line by which a daemon says where it is; of `local`, the last one it says.
        let role = if args[0] == "local" { "marathon" } else { args[0] };
        // What an earlier life of it has said is not this one's.
        let said_before = self.log(name).len();
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path(&format!("{name}.log")))
            .expect("a log file");
        let line = [by, &[env!("CARGO_BIN_EXE_agora")], args].concat();
        let mut command = Command::new(line[0]);
        command
            .args(&line[1..])
            .arg(format!("--work_dir={}", work_dir.display()))
            .env("AGORA_RUNTIME_DIR", work_dir.join("run"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let child = command.spawn().expect("the binary is built");
        let mut daemon = Daemon { child, name: name.to_owned(), address: String::new(), work_dir };
        daemon.address = until("the daemon is bound", || {
            if let Ok(Some(status)) = daemon.child.try_wait() {
                panic!("{name} ended: {status}\n{}", self.log(name));
            }
            let log = self.log(name);
            let (said, _) = log.get(said_before..)?.rsplit_once('\n')?;
            let told = said.lines().find_map(|line| line.strip_prefix(role))?;
            Some(told.trim().split_once("://")?.1.to_owned())
        })
        .await;
        daemon
    }

    /// What a daemon has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Starts an embedded cluster.
    pub(crate) async fn start_local(&self) -> Local {
        self.start_local_with(&[]).await
    }

    /// The same, with more flags.
    pub(crate) async fn start_local_with(&self, flags: &[&str]) -> Local {
        let root = format!("--cgroups_root={}", self.cgroups_root);
        let args = ["local", "--port=0", "--agent_port=0", "--marathon_port=0", &root];
        let daemon = self.start("local", &[&args[..], flags].concat()).await;
        let address = |of: &str| {
            let file = daemon.work_dir.join(of).join("address");
            fs::read_to_string(file).expect("written before Marathon's").trim().to_owned()
        };
        Local {
            master: address("master"),
            agent: address("agent"),
            marathon: daemon.address.clone(),
            daemon,
        }
    }

    /// Starts an agent with 4 cores, 2 GiB and the given ports.
    pub(crate) async fn start_agent(&self, name: &str, masters: &str, ports: &str) -> Daemon {
        self.start_agent_with(name, masters, ports, &[]).await
    }

    /// The same, with more flags.
    pub(crate) async fn start_agent_with(
        &self,
        name: &str,
        masters: &str,
        ports: &str,
        flags: &[&str],
    ) -> Daemon {
        let resources = format!("--resources=cpus:4;mem:2048;disk:1024;ports:[{ports}]");
        let master = format!("--master={masters}");
        let cgroups_root = format!("--cgroups_root={}/{name}", self.cgroups_root);
        let mut args =
            vec!["agent", "--ip=127.0.0.1", "--port=0", &master, &cgroups_root, &resources];
        args.extend(flags);
        self.start(name, &args).await
    }

    fn url(&self, address: &str, path: &str) -> String {
        format!("{}://{address}{path}", self.scheme)
    }

    /// The answer to a GET, whatever its status.
    pub(crate) async fn get(&self, address: &str, path: &str) -> Option<(u16, String)> {
        let answer = self.http.get(self.url(address, path)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// The JSON at a path, if it is answered with 200.
    pub(crate) async fn json(&self, address: &str, path: &str) -> Option<Value> {
        let (status, text) = self.get(address, path).await?;
        if status == 200 { serde_json::from_str(&text).ok() } else { None }
    }

    /// Sends JSON and returns status and JSON, null where there is none.
    pub(crate) async fn send(
        &self,
        method: reqwest::Method,
        address: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let request = self.http.request(method, self.url(address, path)).json(body);
        let answer = request.send().await.expect("the daemon answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Whether anything of this world's containers is still there.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for cgroup in self.cgroups() {
            for pid in pids_in(&cgroup) {
                let cmdline =
                    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                left.push(format!("{}: {pid} {}", cgroup.display(), cmdline.replace('\0', " ")));
            }
        }
        left
    }

    /// All cgroups of this world below its roots, the deepest first.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let mut roots: Vec<_> =
            hierarchies.map(|entry| entry.path().join(&self.cgroups_root)).collect();
        roots.push(Path::new("/sys/fs/cgroup").join(&self.cgroups_root));
        for root in roots {
            collect_directories(&root, &mut found);
        }
        found.reverse();
        found
    }

    /// How many containers have a cgroup of this controller, where controllers are apart, or else any.
    pub(crate) fn containers_under(&self, controller: &str) -> usize {
        let all = self.container_cgroups();
        let of = Path::new("/sys/fs/cgroup").join(controller);
        let own = all.iter().filter(|path| path.starts_with(&of)).count();
        if of.is_dir() { own } else { all.len() }
    }

    /// The cgroups of containers, that is all but the roots that agents keep.
    pub(crate) fn container_cgroups(&self) -> Vec<PathBuf> {
        let is_container = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.len() == 36 && name.split('-').count() == 5
        };
        self.cgroups().into_iter().filter(is_container).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
            for log in logs.filter(|entry| entry.path().extension().is_some_and(|e| e == "log")) {
                let text = fs::read_to_string(log.path()).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                eprintln!("---- {} (its end)", log.path().display());
                for line in &lines[lines.len().saturating_sub(60)..] {
                    eprintln!("{line}");
                }
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut cgroups = self.cgroups();
        while !cgroups.is_empty() && Instant::now() < deadline {
            for cgroup in &cgroups {
                for pid in pids_in(cgroup) {
                    kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                // Fails while a process in it is still ending: then again.
                let _ = fs::remove_dir(cgroup);
            }
            pause_until_next_look();
            cgroups = self.cgroups();
        }
    }
}

fn collect_directories(path: &Path, found: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        return;
    }
    found.push(path.to_owned());
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        collect_directories(&entry.path(), found);
    }
}

fn pids_in(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn pause_until_next_look() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Sends a signal to a process, which may be gone already.
pub(crate) fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// An embedded cluster and the addresses of its parts.
pub(crate) struct Local {
    pub(crate) master: String,
    pub(crate) agent: String,
    pub(crate) marathon: String,
    pub(crate) daemon: Daemon,
}

/// Runs an operator's verb; gives its exit code and what it printed to stdout and stderr.
pub(crate) fn agora(args: &[&str], master: &str, marathon: &str) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_agora"))
        .args(args)
        .arg(format!("--master={master}"))
        .arg(format!("--marathon={marathon}"))
        .output()
        .expect("the binary is built");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A running `agora`, killed with the test.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) work_dir: PathBuf,
}

impl Daemon {
    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as Ctrl-C does, and returns its exit code.
    pub(crate) async fn interrupt(&mut self) -> Option<i32> {
        kill(self.pid(), nix::sys::signal::Signal::SIGINT);
        let child = &mut self.child;
        until("the daemon ends when asked", || child.try_wait().ok().flatten()).await.code()
    }

    /// Waits until it ends by itself, and returns its exit code.
    pub(crate) async fn ended(&mut self, what: &str) -> Option<i32> {
        let child = &mut self.child;
        until(what, || child.try_wait().ok().flatten()).await.code()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks again and again until there is something, and fails the test when patience ends.
pub(crate) async fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    let mut look = look;
    until_async(what, PATIENCE, async || look()).await
}

/// The same for what must be asked.
pub(crate) async fn until_async<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A number from the environment, where somebody wants more than there is time for in every run.
pub(crate) fn wanted(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a whole number"))
}

/// Ports nobody uses at this moment. They may be taken before they are bound, which is rare.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|one| one.local_addr().expect("bound").port()).collect()
}

/// Three masters, of which any may lead.
pub(crate) struct Masters {
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) peers: String,
}

impl World {
    /// Starts three masters; `flags` go to each.
    pub(crate) async fn start_masters(&self, flags: &[&str]) -> Masters {
        let ports = free_ports(3);
        let peers = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        let peers = peers.join(",");
        let mut daemons = Vec::new();
        for (at, port) in ports.iter().enumerate() {
            daemons.push(self.start_master(&format!("master-{at}"), *port, &peers, flags).await);
        }
        Masters { daemons, peers }
    }

    /// Starts one of several masters.
    pub(crate) async fn start_master(
        &self,
        name: &str,
        port: u16,
        peers: &str,
        flags: &[&str],
    ) -> Daemon {
        let (port, peers) = (format!("--port={port}"), format!("--peers={peers}"));
        let mut args = vec!["master", "--ip=127.0.0.1", &port, &peers];
        args.extend(flags);
        self.start(name, &args).await
    }

    /// The index of the master that leads, once one does.
    pub(crate) async fn leader(&self, masters: &[&Daemon]) -> usize {
        until_async("a master leads", PATIENCE, async || {
            for (at, master) in masters.iter().enumerate() {
                // Only the leader answers this itself.
                if self.json(&master.address, "/state").await.is_some() {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    /// Starts Marathon on these masters.
    pub(crate) async fn start_marathon(&self, name: &str, masters: &str) -> Daemon {
        self.start_marathon_with(name, masters, &[]).await
    }

    /// The same, with more flags.
    pub(crate) async fn start_marathon_with(
        &self,
        name: &str,
        masters: &str,
        flags: &[&str],
    ) -> Daemon {
        let master = format!("--master={masters}");
        let mut args = vec!["marathon", "--http_address=127.0.0.1", "--http_port=0", &master];
        args.extend(flags);
        self.start(name, &args).await
    }

    /// Creates an app and waits until its deployment is done.
    pub(crate) async fn deploy(&self, marathon: &str, app: &Value) {
        self.create(marathon, "/v2/apps", app).await;
        self.deployed(marathon).await;
    }

    /// Creates an app or a pod as soon as Marathon leads, and waits for nothing else.
    pub(crate) async fn create(&self, marathon: &str, path: &str, body: &Value) {
        let (status, body) = until_async("Marathon leads", PATIENCE, async || {
            let answer = self.send(reqwest::Method::POST, marathon, path, body).await;
            (answer.0 != 502 && answer.0 != 503).then_some(answer)
        })
        .await;
        assert_eq!(status, 201, "{body}");
    }

    /// Waits until no deployment is under way.
    pub(crate) async fn deployed(&self, marathon: &str) {
        until_async("all deployments are done", PATIENCE, async || {
            let running = self.json(marathon, "/v2/deployments").await?;
            (running == json!([])).then_some(())
        })
        .await;
    }

    /// The tasks of an app, as Marathon has them.
    pub(crate) async fn tasks(&self, marathon: &str, app: &str) -> Vec<Value> {
        let answer = self.json(marathon, &format!("/v2/apps/{app}/tasks")).await;
        let tasks = answer.and_then(|answer| answer["tasks"].as_array().cloned());
        tasks.unwrap_or_default()
    }

    /// Where the running tasks of an app answer HTTP, once `count` of them do.
    pub(crate) async fn answering(
        &self,
        marathon: &str,
        app: &str,
        count: usize,
        patience: Duration,
    ) -> Vec<String> {
        until_async(&format!("{count} instances of {app} answer"), patience, async || {
            let mut answering = Vec::new();
            for task in self.tasks(marathon, app).await {
                let port = task["ports"][0].as_u64()?;
                let address = format!("127.0.0.1:{port}");
                if task["state"] == "TASK_RUNNING"
                    && self.get(&address, "/").await.is_some_and(|(status, _)| status == 200)
                {
                    answering.push(address);
                }
            }
            (answering.len() == count).then_some(answering)
        })
        .await
    }
}

/// The process that listens on `address`.
pub(crate) fn listener(address: &str) -> i32 {
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let hex = format!(":{port:04X}");
    let is_mine = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&hex) && *fields.get(3)? == "0A")
            .then(|| format!("socket:[{}]", fields[9]))
    };
    let table = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let tables = table("/proc/net/tcp") + &table("/proc/net/tcp6");
    let socket = tables.lines().find_map(is_mine).expect("somebody listens");
    for process in fs::read_dir("/proc").expect("proc").flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<i32>() else { continue };
        let handles = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        for handle in handles {
            if fs::read_link(handle.path()).is_ok_and(|link| link.to_string_lossy() == socket) {
                return pid;
            }
        }
    }
    panic!("nobody listens on {address}");
}

/// The app that most tests run: a web server on its own port.
pub(crate) fn web_app(id: &str, instances: u32) -> Value {
    json!({
        "id": id,
        "cmd": "exec python3 -m http.server $PORT0 --bind 127.0.0.1",
        "instances": instances,
        "cpus": 0.1,
        "mem": 64,
    })
}
