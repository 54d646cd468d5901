//! The agents there are, as offers, tasks and the master tell: what spreading has to spread over.

use crate::app::{self, App, Constraint};
use crate::instance::Place;
use crate::matcher::{self, Patterns};
use crate::spread::Tally;
use model::ids::AgentId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Agents that are remembered. More than one master leads; those past it are used like all others, but
/// nothing is spread over them on purpose.
const AGENTS_MAX: usize = 50_000;

/// Lists of constraints whose meaning is remembered, many of which many apps share. Past that all are forgotten,
/// and found again by those who ask.
const LISTS_MAX: usize = 1_024;

/// An app with this label has one instance on every agent that fits it.
pub const ONE_PER_AGENT: &str = "AGORA_ONE_PER_AGENT";

/// The label by which an app says for itself whether agents with GPUs are kept from it.
pub const GPU_BEHAVIOR: &str = "GPU_SCHEDULING_BEHAVIOR";

/// What it may say: they are if it wants none, or they are not.
pub const GPU_BEHAVIORS: [&str; 2] = [RESTRICTED, UNRESTRICTED];

const RESTRICTED: &str = "restricted";
const UNRESTRICTED: &str = "unrestricted";

/// Whether `app` is to run once on every agent that fits it.
pub fn is_one_per_agent(app: &App) -> bool {
    app.labels.get(ONE_PER_AGENT).is_some_and(|value| value == "true")
}

/// The agents that are known.
#[derive(Debug, Default)]
pub struct Fleet {
    agents: BTreeMap<AgentId, Known>,
    /// Those that made an offer since the master was last asked, which it may not have known; absent if it has
    /// answered.
    fresh: Option<BTreeSet<AgentId>>,
    /// The region of the master, where apps stay that do not say otherwise; absent: there are no regions.
    home: Option<Arc<str>>,
    /// Whether agents with GPUs are kept for apps that want some, unless an app says otherwise.
    gpus_are_kept: bool,
    /// What was found out for whoever asked, by the constraints that it follows from.
    patterns: Memo<Patterns>,
    /// Kept as agents come and go.
    fitting: [Memo<Fitting>; Gpus::ALL.len()],
}

/// What is known of one agent.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Known {
    place: Place,
    /// Also while others use all of them.
    has_gpus: bool,
    stance: Stance,
}

/// What an agent is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stance {
    /// It has made offers, or had tasks of ours.
    Met,
    /// It was met, and the master does not have it in use any more: nothing is spread over it until that changes.
    Away,
    /// The master has it in use, and it has made no offer: it may be full or kept for others.
    Listed {
        /// Whether it has something left for us.
        has_room: bool,
    },
}

impl Known {
    fn was_met(&self) -> bool {
        matches!(self.stance, Stance::Met | Stance::Away)
    }

    /// Whether what is spread is spread over it.
    fn is_counted(&self) -> bool {
        self.stance != Stance::Away
    }

    /// Whether there may be room on it.
    fn may_have_room(&self) -> bool {
        matches!(self.stance, Stance::Met | Stance::Listed { has_room: true })
    }
}

/// An agent that the master has in use, and that may make offers to us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Which, and where it is.
    pub place: Place,
    /// Whether it has GPUs, free or not.
    pub has_gpus: bool,
    /// Whether it has something left for us.
    pub has_room: bool,
}

type Memo<T> = RefCell<BTreeMap<Vec<Constraint>, Arc<T>>>;

/// What agents with GPUs are to an app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gpus {
    /// Nothing special.
    Whatever,
    /// Those it may use.
    Wanted,
    /// Those it is kept from.
    Shunned,
}

impl Gpus {
    const ALL: [Self; 3] = [Self::Whatever, Self::Wanted, Self::Shunned];
}

/// The agents that apps of one kind may run on, by what looks at one agent alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fitting {
    /// Those that were met.
    agents: BTreeSet<AgentId>,
    /// How many agents, met or not, have each value of the fields that instances are spread over.
    values: Tally,
}

