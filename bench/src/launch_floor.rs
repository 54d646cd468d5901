//! The least that a launch can cost on this machine: a clone into the namespaces that a container has, a
//! group of its own in each of the cgroup trees that it is in, and an exec. Nothing is limited, mounted,
//! recorded or told to anybody.
//!
//! Launches are made at the pace of those that they are compared with. The kernel moves a process into
//! another v1 group quickly where it has just moved one, and waits for several milliseconds before the
//! first move after a while, so that launches that follow one another at once are another floor.
//!
//! A container that is to be told of when the agent is not there, and that runs more than one command, cannot
//! be had for that: somebody has to wait for its end outside, and somebody to start tasks inside. So there is a
//! second floor, with two forks more ([`Around::Two`]).
//!
//! What a container has is read off one that runs. The launches are made by processes of their own with
//! one thread each, since a process with threads cannot be cloned safely.
#![expect(unsafe_code, reason = "clone3 has no safe form")]

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Namespaces by the names of their files in `/proc`, and what asks for one of one's own.
const NAMESPACES: [(&str, i32); 7] = [
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("user", libc::CLONE_NEWUSER),
];

/// For `clone3`: the cgroup that a descriptor stands for is entered at birth.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What is executed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Program {
    /// `true`, whose end is waited for before the next is launched.
    Ends,
    /// `sleep`, which stays until all have been launched.
    Stays,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::Stays => "stays",
        }
    }

    fn arguments(self) -> &'static [&'static CStr] {
        match self {
            Self::Ends => &[c"true"],
            Self::Stays => &[c"sleep", c"1000"],
        }
    }
}

/// Which processes there are beside the one that is launched.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Around {
    /// None.
    Nobody,
    /// One outside, which waits for the container's end, and the container's first, which waits for the
    /// program's.
    Two,
}

impl Around {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Two => "two",
        }
    }
}

/// What one launcher is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Order {
    /// Make launches like that of this process, and say how long each took: what `real-launches` starts
    #[arg(long = "floor-like", hide = true)]
    pattern: Option<u32>,
    /// How many launches
    #[arg(long = "floor-launches", hide = true, default_value_t = 1)]
    count: u32,
    /// How many microseconds to wait before each launch
    #[arg(long = "floor-pause", hide = true, default_value_t = 0)]
    pause: u64,
    /// What is launched
    #[arg(long = "floor-program", hide = true, value_enum, default_value_t = Program::Ends)]
    program: Program,
    /// Which processes are around it
    #[arg(long = "floor-around", hide = true, value_enum, default_value_t = Around::Nobody)]
    around: Around,
}

/// What a launch has to make.
struct Isolated {
    /// Flags of the namespaces.
    namespaces: u64,
    /// Directories of v1 trees in which the groups are made.
    v1: Vec<PathBuf>,
    /// That of the v2 tree, whose group is entered at birth.
    v2: Option<PathBuf>,
}

/// What launchers have shown together.
pub(crate) struct Floor {
    /// From the beginning of each launch to its exec.
    pub(crate) latencies: Vec<Duration>,
    /// From the first's beginning until all had been launched.
    pub(crate) took: Duration,
}

