//! Declined offers: what is not to be offered again for a while.

use model::resources::Resources;
use model::step::Time;

/// How many filters one framework may have for one role on one agent. Each came of a decline; past
/// this the soonest to end gives way, so that nobody fills the master's memory by declining.
const FILTERS_MAX: usize = 16;

/// One declined offer.
#[derive(Debug)]
struct Filter {
    declined: Resources,
    until: Time,
}

/// What one framework has declined of one agent for one role.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    /// Keeps `declined` and all that is in it away until `until`.
    pub(crate) fn add(&mut self, declined: Resources, until: Time) {
        // An older one that says less is not needed any more.
        self.0.retain(|old| old.until > until || !declined.contains(&old.declined));
        if self.0.len() >= FILTERS_MAX {
            let soonest = (0..self.0.len()).min_by_key(|&at| self.0[at].until);
            self.0.swap_remove(soonest.expect("there are some"));
        }
        self.0.push(Filter { declined, until });
    }

    /// Until when an offer of `resources` is kept away; absent if it may be made.
    pub(crate) fn keep_away(&self, resources: &Resources, now: Time) -> Option<Time> {
        let matching = self.0.iter().filter(|filter| filter.until > now);
        let matching = matching.filter(|filter| filter.declined.contains(resources));
        matching.map(|filter| filter.until).max()
    }

    /// Forgets what is over; says whether nothing is left.
    pub(crate) fn expire(&mut self, now: Time) -> bool {
        self.0.retain(|filter| filter.until > now);
        self.0.is_empty()
    }
}