impl Fleet {
    /// One that knows no agent yet. `gpus_are_kept`: for apps that want some, unless an app says otherwise.
    pub fn new(gpus_are_kept: bool) -> Self {
        Self { gpus_are_kept, ..Self::default() }
    }

    /// An agent was met, which has GPUs if `has_gpus`: others may have been given all of them. Whether that was
    /// news.
    pub fn seen(&mut self, place: Place, has_gpus: bool) -> bool {
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(place.agent.clone());
        }
        let known = self.agents.get(&place.agent);
        let has_gpus = has_gpus || known.is_some_and(|known| known.has_gpus);
        self.put(Known { place, has_gpus, stance: Stance::Met })
    }

    /// An agent is gone. Whether it was known.
    pub fn lost(&mut self, agent: &AgentId) -> bool {
        let Some(known) = self.agents.remove(agent) else { return false };
        self.update(&known, Fitting::remove);
        true
    }

    /// The master is asked for its agents.
    pub fn ask(&mut self) {
        self.fresh = Some(BTreeSet::new());
    }

    /// These are all agents that the master has in use. Whether some are gone that were known.
    pub fn heard_of(&mut self, all: Vec<Listed>) -> bool {
        let fresh = self.fresh.take().unwrap_or_default();
        let mut missing: BTreeSet<AgentId> = self.agents.keys().cloned().collect();
        for Listed { place, has_gpus, has_room } in all {
            missing.remove(&place.agent);
            let known = match self.agents.get(&place.agent) {
                // What it says itself is newer. One that is back makes offers, or is full as others are.
                Some(known) if known.was_met() => Known { stance: Stance::Met, ..known.clone() },
                Some(_) | None => Known { place, has_gpus, stance: Stance::Listed { has_room } },
            };
            self.put(known);
        }
        let mut are_gone = false;
        for id in missing.difference(&fresh) {
            let Some(known) = self.agents.get(id) else { continue };
            are_gone |= match known.stance {
                Stance::Met => self.put(Known { stance: Stance::Away, ..known.clone() }),
                Stance::Away => false,
                Stance::Listed { .. } => self.lost(id),
            };
        }
        are_gone
    }

    /// Takes in how an agent is now, if there is room for it here. Whether that is news.
    fn put(&mut self, known: Known) -> bool {
        let id = known.place.agent.clone();
        let old = self.agents.get(&id);
        if old == Some(&known) || (old.is_none() && self.agents.len() >= AGENTS_MAX) {
            return false;
        }
        self.lost(&id);
        self.update(&known, Fitting::add);
        self.agents.insert(id, known);
        true
    }

    /// Has those whom `known` fits know that it has come or gone.
    fn update(&mut self, known: &Known, update: fn(&mut Fitting, &[Constraint], &Known)) {
        for gpus in Gpus::ALL {
            let mut all = self.fitting[gpus as usize].take();
            for (constraints, fitting) in &mut all {
                if self.may_go(constraints, gpus, &self.patterns(constraints), known) {
                    update(Arc::make_mut(fitting), constraints, known);
                }
            }
            *self.fitting[gpus as usize].get_mut() = all;
        }
    }

    /// Whether an agent was met.
    pub fn has(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(Known::was_met)
    }

    /// The master is in this region now.
    pub fn settle(&mut self, home: Option<Arc<str>>) {
        if self.home != home {
            self.fitting = Default::default();
            self.home = home;
        }
    }

    /// The region that an app with these constraints would have to leave for `region` without having said that
    /// it may.
    pub fn left_for<'a>(
        &'a self,
        constraints: &[Constraint],
        region: Option<&Arc<str>>,
    ) -> Option<&'a Arc<str>> {
        let home = self.home.as_ref()?;
        let is_far = region.is_some_and(|region| region != home);
        let says = |field: &str| matches!(field, "@region" | "@zone");
        let may_leave = || constraints.iter().any(|constraint| says(&constraint.field));
        (is_far && !may_leave()).then_some(home)
    }

    /// Whether `app` is kept from `agent` since that one has GPUs and the app wants none.
    pub fn is_kept_from(&self, app: &App, agent: &AgentId) -> bool {
        let has_gpus = || self.agents.get(agent).is_some_and(|known| known.has_gpus);
        self.gpus_of(app) == Gpus::Shunned && has_gpus()
    }

    fn gpus_of(&self, app: &App) -> Gpus {
        let are_kept = match app.labels.get(GPU_BEHAVIOR).map(String::as_str) {
            Some(RESTRICTED) => true,
            Some(UNRESTRICTED) => false,
            // What was stored when anything was taken means nothing.
            Some(_) | None => self.gpus_are_kept,
        };
        match app.gpus {
            0 if are_kept => Gpus::Shunned,
            0 => Gpus::Whatever,
            _ => Gpus::Wanted,
        }
    }

    fn may_go(
        &self,
        constraints: &[Constraint],
        gpus: Gpus,
        patterns: &Patterns,
        Known { place, has_gpus, .. }: &Known,
    ) -> bool {
        let is_right = match gpus {
            Gpus::Whatever => true,
            Gpus::Wanted => *has_gpus,
            Gpus::Shunned => !has_gpus,
        };
        is_right
            && self.left_for(constraints, place.region.as_ref()).is_none()
            && matcher::may_ever_go(constraints, patterns, place)
    }

    /// What values must match by `constraints`.
    pub fn patterns(&self, constraints: &Vec<Constraint>) -> Arc<Patterns> {
        remembered(&self.patterns, constraints, || Patterns::of(constraints))
    }

    /// The agents that `app` may run on, as was found by looking at each alone.
    pub fn fitting(&self, app: &App) -> Arc<Fitting> {
        self.fitting_by(&app.constraints, self.gpus_of(app))
    }

    fn fitting_by(&self, constraints: &Vec<Constraint>, gpus: Gpus) -> Arc<Fitting> {
        remembered(&self.fitting[gpus as usize], constraints, || {
            let (patterns, mut fitting) = (self.patterns(constraints), Fitting::default());
            for known in self.agents.values() {
                if self.may_go(constraints, gpus, &patterns, known) {
                    fitting.add(constraints, known);
                }
            }
            fitting
        })
    }

    /// The agents in use that `app` may run on, each by itself, with whether they may have room.
    pub(crate) fn places(&self, app: &App) -> impl Iterator<Item = (&Place, bool)> {
        let (gpus, patterns) = (self.gpus_of(app), self.patterns(&app.constraints));
        let all = self.agents.values().filter(|known| known.is_counted());
        let all = all.filter(move |it| self.may_go(&app.constraints, gpus, &patterns, it));
        all.map(|known| (&known.place, known.may_have_room()))
    }

    /// Whether an agent was met, and not as what it is now.
    pub(crate) fn has_changed(&self, place: &Place) -> bool {
        let known = self.agents.get(&place.agent).filter(|known| known.was_met());
        known.is_some_and(|known| known.place != *place)
    }

    /// How many agents that were met `app` may run on.
    pub fn count_for(&self, app: &App) -> u32 {
        u32::try_from(self.fitting(app).agents.len()).unwrap_or(u32::MAX)
    }
}

