//! The agents there are, as offers, tasks and the master tell: what spreading has to spread over.

use crate::app::{self, App, Constraint};
use crate::instance::Place;
use crate::io::AgentView;
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
    /// Those that have made offers or had tasks of ours.
    agents: BTreeMap<AgentId, Place>,
    /// Those of them that the master does not have in use any more: nothing is spread over them until they make an
    /// offer again.
    away: BTreeSet<AgentId>,
    /// Those that made an offer since the master was last asked, which it may not have known; absent if it has
    /// answered.
    fresh: Option<BTreeSet<AgentId>>,
    /// Others that the master has. They are full or kept for others, and what is spread is spread over them too.
    unmet: BTreeMap<AgentId, Place>,
    /// Of those the ones that have something left.
    roomy: BTreeSet<AgentId>,
    /// The region of the master, where apps stay that do not say otherwise; absent: there are no regions.
    home: Option<Arc<str>>,
    /// Of the agents those with GPUs, also while others use all of them.
    with_gpus: BTreeSet<AgentId>,
    /// Whether agents with GPUs are kept for apps that want some, unless an app says otherwise.
    gpus_are_kept: bool,
    /// What was found out for whoever asked, by the constraints that it follows from.
    patterns: Memo<Patterns>,
    /// Kept as agents come and go.
    fitting: [Memo<Fitting>; Gpus::ALL.len()],
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
    /// How many of these agents, and of those that were not met, have each value of the fields that instances are spread over.
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
        let is_away = self.away.contains(&place.agent);
        let known = self.agents.get(&place.agent).filter(|_| !is_away);
        let is_known_for_gpus = self.with_gpus.contains(&place.agent);
        if (known == Some(&place) && (is_known_for_gpus || !has_gpus))
            || (known.is_none() && !is_away && self.agents.len() >= AGENTS_MAX)
        {
            return false;
        }
        self.lost(&place.agent);
        if is_known_for_gpus || has_gpus {
            self.with_gpus.insert(place.agent.clone());
        }
        self.update(&place, Fitting::meet);
        self.agents.insert(place.agent.clone(), place);
        true
    }

    /// An agent is gone. Whether it was known.
    pub fn lost(&mut self, agent: &AgentId) -> bool {
        let known = if let Some(place) = self.agents.remove(agent) {
            let is_away = self.away.remove(agent);
            self.update(&place, if is_away { Fitting::leave } else { Fitting::part });
            true
        } else if let Some(place) = self.unmet.remove(agent) {
            self.update(&place, Fitting::discount);
            true
        } else {
            false
        };
        self.with_gpus.remove(agent);
        known
    }

    /// The master is asked for its agents.
    pub fn ask(&mut self) {
        self.fresh = Some(BTreeSet::new());
    }

    /// These are all agents that the master has in use. Whether others are gone, or elsewhere.
    pub fn heard_of(&mut self, all: Vec<AgentView>) -> bool {
        let are_away = self.send_away(&all);
        let mut gone = std::mem::take(&mut self.unmet);
        let roomy = all.iter().filter(|view| view.has_room);
        self.roomy = roomy.map(|view| view.place.agent.clone()).collect();
        let mut kept = BTreeMap::new();
        let mut new = Vec::new();
        for view in all {
            let id = view.place.agent.clone();
            if self.agents.contains_key(&id) {
                continue;
            }
            match gone.remove_entry(&id) {
                Some((id, known))
                    if known == view.place && self.with_gpus.contains(&id) == view.has_gpus =>
                {
                    kept.insert(id, known);
                }
                was => {
                    gone.extend(was);
                    new.push(view);
                }
            }
        }
        for (id, place) in &gone {
            self.update(place, Fitting::discount);
            self.with_gpus.remove(id);
        }
        self.unmet = kept;
        for AgentView { place, has_gpus, .. } in new {
            if self.agents.len() + self.unmet.len() >= AGENTS_MAX {
                break;
            }
            if self.unmet.contains_key(&place.agent) {
                continue;
            }
            if has_gpus {
                self.with_gpus.insert(place.agent.clone());
            }
            self.update(&place, Fitting::count);
            self.unmet.insert(place.agent.clone(), place);
        }
        are_away || !gone.is_empty()
    }

    /// Spreads nothing over those that were met and are not among `all`. Whether there are any.
    fn send_away(&mut self, all: &[AgentView]) -> bool {
        let fresh = self.fresh.take().unwrap_or_default();
        let mut away: BTreeSet<AgentId> = self.agents.keys().cloned().collect();
        away.retain(|id| !fresh.contains(id) && !self.away.contains(id));
        for view in all {
            away.remove(&view.place.agent);
        }
        for id in &away {
            if let Some(place) = self.agents.get(id).cloned() {
                self.update(&place, Fitting::discount);
                self.away.insert(id.clone());
            }
        }
        // Those that are back make offers, or are full as others are.
        for id in all.iter().map(|view| &view.place.agent) {
            if self.away.remove(id)
                && let Some(place) = self.agents.get(id).cloned()
            {
                self.update(&place, Fitting::count);
            }
        }
        !away.is_empty()
    }

    /// Has those whom `place` fits know that it has come or gone.
    fn update(&mut self, place: &Place, update: fn(&mut Fitting, &[Constraint], &Place)) {
        for gpus in Gpus::ALL {
            let mut all = self.fitting[gpus as usize].take();
            for (constraints, fitting) in &mut all {
                if self.may_go(constraints, gpus, &self.patterns(constraints), place) {
                    update(Arc::make_mut(fitting), constraints, place);
                }
            }
            *self.fitting[gpus as usize].get_mut() = all;
        }
    }

    /// Whether an agent was met.
    pub fn has(&self, agent: &AgentId) -> bool {
        self.agents.contains_key(agent)
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
        self.gpus_of(app) == Gpus::Shunned && self.with_gpus.contains(agent)
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
        place: &Place,
    ) -> bool {
        let has_gpus = self.with_gpus.contains(&place.agent);
        let is_right = match gpus {
            Gpus::Whatever => true,
            Gpus::Wanted => has_gpus,
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
            for place in self.agents.values() {
                if self.may_go(constraints, gpus, &patterns, place) {
                    fitting.agents.insert(place.agent.clone());
                    if !self.away.contains(&place.agent) {
                        fitting.count(constraints, place);
                    }
                }
            }
            for place in self.unmet.values() {
                if self.may_go(constraints, gpus, &patterns, place) {
                    fitting.count(constraints, place);
                }
            }
            fitting
        })
    }

    /// The agents that `app` may run on, each by itself, with whether they may have room: those that were met, and
    /// of others such as the master says it of.
    pub(crate) fn places(&self, app: &App) -> impl Iterator<Item = (&Place, bool)> {
        let (gpus, patterns) = (self.gpus_of(app), self.patterns(&app.constraints));
        let met = self.agents.iter().filter(|(id, _)| !self.away.contains(*id));
        let met = met.map(|(_, place)| (place, true));
        let unmet = self.unmet.iter().map(|(id, place)| (place, self.roomy.contains(id)));
        let all = met.chain(unmet);
        all.filter(move |(place, _)| self.may_go(&app.constraints, gpus, &patterns, place))
    }

    /// Whether an agent is known, and not as what it is now.
    pub(crate) fn has_changed(&self, place: &Place) -> bool {
        self.agents.get(&place.agent).is_some_and(|known| known != place)
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

    /// How many of them have each value of the fields that instances are spread over.
    pub fn values(&self) -> &Tally {
        &self.values
    }

    fn meet(&mut self, constraints: &[Constraint], place: &Place) {
        self.agents.insert(place.agent.clone());
        self.count(constraints, place);
    }

    fn part(&mut self, constraints: &[Constraint], place: &Place) {
        self.agents.remove(&place.agent);
        self.discount(constraints, place);
    }

    fn leave(&mut self, _constraints: &[Constraint], place: &Place) {
        self.agents.remove(&place.agent);
    }

    fn count(&mut self, constraints: &[Constraint], place: &Place) {
        for (field, value) in spread_over(constraints, place) {
            self.values.add(field, value);
        }
    }

    fn discount(&mut self, constraints: &[Constraint], place: &Place) {
        for (field, value) in spread_over(constraints, place) {
            self.values.remove(field, value);
        }
    }
}

