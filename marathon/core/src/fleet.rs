//! The agents there are, as far as offers and tasks tell: what spreading has to spread over.

use crate::app::App;
use crate::instance::Place;
use crate::matcher;
use model::ids::AgentId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Agents that are remembered. More than one master leads; those past it are used like all others, but
/// nothing is spread over them on purpose.
const AGENTS_MAX: usize = 50_000;

/// An app with this label has one instance on every agent that fits it.
pub const ONE_PER_AGENT: &str = "AGORA_ONE_PER_AGENT";

/// Whether `app` is to run once on every agent that fits it.
pub fn is_one_per_agent(app: &App) -> bool {
    app.labels.get(ONE_PER_AGENT).is_some_and(|value| value == "true")
}

/// The agents that are known.
#[derive(Debug, Default)]
pub struct Fleet {
    agents: BTreeMap<AgentId, Place>,
    /// The region of the master, where apps stay that do not say otherwise; absent: there are no regions.
    home: Option<Arc<str>>,
}

impl Fleet {
    /// An agent was met. Whether that was news.
    pub fn seen(&mut self, place: Place) -> bool {
        let known = self.agents.get(&place.agent);
        if known == Some(&place) || (known.is_none() && self.agents.len() >= AGENTS_MAX) {
            return false;
        }
        self.agents.insert(place.agent.clone(), place);
        true
    }

    /// An agent is gone. Whether it was known.
    pub fn lost(&mut self, agent: &AgentId) -> bool {
        self.agents.remove(agent).is_some()
    }

    /// Whether an agent is known.
    pub fn has(&self, agent: &AgentId) -> bool {
        self.agents.contains_key(agent)
    }

    /// The master is in this region now.
    pub fn settle(&mut self, home: Option<Arc<str>>) {
        self.home = home;
    }

    /// The region that `app` would have to leave for `place` without having said that it may.
    pub fn left_for<'a>(&'a self, app: &App, place: &Place) -> Option<&'a Arc<str>> {
        let home = self.home.as_ref()?;
        let is_far = place.region.as_ref().is_some_and(|region| region != home);
        let says = |field: &str| matches!(field, "@region" | "@zone");
        let may_leave = app.constraints.iter().any(|constraint| says(&constraint.field));
        (is_far && !may_leave).then_some(home)
    }

    /// The agents that `app` may run on, by its constraints on single agents.
    pub fn fitting<'a>(&'a self, app: &App) -> impl Iterator<Item = &'a Place> {
        let may_go = |place: &&Place| {
            self.left_for(app, place).is_none() && matcher::may_ever_go(app, place)
        };
        self.agents.values().filter(may_go)
    }

    /// How many agents `app` may run on.
    pub fn count_for(&self, app: &App) -> u32 {
        u32::try_from(self.fitting(app).count()).unwrap_or(u32::MAX)
    }

    /// The values of `field` on agents that `app` may run on.
    pub fn values(&self, field: &str, app: &App) -> BTreeSet<&str> {
        self.fitting(app).filter_map(|place| matcher::value_of(place, field)).collect()
    }
}

/// `app` with as many instances as it is to have.
pub fn sized(app: &Arc<App>, fleet: &Fleet) -> Arc<App> {
    if !is_one_per_agent(app) {
        return app.clone();
    }
    Arc::new(App { instances: fleet.count_for(app), ..(**app).clone() })
}
