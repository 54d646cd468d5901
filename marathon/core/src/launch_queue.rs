//! The launch queue: instances that wait for an offer, and since when, and why.

use crate::app::App;
use crate::ids::{AppId, InstanceId};
use crate::io::OfferView;
use crate::matcher::{Mismatch, Reason};
use imbl::OrdMap;
use model::ids::AgentId;
use model::step::{Now, Time, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Agents whose last refused offer is remembered for each app: those whose offers came closest to fitting, and of
/// them the latest.
///
/// It answers "why does it not start" on any cluster a person reads through; of more agents the
/// counters tell.
const UNUSED_MAX: usize = 100;

/// What waits of one app, for `/v2/queue`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What will be launched.
    pub app: Arc<App>,
    /// How many wait.
    pub count: usize,
    /// Since when something waits.
    pub since: Timestamp,
    /// When the next one is due; absent when one is due already.
    pub due_at: Option<Timestamp>,
    /// When each of those is due that have to wait after a failure.
    pub backoffs: BTreeMap<InstanceId, Timestamp>,
    /// What came of offers so far.
    pub offers: Offers,
}

/// What came of offers for one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offers {
    /// Offers looked at.
    pub processed: u32,
    /// Of them not used.
    pub unused: u32,
    /// When one was last not used.
    pub last_unused_at: Option<Timestamp>,
    /// When one was last used.
    pub last_used_at: Option<Timestamp>,
    /// How often each reason was the first that spoke against an offer.
    pub reasons: BTreeMap<Reason, u32>,
    /// The last unused offer of each agent, of up to 100 of them.
    pub last_unused: OrdMap<AgentId, Arc<Unused>>,
}

/// An offer that was not used, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Unused {
    /// The offer.
    pub offer: OfferView,
    /// What spoke against it.
    pub why: Mismatch,
    /// When.
    pub at: Timestamp,
}

/// Who waits, of every app.
///
/// Invariant: `next` has the first of each app, and `due` has exactly those who have to wait.
#[derive(Debug, Default)]
pub struct LaunchQueue {
    apps: BTreeMap<AppId, Waiting>,
    /// When the first instance of each app is due.
    next: BTreeSet<(Time, AppId)>,
    /// When those are due that have failed. By instance and not by app: a bad one does not hold up the others.
    due: BTreeMap<InstanceId, Time>,
}

#[derive(Debug)]
struct Waiting {
    /// By when each is due; from the beginning of time if nothing holds it up.
    instances: BTreeSet<(Time, InstanceId)>,
    since: Timestamp,
    offers: Offers,
    /// The last unused offers, who is forgotten first in front.
    unused: BTreeSet<Usefulness>,
}

/// How much the last unused offer of an agent tells, little before much: one that failed at an early test says
/// less of what is missing than one that nearly fitted, and an old one less than a new one.
type Usefulness = (Reason, Timestamp, AgentId);

impl Waiting {
    /// Remembers why the offer of an agent was not used, unless all that is remembered says more.
    fn keep(&mut self, unused: Unused) {
        let agent = &unused.offer.offer.agent;
        self.drop_unused(agent);
        if self.unused.len() >= UNUSED_MAX
            && let Some((reason, _, least)) = self.unused.first().cloned()
        {
            if unused.why.reason() < reason {
                return;
            }
            self.drop_unused(&least);
        }
        self.unused.insert((unused.why.reason(), unused.at, agent.clone()));
        self.offers.last_unused.insert(agent.clone(), Arc::new(unused));
    }

    fn drop_unused(&mut self, agent: &AgentId) {
        if let Some(old) = self.offers.last_unused.remove(agent) {
            self.unused.remove(&(old.why.reason(), old.at, agent.clone()));
        }
    }

    fn due_at(&self) -> Option<Time> {
        self.instances.first().map(|(at, _)| *at)
    }
}

impl LaunchQueue {
    /// `instance` waits from now on, and is due at once or at `due_at`.
    pub fn add(&mut self, app: &AppId, instance: InstanceId, due_at: Option<Time>, now: Timestamp) {
        self.due.extend(due_at.map(|at| (instance.clone(), at)));
        self.change(app, now, |instances| {
            instances.insert((due_at.unwrap_or_default(), instance));
        });
    }

    /// `instance` waits no longer: it is launched, or not wanted any more.
    pub fn remove(&mut self, app: &AppId, instance: &InstanceId) {
        if self.apps.contains_key(app) {
            let due_at = self.due.remove(instance).unwrap_or_default();
            self.change(app, Timestamp::default(), |instances| {
                instances.remove(&(due_at, instance.clone()));
            });
        }
    }

