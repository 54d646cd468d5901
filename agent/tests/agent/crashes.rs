//! A whole agent, as a process of its own, that dies as by `kill -9` at each step of a launch and of an
//! end, between writes to its store, and before each word to others. The one that is started anew keeps
//! what was promised and leaves nothing behind. Containers are isolated: this takes root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use model::ids::{TaskId, UpdateId};
use model::link::{FromAgent, Reregister, ToAgent};
use model::task::{Status, TaskState};
use proto::mesos::v1 as mesos;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::host::{Host, processes_in};
use crate::master::{AGENT, Master, PING_TIMEOUT, agent_id, framework_id};
use crate::{PATIENCE, client, command_task, executor_task};

/// Agents that die at the same time, each with directories and a master of its own. Most of the time of
/// each is waiting.
const AT_ONCE: usize = 6;

/// An agent that hears nothing for ten seconds says a report again, and on a slow machine an answer takes as
/// long; half of that is for the way.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Between two looks at what an agent says and leaves.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How the task of a story comes to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Course {
    /// It runs and is killed.
    Killed,
    /// It ends by itself.
    Ends,
    /// Its executor runs and never subscribes; it is killed and its container is destroyed.
    Destroyed,
}

/// A step, and which time it is reached.
type Death = (String, u64);

/// One agent's life, or two, told by its master.
#[expect(clippy::struct_excessive_bools, reason = "each is something that has happened or not")]
struct Story {
    course: Course,
    host: Host,
    master: Master,
    agent: Child,
    death: Option<Death>,
    has_died: bool,
    /// Whether the agent that runs has said that it is here. Before that it may not know yet what it has.
    is_here: bool,
    /// How often an agent was told that it is registered: once in each life, or more often where that takes
    /// so long that it asks again. What it has to say it says then.
    welcomes: u32,
    is_launched: bool,
    is_killed: bool,
    /// The last reports of the task: each report, how often it came, and when it came last.
    ends: BTreeMap<UpdateId, (Status, u32, Instant)>,
}

fn steps_file(host: &Host) -> PathBuf {
    host.dir.path().join("steps")
}

fn start_agent(host: &Host, master: &Master, death: Option<&Death>) -> Child {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_agent-test-helper"));
    agent.arg("dying-agent").arg(host.dir.path().join("work")).arg(master.address.to_string());
    agent.arg(&host.root).arg(steps_file(host));
    if let Some((step, nth)) = death {
        agent.arg(step).arg(nth.to_string());
    }
    agent.kill_on_drop(true).spawn().expect("the helper is there")
}

impl Story {
    async fn new(course: Course, death: Option<Death>) -> Self {
        let (host, mut master) = (Host::new(), Master::start().await);
        master.loses_words = true;
        let agent = start_agent(&host, &master, death.as_ref());
        Self {
            course,
            host,
            master,
            agent,
            death,
            has_died: false,
            is_here: false,
            welcomes: 0,
            is_launched: false,
            is_killed: false,
            ends: BTreeMap::new(),
        }
    }

    fn work_dir(&self) -> PathBuf {
        self.host.dir.path().join("work")
    }

    fn task(&self) -> mesos::TaskInfo {
        match self.course {
            Course::Killed => command_task(AGENT, "t1", "exec sleep 600"),
            Course::Ends => command_task(AGENT, "t1", "exit 3"),
            Course::Destroyed => executor_task(AGENT, "t1", "e1"),
        }
    }

    /// The steps that were reached, in order.
    fn steps(&self) -> Vec<Death> {
        let text = fs::read_to_string(steps_file(&self.host)).unwrap_or_default();
        let mut counts = BTreeMap::<String, u64>::new();
        let numbered = |step: &str| {
            let count = counts.entry(step.to_owned()).or_default();
            *count += 1;
            (step.to_owned(), *count)
        };
        text.lines().map(numbered).collect()
    }

    /// Goes on until the task's end is known, by everybody, and the agent has nothing more to do.
    async fn told(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(LOOK_AGAIN);
        loop {
            tokio::select! {
                status = self.agent.wait() => {
                    let status = status.expect("it is ours");
                    assert_eq!(status.signal(), Some(libc::SIGKILL), "{:?}", self.death);
                    assert!(!std::mem::replace(&mut self.has_died, true), "it dies once");
                    self.is_here = false;
                    self.agent = start_agent(&self.host, &self.master, None);
                }
                said = self.master.next() => if let Some(said) = said {
                    self.heard(said);
                },
                _ = look.tick() => {
                    self.kill_once_it_runs();
                    if !self.ends.is_empty() && self.is_over().await {
                        return;
                    }
                }
            }
            let so_far = || (self.is_launched, self.is_killed, &self.ends, self.steps());
            assert!(Instant::now() < until, "{:?}: it is not over: {:?}", self.death, so_far());
        }
    }

