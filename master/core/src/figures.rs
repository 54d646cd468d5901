//! What a leading master can tell of itself in numbers, beside what its view shows.
//!
//! Counted in plain integers where things happen, and put together only when somebody asks.

use crate::state::Books;
pub use allocator::figures::{Figures as OfAllocator, OfQuota};
use model::call::{Call, Operation};
use model::event::SchedulerEvent;
use model::ids::FrameworkId;
use model::role::Role;
use model::task::TaskState;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Frameworks that numbers are told of, the first by id; of the others there are none. Whoever reads
/// waits for all of it to be written down, and the core does not go on meanwhile.
pub const FRAMEWORKS_TOLD_MAX: usize = 500;

/// Roles of one framework whose suppression is told, the first by name.
pub const ROLES_OF_FRAMEWORK_TOLD_MAX: usize = 50;

/// How a master stands. Of one that does not lead it is nothing at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// How its allocator stands.
    pub allocator: OfAllocator,
    /// Each framework that is not over.
    pub frameworks: Vec<OfFramework>,
}

/// One framework.
#[derive(Clone, Debug, PartialEq)]
pub struct OfFramework {
    /// Which.
    pub id: FrameworkId,
    /// What it calls itself.
    pub name: Arc<str>,
    /// Whether its stream is up.
    pub is_subscribed: bool,
    /// Its roles, and whether it wants no offers for them.
    pub suppressed: BTreeMap<Role, bool>,
    /// What was counted of it under this leader.
    pub counts: Counts,
}

/// How often each of a few things was, by their place in a list of names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tally<const N: usize>([u64; N]);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Tally<N> {
    fn count(&mut self, which: usize) {
        self.0[which] += 1;
    }

    /// How often any of them was.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each of those that the places are of, with how often it was.
    pub fn of<T: Copy>(&self, all: &[T; N]) -> impl Iterator<Item = (T, u64)> {
        all.iter().copied().zip(self.0)
    }
}

/// Calls, by their place in [`Counts::calls`].
pub const CALLS: [&str; 17] = [
    "accept",
    "decline",
    "accept_inverse_offers",
    "decline_inverse_offers",
    "revive",
    "suppress",
    "kill",
    "shutdown",
    "acknowledge",
    "acknowledge_operation_status",
    "reconcile",
    "reconcile_operations",
    "message",
    "update_framework",
    "teardown",
    "request",
    "subscribe",
];

/// The place of SUBSCRIBE, which stands apart from the other calls.
const SUBSCRIBE: usize = 16;

fn place_of_call(call: &Call) -> usize {
    match call {
        Call::Accept(_) => 0,
        Call::Decline(_) => 1,
        Call::AnswerInverseOffers(answer) if answer.accepts => 2,
        Call::AnswerInverseOffers(_) => 3,
        Call::Revive(_) => 4,
        Call::Suppress(_) => 5,
        Call::Kill(_) => 6,
        Call::Shutdown(_) => 7,
        Call::Acknowledge(_) => 8,
        Call::AcknowledgeOperation(_) => 9,
        Call::Reconcile(_) => 10,
        Call::ReconcileOperations(_) => 11,
        Call::Message(_) => 12,
        Call::UpdateFramework(_) => 13,
        Call::Teardown => 14,
        Call::Request => 15,
    }
}

/// Events, by their place in [`Counts::events`].
pub const EVENTS: [&str; 11] = [
    "subscribed",
    "offers",
    "rescind",
    "inverse_offers",
    "rescind_inverse_offer",
    "update",
    "update_operation_status",
    "message",
    "failure",
    "error",
    "heartbeat",
];

fn place_of_event(event: &SchedulerEvent) -> usize {
    match event {
        SchedulerEvent::Subscribed { .. } => 0,
        SchedulerEvent::Offers(_) => 1,
        SchedulerEvent::Rescind(_) => 2,
        SchedulerEvent::InverseOffers(_) => 3,
        SchedulerEvent::RescindInverseOffer(_) => 4,
        SchedulerEvent::Update(_) => 5,
        SchedulerEvent::UpdateOperation(_) => 6,
        SchedulerEvent::Message(_) => 7,
        SchedulerEvent::Failure { .. } => 8,
        SchedulerEvent::Error(_) => 9,
        SchedulerEvent::Heartbeat => 10,
    }
}