    /// Changes who waits of `app`; who is the first to do so waits since `since`.
    fn change(
        &mut self,
        app: &AppId,
        since: Timestamp,
        change: impl FnOnce(&mut BTreeSet<(Time, InstanceId)>),
    ) {
        let waiting = self.apps.entry(app.clone()).or_insert_with(|| Waiting {
            instances: BTreeSet::new(),
            since,
            offers: Offers::default(),
            unused: BTreeSet::new(),
        });
        let before = waiting.due_at();
        change(&mut waiting.instances);
        let after = waiting.due_at();
        if after.is_none() {
            self.apps.remove(app);
        }
        if before != after {
            if let Some(at) = before {
                self.next.remove(&(at, app.clone()));
            }
            self.next.extend(after.map(|at| (at, app.clone())));
        }
    }

    /// Makes every waiting instance of `app` due at once. False if none waits.
    pub fn reset(&mut self, app: &AppId) -> bool {
        let Some(waiting) = self.apps.get(app) else { return false };
        for (_, instance) in &waiting.instances {
            self.due.remove(instance);
        }
        self.change(app, Timestamp::default(), |instances| {
            let all = std::mem::take(instances);
            instances.extend(all.into_iter().map(|(_, instance)| (Time::default(), instance)));
        });
        true
    }

    /// When `instance` may be launched, if it has to wait for that.
    pub fn due_at(&self, instance: &InstanceId) -> Option<Time> {
        self.due.get(instance).copied()
    }

    /// What came of offers for `app` so far; absent when nothing of it waits.
    pub fn offers(&self, app: &AppId) -> Option<&Offers> {
        self.apps.get(app).map(|waiting| &waiting.offers)
    }

    /// Apps of which something is due at `time`, who waits longest first.
    pub fn due(&self, time: Time) -> impl Iterator<Item = &AppId> {
        self.next.iter().take_while(move |(at, _)| *at <= time).map(|(_, app)| app)
    }

    /// The instance of `app` that is next, whether it is due or not.
    pub fn first_of(&self, app: &AppId) -> Option<&InstanceId> {
        self.apps.get(app)?.instances.first().map(|(_, instance)| instance)
    }

    /// The instance of `app` that is next, of those that are due at `time`.
    pub fn next_of(&self, app: &AppId, time: Time) -> Option<&InstanceId> {
        let first = self.apps.get(app)?.instances.first();
        first.filter(|(at, _)| *at <= time).map(|(_, instance)| instance)
    }

    /// Whether anything is due at `time`.
    pub fn has_due(&self, time: Time) -> bool {
        self.due(time).next().is_some()
    }

    /// Everybody who waits.
    pub fn all(&self) -> impl Iterator<Item = &InstanceId> {
        self.apps.values().flat_map(|waiting| &waiting.instances).map(|(_, instance)| instance)
    }

    /// Whether the first of each app is known, and everybody who has to wait.
    pub fn is_sound(&self) -> bool {
        let all = || self.apps.values().flat_map(|waiting| &waiting.instances);
        let late = all().filter(|(at, _)| *at > Time::default());
        let late: BTreeMap<_, _> = late.map(|(at, instance)| (instance.clone(), *at)).collect();
        let next = self.apps.iter().filter_map(|(app, it)| Some((it.due_at()?, app.clone())));
        late == self.due && next.collect::<BTreeSet<_>>() == self.next
    }

    /// Notes that an offer was used for `app`, or why not.
    pub fn note(
        &mut self,
        app: &AppId,
        offer: &OfferView,
        outcome: Result<(), Mismatch>,
        now: Now,
    ) {
        let Some(waiting) = self.apps.get_mut(app) else { return };
        let offers = &mut waiting.offers;
        offers.processed += 1;
        match outcome {
            Ok(()) => {
                offers.last_used_at = Some(now.wall);
                waiting.drop_unused(&offer.offer.agent);
            }
            Err(why) => {
                offers.unused += 1;
                offers.last_unused_at = Some(now.wall);
                *offers.reasons.entry(why.reason()).or_default() += 1;
                waiting.keep(Unused { offer: offer.clone(), why, at: now.wall });
            }
        }
    }

    /// What waits of `app`, for the API; absent when nothing does. `app` is what will be launched.
    pub fn entry(&self, app: &Arc<App>, now: Now) -> Option<Entry> {
        let waiting = self.apps.get(&app.id)?;
        let until = waiting.due_at()?;
        let wall = |at: Time| (at > now.time).then(|| now.wall.plus(at.since(now.time)));
        let due_at = wall(until);
        let later = waiting.instances.iter().rev();
        let backoffs = later.map_while(|(at, it)| Some((it.clone(), wall(*at)?)));
        Some(Entry {
            app: app.clone(),
            count: waiting.instances.len(),
            since: waiting.since,
            due_at,
            backoffs: backoffs.collect(),
            offers: waiting.offers.clone(),
        })
    }
}