fn remembered<T>(all: &Memo<T>, constraints: &Vec<Constraint>, find: impl FnOnce() -> T) -> Arc<T> {
    if let Some(known) = all.borrow().get(constraints) {
        return known.clone();
    }
    let found = Arc::new(find());
    let mut all = all.borrow_mut();
    if all.len() >= LISTS_MAX {
        all.clear();
    }
    all.insert(constraints.clone(), found.clone());
    found
}

impl Fitting {
    /// The ids of those that were met.
    pub fn agents(&self) -> &BTreeSet<AgentId> {
        &self.agents
    }

    /// How many agents, met or not, have each value of the fields that instances are spread over.
    pub fn values(&self) -> &Tally {
        &self.values
    }

    fn add(&mut self, constraints: &[Constraint], known: &Known) {
        if known.was_met() {
            self.agents.insert(known.place.agent.clone());
        }
        for (field, value) in spread_over(constraints, known) {
            self.values.add(field, value);
        }
    }

    fn remove(&mut self, constraints: &[Constraint], known: &Known) {
        self.agents.remove(&known.place.agent);
        for (field, value) in spread_over(constraints, known) {
            self.values.remove(field, value);
        }
    }
}

/// The fields that instances are spread over, with what `known` has of them, if anything is spread over it. Of a
/// field that is named twice twice as many are counted, which changes nothing.
fn spread_over<'a>(
    constraints: &'a [Constraint],
    known: &'a Known,
) -> impl Iterator<Item = (&'a str, &'a Arc<str>)> {
    let fields = app::spread_over(constraints).filter(|_| known.is_counted());
    fields.filter_map(|field| Some((field, matcher::value_of(&known.place, field)?)))
}