    fn heard(&mut self, said: FromAgent) {
        match said {
            FromAgent::Register(_) => {
                self.is_here = true;
                self.welcomes += 1;
                let ping_timeout = PING_TIMEOUT;
                self.master.say(&ToAgent::Registered { agent: agent_id(), ping_timeout });
                // It does not know that it was here before, so nothing else can have got to it.
                self.launch();
            }
            FromAgent::Reregister(brought) => {
                self.is_here = true;
                self.welcomes += 1;
                self.back(&brought);
            }
            FromAgent::StatusUpdate { framework, status, .. } => {
                let (task, uuid) = (status.task.clone(), status.uuid.expect("it has one"));
                self.master.say(&ToAgent::Acknowledge { framework, task, uuid });
                if status.state.is_terminal() {
                    let at = self.master.came_at;
                    let (_, times, before) = self.ends.entry(uuid).or_insert((status, 0, at));
                    // Where nobody has answered for so long it has to be said again.
                    if *times == 0 || at.duration_since(*before) < SAID_AGAIN_AFTER {
                        *times += 1;
                    }
                    *before = at;
                } else if status.state == TaskState::Running && self.course == Course::Killed {
                    self.is_killed = true;
                    self.master.kill("t1");
                }
            }
            FromAgent::ExecutorExited { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn launch(&mut self) {
        self.is_launched = true;
        let task = self.task();
        self.master.launch(task);
    }

    /// As a master has an agent back: what it does not know is told it, kills are asked for again.
    fn back(&mut self, brought: &Reregister) {
        let t1 = TaskId::new("t1").expect("an id");
        let is_expected = self.is_launched && self.ends.is_empty();
        self.master.say(&ToAgent::Reregistered {
            agent: agent_id(),
            ping_timeout: PING_TIMEOUT,
            expected: if is_expected { vec![(framework_id(), t1.clone())] } else { Vec::new() },
            completed: Vec::new(),
            operations: Vec::new(),
        });
        if !self.is_launched {
            self.launch();
        } else if self.is_killed && brought.tasks.iter().any(|task| task.spec.id == t1) {
            self.master.kill("t1");
        }
    }

    fn kill_once_it_runs(&mut self) {
        let runs = |at: &Path| at.join("pid").exists();
        if self.course == Course::Destroyed
            && self.is_launched
            && !self.is_killed
            && self.containers().iter().any(|at| runs(at))
        {
            self.is_killed = true;
            self.master.kill("t1");
        }
    }

    /// What is recorded of containers.
    fn containers(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.work_dir().join("run/containers")).into_iter().flatten();
        all.flatten().map(|entry| entry.path()).collect()
    }

    /// Whether the agent is done with all, and will not die any more.
    async fn is_over(&self) -> bool {
        let steps = self.steps();
        let is_past = match &self.death {
            _ if self.has_died => true,
            Some(death) if steps.contains(death) => false,
            Some(_) | None => steps.iter().any(|(step, _)| step == "forgotten"),
        };
        let is_done = is_past && self.is_here && self.containers().is_empty();
        is_done && self.has_no_framework().await && self.is_forgotten()
    }

    /// Whether the records say no more of the framework.
    fn is_forgotten(&self) -> bool {
        let steps = self.steps();
        let written = steps.iter().filter_map(|(step, _)| step.strip_prefix("written "));
        let of_it =
            written.flat_map(|kinds| kinds.split('+')).rfind(|it| it.ends_with("framework"));
        of_it != Some("framework")
    }

    async fn has_no_framework(&self) -> bool {
        let address = fs::read_to_string(self.work_dir().join("address")).unwrap_or_default();
        let asked = client().get(format!("http://{}/state", address.trim())).send().await;
        let Ok(answer) = asked else { return false };
        let state: Value =
            serde_json::from_str(&answer.text().await.unwrap_or_default()).unwrap_or_default();
        state["frameworks"].as_array().is_some_and(Vec::is_empty)
    }

    /// The end was said once, and of what was launched nothing is left, on the machine or in the
    /// records.
    async fn looked_over(mut self) -> Status {
        let death = &self.death;
        assert_eq!(self.ends.len(), 1, "{death:?}: it ends once: {:?}", self.ends);
        let (end, times, _) = self.ends.pop_first().expect("there is one").1;
        assert!(times <= self.welcomes, "{death:?}: {end:?} was acknowledged and said again");

        self.agent.kill().await.expect("it runs");
        self.agent = start_agent(&self.host, &self.master, None);
        let next = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.master.next().await {
                    Some(FromAgent::Reregister(brought)) => return brought,
                    Some(FromAgent::ExecutorExited { .. }) | None => {}
                    // Said once more by the one before, which had not heard yet that it was heard.
                    Some(FromAgent::StatusUpdate { status, .. }) if status.uuid == end.uuid => {}
                    Some(other) => panic!("{death:?}: {other:?}"),
                }
            }
        });
        let brought = next.await.expect("it comes back");
        assert!(brought.tasks.is_empty() && brought.executors.is_empty(), "{death:?}: {brought:?}");
        assert!(brought.frameworks.is_empty(), "{death:?}: {brought:?}");
        self.agent.kill().await.expect("it runs");

