//! Marathon's leader crashes at every step of a deployment, and another instance takes over.
//!
//! For each seed a deployment is played once undisturbed. Then it is played again and again, and each
//! time the leader ends before another one of the things it does: a write, a subscription, a launch,
//! a kill, an acknowledgement.

use crate::marathons::LEASE;
use crate::pods;
use crate::residents;
use crate::world::{Event, Node, World};
use crate::{Settings, Violation};
use marathon_core::ids::AppId;
use marathon_core::io::{Ask, Command, Input, Output, PutApp};
use model::ids::{FrameworkId, RequestId};
use model::step::Time;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a deployment may take, from a cluster without faults and with one crash.
const DONE_WITHIN: Duration = Duration::from_secs(600);

/// How long after its lease has ended a dead leader must be replaced.
const SERVES_WITHIN: Duration = Duration::from_secs(3);

/// How many of a hundred of Marathon's calls get lost, where any do.
const LOSES: u64 = 5;

/// What all deployments of one seed came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Crashes {
    /// How often a leader crashed.
    pub crashes: u64,
    /// The longest that nobody led after a lease had ended.
    pub slowest: Duration,
}

/// How far the leading Marathon is allowed to go.
#[derive(Default)]
pub(crate) struct Steps {
    /// What it has done since it is counted; absent: it is not.
    done: Option<u64>,
    /// It ends before it does this one.
    crash_at: Option<u64>,
    crashed: Option<Time>,
    served: Option<Time>,
    /// What a user has asked for without hearing an answer.
    asked: Option<(RequestId, Command)>,
    /// Every id under which a Marathon was subscribed.
    ids: BTreeSet<FrameworkId>,
}

/// Plays one seed; if `only` is given, with a crash at that step alone, whose events are printed.
pub fn succession(seed: u64, agents: usize, only: Option<u64>) -> Result<Crashes, Violation> {
    let settings =
        Settings { batches: 0, keepers: 0, has_operators: false, ..Settings::new(seed, agents) };
    let reference = play(&settings, None)?;
    let mut all = Crashes::default();
    let steps = reference.steps.done.unwrap_or(0);
    for step in (0..steps).filter(|step| only.is_none_or(|only| only == *step)) {
        let settings = Settings { is_traced: only.is_some(), ..settings.clone() };
        let world = play(&settings, Some(step)).map_err(|Violation { what, at }| Violation {
            what: format!("step {step}: {what}"),
            at,
        })?;
        let broken = |what: String| Err(world.violation(format!("step {step}: {what}")));
        let (Some(crashed), Some(served)) = (world.steps.crashed, world.steps.served) else {
            return broken("convergence: nobody took over".to_owned());
        };
        let ids = &world.steps.ids;
        if ids.len() != 1 {
            return broken(format!("memory: Marathon was subscribed as {ids:?}"));
        }
        let (launches, needed) = (world.summary.launches, reference.summary.launches);
        if launches != needed {
            return broken(format!("one answer: {launches} launches where {needed} do"));
        }
        let late = served.since(crashed + LEASE);
        if late > SERVES_WITHIN {
            return broken(format!("convergence: nobody led for {late:?} after the lease's end"));
        }
        all.crashes += 1;
        all.slowest = all.slowest.max(late);
    }
    Ok(all)
}

/// Plays the deployment of a seed once.
fn play(settings: &Settings, crash_at: Option<u64>) -> Result<World, Violation> {
    let mut world = World::new(settings.clone());
    world.is_chaos = false;
    // In half of the seeds calls get lost, many more than ever would: a deployment makes few.
    world.network.calls_are_requests = (settings.seed / 30).is_multiple_of(2);
    world.network.loses = if world.network.calls_are_requests { LOSES } else { 0 };
    let kind = settings.seed % 6;
    if kind == 0 {
        // From the very first thing that a Marathon does.
        world.count_steps(crash_at);
    }
    world.rests()?;
    let instances = 2 + settings.seed / 6 % 5;
    // Every other sixty seeds are of what has volumes, and every other hundred and twenty of a pod.
    let has_volume = !(settings.seed / 60).is_multiple_of(2);
    let is_pod = !(settings.seed / 120).is_multiple_of(2);
    let what = What { is_pod, has_volume };
    world.asks(what.create(instances));
    if kind > 1 {
        world.rests()?;
    }
    if kind > 0 {
        world.count_steps(crash_at);
    }
    match kind {
        0 | 1 => {}
        2 => world.asks(what.change(instances)),
        3 => world.asks(what.scale(instances * 2)),
        4 => world.asks(what.scale(instances / 2)),
        _ if is_pod => world.asks(what.change(instances + 1)),
        _ => world.asks(Command::RestartApp { id: app(), force: false }),
    }
    world.rests()?;
    Ok(world)
}