/// Operations of ACCEPT, by their place in [`Counts::operations`].
pub const OPERATIONS: [&str; 10] = [
    "launch",
    "launch_group",
    "reserve",
    "unreserve",
    "create",
    "destroy",
    "grow_volume",
    "shrink_volume",
    "create_disk",
    "destroy_disk",
];

/// Absent for what is so malformed, or so new, that it has no name here.
fn place_of_operation(operation: &Operation) -> Option<usize> {
    let name = match operation {
        Operation::Launch(_) => return Some(0),
        Operation::LaunchGroup { .. } => return Some(1),
        Operation::Convert { conversion, .. } => conversion.as_ref().ok()?.name(),
        Operation::Unsupported { kind, .. } => kind,
    };
    OPERATIONS.iter().position(|one| one.eq_ignore_ascii_case(name))
}

/// States that tasks end in, by their place in [`Counts::ended`].
pub const ENDS: [TaskState; 8] = [
    TaskState::Finished,
    TaskState::Failed,
    TaskState::Killed,
    TaskState::Error,
    TaskState::Lost,
    TaskState::Dropped,
    TaskState::Gone,
    TaskState::GoneByOperator,
];

/// What was counted of a framework.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Its calls.
    pub calls: Tally<{ CALLS.len() }>,
    /// What it was told.
    pub events: Tally<{ EVENTS.len() }>,
    /// What it did with offers, invalid or not.
    pub operations: Tally<{ OPERATIONS.len() }>,
    /// Operations that have no name here.
    pub operations_unnamed: u64,
    /// How its tasks ended.
    pub ended: Tally<{ ENDS.len() }>,
    /// Offers made to it.
    pub offers_sent: u64,
    /// Offers it used.
    pub offers_accepted: u64,
    /// Offers it declined.
    pub offers_declined: u64,
    /// Offers taken back.
    pub offers_rescinded: u64,
}

impl Counts {
    pub(crate) fn call(&mut self, call: &Call) {
        self.calls.count(place_of_call(call));
    }

    pub(crate) fn subscribe(&mut self) {
        self.calls.count(SUBSCRIBE);
    }

    pub(crate) fn event(&mut self, event: &SchedulerEvent) {
        self.events.count(place_of_event(event));
    }

    pub(crate) fn operation(&mut self, operation: &Operation) {
        match place_of_operation(operation) {
            Some(place) => self.operations.count(place),
            None => self.operations_unnamed += 1,
        }
    }

    pub(crate) fn end(&mut self, state: TaskState) {
        if let Some(place) = ENDS.iter().position(|end| *end == state) {
            self.ended.count(place);
        }
    }
}

/// Puts the numbers together.
pub(crate) fn of(books: &Books) -> Figures {
    let one = |framework: &crate::state::frameworks::Framework| OfFramework {
        id: framework.id.clone(),
        name: framework.description.name.clone(),
        is_subscribed: framework.connection().is_some(),
        suppressed: books
            .allocator
            .suppressed(&framework.id)
            .take(ROLES_OF_FRAMEWORK_TOLD_MAX)
            .map(|(role, suppressed)| (role.clone(), suppressed))
            .collect(),
        counts: framework.counts.clone(),
    };
    Figures {
        allocator: books.allocator.figures(),
        frameworks: books.frameworks.values().take(FRAMEWORKS_TOLD_MAX).map(one).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_end_of_a_task_is_counted() {
        let ends: BTreeSet<TaskState> = (0..64).filter_map(TaskState::from_number).collect();
        let ends: BTreeSet<_> = ends.into_iter().filter(|state| state.is_terminal()).collect();
        assert_eq!(ends, BTreeSet::from(ENDS));
    }

    #[test]
    fn operations_are_counted_by_the_names_that_they_have() {
        let mut counts = Counts::default();
        for kind in ["CREATE_DISK", "NEVER_HEARD_OF"] {
            counts.operation(&Operation::Unsupported { kind: kind.into(), id: None });
        }
        counts.operation(&Operation::Launch(Vec::new()));
        let all: Vec<_> = counts.operations.of(&OPERATIONS).filter(|(_, n)| *n > 0).collect();
        assert_eq!(all, [("launch", 1), ("create_disk", 1)]);
        assert_eq!((counts.operations.sum(), counts.operations_unnamed), (2, 1));
    }
}