/// Makes `count` launches like that of the process `pattern`, by so many launchers at once, each of which
/// pauses before each launch.
pub(crate) fn measure(
    pattern: u32,
    count: u32,
    (at_once, pause): (u32, Duration),
    (program, around): (Program, Around),
) -> anyhow::Result<Floor> {
    let own = std::env::current_exe().context("cannot find the own binary")?;
    let share = |of: u32| count / at_once + u32::from(of < count % at_once);
    let mut launchers = Vec::new();
    for number in 0..at_once {
        let child = Command::new(&own)
            .args(["--floor-like", &pattern.to_string(), "--floor-program", program.name()])
            .args(["--floor-launches", &share(number).to_string()])
            .args(["--floor-pause", &pause.as_micros().to_string()])
            .args(["--floor-around", around.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a launcher")?;
        launchers.push(Launcher::new(child)?);
    }
    for launcher in &mut launchers {
        launcher.line()?;
    }
    let start = Instant::now();
    for launcher in &mut launchers {
        launcher.go()?;
    }
    let mut latencies = Vec::new();
    for launcher in &mut launchers {
        let line = launcher.line()?;
        for micros in line.split_whitespace() {
            latencies.push(Duration::from_micros(micros.parse().context("no latency")?));
        }
    }
    let took = start.elapsed();
    for launcher in launchers {
        launcher.end()?;
    }
    ensure!(latencies.len() == count as usize, "not all launches were made");
    Ok(Floor { latencies, took })
}

/// A process that makes launches.
struct Launcher {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Launcher {
    fn new(mut child: Child) -> anyhow::Result<Self> {
        let orders = child.stdin.take().context("it was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("it was asked for")?);
        Ok(Self { child, orders, answers })
    }

    fn go(&mut self) -> anyhow::Result<()> {
        self.orders.write_all(b"go\n").context("a launcher does not listen")
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("a launcher says nothing")?;
        ensure!(line.ends_with('\n'), "a launcher has failed");
        Ok(line)
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.orders);
        let status = self.child.wait().context("cannot wait for a launcher")?;
        ensure!(status.success(), "a launcher has failed: {status}");
        Ok(())
    }
}

impl Order {
    /// What this process is to make launches like, if it is a launcher.
    pub(crate) fn pattern(&self) -> Option<u32> {
        self.pattern
    }

    /// Makes launches until it is told to end. To be called before there are threads.
    pub(crate) fn obey(&self, pattern: u32) -> anyhow::Result<()> {
        let isolated = Isolated::of(pattern)?;
        let program = which(self.program)?;
        let (mut orders, mut line) = (io::stdin().lock(), String::new());
        println!("ready");
        orders.read_line(&mut line)?;
        let mut stay = Vec::new();
        let mut latencies = Vec::new();
        for number in 0..self.count {
            std::thread::sleep(Duration::from_micros(self.pause));
            let start = Instant::now();
            let launched =
                isolated.launch((&program, self.program.arguments()), self.around, number)?;
            latencies.push(start.elapsed().as_micros().to_string());
            match self.program {
                Program::Ends => launched.end()?,
                Program::Stays => stay.push(launched),
            }
        }
        println!("{}", latencies.join(" "));
        orders.read_to_string(&mut line)?;
        for launched in &stay {
            // It may have ended by itself.
            let _ = kill(launched.first, Signal::SIGKILL);
        }
        stay.into_iter().try_for_each(Launched::end)
    }
}

/// Where the program is.
fn which(program: Program) -> anyhow::Result<CString> {
    let name = program.arguments()[0].to_str().expect("plain letters");
    let places = ["/bin", "/usr/bin"].map(|it| Path::new(it).join(name));
    let found = places.iter().find(|it| it.is_file());
    let found = found.with_context(|| format!("there is no {name} in /bin or /usr/bin"))?;
    Ok(CString::new(found.as_os_str().as_bytes())?)
}

/// A process that was launched, with its groups.
struct Launched {
    /// The first in its namespaces.
    first: Pid,
    /// The child of this process, which ends with that one if it is another.
    child: Pid,
    groups: Vec<PathBuf>,
}

impl Launched {
    /// Waits for its end and removes its groups.
    fn end(self) -> anyhow::Result<()> {
        waitpid(self.child, None).context("cannot wait for what was launched")?;
        for group in self.groups {
            fs::remove_dir(&group).with_context(|| format!("cannot remove {}", group.display()))?;
        }
        Ok(())
    }
}

impl Isolated {
    /// What the process `pid` has that this one does not have.
    fn of(pid: u32) -> anyhow::Result<Self> {
        let namespace = |pid: &str, name: &str| {
            let path = format!("/proc/{pid}/ns/{name}");
            fs::read_link(&path).with_context(|| format!("cannot read {path}"))
        };
        let mut namespaces = 0;
        for (name, flag) in NAMESPACES {
            if namespace(&pid.to_string(), name)? != namespace("self", name)? {
                namespaces |= u64::from(flag.cast_unsigned());
            }
        }
        let path = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let own = fs::read_to_string("/proc/self/cgroup").context("cannot read the own cgroups")?;
        let (mut v1, mut v2) = (Vec::new(), None);
        for line in text.lines().filter(|line| !own.lines().any(|it| it == *line)) {
            let mut fields = line.splitn(3, ':');
            let (_, Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next())
            else {
                bail!("{path} has a line that is none: {line}");
            };
            // All of the agent's are in one directory: its cgroups root.
            let root = Path::new(group).components().nth(1).context("it is in the root")?;
            let root = tree(controllers)?.join(root);
            if controllers.is_empty() { v2 = Some(root) } else { v1.push(root) }
        }
        Ok(Self { namespaces, v1, v2 })
    }

    fn launch(
        &self,
        (program, arguments): (&CStr, &[&CStr]),
        around: Around,
        number: u32,
    ) -> anyhow::Result<Launched> {
        let name = format!("floor-{}-{number}", std::process::id());
        let made = |root: &PathBuf| {
            let group = root.join(&name);
            fs::create_dir(&group)
                .with_context(|| format!("cannot make {}", group.display()))
                .map(|()| group)
        };
        let v1 = self.v1.iter().map(made).collect::<anyhow::Result<Vec<_>>>()?;
        let v2 = self.v2.as_ref().map(made).transpose()?;
        // Closed by the exec.
        let (mut executed, until_exec) = io::pipe().context("no pipe")?;
        let isolated = || {
            let into = v2.as_ref().map(File::open).transpose().context("cannot open a group")?;
            let (mut gate, mut opener) = io::pipe().context("no pipe")?;
            let Some(first) = clone(self.namespaces, into.as_ref()).context("cannot clone")? else {
                // The new process.
                let mut byte = [0];
                let _ = gate.read_exact(&mut byte);
                execute(program, arguments, around)
            };
            for group in &v1 {
                let file = group.join("cgroup.procs");
                fs::write(&file, first.to_string())
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            opener.write_all(b"x").context("what was cloned has ended")?;
            Ok::<_, anyhow::Error>(first)
        };
        let (first, child) = match around {
            Around::Nobody => {
                let first = isolated()?;
                drop(until_exec);
                (first, first)
            }
            Around::Two => {
                let (mut told, teller) = io::pipe().context("no pipe")?;
                let Some(child) = clone(0, None).context("cannot fork")? else {
                    // The new process, which outlives this one and has nobody to tell of a failure.
                    let launched = isolated().and_then(|first| {
                        drop(until_exec);
                        (&teller).write_all(&first.as_raw().to_ne_bytes())?;
                        Ok(waitpid(first, None)?)
                    });
                    std::process::exit(i32::from(launched.is_err()));
                };
                drop((teller, until_exec));
                let mut first = [0; size_of::<i32>()];
                told.read_exact(&mut first).context("nothing was cloned")?;
                (Pid::from_raw(i32::from_ne_bytes(first)), child)
            }
        };
        executed.read_to_end(&mut Vec::new()).context("cannot wait for the exec")?;
        Ok(Launched { first, child, groups: v1.into_iter().chain(v2).collect() })
    }
}

/// Becomes the program, or its parent.
fn execute(program: &CStr, arguments: &[&CStr], around: Around) -> ! {
    if around == Around::Two
        && let Ok(Some(child)) = clone(0, None)
    {
        // What is open here is closed for the others by ending only, so the exec would not be seen.
        // SAFETY: whatever owned these is not used again.
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0) };
        let _ = waitpid(child, None);
        std::process::exit(0);
    }
    let _ = nix::unistd::execv(program, arguments);
    std::process::abort()
}

/// Where the tree of these controllers is mounted; of none: the v2 tree.
fn tree(controllers: &str) -> anyhow::Result<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let first = controllers.split(',').next().unwrap_or_default();
    let names = match controllers {
        "" if top.join("cgroup.controllers").exists() => return Ok(top.to_owned()),
        "" => ["unified", "unified"],
        _ => [controllers, first.strip_prefix("name=").unwrap_or(first)],
    };
    let found = names.map(|name| top.join(name)).into_iter().find(|it| it.is_dir());
    found.with_context(|| format!("the tree of '{controllers}' is not in {}", top.display()))
}

/// Forks into namespaces of its own. Absent is the new process's answer.
fn clone(namespaces: u64, into: Option<&File>) -> Result<Option<Pid>, Errno> {
    // SAFETY: all fields are integers, for which zero means "not used".
    let mut wanted: libc::clone_args = unsafe { std::mem::zeroed() };
    wanted.flags = namespaces;
    wanted.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    if let Some(group) = into {
        wanted.flags |= CLONE_INTO_CGROUP;
        wanted.cgroup = group.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: without CLONE_VM and with no stack given this is fork with flags; the process has one
    // thread, so the copy finds no lock held. The structure outlives the call and its size is told.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const wanted, size_of::<libc::clone_args>())
    };
    let pid = i32::try_from(Errno::result(pid)?).expect("process numbers are small");
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}
