//! Stories of an executor, told without processes and connections.

use model::payload::Payload;
use model::step::Timestamp;

use super::*;
use crate::prober::{Patience, Schedule};

fn at(secs: u64) -> Now {
    Now { time: Time(Duration::from_secs(secs)), wall: Timestamp(secs * 1_000_000) }
}

fn id(name: &str) -> TaskId {
    TaskId::new(name).expect("an id")
}

fn task(name: &str) -> Task {
    Task {
        id: id(name),
        payload: Payload::from(name.as_bytes().to_vec()),
        grace: None,
        max_completion: None,
        health: Vec::new(),
        check: None,
        rest: Payload::default(),
        is_slow: false,
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// An executor, and what it has wanted so far in short words.
struct Story {
    executor: Executor,
    /// Acknowledge every report at once.
    acknowledges: bool,
}

impl Story {
    fn new(recovery_timeout: Option<Duration>) -> Self {
        let settings =
            Settings { recovery_timeout, backoff_max: seconds(2), shutdown_grace: seconds(5) };
        Self { executor: Executor::new(settings, 1, at(0)), acknowledges: true }
    }

    /// Subscribed at second 0, to a framework that hears of tasks about to end.
    fn subscribed() -> Self {
        let mut story = Self::new(Some(seconds(900)));
        assert_eq!(story.wake(0), ["subscribe tasks=0 reports="]);
        assert!(story.step(Input::Subscribed { tells_killing: true }, 0).is_empty());
        story
    }

    fn running(tasks: Vec<Task>) -> Self {
        let mut story = Self::subscribed();
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        story.step(Input::Launch(tasks), 0);
        for task in ids {
            story.step(Input::Started { task }, 0);
        }
        story
    }

    fn step(&mut self, input: Input, secs: u64) -> Vec<String> {
        let mut out = Vec::new();
        self.executor.wake(at(secs), &mut out);
        self.executor.step(input, at(secs), &mut out);
        self.tell(out, secs)
    }

    fn wake(&mut self, secs: u64) -> Vec<String> {
        let mut out = Vec::new();
        self.executor.wake(at(secs), &mut out);
        self.tell(out, secs)
    }

    fn tell(&mut self, out: Vec<Output>, secs: u64) -> Vec<String> {
        let mut told = Vec::new();
        for output in out {
            told.push(match output {
                Output::Subscribe { tasks, reports } => {
                    let reports: Vec<String> = reports.iter().map(short).collect();
                    format!("subscribe tasks={} reports={}", tasks.len(), reports.join(","))
                }
                Output::Send(report) => {
                    let text = short(&report);
                    if self.acknowledges {
                        let task = report.status.task.clone();
                        let uuid = report.status.uuid.expect("every report has one");
                        let mut out = Vec::new();
                        let input = Input::Acknowledged { task, uuid };
                        self.executor.step(input, at(secs), &mut out);
                        told.push(text);
                        told.extend(self.tell(out, secs));
                        continue;
                    }
                    text
                }
                Output::Start(task) => format!("start {task}"),
                Output::GiveUp(task) => format!("give up {task}"),
                Output::SignalTerm(task) => format!("term {task}"),
                Output::SignalKill(task) => format!("kill {task}"),
                Output::LookHealth(task, 0) => format!("look {task}"),
                Output::LookHealth(task, place) => format!("look {task} {place}"),
                Output::LookCheck(task) => format!("check {task}"),
                Output::Exit(code) => format!("exit {code}"),
            });
        }
        told
    }
}

fn short(report: &Report) -> String {
    let status = &report.status;
    let name = status.state.name().trim_start_matches("TASK_").to_lowercase();
    let mut text = format!("{} {name}", status.task);
    if let Some(healthy) = status.healthy {
        text += if healthy { " healthy" } else { " unhealthy" };
    }
    if let Some(reason) = status.reason {
        let name = reason.name().trim_start_matches("REASON_").to_lowercase();
        text = format!("{text} ({name})");
    }
    if let Some(message) = &status.message {
        text = format!("{text}: {message}");
    }
    text
}

fn exited(task: &str, status: i32) -> Input {
    Input::Exited { task: id(task), status, broken: None }
}

#[test]
fn a_task_runs_and_the_executor_ends_with_the_last_acknowledgement() {
    let mut story = Story::subscribed();
    assert_eq!(story.step(Input::Launch(vec![task("t")]), 1), ["t starting", "start t"]);
    assert_eq!(story.step(Input::Started { task: id("t") }, 1), ["t running"]);
    assert_eq!(
        story.step(exited("t", 0), 2),
        ["t finished: Command exited with status 0", "exit 0"]
    );
    assert_eq!(story.executor.next_deadline(), None);
}

#[test]
fn a_task_that_fails_or_cannot_start_says_so() {
    let mut story = Story::running(vec![task("t")]);
    assert_eq!(story.step(exited("t", 7 << 8), 1)[0], "t failed: Command exited with status 7");
    let mut story = Story::subscribed();
    story.step(Input::Launch(vec![task("t")]), 1);
    let reason = Reason::CommandExecutorFailed;
    let failed =
        Input::StartFailed { task: id("t"), reason, message: "no such program".to_owned() };
    assert_eq!(
        story.step(failed, 1),
        ["t failed (command_executor_failed): no such program", "exit 0"]
    );
}

#[test]
fn a_task_that_ignores_sigterm_is_forced_when_its_grace_ends() {
    let mut story = Story::running(vec![Task { grace: Some(seconds(20)), ..task("t") }]);
    let kill = |grace| Input::Kill { task: id("t"), grace };
    assert_eq!(story.step(kill(None), 10), ["t killing", "term t"]);
    assert!(story.wake(29).is_empty(), "a second early is too early");
    assert_eq!(story.executor.next_deadline(), Some(at(30).time));
    assert!(story.step(kill(Some(seconds(15))), 20).is_empty(), "the call goes before the task");
    assert_eq!(story.wake(25), ["kill t"]);
    assert_eq!(
        story.step(exited("t", libc::SIGKILL), 26),
        ["t killed: Command terminated with signal Killed", "exit 0"]
    );
}

#[test]
fn without_a_policy_the_grace_is_three_seconds_and_zero_forces_at_once() {
    let mut story = Story::running(vec![task("t")]);
    story.step(Input::Kill { task: id("t"), grace: None }, 1);
    assert_eq!(story.executor.next_deadline(), Some(at(4).time));
    let mut story = Story::running(vec![task("t")]);
    let kill = Input::Kill { task: id("t"), grace: Some(Duration::ZERO) };
    assert_eq!(story.step(kill, 1), ["t killing", "kill t"]);
}

#[test]
fn a_task_killed_while_it_starts_is_ended_when_it_has_started() {
    let mut story = Story::subscribed();
    story.step(Input::Launch(vec![task("t")]), 1);
    assert!(story.step(Input::Kill { task: id("t"), grace: None }, 1).is_empty());
    assert_eq!(
        story.step(Input::Started { task: id("t") }, 1),
        ["t running", "t killing", "term t"]
    );
}

#[test]
fn a_task_that_takes_too_long_fails_for_it() {
    let mut story = Story::running(vec![Task { max_completion: Some(seconds(10)), ..task("t") }]);
    assert!(story.wake(9).is_empty());
    assert_eq!(story.wake(10), ["kill t"]);
    assert_eq!(
        story.step(exited("t", libc::SIGKILL), 11)[0],
        "t failed (max_completion_time_reached): Command terminated with signal Killed"
    );
}

#[test]
fn one_failing_task_ends_its_group_and_one_that_finishes_does_not() {
    let mut story = Story::running(vec![task("a"), task("b"), task("c")]);
    assert_eq!(story.step(exited("a", 0), 1), ["a finished: Command exited with status 0"]);
    assert_eq!(
        story.step(exited("b", 1 << 8), 2),
        ["b failed: Command exited with status 1", "c killing", "term c"]
    );
    assert_eq!(
        story.step(exited("c", libc::SIGTERM), 3),
        ["c killed: Command terminated with signal Terminated", "exit 0"]
    );
}

#[test]
fn groups_do_not_touch_each_other() {
    let mut story = Story::running(vec![task("a"), task("b")]);
    story.step(Input::Launch(vec![task("c")]), 1);
    story.step(Input::Started { task: id("c") }, 1);
    let kill = Input::Kill { task: id("a"), grace: None };
    assert_eq!(story.step(kill, 2), ["a killing", "term a", "b killing", "term b"]);
    story.step(exited("a", libc::SIGTERM), 3);
    assert_eq!(story.step(exited("b", libc::SIGTERM), 3).len(), 1, "c keeps the executor here");
}

#[test]
fn an_unhealthy_task_is_reported_and_then_killed() {
    let schedule = Schedule { delay: seconds(0), interval: seconds(10), timeout: seconds(1) };
    let patience = Patience { grace: seconds(0), failures_max: 2 };
    let mut story = Story::running(vec![Task { health: vec![(schedule, patience)], ..task("t") }]);
    let looked = |passed| Input::HealthLooked { task: id("t"), place: 0, passed: Some(passed) };
    let flip = "(task_health_check_status_updated)";
    assert_eq!(story.wake(1), ["look t"]);
    assert_eq!(story.step(looked(true), 2), [format!("t running healthy {flip}")]);
    assert_eq!(story.wake(12), ["look t"]);
    assert_eq!(story.step(looked(false), 13), [format!("t running unhealthy {flip}")]);
    // Nobody was there to look, which is no second failure.
    let missed = Input::HealthLooked { task: id("t"), place: 0, passed: None };
    assert!(story.step(missed, 14).is_empty());
    assert_eq!(
        story.step(looked(false), 24)[1..],
        [format!("t running unhealthy {flip}"), "t killing unhealthy".into(), "term t".into()]
    );
    assert_eq!(
        story.step(exited("t", libc::SIGTERM), 25)[0],
        "t killed unhealthy: Command terminated with signal Terminated"
    );
}

#[test]
fn what_was_not_acknowledged_goes_with_the_next_subscription() {
    let mut story = Story::running(vec![task("t")]);
    story.acknowledges = false;
    assert!(story.step(Input::Disconnected, 10).is_empty());
    assert!(story.step(exited("t", 0), 10).is_empty(), "nobody is there to be told");
    assert_eq!(
        story.wake(11),
        ["subscribe tasks=0 reports=t finished: Command exited with status 0"]
    );
    // Refused: the wait grows, and the report is kept.
    assert!(story.step(Input::Disconnected, 11).is_empty());
    assert_eq!(story.wake(12).len(), 1);
    assert!(story.step(Input::Subscribed { tells_killing: true }, 13).is_empty(), "it was told");
    assert_eq!(story.wake(70), ["exit 0"], "no acknowledgement comes for a minute");
}

#[test]
fn what_happens_while_subscribing_is_told_afterwards() {
    let mut story = Story::running(vec![task("t")]);
    story.step(Input::Disconnected, 10);
    assert_eq!(story.wake(11), ["subscribe tasks=0 reports="]);
    assert!(story.step(exited("t", 0), 11).is_empty());
    assert_eq!(
        story.step(Input::Subscribed { tells_killing: true }, 12),
        ["t finished: Command exited with status 0", "exit 0"]
    );
}

#[test]
fn a_task_the_agent_may_have_forgotten_is_shown_to_it() {
    let mut story = Story::subscribed();
    story.acknowledges = false;
    story.step(Input::Launch(vec![task("t")]), 1);
    story.step(Input::Disconnected, 2);
    assert_eq!(story.wake(3), ["subscribe tasks=1 reports=t starting"]);
}

#[test]
fn an_agent_that_stays_away_is_given_up_after_the_recovery_timeout() {
    let mut story = Story::running(vec![task("t")]);
    story.step(Input::Disconnected, 100);
    story.wake(101);
    assert!(story.wake(999).is_empty());
    assert_eq!(story.wake(1_000), ["term t"]);
    assert_eq!(story.step(exited("t", libc::SIGTERM), 1_001), ["exit 1"]);
}

#[test]
fn without_checkpointing_the_executor_goes_with_its_agent() {
    let mut story = Story::new(None);
    story.wake(0);
    story.step(Input::Subscribed { tells_killing: false }, 0);
    story.step(Input::Launch(vec![task("t")]), 0);
    story.step(Input::Started { task: id("t") }, 0);
    assert_eq!(story.step(Input::Disconnected, 5), ["term t"]);
    assert_eq!(story.executor.next_deadline().map(|at| at.0.as_secs()), Some(5), "to retry");
    assert_eq!(story.wake(9)[1..], ["kill t"], "four fifths of the agent's five seconds");
}

#[test]
fn a_shutdown_ends_everything_and_an_idle_executor_at_once() {
    let mut story = Story::running(vec![task("a")]);
    assert_eq!(story.step(Input::Shutdown, 1), ["a killing", "term a"]);
    assert_eq!(
        story.step(exited("a", libc::SIGTERM), 2),
        ["a killed: Command terminated with signal Terminated", "exit 0"]
    );
    assert_eq!(Story::subscribed().step(Input::Shutdown, 1), ["exit 0"]);
}

#[test]
fn a_flapping_task_does_not_fill_the_executor_while_the_agent_is_away() {
    let schedule = Schedule { delay: seconds(0), interval: seconds(1), timeout: seconds(1) };
    let patience = Patience { grace: seconds(0), failures_max: 9 };
    let mut story = Story::running(vec![Task { health: vec![(schedule, patience)], ..task("t") }]);
    story.step(Input::Disconnected, 1);
    for n in 0..1_000 {
        let mut out = Vec::new();
        let looked = Input::HealthLooked { task: id("t"), place: 0, passed: Some(n % 2 == 0) };
        story.executor.step(looked, at(1), &mut out);
    }
    assert_eq!(story.executor.reports.len(), FLAPS_MAX);
}

#[test]
fn a_start_that_takes_long_is_given_up_when_its_task_is_to_end() {
    let mut story = Story::subscribed();
    let slow = Task { is_slow: true, ..task("slow") };
    let others = Task { is_slow: true, max_completion: Some(seconds(10)), ..task("other") };
    story.step(Input::Launch(vec![slow]), 0);
    story.step(Input::Launch(vec![others]), 0);
    assert_eq!(story.step(Input::Kill { task: id("slow"), grace: None }, 1), ["give up slow"]);
    let again = story.step(Input::Kill { task: id("slow"), grace: None }, 2);
    assert!(again.is_empty(), "{again:?}");
    let reason = Reason::ContainerLaunchFailed;
    let failed = |name| Input::StartFailed { task: id(name), reason, message: "gone".to_owned() };
    assert_eq!(
        story.step(failed("slow"), 3),
        ["slow killed: The task was ended before it had started"]
    );
    assert_eq!(story.wake(10), ["give up other"]);
    let out = story.step(failed("other"), 11);
    assert_eq!(out, ["other failed (max_completion_time_reached): gone", "exit 0"]);
}

#[test]
fn a_broken_limit_fails_a_task_also_when_it_was_to_end() {
    let mut story = Story::running(vec![task("t")]);
    story.step(Input::Kill { task: id("t"), grace: None }, 1);
    let broken = Broken {
        reason: Reason::ContainerLimitationMemory,
        message: "too much".to_owned(),
        rest: Payload::default(),
    };
    let broken = Some(Box::new(broken));
    let out = story.step(Input::Exited { task: id("t"), status: 9, broken }, 2);
    assert_eq!(out[0], "t failed (container_limitation_memory): too much");
}
