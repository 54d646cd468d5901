//! What is known of the framework's tasks, and asking where it is not.
//!
//! After every subscription each live task is asked for by name, again and again with growing
//! waits, until the master has said something about it; and once for all tasks that the master
//! knows, which shows those that this framework has forgotten.

use model::call::ReconcileTask;
use model::ids::{AgentId, TaskId};
use model::step::{Core, Now, Time};
use model::task::TaskState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many tasks are asked for in one call. A call of this size is some 100 kB.
const TASKS_PER_CALL_MAX: usize = 1_000;

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long an answer may take before a task is asked for again; doubled each time.
    pub ask_again_first: Duration,
    /// The longest of these waits.
    pub ask_again_max: Duration,
    /// How often all tasks are asked for without any cause.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ask_again_first: Duration::from_secs(5),
            ask_again_max: Duration::from_secs(60),
            every: Duration::from_secs(600),
        }
    }
}

/// What is known of one task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Known {
    /// Where it is.
    pub agent: Option<AgentId>,
    /// Its latest state.
    pub state: TaskState,
}

/// What can happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// The framework has launched a task, or knows it from its own records.
    Launched {
        /// Which.
        task: TaskId,
        /// Where.
        agent: Option<AgentId>,
    },
    /// A status update came, of whatever cause.
    Updated {
        /// Of which task.
        task: TaskId,
        /// The state.
        state: TaskState,
        /// The agent it names.
        agent: Option<AgentId>,
    },
    /// The framework has no interest in it any more.
    Forgotten(TaskId),
    /// Subscribed, for the first time or again.
    Subscribed,
    /// Not subscribed any more.
    Disconnected,
}

/// What the shell must do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send RECONCILE for these tasks; for all, if there are none.
    Reconcile(Vec<ReconcileTask>),
}

/// The tasks of a framework.
#[derive(Debug)]
pub struct Tasks {
    options: Options,
    known: BTreeMap<TaskId, Known>,
    /// Asked for, and not heard of since.
    unanswered: BTreeSet<TaskId>,
    wait: Duration,
    ask_again: Option<Time>,
    ask_all: Option<Time>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            known: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            wait: options.ask_again_first,
            ask_again: None,
            ask_all: None,
        }
    }

    /// What is known of `task`.
    pub fn get(&self, task: &TaskId) -> Option<&Known> {
        self.known.get(task)
    }

    /// All that are known, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskId, &Known)> {
        self.known.iter()
    }

    /// How many live tasks the master has not said anything about since it was asked.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    fn ask(&self, out: &mut Vec<Output>) {
        let mut asked = Vec::new();
        for task in &self.unanswered {
            let agent = self.known.get(task).and_then(|known| known.agent.clone());
            asked.push(ReconcileTask { task: task.clone(), agent });
            if asked.len() == TASKS_PER_CALL_MAX {
                out.push(Output::Reconcile(std::mem::take(&mut asked)));
            }
        }
        if !asked.is_empty() {
            out.push(Output::Reconcile(asked));
        }
    }

    fn ask_all(&mut self, now: Now, out: &mut Vec<Output>) {
        let live = self.known.iter().filter(|(_, known)| !known.state.is_terminal());
        self.unanswered = live.map(|(task, _)| task.clone()).collect();
        self.wait = self.options.ask_again_first;
        self.ask(out);
        out.push(Output::Reconcile(Vec::new()));
        self.ask_again = (!self.unanswered.is_empty()).then_some(now.time + self.wait);
        self.ask_all = Some(now.time + self.options.every);
    }

    fn heard_of(&mut self, task: &TaskId) {
        self.unanswered.remove(task);
        if self.unanswered.is_empty() {
            self.ask_again = None;
        }
    }
}

impl Core for Tasks {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Launched { task, agent } => {
                self.known.insert(task, Known { agent, state: TaskState::Staging });
            }
            Input::Updated { task, state, agent } => {
                self.heard_of(&task);
                let known = self.known.entry(task).or_insert(Known { agent: None, state });
                known.state = state;
                known.agent = agent.or(known.agent.take());
            }
            Input::Forgotten(task) => {
                self.heard_of(&task);
                self.known.remove(&task);
            }
            Input::Subscribed => self.ask_all(now, out),
            Input::Disconnected => {
                self.ask_again = None;
                self.ask_all = None;
            }
        }
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.ask_all.is_some_and(|due| due <= now.time) {
            self.ask_all(now, out);
        }
        if self.ask_again.is_some_and(|due| due <= now.time) {
            self.ask(out);
            self.wait = (self.wait * 2).min(self.options.ask_again_max);
            self.ask_again = Some(now.time + self.wait);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.ask_again.into_iter().chain(self.ask_all).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> TaskId {
        TaskId::new(name).expect("an id")
    }

    fn at(seconds: u64) -> Now {
        Now { time: Time(Duration::from_secs(seconds)), ..Now::default() }
    }

    fn asked(out: &[Output]) -> Vec<Vec<String>> {
        let names = |Output::Reconcile(tasks): &Output| {
            tasks.iter().map(|asked| asked.task.to_string()).collect()
        };
        out.iter().map(names).collect()
    }

    fn updated(name: &str, state: TaskState) -> Input {
        Input::Updated { task: task(name), state, agent: None }
    }

    #[test]
    fn tasks_are_asked_for_until_something_is_heard_of_them() {
        let mut tasks = Tasks::new(Options::default());
        let mut out = Vec::new();
        for name in ["a", "b", "c"] {
            tasks.step(Input::Launched { task: task(name), agent: None }, at(0), &mut out);
        }
        tasks.step(updated("c", TaskState::Finished), at(0), &mut out);
        assert_eq!(out, []);
        tasks.step(Input::Subscribed, at(1), &mut out);
        assert_eq!(asked(&out), [vec!["a".to_owned(), "b".into()], vec![]]);

        out.clear();
        tasks.step(updated("a", TaskState::Running), at(2), &mut out);
        assert_eq!(tasks.next_deadline(), Some(at(6).time));
        tasks.wake(at(6), &mut out);
        assert_eq!(asked(&out), [["b"]]);
        assert_eq!(tasks.next_deadline(), Some(at(16).time));
        tasks.step(updated("b", TaskState::Unknown), at(7), &mut out);
        assert_eq!(tasks.unanswered(), 0);
        assert_eq!(tasks.next_deadline(), Some(at(601).time));
    }

    #[test]
    fn nothing_is_asked_while_disconnected() {
        let mut tasks = Tasks::new(Options::default());
        let mut out = Vec::new();
        tasks.step(Input::Launched { task: task("a"), agent: None }, at(0), &mut out);
        tasks.step(Input::Subscribed, at(0), &mut out);
        tasks.step(Input::Disconnected, at(1), &mut out);
        assert_eq!(tasks.next_deadline(), None);
        out.clear();
        tasks.step(Input::Subscribed, at(9), &mut out);
        assert_eq!(asked(&out), [vec!["a".to_owned()], vec![]]);
    }

    #[test]
    fn many_tasks_are_asked_for_in_several_calls() {
        let mut tasks = Tasks::new(Options::default());
        let mut out = Vec::new();
        for n in 0..2_500 {
            let launched = Input::Launched { task: task(&format!("t{n}")), agent: None };
            tasks.step(launched, at(0), &mut out);
        }
        tasks.step(Input::Subscribed, at(0), &mut out);
        let sizes: Vec<_> = asked(&out).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_000, 1_000, 500, 0]);
    }
}