        let place = self.host.dir.path();
        assert_eq!(self.containers(), Vec::<PathBuf>::new(), "{death:?}");
        for tree in self.host.groups() {
            let below = fs::read_dir(&tree).expect("it is there").flatten();
            let groups: Vec<_> = below.map(|it| it.path()).filter(|it| it.is_dir()).collect();
            assert_eq!(groups, Vec::<PathBuf>::new(), "{death:?}");
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        assert!(!mounts.contains(&*place.to_string_lossy()), "{death:?}: {mounts}");
        let left = processes_in(&place.to_string_lossy());
        assert_eq!(left, Vec::<PathBuf>::new(), "{death:?}");
        assert_eq!(launchers_of(place), Vec::<String>::new(), "{death:?}");
        for kept in ["provisioner", "run/provisioner"] {
            let kept = self.work_dir().join(kept);
            assert!(fs::read_dir(&kept).into_iter().flatten().next().is_none(), "{death:?}");
        }
        end
    }
}

/// Command lines that speak of `place`: those of launchers do.
fn launchers_of(place: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("it can be read").flatten();
    let lines = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&*place.to_string_lossy())).collect()
}

/// How a task may end whose agent dies: as it was to, or told that it never began.
fn is_fair(course: Course, end: TaskState) -> bool {
    let as_it_was_to = match course {
        Course::Killed | Course::Destroyed => TaskState::Killed,
        Course::Ends => TaskState::Failed,
    };
    [as_it_was_to, TaskState::Dropped, TaskState::Gone, TaskState::Failed].contains(&end)
}

/// Tells the story once without a death, then once with each, and looks at what is left.
async fn dies_at_each_step(course: Course) {
    let mut whole = Story::new(course, None).await;
    whole.told().await;
    let steps = whole.steps();
    let end = whole.looked_over().await.state;
    assert!(end.is_terminal() && is_fair(course, end), "{end:?}");
    for named in ["recorded", "launched", "launcher ended", "end known", "forgotten"] {
        assert!(steps.iter().any(|(step, _)| step == named), "{named}: {steps:?}");
    }

    let stories = steps.clone().into_iter().map(async |death| {
        let mut story = Story::new(course, Some(death.clone())).await;
        story.told().await;
        let has_died = story.has_died;
        let end = story.looked_over().await;
        assert!(is_fair(course, end.state), "{death:?}: {end:?}");
        (death.0, has_died, end.state)
    });
    let all: Vec<_> = futures::stream::iter(stories).buffer_unordered(AT_ONCE).collect().await;
    let died: BTreeSet<&str> = all.iter().filter(|it| it.1).map(|it| it.0.as_str()).collect();
    // Writes that came together once may come apart another time, but those of a launch and of an end
    // are always there.
    let missed: Vec<_> = steps
        .iter()
        .map(|(step, _)| step.as_str())
        .filter(|step| !died.contains(step) && !step.contains("writ"))
        .collect();
    assert!(missed.is_empty(), "never died at {missed:?}");
    let writes = all.iter().filter(|it| it.1 && it.0.starts_with("written")).count();
    assert!(writes >= 2, "{all:?}");
    // Most deaths change nothing for the task.
    let unharmed = all.iter().filter(|it| it.2 == end).count();
    assert!(unharmed * 2 > all.len(), "{all:?}");
}

#[tokio::test]
async fn an_agent_that_dies_at_any_step_of_a_killed_task_keeps_its_promises() {
    dies_at_each_step(Course::Killed).await;
}

#[tokio::test]
async fn an_agent_that_dies_at_any_step_of_a_task_that_ends_keeps_its_promises() {
    dies_at_each_step(Course::Ends).await;
}

#[tokio::test]
async fn an_agent_that_dies_at_any_step_of_destroying_an_executor_keeps_its_promises() {
    dies_at_each_step(Course::Destroyed).await;
}
