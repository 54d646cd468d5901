//! The built-in executor's decisions: what is reported when, when a task is forced to end, and when
//! the executor itself is done. No IO here, and no clock.
//!
//! Every report is kept until the agent acknowledges it. A report made while there is no connection
//! goes out with the next subscription; one made while a subscription is under way, after it.

mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::ids::{TaskId, UpdateId};
use model::rng::Rng;
use model::step::{Core, Now, Time};
use model::task::{Reason, Source, Status, TaskState};

pub use self::messages::{Broken, Input, Output, Report, Settings, Task};
use super::process::describe;
use crate::prober::{Answer, Check, Checkup, Verdict};

/// Between SIGTERM and SIGKILL when nobody says otherwise.
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(3);

/// How long the executor stays, once all tasks are over, for the last acknowledgements.
const LINGER: Duration = Duration::from_secs(60);

/// How long the first subscription may be tried. The agent destroys an executor that does not
/// subscribe long before.
const FIRST_SUBSCRIPTION_WITHIN: Duration = Duration::from_secs(120);

/// The first wait before subscribing again; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);

/// Reports of one task that wait unsent, of which only the health or check result differs. A task
/// that flaps while the agent is away must not fill the executor; the last ones tell all.
const FLAPS_MAX: usize = 16;

/// Why a task is being ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// Somebody wants it so.
    Asked,
    /// It failed its health check too often.
    Unhealthy,
    /// It took too long.
    TooLong,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Its process is being started. If it is to be ended by then, why and after which grace.
    Starting {
        end: Option<(Why, Duration)>,
    },
    Running,
    /// SIGTERM is sent. SIGKILL follows at `force_at`; absent once it is sent.
    Killing {
        why: Why,
        asked_at: Time,
        force_at: Option<Time>,
    },
    Over,
}

#[derive(Clone, Debug)]
struct Entry {
    task: Task,
    /// Tasks of one group share the number.
    group: u64,
    phase: Phase,
    /// When it has taken too long.
    complete_by: Option<Time>,
    health: Checkup,
    check: Option<Check>,
    healthy: Option<bool>,
    /// Which of several health checks fail, and how often in a row.
    failing: Vec<(u32, u32)>,
    answer: Option<Answer>,
    /// The agent has kept some report of it, so it knows of the task for sure.
    known: bool,
}

#[derive(Clone, Copy, Debug)]
enum Link {
    /// Try at `at`, after a wait that grows.
    Waiting {
        at: Time,
        backoff: Duration,
        since: Time,
    },
    Connecting {
        backoff: Duration,
        since: Time,
    },
    Subscribed,
}

/// The executor.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that never turns back")]
pub struct Executor {
    settings: Settings,
    rng: Rng,
    link: Link,
    was_subscribed: bool,
    tells_killing: bool,
    tasks: BTreeMap<TaskId, Entry>,
    reports: Vec<Report>,
    groups: u64,
    shutting_down: bool,
    /// The agent is gone for good: nobody is left to report to.
    abandoned: bool,
    exit_at: Option<Time>,
    exited: bool,
}

impl Executor {
    /// An executor that is about to subscribe.
    pub fn new(settings: Settings, seed: u64, now: Now) -> Self {
        Self {
            settings,
            rng: Rng::new(seed),
            link: Link::Waiting { at: now.time, backoff: BACKOFF_FIRST, since: now.time },
            was_subscribed: false,
            tells_killing: false,
            tasks: BTreeMap::new(),
            reports: Vec::new(),
            groups: 0,
            shutting_down: false,
            abandoned: false,
            exit_at: None,
            exited: false,
        }
    }

    fn subscribed(&mut self, tells_killing: bool, out: &mut Vec<Output>) {
        self.link = Link::Subscribed;
        self.was_subscribed = true;
        self.tells_killing = tells_killing;
        for report in self.reports.iter_mut().filter(|report| !report.sent) {
            report.sent = true;
            out.push(Output::Send(Box::new(report.clone())));
        }
    }

    fn disconnected(&mut self, now: Now, out: &mut Vec<Output>) {
        for report in &mut self.reports {
            report.sent = false;
        }
        let (backoff, since) = match self.link {
            Link::Subscribed => (BACKOFF_FIRST, now.time),
            Link::Connecting { backoff, since } => {
                ((backoff * 2).min(self.settings.backoff_max.max(BACKOFF_FIRST)), since)
            }
            Link::Waiting { .. } => return,
        };
        // Not all at once: the executors of an agent that comes back are many.
        let at = now.time + backoff / 2 + self.rng.up_to(backoff / 2);
        self.link = Link::Waiting { at, backoff, since };
        if self.was_subscribed && self.settings.recovery_timeout.is_none() {
            self.abandon(now, out);
        }
    }

