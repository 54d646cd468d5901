//! What reads are answered from, so that no query waits in the core's line.
//!
//! The driver puts in what the core says has changed; any thread reads. An entry is turned into a
//! message when it is first read, and not again until it changes.

mod counts;
mod picture;
mod state;
mod sums;
mod wire;

use std::sync::Arc;

use master_core::registry::Rules;
use master_core::view::ViewChange;
use model::ids::{FrameworkId, OfferId};
use model::role::Role;
use parking_lot::Mutex;

pub(crate) use counts::Counts;
pub(crate) use picture::Picture;
pub(crate) use state::State;

/// The cluster, as the leading master sees it. Empty on others.
///
/// Whoever reads takes a [`Picture`] and works on that, so that the lock is held for a few pointers'
/// time only: a reader that stands back for others does not hold up the driver.
#[derive(Default)]
pub(crate) struct View(Mutex<Picture>);

impl View {
    /// All of it, as it is now. Cheap to take, also for the driver, and nothing changes in it.
    pub(crate) fn picture(&self) -> Picture {
        self.0.lock().clone()
    }

    /// For which role an offer is that stands.
    pub(crate) fn role_of(&self, offer: &OfferId) -> Option<Role> {
        self.0.lock().offers.get(offer).map(|entry| entry.model.role.clone())
    }

    /// The user of a framework.
    pub(crate) fn user_of(&self, id: &FrameworkId) -> Option<Arc<str>> {
        self.0.lock().frameworks.get(id).map(|entry| entry.model.framework.user.clone())
    }

    /// The principal of a framework, where it has one.
    pub(crate) fn principal_of(&self, id: &FrameworkId) -> Option<Arc<str>> {
        self.0.lock().frameworks.get(id)?.model.framework.principal.clone()
    }

    /// What operators have decided.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.0.lock().rules.clone()
    }

    /// Puts one change in.
    pub(crate) fn apply(&self, change: ViewChange) {
        if matches!(change, ViewChange::Clear) {
            // Of a large cluster it takes a while to drop, and nobody need wait for that.
            let all = std::mem::take(&mut *self.0.lock());
            return drop(all);
        }
        self.0.lock().apply(change);
    }
}

/// Messages of single entries, for events.
pub(crate) use wire::{agent as agent_message, framework_info, task as task_message};

#[cfg(test)]
mod tests {
    use model::ids::AgentId;
    use model::offer::InverseOffer;
    use model::rules::Unavailability;

    use super::*;

    fn of_host(hostname: &str) -> ViewChange {
        ViewChange::PutInverseOffer(Arc::new(InverseOffer {
            id: OfferId::new("o").expect("an id"),
            framework: FrameworkId::new("f").expect("an id"),
            agent: AgentId::new("a").expect("an id"),
            hostname: hostname.into(),
            agent_address: "127.0.0.1:5051".into(),
            unavailability: Unavailability { start_ns: 0, duration_ns: None },
        }))
    }

    #[test]
    fn nothing_changes_in_a_picture_that_somebody_reads() {
        let view = View::default();
        let hosts = |of: &Picture| {
            let all = of.inverse_offers.values();
            all.map(|entry| entry.model.hostname.to_string()).collect::<Vec<_>>()
        };
        view.apply(of_host("first"));
        let first = view.picture();
        view.apply(of_host("second"));
        let second = view.picture();
        view.apply(ViewChange::Clear);
        assert_eq!(
            [first, second, view.picture()].map(|it| hosts(&it)),
            [vec!["first".to_owned()], vec!["second".to_owned()], vec![]]
        );
    }
}
