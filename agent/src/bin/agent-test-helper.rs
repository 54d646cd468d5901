//! The modes of the product's binary that tests need and the test runner's own binary lacks.

#![expect(unsafe_code, reason = "system calls by number have no safe form")]

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent::containerizer::{
    CommandLine, Containerizer, ContainerizerOptions, Kind, LaunchSpec, Limits, Wanted,
};
use agent::steps::Steps;
use model::amount::Ranges;
use model::ids::ContainerId;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|mode| mode.to_str()) {
        Some("launcher") => agent::launcher::main(),
        Some("dying-launcher") => {
            let steps = dying_at(number(arguments.next()));
            agent::launcher::main_told(&steps)
        }
        Some("dying-containerizer") => containerizer(arguments),
        Some("dying-agent") => dying_agent(arguments),
        Some("executor") => match agent::executor::ExecutorOptions::from_env() {
            Ok(options) => std::process::exit(agent::executor::main(&options)),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(2)
            }
        },
        Some("syscall") => println!("{}", syscall(arguments)),
        other => {
            let mode = OsString::from(other.unwrap_or_default());
            eprintln!("there is no mode {}; see its source", mode.display());
            std::process::exit(2)
        }
    }
}

/// Makes the system call of a number, with numbers as its arguments, and says how it went.
fn syscall(arguments: impl Iterator<Item = OsString>) -> String {
    let mut numbers: [libc::c_long; 5] = [0; 5];
    let given = arguments.filter_map(|it| it.to_str()?.parse::<libc::c_long>().ok());
    for (place, number) in numbers.iter_mut().zip(given) {
        *place = number;
    }
    let [call, first, second, third, fourth] = numbers;
    // SAFETY: tests name calls that are refused, or that take no pointers to write to; a process
    // that comes of one ends at once.
    let returned = unsafe { libc::syscall(call, first, second, third, fourth, 0, 0) };
    match Errno::result(returned) {
        Ok(_) => "done".to_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}

fn number(argument: Option<OsString>) -> u64 {
    argument.and_then(|it| it.to_str()?.parse().ok()).expect("a number of steps is given")
}

/// Ends this process, as by `kill -9`, when so many steps are reached.
fn dying_at(last: u64) -> Steps {
    let reached = AtomicU64::new(0);
    Steps::told_to(move |_| {
        if reached.fetch_add(1, Ordering::Relaxed) + 1 == last {
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    })
}

/// Launches a container, destroys and forgets it, unless it dies at a step before.
///
/// Arguments: the step, the directory of the host that the test has, its cgroup.
fn containerizer(mut arguments: impl Iterator<Item = OsString>) {
    let steps = dying_at(number(arguments.next()));
    let dir = PathBuf::from(arguments.next().expect("a directory is given"));
    let root = arguments.next().and_then(|root| root.into_string().ok());
    let this = std::env::current_exe().expect("it runs");
    let options = ContainerizerOptions {
        cgroups_root: root.expect("a cgroup is given"),
        steps,
        ..ContainerizerOptions::new(dir.join("run"), (this, vec!["launcher".into()]))
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let containerizer = Containerizer::new(options).expect("tests run as root");
        let container = ContainerId::new("c1").expect("an id");
        let spec = LaunchSpec {
            container: container.clone(),
            sandbox: dir.join("c1"),
            command: CommandLine::Shell("sleep 1000 & sleep 1000".to_owned()),
            environment: Vec::new(),
            user: None,
            identity: None,
            known_as: None,
            image: None,
            image_volumes: Vec::new(),
            workdir: None,
            limits: Limits { cpus_milli: 500, mem_bytes: 64 << 20, ..Limits::default() },
            hostname: None,
            wanted: Wanted::default(),
            ports: Ranges::default(),
            shown: Vec::new(),
            kind: Kind::default(),
        };
        containerizer.launch(spec).await.expect("it starts");
        containerizer.destroy(&container).await;
        containerizer.forget(&container).await;
    });
}

/// Runs an agent until somebody ends it, or until a step is reached. All steps are written to a file.
///
/// Arguments: the work directory, the master, the cgroup, the file, and, if it is to die, the step's
/// name and which time it counts.
fn dying_agent(mut arguments: impl Iterator<Item = OsString>) {
    let mut text = || arguments.next().and_then(|it| it.into_string().ok());
    let mut needed = || text().expect("it is given");
    let (work_dir, master, root, told) = (needed(), needed(), needed(), needed());
    let (last, nth) = (text(), text().and_then(|nth| nth.parse::<u64>().ok()));
    let this = std::env::current_exe().expect("it runs");
    let file = OpenOptions::new().create(true).append(true).open(told).expect("it can be written");
    let reached = Mutex::new((file, 0));
    let steps = Steps::told_to(move |step| {
        let mut reached = reached.lock().expect("nobody panics with it");
        writeln!(reached.0, "{step}").expect("there is room on the disk");
        if last.as_deref() == Some(step) {
            reached.1 += 1;
            if nth == Some(reached.1) {
                let _ = kill(Pid::this(), Signal::SIGKILL);
            }
        }
    });
    let options = agent::Options {
        runtime_dir: Some(PathBuf::from(&work_dir).join("run")),
        work_dir: work_dir.into(),
        masters: vec![master],
        hostname: Some("here".to_owned()),
        resources: Some("cpus:4;mem:4096;disk:4096;ports:[31000-31999]".to_owned()),
        cgroups_root: root,
        launcher: (this, vec!["launcher".into()]),
        registration_backoff_factor: Duration::from_millis(20),
        executor_shutdown_grace_period: Duration::from_millis(500),
        // Those that still run come back at once; on a busy machine that may take a while.
        executor_reregistration_timeout: Duration::from_secs(30),
        steps,
        ..agent::Options::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let why = runtime.block_on(async {
        let agent = agent::start(options).await.expect("it starts");
        agent.wait().await
    });
    panic!("{why}");
}