    /// When a lost agent counts as gone.
    fn give_up_at(&self) -> Option<Time> {
        let within = if self.was_subscribed {
            self.settings.recovery_timeout.unwrap_or_default()
        } else {
            self.settings.recovery_timeout.unwrap_or_default().max(FIRST_SUBSCRIPTION_WITHIN)
        };
        match self.link {
            _ if self.abandoned => None,
            Link::Waiting { since, .. } | Link::Connecting { since, .. } => Some(since + within),
            Link::Subscribed => None,
        }
    }

    fn abandon(&mut self, now: Now, out: &mut Vec<Output>) {
        self.abandoned = true;
        self.shut_down(now, out);
    }

    fn shut_down(&mut self, now: Now, out: &mut Vec<Output>) {
        self.shutting_down = true;
        // A little less than the agent's patience, so that the end can still be reported.
        let grace = self.settings.shutdown_grace * 4 / 5;
        for id in self.tasks.keys().cloned().collect::<Vec<_>>() {
            self.end(&id, Why::Asked, Some(grace), now, out);
        }
    }

    fn launch(&mut self, tasks: Vec<Task>, now: Now, out: &mut Vec<Output>) {
        self.groups += 1;
        self.exit_at = None;
        let fresh: Vec<Task> =
            tasks.into_iter().filter(|task| !self.tasks.contains_key(&task.id)).collect();
        let ids: Vec<TaskId> = fresh.iter().map(|task| task.id.clone()).collect();
        for task in fresh {
            let entry = Entry {
                group: self.groups,
                phase: Phase::Starting { end: None },
                complete_by: task.max_completion.map(|within| now.time + within),
                health: Checkup::default(),
                check: None,
                healthy: None,
                failing: Vec::new(),
                answer: task.check.map(|(_, nothing)| nothing),
                known: false,
                task,
            };
            self.tasks.insert(entry.task.id.clone(), entry);
        }
        for id in &ids {
            self.report(id, TaskState::Starting, None, None, now, out);
        }
        for id in ids {
            if self.shutting_down {
                let message = "The executor is shutting down";
                self.over(&id, (TaskState::Killed, None), message, now, out);
            } else {
                out.push(Output::Start(id));
            }
        }
    }

