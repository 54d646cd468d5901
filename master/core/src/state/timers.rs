//! What falls due when.

use model::ids::{AgentId, FrameworkId, OfferId, OperationUuid};
use model::step::Time;
use std::collections::{BTreeMap, BTreeSet};

/// What can fall due. Each variant is handled in the file of its name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Due {
    /// A framework is to hear that its stream lives.
    Heartbeat(FrameworkId),
    /// A framework has not come back in time.
    Failover(FrameworkId),
    /// An offer has stood long enough.
    OfferTimeout(OfferId),
    /// A framework may be asked again to leave an agent.
    InverseOffers,
    /// An agent is to be pinged, and its silence counted.
    Ping(AgentId),
    /// An agent of an earlier reign has not come back in time.
    AgentReturn(AgentId),
    /// Frameworks may hear of the next agent that it is lost.
    AgentRemoval,
    /// Roles with quota have waited long enough for agents of an earlier reign.
    Recovery,
    /// Former agents may have been remembered for long enough.
    RegistryGc,
    /// Nobody has come to keep the report of an operation.
    OrphanOperation(OperationUuid),
}

/// What falls due when. Each thing falls due at most once until it is set again.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Time, Due)>,
    by_due: BTreeMap<Due, Time>,
}

impl Timers {
    pub(crate) fn set(&mut self, due: Due, at: Time) {
        self.cancel(&due);
        self.by_due.insert(due.clone(), at);
        self.by_time.insert((at, due));
    }

    pub(crate) fn cancel(&mut self, due: &Due) {
        if let Some((due, at)) = self.by_due.remove_entry(due) {
            self.by_time.remove(&(at, due));
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out what is due first, if it is due by `now`.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        let (_, due) = self.by_time.pop_first()?;
        self.by_due.remove(&due);
        Some(due)
    }
}