/// The fields that instances are spread over, with what `place` has of them. Of one that is named twice
/// twice as many are counted, which changes nothing.
fn spread_over<'a>(
    constraints: &'a [Constraint],
    place: &'a Place,
) -> impl Iterator<Item = (&'a str, &'a Arc<str>)> {
    let fields = app::spread_over(constraints);
    fields.filter_map(|field| Some((field, matcher::value_of(place, field)?)))
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
                    _ if agent == 5 => drop(fleet.heard_of(vec![
                        AgentView { place: place(rack.unwrap_or(3), 1), has_gpus: false, has_room: true },
                        AgentView { place: place(2, rack.unwrap_or(0)), has_gpus: true, has_room: true },
                    ])),
                    Some(rack) => drop(fleet.seen(place(agent, rack), rack == 2)),
                    None => drop(fleet.lost(&place(agent, 0).agent)),
                }
                let (agents, unmet) = (fleet.agents.clone(), fleet.unmet.clone());
                let (home, with_gpus) = (fleet.home.clone(), fleet.with_gpus.clone());
                let away = fleet.away.clone();
                prop_assert!(away.iter().all(|id| agents.contains_key(id)));
                prop_assert!(agents.keys().all(|id| !unmet.contains_key(id)));
                let is_known = |id| agents.contains_key(id) || unmet.contains_key(id);
                prop_assert!(with_gpus.iter().all(is_known));
                let anew = Fleet { agents, away, unmet, home, with_gpus, ..Fleet::default() };
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
