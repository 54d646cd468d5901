//! Commands beside tasks, and what tasks print and hear, by the verbs of operators: at terminals that
//! the tests play, and in pipes.

use crate::harness::{Local, PATIENCE, World, free_ports, kill, until, until_async};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::Signal;
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// An app that runs and does nothing.
fn idle(id: &str, instances: u32) -> Value {
    let env = json!({"COLOUR": "blue"});
    json!({
        "id": id, "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 32, "instances": instances, "env": env,
    })
}

/// A verb about tasks, not started yet.
fn task(args: &[&str], master: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agora"));
    command.arg("task").args(args).env("AGORA_MASTER", master).env("TERM", "dumb");
    command
}

/// Runs one with this as its input; gives its exit code and what it printed.
fn run(args: &[&str], input: &str, local: &Local) -> (Option<i32>, String, String) {
    let mut command = task(args, &local.master);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary is built");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("it was started");
    writer.join().expect("it does not panic");
    told(output)
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_command_is_executed_where_a_task_runs() {
    let world = World::new();
    let local = world.start_local().await;
    world.deploy(&local.marathon, &idle("/web", 1)).await;
    let exec = |args: &[&str], input: &str| run(&[&["exec"][..], args].concat(), input, &local);

    let line = "echo $COLOUR $MARATHON_APP_ID $MESOS_TASK_ID; pwd; echo complaint >&2; exit 3";
    let (code, out, err) = exec(&["web", "sh", "-c", line], "");
    assert_eq!((code, err.as_str()), (Some(3), "complaint\n"), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("blue /web web."), "{out}");
    assert!(lines[1].contains("/executors/web."), "{out}");
    let line = "for one in /proc/[0-9]*; do tr '\\0' ' ' < $one/cmdline; echo; done";
    let (code, out, err) = exec(&["web", "sh", "-c", line], "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("sleep 1000") && out.lines().count() < 12, "{out}");
    assert_eq!(exec(&["web", "sh", "-c", "kill -9 $$"], "").0, Some(137));

    let much = "a line of input\n".repeat(20_000);
    let (code, out, err) = exec(&["-i", "web", "cat"], &much);
    assert_eq!((code, out.len()), (Some(0), much.len()), "{err}");
    let (code, out, _) = exec(&["web", "cat"], &much);
    assert_eq!((code, out.as_str()), (Some(0), ""), "without -i there is no input");
    let (code, out, _) = exec(&["-t", "web", "stty", "size"], "");
    assert_eq!((code, out.as_str()), (Some(0), "24 80\r\n"));
    let (code, out, _) = exec(&["web", "echo", "--a_flag=x_y", "-t", "--master"], "");
    assert_eq!((code, out.as_str()), (Some(0), "--a_flag=x_y -t --master\n"));

    let (code, _, err) = exec(&["web", "no-such-program"], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot execute 'no-such-program'"), "{err}");
    let (code, _, err) = exec(&["-it", "web", "sh"], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("-t needs somebody at a terminal"), "{err}");
    let (code, _, err) = exec(&["nowhere", "true"], "");
    assert_eq!(code, Some(4));
    assert!(err.contains("no task is called nowhere"), "{err}");
    let (code, ..) = exec(&["web"], "");
    assert_eq!(code, Some(2));
    world.deploy(&local.marathon, &idle("/webs", 2)).await;
    let (code, _, err) = exec(&["we", "true"], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("3 tasks begin with we"), "{err}");
    assert_eq!(nested(&world, &local.agent).await, 0, "nothing is left of all that");
}

/// How many containers are in others on an agent.
async fn nested(world: &World, agent: &str) -> usize {
    let call = json!({"type": "GET_CONTAINERS", "get_containers": {"show_nested": true}});
    let (_, answer) = world.send(reqwest::Method::POST, agent, "/api/v1", &call).await;
    let all = answer["get_containers"]["containers"].as_array().cloned().unwrap_or_default();
    let in_others = |it: &&Value| !it["container_status"]["container_id"]["parent"].is_null();
    all.iter().filter(in_others).count()
}

/// A terminal with a verb at it.
struct Seat {
    ours: File,
    theirs: std::os::fd::OwnedFd,
    shown: Arc<Mutex<String>>,
    child: Child,
}

impl Seat {
    /// Sits somebody down in front of 30 lines of 90 characters.
    fn new(args: &[&str], master: &str) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master: ours, slave: theirs } = openpty(&size, None).expect("one");
        let inner = task(args, master);
        // It must be controlled by its terminal to be told of another size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let end = || theirs.try_clone().expect("one more");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
        let (shown, seen) = (Arc::new(Mutex::new(String::new())), File::from(ours));
        let mut reader = seen.try_clone().expect("one more");
        let screen = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 1_024];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                screen.lock().expect("nobody panics").push_str(&text);
            }
        });
        Self { ours: seen, theirs, shown, child }
    }

    fn types(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).expect("there is room");
    }

    async fn shows(&self, text: &str) {
        until(&format!("'{text}' is shown"), || {
            self.shown.lock().expect("nobody panics").contains(text).then_some(())
        })
        .await;
    }

    /// Whether keys are echoed and make lines here.
    fn is_usual(&self) -> bool {
        let modes = tcgetattr(&self.theirs).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for the verb's end, and gives its exit code. The terminal must be as it was.
    async fn ends(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = until("the verb ends", || child.try_wait().ok().flatten()).await;
        assert!(self.is_usual());
        status.code()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_command_at_a_terminal_is_typed_for_and_hears_of_its_size() {
    let world = World::new();
    let local = world.start_local().await;
    world.deploy(&local.marathon, &idle("/web", 1)).await;
    let line = "stty size; echo $TERM; trap 'stty size' WINCH; echo ready; \
                while ! read line; do :; done; echo got $line; exit 5";
    let mut seat = Seat::new(&["exec", "-it", "web", "sh", "-c", line], &local.master);
    seat.shows("30 90\r\ndumb\r\nready\r\n").await;
    assert!(!seat.is_usual(), "every key is handed on");
    let size = rustix::termios::Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&seat.ours, size).expect("it is a terminal");
    seat.shows("50 120\r\n").await;
    seat.types("hello\r");
    seat.shows("got hello\r\n").await;
    assert_eq!(seat.ends().await, Some(5));

    // What ends a command at a terminal ends that one, and the verb with its exit code.
    let mut seat = Seat::new(&["exec", "-ti", "web", "cat"], &local.master);
    seat.types("echoed\r");
    seat.shows("echoed\r\nechoed\r\n").await;
    seat.types("\u{3}");
    assert_eq!(seat.ends().await, Some(130));
    // The keys to leave.
    let mut seat = Seat::new(&["exec", "-it", "web", "cat"], &local.master);
    seat.types("one\r");
    seat.shows("one\r\none\r\n").await;
    seat.types("~.");
    assert_eq!(seat.ends().await, Some(0));
    // A signal.
    let mut seat = Seat::new(&["exec", "-it", "web", "cat"], &local.master);
    seat.types("one\r");
    seat.shows("one\r\none\r\n").await;
    kill(seat.pid(), Signal::SIGTERM);
    assert_eq!(seat.ends().await, Some(143));
    until_async("all sessions are over", PATIENCE, async || {
        (nested(&world, &local.agent).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn somebody_attaches_to_a_task_and_to_its_terminal() {
    let world = World::new();
    let local = world.start_local().await;
    let ticking = json!({
        "id": "/ticks", "cmd": "while sleep 0.05; do echo tick; done", "cpus": 0.1, "mem": 32,
    });
    world.deploy(&local.marathon, &ticking).await;
    let mut looker = task(&["attach", "ticks"], &local.master)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    let mut first = [0; 10];
    looker.stdout.as_mut().expect("piped").read_exact(&mut first).expect("it prints");
    assert_eq!(&first, b"tick\ntick\n");
    let (status, _) =
        world.send(reqwest::Method::DELETE, &local.marathon, "/v2/apps/ticks", &Value::Null).await;
    assert_eq!(status, 200);
    let ended = tokio::task::spawn_blocking(|| looker.wait_with_output().expect("it was started"));
    let (code, out, err) = told(ended.await.expect("it does not panic"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("is TASK_KILLED"), "{err}");
    assert!(out.lines().all(|line| line == "tick"), "{out}");

    let line = "stty size; trap 'stty size' WINCH; while :; do read line || continue; \
                echo got $line; test \"$line\" != end || exit 0; done";
    let shell = json!({"id": "/shell", "cmd": line, "tty": true, "cpus": 0.1, "mem": 32});
    world.deploy(&local.marathon, &shell).await;
    let mut seat = Seat::new(&["attach", "shell"], &local.master);
    // It had its own size before somebody sat down.
    seat.shows("30 90\r\n").await;
    seat.types("hello\r");
    seat.shows("got hello\r\n").await;
    seat.types("~.");
    seat.shows("detached; the task runs on").await;
    assert_eq!(seat.ends().await, Some(0));
    let (_, log, _) = run(&["logs", "shell"], "", &local);
    assert!(log.starts_with("24 80\r\n") && log.contains("got hello\r\n"), "{log}");
    // Nobody at a terminal here: a pipe.
    let (code, out, err) = run(&["attach", "shell"], "again\nend\n", &local);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("got again\r\n") && out.ends_with("got end\r\n"), "{out}");
}

#[tokio::test]
async fn whoever_is_attached_stays_so_while_the_agent_restarts() {
    let world = World::new();
    let ports = free_ports(2);
    let (port, agent_port) = (format!("--port={}", ports[0]), format!("--port={}", ports[1]));
    let master = world.start("master", &["master", "--ip=127.0.0.1", &port]).await;
    let at = format!("--master={}", master.address);
    let root = format!("--cgroups_root={}", world.cgroups_root);
    let args = ["agent", "--ip=127.0.0.1", &agent_port, &at, &root, "--resources=cpus:2;mem:512"];
    let mut agent = world.start("agent", &args).await;
    let marathon = world.start_marathon("marathon", &master.address).await;
    let line = "n=0; while sleep 0.05; do n=$((n+1)); echo tick $n; done";
    let ticking = json!({"id": "/ticks", "cmd": line, "cpus": 0.1, "mem": 32});
    world.deploy(&marathon.address, &ticking).await;
    let mut looker = task(&["attach", "ticks"], &master.address)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    let (shown, screen) = (Arc::new(Mutex::new(String::new())), looker.stdout.take());
    let seen = Arc::clone(&shown);
    let mut screen = screen.expect("piped");
    std::thread::spawn(move || {
        let mut buffer = [0; 1_024];
        while let Ok(length @ 1..) = screen.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            seen.lock().expect("nobody panics").push_str(&text);
        }
    });
    let latest = || {
        let shown = shown.lock().expect("nobody panics");
        shown.lines().rev().find_map(|line| line.strip_prefix("tick ")?.parse::<u64>().ok())
    };
    let before = until("it is attached", latest).await;
    agent.kill();
    drop(agent);
    let _agent = world.start("agent", &args).await;
    until("it is attached again", || latest().filter(|now| *now > before + 40)).await;
    kill(i32::try_from(looker.id()).expect("pids are small"), Signal::SIGTERM);
    assert_eq!(looker.wait().expect("it was started").code(), Some(143));
    let (status, _) = world
        .send(reqwest::Method::DELETE, &marathon.address, "/v2/apps/ticks", &Value::Null)
        .await;
    assert_eq!(status, 200);
    until("nothing is left", || world.leftovers().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_command_is_executed_in_a_pod() {
    let world = World::new();
    let local = world.start_local().await;
    let pod = json!({
        "id": "/pair",
        "containers": [
            {"name": "one", "resources": {"cpus": 0.1, "mem": 32},
             "exec": {"command": {"shell": "exec sleep 1111"}}},
            {"name": "two", "resources": {"cpus": 0.1, "mem": 32},
             "exec": {"command": {"shell": "exec sleep 2222"}}},
        ],
    });
    let (status, body) = until_async("Marathon leads", PATIENCE, async || {
        let answer = world.send(reqwest::Method::POST, &local.marathon, "/v2/pods", &pod).await;
        (answer.0 != 502 && answer.0 != 503).then_some(answer)
    })
    .await;
    assert_eq!(status, 201, "{body}");
    world.deployed(&local.marathon).await;
    let tasks = world.json(&local.master, "/tasks").await.expect("the master answers");
    let mut ids = tasks["tasks"].as_array().expect("a list").iter();
    let two = ids.find_map(|task| task["id"].as_str().filter(|id| id.contains(".two")));
    let two = two.expect("it runs");
    let line = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; exit 6";
    let (code, out, err) = run(&["exec", two, "sh", "-c", line], "", &local);
    assert_eq!(code, Some(6), "{err}");
    assert!(out.contains("sleep 1111") && out.contains("sleep 2222"), "{out}");

    // One with a terminal is in a container of its own.
    let mut pod = pod;
    (pod["id"], pod["containers"][0]["tty"]) = ("/typed".into(), true.into());
    pod["containers"][0]["exec"]["command"]["shell"] =
        "test -t 0 && echo typed; exec sleep 3333".into();
    let (status, _) = world.send(reqwest::Method::POST, &local.marathon, "/v2/pods", &pod).await;
    assert_eq!(status, 201);
    world.deployed(&local.marathon).await;
    let tasks = world.json(&local.master, "/tasks").await.expect("the master answers");
    let mut ids = tasks["tasks"].as_array().expect("a list").iter();
    let typed = ids.find_map(|task| {
        task["id"].as_str().filter(|id| id.contains("typed") && id.contains(".one"))
    });
    let typed = typed.expect("it runs");
    let (code, out, err) = run(&["exec", typed, "sh", "-c", line], "", &local);
    assert_eq!(code, Some(6), "{err}");
    assert!(out.contains("sleep 3333") && !out.contains("sleep 2222"), "{out}");
    let logged = || (run(&["logs", typed], "", &local).1 == "typed\r\n").then_some(());
    until("it is in its log", logged).await;
}