fn app() -> AppId {
    AppId::parse_app("/app").expect("well formed")
}

/// What is deployed.
#[derive(Clone, Copy)]
struct What {
    is_pod: bool,
    has_volume: bool,
}

impl What {
    fn pod(self, instances: u64, level: u64) -> Value {
        pods::pod("/app", (2, self.has_volume), instances, level, &"disabled".into())
    }

    fn create(self, instances: u64) -> Command {
        if self.is_pod {
            return Command::CreatePod { body: self.pod(instances, 0), force: false };
        }
        if self.has_volume {
            let body = residents::app("/app", instances, &"disabled".into());
            return Command::CreateApp { body, force: false };
        }
        let body = json!({
            "id": "/app", "cmd": "sleep 1000", "instances": instances, "cpus": 0.5, "mem": 64,
            "upgradeStrategy": { "minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.5 },
        });
        Command::CreateApp { body, force: false }
    }

    /// Another definition; of a pod, which is always told as a whole, with so many instances.
    fn change(self, instances: u64) -> Command {
        self.update(instances, 1, json!({ "cmd": "sleep 2000" }))
    }

    fn scale(self, instances: u64) -> Command {
        self.update(instances, 0, json!({ "instances": instances }))
    }

    fn update(self, instances: u64, level: u64, body: Value) -> Command {
        let id = app();
        if self.is_pod {
            return Command::PutPod { id, body: self.pod(instances, level), force: false };
        }
        Command::PutApp { id, body, how: PutApp { partial: true, ..PutApp::default() } }
    }
}

impl World {
    fn count_steps(&mut self, crash_at: Option<u64>) {
        self.steps.done = Some(0);
        self.steps.crash_at = crash_at;
    }

    /// A user asks whoever leads, and asks again if it ends before it answers.
    pub(crate) fn asks(&mut self, command: Command) {
        let Some(at) = self.lease else { return };
        let request = self.new_request();
        self.steps.asked = Some((request, command.clone()));
        let ask = Ask { request, client: "user".into(), uri: "/v2/apps".into(), command };
        self.step_marathon(at, self.marathons[at].life, Input::Ask(ask));
    }

    /// Waits until all is as wanted, and stays so.
    fn rests(&mut self) -> Result<(), Violation> {
        let limit = self.now + DONE_WITHIN;
        let mut restful = 0;
        while restful < 3 {
            self.run_until(self.now + Duration::from_secs(1))?;
            match self.unrest() {
                None => restful += 1,
                Some(why) if self.now >= limit => {
                    return Err(self.violation(format!("convergence: {why}")));
                }
                Some(_) => restful = 0,
            }
        }
        Ok(())
    }

    /// Whether the leading Marathon ends before it does this.
    pub(crate) fn ends_before(&mut self, at: usize, output: &Output) -> bool {
        let is_step = !matches!(output, Output::View(_) | Output::Event(_));
        if self.lease != Some(at) || !is_step || self.steps.crashed.is_some() {
            return false;
        }
        let Some(done) = &mut self.steps.done else { return false };
        if let (Output::Answer { request, .. }, Some((asked, _))) = (output, &self.steps.asked)
            && request == asked
            && self.steps.crash_at != Some(*done)
        {
            self.steps.asked = None;
        }
        let is_last = self.steps.crash_at == Some(*done);
        *done += 1;
        if is_last {
            self.steps.crashed = Some(self.now);
            self.crash_marathon(at);
            self.after(Duration::from_secs(20), Event::Start(Node::Marathon(at)));
        }
        is_last
    }

    /// A Marathon is subscribed.
    pub(crate) fn serves(&mut self, id: &FrameworkId) {
        self.steps.ids.insert(id.clone());
        if self.steps.crashed.is_some() && self.steps.served.is_none() {
            self.steps.served = Some(self.now);
            // Whoever heard nothing asks again.
            if let Some((_, command)) = self.steps.asked.take() {
                self.asks(command);
            }
        }
    }
}
