//! ACCEPT: offers are used. They count as a set: if one is dead, nothing of the call is done.

use super::{convert, drop_call, launch};
use crate::authorize;
use crate::note::Note;
use crate::state::frameworks::Framework;
use crate::state::offers::declined;
use crate::state::{Books, Turn};
use model::call::{Accept, Operation, REFUSE_FOR_MAX};
use model::ids::{AgentId, FrameworkId, OfferId, OperationId, TaskId};
use model::offer::Offer;
use model::operation::{OperationState, OperationStatus};
use model::resources::Resources;
use model::role::Role;
use model::task::{InvalidTask, Reason, Source, Status, TaskSpec, TaskState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What the accepted offers are of, and what is left of them as operations use them up.
pub(crate) struct Accepted {
    pub(crate) framework: FrameworkId,
    pub(crate) role: Role,
    pub(crate) agent: AgentId,
    /// One of the offers, by which what is left of all is declined.
    pub(crate) offer: OfferId,
    pub(crate) left: Resources,
    /// Copies of what is shared that launches use. They stay in `left`: others may use them too.
    pub(crate) shared_used: Resources,
    /// What operations have made and later ones of the same call may not use.
    pub(crate) aside: Resources,
}

impl Accepted {
    /// Whether resources are of these offers that say, if they do, for which role they were offered.
    pub(crate) fn check_role(&self, stated: Option<&Role>) -> Result<(), String> {
        match stated {
            Some(stated) if *stated != self.role => Err(format!(
                "The resources are allocated to role '{stated}', but were offered for role '{}'",
                self.role
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Carries the operations out in order, and gives back what they leave.
pub(crate) fn apply(books: &mut Books, framework: &FrameworkId, call: Accept, turn: &mut Turn<'_>) {
    let Accept { offers, operations, refuse_for } = call;
    if let Some(framework) = books.frameworks.get_mut(framework) {
        for operation in &operations {
            framework.counts.operation(operation);
        }
    }
    let ids = match check(books, framework, &offers) {
        Ok(ids) => ids,
        Err(why) => {
            refuse(books, framework, &offers, operations, &why, turn);
            return;
        }
    };
    let mut accepted = take(books, &ids, turn);
    if let Some(framework) = books.frameworks.get_mut(framework) {
        framework.counts.offers_accepted += ids.len() as u64;
    }
    let offered = accepted.left.clone();
    for operation in operations {
        match operation {
            Operation::Launch(tasks) => launch::each(books, &mut accepted, tasks, turn),
            Operation::LaunchGroup { executor, tasks } => {
                launch::group(books, &mut accepted, &executor, &tasks, turn);
            }
            Operation::Convert { id, role, conversion } => {
                let principal = books.frameworks[framework].description.principal.as_deref();
                let may = |conversion| authorize::conversion(books, principal, conversion);
                match conversion.as_ref().map_or(Ok(()), may) {
                    Ok(()) => {
                        convert::apply(books, &mut accepted, id, role.as_ref(), conversion, turn);
                    }
                    Err(why) => refuse_operation(books, framework, id, why, turn),
                }
            }
            Operation::Unsupported { kind, id } => {
                let why = format!("{kind} is not supported");
                refuse_operation(books, framework, id, why, turn);
            }
        }
    }
    give_back(books, accepted, &offered, refuse_for.min(REFUSE_FOR_MAX), turn);
}

/// Gives back what is left of the offers.
fn give_back(
    books: &mut Books,
    accepted: Accepted,
    offered: &Resources,
    refuse_for: Duration,
    turn: &Turn<'_>,
) {
    let Accepted { framework, role, agent, offer, left, shared_used, aside } = accepted;
    let now = turn.now.time;
    // Leftovers of a launch are free at once if the framework says so; an ACCEPT that used nothing is
    // a decline in every respect.
    let is_decline = left == *offered && shared_used.is_empty() && aside.is_empty();
    if !is_decline {
        books.allocator.used(&framework, &role, &agent);
    }
    let is_refused = is_decline || !refuse_for.is_zero();
    let decline = is_refused.then(|| declined(&offer, refuse_for));
    // Of what is shared one copy was given, whoever uses it more often has more.
    let shared = left.shared();
    books.allocator.book(&framework, &role, &agent, &shared_used.minus(&shared));
    let left = left.exclusive().plus(&shared.minus(&shared_used));
    // What is of another kind now was never declined.
    let made = left.minus(offered).plus(&aside);
    let unchanged = left.minus(&left.minus(offered));
    books.allocator.give_back(&framework, &role, &agent, &unchanged, decline, now);
    books.allocator.give_back(&framework, &role, &agent, &made, None, now);
}

/// Whether the offers may be used together; the text says why not. What can be wrong with all of them is
/// looked at in turn, which is part of the protocol.
fn check(
    books: &Books,
    framework: &FrameworkId,
    offers: &[Arc<str>],
) -> Result<BTreeSet<OfferId>, String> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = offers.iter().find(|given| !seen.insert(*given)) {
        return Err(format!("Offer {twice} is listed twice"));
    }
    let known = |given: &Arc<str>| {
        let offer = OfferId::new(given.clone()).ok().and_then(|id| books.offers.get(&id));
        let offer = offer.filter(|offer| offer.framework == *framework);
        offer.ok_or_else(|| format!("Offer {given} is no longer valid"))
    };
    let all = offers.iter().map(known).collect::<Result<Vec<&Arc<Offer>>, _>>()?;
    let Some(first) = all.first() else { return Err("No offers specified".to_owned()) };
    if let Some(other) = all.iter().find(|other| other.role != first.role) {
        return Err(format!(
            "Offer {} is for role {}, but offer {} for role {}; accept them apart",
            other.id, other.role, first.id, first.role
        ));
    }
    if let Some(other) = all.iter().find(|other| other.agent != first.agent) {
        return Err(format!(
            "Offer {} is of agent {}, but offer {} of agent {}; accept them apart",
            other.id, other.agent, first.id, first.agent
        ));
    }
    Ok(all.into_iter().map(|offer| offer.id.clone()).collect())
}

/// Closes the offers and puts what they held together.
fn take(books: &mut Books, ids: &BTreeSet<OfferId>, turn: &mut Turn<'_>) -> Accepted {
    let mut all = ids.iter().filter_map(|id| books.take_offer(id, turn)).collect::<Vec<_>>();
    let first = all.pop().expect("at least one offer was found valid");
    let mut left = first.resources.clone();
    for offer in all {
        left.add(&offer.resources);
    }
    Accepted {
        framework: first.framework.clone(),
        role: first.role.clone(),
        agent: first.agent.clone(),
        offer: first.id.clone(),
        left,
        shared_used: Resources::none(),
        aside: Resources::none(),
    }
}

/// Gives back those offers that are the framework's, and tells it that nothing was launched.
fn refuse(
    books: &mut Books,
    framework: &FrameworkId,
    offers: &[Arc<str>],
    operations: Vec<Operation>,
    why: &str,
    turn: &mut Turn<'_>,
) {
    for given in offers {
        let Ok(id) = OfferId::new(given.clone()) else { continue };
        if books.offers.get(&id).is_some_and(|offer| offer.framework == *framework) {
            books.return_offer(&id, None, turn);
        }
    }
    let mut told_any = false;
    for operation in operations {
        let tasks = match operation {
            Operation::Launch(tasks) | Operation::LaunchGroup { tasks, .. } => tasks,
            Operation::Convert { id, .. } | Operation::Unsupported { id, .. } => {
                told_any |= id.is_some();
                let why = format!("Operation attempted with invalid offers: {why}");
                refuse_operation(books, framework, id, why, turn);
                continue;
            }
        };
        for task in &tasks {
            told_any = true;
            let message = format!("Task launched with invalid offers: {why}");
            let reason = Reason::InvalidOffers;
            refuse_task(books, framework, task, TaskState::Dropped, reason, message, turn);
        }
    }
    if !told_any {
        drop_call(framework, "ACCEPT", why.to_owned(), turn);
    }
}

/// Tells a framework that an operation was not carried out, if it gave the operation an id.
pub(super) fn refuse_operation(
    books: &mut Books,
    framework: &FrameworkId,
    id: Option<OperationId>,
    why: String,
    turn: &mut Turn<'_>,
) {
    drop_call(framework, "ACCEPT", why.clone(), turn);
    if let Some(id) = id {
        // Without an id of its own: there is nothing to acknowledge.
        let mut status = OperationStatus::new(Some(id), OperationState::Error);
        status.message = Some(why.into());
        books.tell_operation(Some(framework), status, turn);
    }
}

/// Tells a framework that a task was not launched.
pub(crate) fn refuse_task(
    books: &mut Books,
    framework: &FrameworkId,
    task: &Result<TaskSpec, InvalidTask>,
    state: TaskState,
    reason: Reason,
    message: String,
    turn: &mut Turn<'_>,
) {
    let (id, agent) = match task {
        Ok(task) => (task.id.clone(), Some(task.agent.clone())),
        Err(invalid) => {
            (TaskId::as_given(invalid.id.clone()), AgentId::new(invalid.agent.clone()).ok())
        }
    };
    let owner = books.frameworks.get(framework);
    let is_aware = owner.is_some_and(Framework::is_partition_aware);
    turn.note(Note::TaskRefused {
        framework: framework.clone(),
        task: id.clone(),
        state: if is_aware { state } else { state.for_unaware() },
        reason,
        why: message.clone(),
    });
    let mut status = Status::new(id, state, Source::Master, turn.now.wall);
    status.agent = agent;
    status.reason = Some(reason);
    status.message = Some(message.into());
    books.tell_update(framework, status, turn);
}