    fn started(&mut self, id: &TaskId, now: Now, out: &mut Vec<Output>) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        let Phase::Starting { end } = entry.phase else { return };
        entry.phase = Phase::Running;
        entry.health = Checkup::new(&entry.task.health, now.time);
        entry.check = entry.task.check.map(|(when, _)| Check::new(when, now.time));
        self.report(id, TaskState::Running, None, None, now, out);
        if let Some((why, grace)) = end {
            self.end(id, why, Some(grace), now, out);
        }
    }

    /// Has a task's processes end, and those of its group.
    fn end(
        &mut self,
        id: &TaskId,
        why: Why,
        grace: Option<Duration>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        let own = grace.or(entry.task.grace).unwrap_or(KILL_GRACE_DEFAULT);
        match &mut entry.phase {
            Phase::Starting { end } => {
                if end.is_none() && entry.task.is_slow {
                    out.push(Output::GiveUp(id.clone()));
                }
                *end = end.or(Some((why, own)));
            }
            Phase::Running => {
                let forced = own.is_zero();
                let force_at = (!forced).then_some(now.time + own);
                entry.phase = Phase::Killing { why, asked_at: now.time, force_at };
                entry.health = Checkup::default();
                entry.check = None;
                if why == Why::Unhealthy {
                    entry.healthy = Some(false);
                }
                if self.tells_killing && why != Why::TooLong {
                    self.report(id, TaskState::Killing, None, None, now, out);
                }
                let signal = if forced { Output::SignalKill } else { Output::SignalTerm };
                out.push(signal(id.clone()));
            }
            // Asking again with another grace period changes the end of this one.
            Phase::Killing { asked_at, force_at: Some(force_at), .. } => {
                if let Some(grace) = grace {
                    *force_at = *asked_at + grace;
                }
            }
            Phase::Killing { .. } | Phase::Over => {}
        }
    }

    /// Ends what is left of a task's group.
    fn end_group(&mut self, id: &TaskId, now: Now, out: &mut Vec<Output>) {
        let Some(group) = self.tasks.get(id).map(|entry| entry.group) else { return };
        let others = self.tasks.iter().filter(|(_, entry)| entry.group == group);
        let others: Vec<TaskId> = others.map(|(id, _)| id.clone()).collect();
        for other in others.iter().filter(|other| *other != id) {
            self.end(other, Why::Asked, None, now, out);
        }
    }

    fn kill(&mut self, id: &TaskId, grace: Option<Duration>, now: Now, out: &mut Vec<Output>) {
        self.end(id, Why::Asked, grace, now, out);
        self.end_group(id, now, out);
    }

    /// A task could not be started, or was not to be any more.
    fn not_started(
        &mut self,
        id: &TaskId,
        (reason, message): (Reason, &str),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tasks.get(id) else { return };
        match entry.phase {
            Phase::Starting { end: Some((Why::Asked | Why::Unhealthy, _)) } => {
                let message = "The task was ended before it had started";
                self.over(id, (TaskState::Killed, None), message, now, out);
            }
            Phase::Starting { end: Some((Why::TooLong, _)) } => {
                let reason = Some(Reason::MaxCompletionTimeReached);
                self.over(id, (TaskState::Failed, reason), message, now, out);
            }
            Phase::Starting { end: None } | Phase::Running | Phase::Killing { .. } => {
                self.over(id, (TaskState::Failed, Some(reason)), message, now, out);
            }
            Phase::Over => {}
        }
    }

    fn exited(
        &mut self,
        id: &TaskId,
        status: i32,
        broken: Option<Broken>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        let why = match entry.phase {
            Phase::Starting { end } => end.map(|(why, _)| why),
            Phase::Running => None,
            Phase::Killing { why, .. } => Some(why),
            Phase::Over => return,
        };
        if let Some(Broken { reason, message, rest }) = broken {
            entry.task.rest = rest;
            self.over(id, (TaskState::Failed, Some(reason)), &message, now, out);
            return;
        }
        let end = match why {
            None if status == 0 => (TaskState::Finished, None),
            None => (TaskState::Failed, None),
            Some(Why::Asked | Why::Unhealthy) => (TaskState::Killed, None),
            Some(Why::TooLong) => (TaskState::Failed, Some(Reason::MaxCompletionTimeReached)),
        };
        self.over(id, end, &format!("Command {}", describe(status)), now, out);
    }

    fn over(
        &mut self,
        id: &TaskId,
        (state, reason): (TaskState, Option<Reason>),
        message: &str,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.report(id, state, reason, Some(message), now, out);
        if let Some(entry) = self.tasks.get_mut(id) {
            entry.phase = Phase::Over;
            entry.health = Checkup::default();
            entry.check = None;
            entry.complete_by = None;
        }
        if state != TaskState::Finished {
            self.end_group(id, now, out);
        }
    }

    fn health_looked(
        &mut self,
        id: &TaskId,
        (place, passed): (usize, Option<bool>),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        let reason = Some(Reason::TaskHealthCheckStatusUpdated);
        let verdict = entry.health.looked(place, passed, now.time);
        if verdict != Verdict::Nothing {
            entry.failing = entry.health.failing();
        }
        match verdict {
            Verdict::Nothing => {}
            Verdict::Report { healthy } => {
                entry.healthy = Some(healthy);
                self.report(id, TaskState::Running, reason, None, now, out);
            }
            Verdict::Kill => {
                entry.healthy = Some(false);
                self.report(id, TaskState::Running, reason, None, now, out);
                self.end(id, Why::Unhealthy, None, now, out);
            }
        }
    }

    fn check_looked(
        &mut self,
        id: &TaskId,
        answer: Option<Answer>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        let Some(check) = &mut entry.check else { return };
        let Some(answer) = answer else { return check.missed(now.time) };
        if check.looked(answer, now.time) {
            entry.answer = Some(answer);
            let reason = Some(Reason::TaskCheckStatusUpdated);
            self.report(id, TaskState::Running, reason, None, now, out);
        }
    }

    fn acknowledged(&mut self, id: &TaskId, uuid: UpdateId) {
        self.reports.retain(|report| report.status.uuid != Some(uuid));
        if let Some(entry) = self.tasks.get_mut(id) {
            entry.known = true;
        }
    }

    fn report(
        &mut self,
        id: &TaskId,
        state: TaskState,
        reason: Option<Reason>,
        message: Option<&str>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.tasks.get(id) else { return };
        let status = Status {
            reason,
            message: message.map(Arc::from),
            uuid: Some(UpdateId(self.rng.uuid())),
            healthy: entry.healthy,
            rest: entry.task.rest.clone(),
            ..Status::new(id.clone(), state, Source::Executor, now.wall)
        };
        let check = entry.answer.filter(|_| state != TaskState::Starting);
        let sent = matches!(self.link, Link::Subscribed);
        let report = Report { status, check, failing: entry.failing.clone(), sent };
        if sent {
            out.push(Output::Send(Box::new(report.clone())));
        } else if state == TaskState::Running && reason.is_some() {
            self.thin_out(id);
        }
        self.reports.push(report);
    }

    /// Drops the oldest of too many unsent reports that differ in a check's result only.
    fn thin_out(&mut self, id: &TaskId) {
        let flap = |report: &Report| {
            !report.sent
                && report.status.task == *id
                && report.status.state == TaskState::Running
                && report.status.reason.is_some()
        };
        if self.reports.iter().filter(|report| flap(report)).count() >= FLAPS_MAX
            && let Some(oldest) = self.reports.iter().position(flap)
        {
            self.reports.remove(oldest);
        }
    }

    /// Whether the executor is done, now or later.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        let all_over = self.tasks.values().all(|entry| entry.phase == Phase::Over);
        let done = all_over && (self.shutting_down || !self.tasks.is_empty());
        if self.exited || !done {
            return;
        }
        let exit_at = *self.exit_at.get_or_insert(now.time + LINGER);
        if self.reports.is_empty() || self.abandoned || exit_at <= now.time {
            self.exited = true;
            out.push(Output::Exit(i32::from(self.abandoned)));
        }
    }

    fn wake_link(&mut self, now: Now, out: &mut Vec<Output>) {
        if let Link::Waiting { at, backoff, since } = self.link
            && at <= now.time
        {
            self.link = Link::Connecting { backoff, since };
            for report in &mut self.reports {
                report.sent = true;
            }
            let unknown = self.tasks.values().filter(|entry| !entry.known);
            out.push(Output::Subscribe {
                tasks: unknown.map(|entry| entry.task.payload.clone()).collect(),
                reports: self.reports.clone(),
            });
        }
        if self.give_up_at().is_some_and(|at| at <= now.time) {
            self.abandon(now, out);
        }
    }
}

