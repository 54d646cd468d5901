//! Tasks that warm up: each is ready a while after it has begun to run, and says so to whoever asks.

use crate::world::{Event, World};
use marathon_core::ids::InstanceId;
use marathon_core::io::{Input, Probe};
use model::ids::TaskId;
use model::rng::Rng;
use model::step::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long tasks take to be ready at most: several times as long as they are asked every.
const WARMS_UP_MAX: Duration = Duration::from_secs(8);

/// What is known of the tasks of apps.
#[derive(Debug)]
pub(crate) struct Warm {
    /// When each that has run began to, and when it is ready.
    begun: BTreeMap<TaskId, (Time, Time)>,
    chance: Rng,
}

impl Warm {
    /// Nothing has run.
    pub(crate) fn new(chance: Rng) -> Self {
        Self { begun: BTreeMap::new(), chance }
    }

    /// A task runs.
    pub(crate) fn begins(&mut self, task: &TaskId, now: Time) {
        let ready = now + self.chance.up_to(WARMS_UP_MAX);
        self.begun.insert(task.clone(), (now, ready));
    }

    /// When a task began to run, and when it was or will be ready.
    pub(crate) fn times(&self, task: &TaskId) -> Option<(Time, Time)> {
        self.begun.get(task).copied()
    }

    /// Every task that has run, of the app whose tasks are named so.
    pub(crate) fn of<'a>(
        &'a self,
        app: &'a str,
    ) -> impl Iterator<Item = (&'a TaskId, Time, Time)> + 'a {
        let of_app = self.begun.iter().filter(move |(task, _)| is_of(task, app));
        of_app.map(|(task, (began, ready))| (task, *began, *ready))
    }
}

/// Whether `task` is of the app whose instances are named so.
pub(crate) fn is_of(task: &TaskId, app: &str) -> bool {
    let instance = InstanceId::of_task(task.as_str());
    instance.is_some_and(|it| it.as_str().split(".instance-").next() == Some(app))
}

impl World {
    /// Marathon asks a task whether it is ready, and is answered unless it has ended by then.
    pub(crate) fn probe(&mut self, at: usize, probe: &Probe) {
        let wait = Duration::from_millis(1) + self.some_time(Duration::from_millis(100));
        let runs = self.running().contains(&probe.task);
        let ready = self.warm.times(&probe.task).filter(|_| runs).map(|(_, ready)| ready);
        let status = ready.map(|ready| if ready <= self.now { 200 } else { 503 });
        let input = Input::Probed { task: probe.task.clone(), status, response: None };
        let life = self.marathons[at].life;
        self.after(wait, Event::ToMarathon(at, life, Box::new(input)));
    }
}
