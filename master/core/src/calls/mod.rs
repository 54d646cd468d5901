//! What frameworks ask for: one file for each call, and here the checks that all calls share.

pub(crate) mod accept;
pub(crate) mod acknowledge;
pub(crate) mod acknowledge_operation;
pub(crate) mod answer_inverse_offers;
mod convert;
pub(crate) mod decline;
pub(crate) mod kill;
pub(crate) mod launch;
pub(crate) mod message;
pub(crate) mod reconcile;
pub(crate) mod reconcile_operations;
pub(crate) mod revive;
pub(crate) mod shutdown;
pub(crate) mod subscribe;
pub(crate) mod suppress;
pub(crate) mod teardown;
mod update_framework;

use crate::io::{Done, Refusal, StreamClaim};
use crate::note::Note;
use crate::state::frameworks::Stream;
use crate::state::{Books, Turn};
use model::call::Call;
use model::ids::{FrameworkId, RequestId};
use model::role::Role;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A call, and who says it is from whom.
pub(crate) struct From {
    pub(crate) request: RequestId,
    pub(crate) framework: FrameworkId,
    pub(crate) stream: StreamClaim,
    pub(crate) principal: Option<Arc<str>>,
}

/// Carries out a call, unless it comes from a stream that is not the framework's.
pub(crate) fn apply(books: &mut Books, from: &From, call: Call, turn: &mut Turn<'_>) {
    if let Err(refusal) = check(books, from) {
        turn.answer(from.request, Err(refusal));
        return;
    }
    let framework = &from.framework;
    if let Some(framework) = books.frameworks.get_mut(framework) {
        framework.counts.call(&call);
    }
    // These two are answered when it is known what came of them.
    let is_answered_later = matches!(call, Call::Teardown | Call::UpdateFramework(_));
    if !is_answered_later {
        turn.answer(from.request, Ok(Done::Accepted));
    }
    match call {
        Call::Teardown => {
            teardown::apply(books, from.request, framework, Done::Accepted, turn);
        }
        Call::UpdateFramework(update) => {
            let principal = from.principal.as_ref();
            update_framework::apply(books, from.request, framework, *update, principal, turn);
        }
        Call::Accept(call) => accept::apply(books, framework, call, turn),
        Call::Decline(call) => decline::apply(books, framework, &call, turn),
        Call::AnswerInverseOffers(call) => {
            answer_inverse_offers::apply(books, framework, &call, turn);
        }
        Call::Revive(roles) => revive::apply(books, framework, &roles, turn),
        Call::Suppress(roles) => suppress::apply(books, framework, &roles, turn),
        Call::Kill(call) => kill::apply(books, framework, call, turn),
        Call::Shutdown(call) => shutdown::apply(books, framework, &call, turn),
        Call::Acknowledge(call) => acknowledge::apply(books, framework, &call, turn),
        Call::AcknowledgeOperation(call) => {
            acknowledge_operation::apply(books, framework, &call, turn);
        }
        Call::Reconcile(tasks) => reconcile::apply(books, framework, &tasks, turn),
        Call::ReconcileOperations(asked) => {
            reconcile_operations::apply(books, framework, &asked, turn);
        }
        Call::Message(call) => message::apply(books, framework, call, turn),
        // Frameworks may ask for resources; the allocator gives what is fair all the same.
        Call::Request => {}
    }
}

/// The order of these is part of the protocol.
fn check(books: &Books, from: &From) -> Result<(), Refusal> {
    let framework = books.frameworks.get(&from.framework).ok_or(Refusal::FrameworkUnknown)?;
    check_principal(from.principal.as_ref(), framework.description.principal.as_ref())?;
    let Stream::Connected { connection, stream } = framework.stream else {
        return Err(Refusal::NotSubscribed);
    };
    let differs = |given| Err(Refusal::StreamDiffers { given, framework: from.framework.clone() });
    match &from.stream {
        StreamClaim::Missing => Err(Refusal::StreamMissing),
        StreamClaim::Given(given) if **given == *stream.to_string() => Ok(()),
        StreamClaim::Given(given) => differs(given.clone()),
        StreamClaim::Connection(given) if *given == connection => Ok(()),
        StreamClaim::Connection(_) => differs("of an earlier connection".into()),
    }
}

/// Whether the caller is who the framework says it is. Who says nothing is whoever calls.
pub fn check_principal(
    authenticated: Option<&Arc<str>>,
    stated: Option<&Arc<str>>,
) -> Result<(), Refusal> {
    match (authenticated, stated) {
        (Some(authenticated), Some(stated)) if authenticated != stated => {
            Err(Refusal::PrincipalDiffers {
                authenticated: authenticated.clone(),
                stated: stated.clone(),
            })
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// Notes that a call was answered and nothing done.
pub(crate) fn drop_call(
    framework: &FrameworkId,
    call: &'static str,
    why: String,
    turn: &mut Turn<'_>,
) {
    turn.note(Note::CallDropped { framework: framework.clone(), call, why });
}

/// The first of `roles` that the framework is not in.
pub(crate) fn foreign_role(
    books: &Books,
    framework: &FrameworkId,
    roles: &BTreeSet<Role>,
) -> Option<Role> {
    let framework = books.frameworks.get(framework)?;
    roles.iter().find(|role| !framework.description.roles.contains(*role)).cloned()
}