impl Core for Executor {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Subscribed { tells_killing } => self.subscribed(tells_killing, out),
            Input::Disconnected => self.disconnected(now, out),
            Input::Launch(tasks) => self.launch(tasks, now, out),
            Input::Kill { task, grace } => self.kill(&task, grace, now, out),
            Input::Acknowledged { task, uuid } => self.acknowledged(&task, uuid),
            Input::Shutdown => self.shut_down(now, out),
            Input::Started { task } => self.started(&task, now, out),
            Input::StartFailed { task, reason, message } => {
                self.not_started(&task, (reason, &message), now, out);
            }
            Input::Exited { task, status, broken } => {
                self.exited(&task, status, broken.map(|it| *it), now, out);
            }
            Input::HealthLooked { task, place, passed } => {
                self.health_looked(&task, (place, passed), now, out);
            }
            Input::CheckLooked { task, answer } => self.check_looked(&task, answer, now, out),
        }
        self.settle(now, out);
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Output>) {
        self.wake_link(now, out);
        for id in self.tasks.keys().cloned().collect::<Vec<_>>() {
            let entry = self.tasks.get_mut(&id).expect("it is in the list");
            if let Phase::Killing { force_at, .. } = &mut entry.phase
                && force_at.is_some_and(|at| at <= now.time)
            {
                *force_at = None;
                out.push(Output::SignalKill(id.clone()));
            }
            let due = entry.health.due(now.time).into_iter();
            out.extend(due.map(|place| Output::LookHealth(id.clone(), place)));
            if entry.check.as_mut().is_some_and(|check| check.due(now.time)) {
                out.push(Output::LookCheck(id.clone()));
            }
            if entry.complete_by.is_some_and(|at| at <= now.time) {
                entry.complete_by = None;
                self.end(&id, Why::TooLong, Some(Duration::ZERO), now, out);
                self.end_group(&id, now, out);
            }
        }
        self.settle(now, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        let link = match self.link {
            Link::Waiting { at, .. } => Some(at),
            Link::Connecting { .. } | Link::Subscribed => None,
        };
        let tasks = self.tasks.values().flat_map(|entry| {
            let force_at = match entry.phase {
                Phase::Killing { force_at, .. } => force_at,
                Phase::Starting { .. } | Phase::Running | Phase::Over => None,
            };
            let health = entry.health.next_deadline();
            let check = entry.check.as_ref().and_then(Check::next_deadline);
            [force_at, health, check, entry.complete_by]
        });
        let exit_at = self.exit_at.filter(|_| !self.exited);
        tasks.chain([link, self.give_up_at(), exit_at]).flatten().min()
    }
}

#[cfg(test)]
mod tests;