/// `app` with as many instances as it is to have.
pub fn sized(app: &Arc<App>, fleet: &Fleet) -> Arc<App> {
    if !is_one_per_agent(app) {
        return app.clone();
    }
    Arc::new(App { instances: fleet.count_for(app), ..(**app).clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Operator;
    use proptest::prelude::*;

    fn place(agent: u8, rack: u8) -> Place {
        Place {
            agent: AgentId::new(format!("S{agent}")).expect("an id"),
            host: format!("host{agent}").into(),
            region: (agent > 1).then(|| format!("r{}", agent % 2).into()),
            zone: None,
            attributes: vec![("rack".into(), format!("r{rack}").into())],
        }
    }

    fn constraint(field: &str, operator: Operator, value: Option<&str>) -> Constraint {
        Constraint { field: field.to_owned(), operator, value: value.map(str::to_owned) }
    }

    proptest! {
        #[test]
        fn what_is_kept_as_agents_come_and_go_is_what_looking_anew_finds(
            changes in prop::collection::vec((0_u8..6, prop::option::of(0_u8..3)), 0..24),
        ) {
            let lists = [
                vec![constraint("rack", Operator::GroupBy, None)],
                vec![
                    constraint("hostname", Operator::GroupBy, None),
                    constraint("rack", Operator::Unlike, Some("r1")),
                ],
                vec![constraint("hostname", Operator::Like, Some("host[12]"))],
                vec![constraint("@region", Operator::GroupBy, None)],
                Vec::new(),
            ];
            let mut fleet = Fleet::default();
            for (agent, rack) in changes {
                match rack {
                    _ if agent == 4 => fleet.settle(rack.map(|rack| format!("r{rack}").into())),
                    // Two agents on different racks each time, one of which has GPUs.
                    _ if agent == 5 => {
                        let listed = |agent, rack, has_gpus| {
                            Listed { place: place(agent, rack), has_gpus, has_room: true }
                        };
                        let (first, second) = (rack.unwrap_or(3), rack.unwrap_or(0));
                        fleet.heard_of(vec![listed(first, 1, false), listed(2, second, true)]);
                    }
                    Some(rack) => drop(fleet.seen(place(agent, rack), rack == 2)),
                    None => drop(fleet.lost(&place(agent, 0).agent)),
                }
                let (agents, home) = (fleet.agents.clone(), fleet.home.clone());
                let anew = Fleet { agents, home, ..Fleet::default() };
                for (list, gpus) in lists.iter().flat_map(|it| Gpus::ALL.map(|gpus| (it, gpus))) {
                    prop_assert_eq!(fleet.fitting_by(list, gpus), anew.fitting_by(list, gpus));
                }
            }
        }
    }

    #[test]
    fn lists_of_constraints_are_remembered_up_to_a_limit() {
        let mut fleet = Fleet::default();
        fleet.seen(place(1, 1), false);
        for number in 0..=LISTS_MAX {
            let value = format!("host{number}");
            let list = vec![constraint("hostname", Operator::Like, Some(&value))];
            let found = fleet.fitting_by(&list, Gpus::Whatever);
            assert_eq!(found.agents().len(), usize::from(number == 1));
        }
        assert_eq!((fleet.fitting[0].borrow().len(), fleet.patterns.borrow().len()), (1, 1));
    }
}
