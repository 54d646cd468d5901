//! Marathon's leader crashes at every step of a deployment, and another instance takes over.
//!
//! For each seed a deployment is played once undisturbed. Then it is played again and again, and each
//! time the leader ends before another one of the things it does: a write, a subscription, a launch,
//! a kill, an acknowledgement.

use crate::deployed::{Version, What};
use crate::marathons::LEASE;
use crate::probes;
use crate::world::{Event, Node, World};
use crate::{Settings, Violation};
use marathon_core::io::{Ask, Command, Input, Output, Refusal};
use model::ids::{FrameworkId, RequestId, TaskId};
use model::step::Time;
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
    /// Why a user was refused something.
    refused: Option<String>,
    /// Every id under which a Marathon was subscribed.
    ids: BTreeSet<FrameworkId>,
    /// How much was launched to make what is deployed.
    made: u64,
    /// Tasks of which app are to serve at every moment, and how many; and whether they must be ready.
    serving: Option<(&'static str, u64, bool)>,
}

/// Plays one seed; if `only` is given, with a crash at that step alone, whose events are printed.
pub fn succession(seed: u64, agents: usize, only: Option<u64>) -> Result<Crashes, Violation> {
    let settings =
        Settings { batches: 0, keepers: 0, has_operators: false, ..Settings::new(seed, agents) };
    let reference = play(&settings, None)?;
    let mut all = Crashes::default();
    let steps = reference.steps.done.unwrap_or(0);
    let is_interrupted = Tale::of(seed).deployment.is_interrupted();
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
        // Of what is interrupted each definition is launched once at most, and the first one again.
        let (least, most) =
            if is_interrupted { (0, 3 * reference.steps.made) } else { (needed, needed) };
        if !(least..=most).contains(&launches) {
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

/// What is played in one seed.
#[derive(Clone, Copy, Debug)]
struct Tale {
    what: What,
    deployment: Deployment,
    instances: u64,
    /// How long a user lets a deployment go on who thinks better of it.
    changes_mind_after: Duration,
    /// Whether Marathon's calls are requests of their own, and some get lost.
    loses_calls: bool,
}

/// How it is deployed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deployment {
    /// It is made, and the leader may crash from the very first thing that a Marathon does.
    First,
    /// It is made.
    Create,
    /// It gets another definition.
    Change,
    /// It gets more instances.
    Grow,
    /// It gets fewer instances.
    Shrink,
    /// It starts anew.
    Restart,
    /// It is changed, and that is taken back meanwhile.
    TakeBack,
    /// It is changed, and forced to another change meanwhile.
    Force,
    /// It is changed, and that is stopped where it is meanwhile.
    Stop,
    /// It is changed, and deleted meanwhile.
    Delete,
}

impl Deployment {
    const ALL: [Self; 10] = [
        Self::First,
        Self::Create,
        Self::Change,
        Self::Grow,
        Self::Shrink,
        Self::Restart,
        Self::TakeBack,
        Self::Force,
        Self::Stop,
        Self::Delete,
    ];

    /// Whether how much is launched depends on how far the first change got.
    fn is_interrupted(self) -> bool {
        matches!(self, Self::TakeBack | Self::Force | Self::Stop | Self::Delete)
    }

    /// Whether as many instances are wanted all the time.
    fn keeps_count(self) -> bool {
        matches!(self, Self::Change | Self::Restart | Self::TakeBack | Self::Force)
    }
}

impl Tale {
    /// Seventy seeds have everything in every way; the next seventy with other numbers.
    fn of(seed: u64) -> Self {
        let nth = |of: u64, len: usize| usize::try_from(of % len as u64).unwrap_or(0);
        let (ways, whats) = (Deployment::ALL.len(), What::ALL.len());
        let what = What::ALL[nth(seed / ways as u64, whats)];
        let round = seed / (ways * whats) as u64;
        let most = if what.is_group() { 2 } else { 5 };
        Self {
            what,
            deployment: Deployment::ALL[nth(seed, ways)],
            instances: 2 + round % most,
            changes_mind_after: Duration::from_millis(300 + 1_500 * (round % 4)),
            loses_calls: (seed + round).is_multiple_of(2),
        }
    }
}

/// Plays the deployment of a seed once.
fn play(settings: &Settings, crash_at: Option<u64>) -> Result<World, Violation> {
    let tale = Tale::of(settings.seed);
    let Tale { what, deployment, instances, .. } = tale;
    let mut world = World::new(settings.clone());
    world.is_chaos = false;
    // Many more than ever would get lost: a deployment makes few.
    world.network.calls_are_requests = tale.loses_calls;
    world.network.loses = if tale.loses_calls { LOSES } else { 0 };
    if deployment == Deployment::First {
        world.count_steps(crash_at);
    }
    world.rests()?;
    let is_made = !matches!(deployment, Deployment::First | Deployment::Create);
    if deployment == Deployment::Create {
        world.count_steps(crash_at);
    }
    let level = 0;
    world.asks(what.create(Version { instances, level }));
    world.rests()?;
    world.steps.made = world.summary.launches;
    if is_made {
        world.count_steps(crash_at);
        world.steps.serving = what.serves(instances).filter(|_| deployment.keeps_count());
        world.deploys(tale)?;
    }
    world.rests()?;
    if let Some(why) = world.disorder(what).filter(|_| !is_made) {
        return Err(world.violation(why));
    }
    if let Some(refusal) = world.steps.refused.take().filter(|_| crash_at.is_none()) {
        return Err(world.violation(format!("a user was refused: {refusal}")));
    }
    Ok(world)
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

    /// A user hears an answer.
    pub(crate) fn answered(&mut self, request: RequestId, refusal: Option<Refusal>) {
        if self.steps.asked.as_ref().is_some_and(|(asked, _)| *asked == request) {
            self.steps.asked = None;
            let refusal = refusal.map(|it| format!("{} {}", it.status, it.body));
            self.steps.refused = self.steps.refused.take().or(refusal);
        }
    }

    /// Plays a deployment of what is there.
    fn deploys(&mut self, tale: Tale) -> Result<(), Violation> {
        let Tale { what, deployment, instances, .. } = tale;
        let level = 0;
        match deployment {
            Deployment::First | Deployment::Create => {}
            Deployment::Grow => {
                self.asks(what.change(Version { instances: instances * 2, level }, false));
            }
            Deployment::Shrink => {
                self.asks(what.change(Version { instances: instances / 2, level }, false));
            }
            Deployment::Restart => self.asks(what.restart(Version { instances, level })),
            Deployment::Change
            | Deployment::TakeBack
            | Deployment::Force
            | Deployment::Stop
            | Deployment::Delete => {
                self.asks(what.change(Version { instances, level: 1 }, false));
            }
        }
        if !deployment.is_interrupted() {
            return Ok(());
        }
        self.hears_an_answer()?;
        self.run_until(self.now + tale.changes_mind_after)?;
        self.hears_an_answer()?;
        let view = self.lease.map(|at| &self.marathons[at].view);
        let id = view.and_then(|view| view.deployments.keys().next()).cloned();
        let cancel = |force| {
            let id = id.map(|id| id.as_str().to_owned());
            id.map(|id| Command::CancelDeployment { id, force })
        };
        let second = match deployment {
            Deployment::TakeBack => cancel(false),
            Deployment::Stop => cancel(true),
            Deployment::Force => Some(what.change(Version { instances, level: 2 }, true)),
            Deployment::Delete => Some(what.delete()),
            Deployment::First
            | Deployment::Create
            | Deployment::Change
            | Deployment::Grow
            | Deployment::Shrink
            | Deployment::Restart => None,
        };
        // It may be over already.
        if let Some(command) = second {
            self.asks(command);
        }
        Ok(())
    }

    /// Waits until a user has heard an answer, and somebody leads.
    fn hears_an_answer(&mut self) -> Result<(), Violation> {
        let limit = self.now + DONE_WITHIN;
        let leads =
            |world: &Self| world.lease.is_some_and(|at| world.marathons[at].view.is_leading);
        while self.steps.asked.is_some() || !leads(self) {
            if self.now >= limit {
                return Err(self.violation("convergence: a user is not answered".to_owned()));
            }
            self.run_until(self.now + Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// A task has ended: whether enough of its app still serve.
    pub(crate) fn check_serving(&mut self, task: &TaskId) {
        let Some((app, least, is_ready)) = self.steps.serving else { return };
        if !probes::is_of(task, app) {
            return;
        }
        let serves = |task: &TaskId| {
            let times = self.warm.times(task).filter(|_| probes::is_of(task, app));
            times.is_some_and(|(_, ready)| !is_ready || ready <= self.now)
        };
        let serving = self.running().iter().filter(|task| serves(task)).count();
        if (serving as u64) < least {
            self.laws.broke(format!("capacity: {serving} of {app} serve where {least} must"));
        }
    }

    /// Whether something was begun before what it depends on served.
    fn disorder(&self, what: What) -> Option<String> {
        what.dependencies().iter().find_map(|(app, first, has_readiness)| {
            let begun = self.warm.of(app).map(|(_, began, _)| began).min()?;
            let times = self.warm.of(first);
            let served =
                times.map(|(_, began, ready)| if *has_readiness { ready } else { began }).max();
            let is_early = served.is_none_or(|served| served > begun);
            is_early.then(|| format!("order: {app} ran at {begun:?}, {first} at {served:?}"))
        })
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
