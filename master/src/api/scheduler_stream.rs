//! A framework's calls and its events, however they travel.
//!
//! The two bindings, HTTP and gRPC, come together here: one function subscribes, one carries out a
//! call, one makes the messages of events.

use std::sync::Arc;

use axum::http::StatusCode;
use master_core::{Done, Input, StreamClaim, check_principal};
use model::call::{Call, Subscribe};
use model::event::SchedulerEvent;
use model::framework::Capabilities;
use model::ids::{FrameworkId, OfferId, StreamId};
use proto::convert::scheduler::{self as convert, CallError, SchedulerCall};
use proto::mesos::v1::scheduler;
use proto::mesos::v1::scheduler::call::Type;
use transport::http::Refused;

use super::Shared;
use crate::connections::Queue;
use crate::driver::{Asked, Subscribed, refused};
use crate::gate::Inside;
use crate::meters::Count;

/// A call as it is understood.
pub(super) fn understood(
    api: &Shared,
    mut call: scheduler::Call,
) -> Result<SchedulerCall, Refused> {
    // Whatever becomes of it.
    if call.r#type() == Type::Subscribe {
        let framework = call.subscribe.as_ref().map(|subscribe| &subscribe.framework_info);
        let is_back = framework.is_some_and(|framework| framework.id.is_some());
        api.meters.count(if is_back {
            Count::MessagesReregisterFramework
        } else {
            Count::MessagesRegisterFramework
        });
    }
    if let Some(accept) = &mut call.accept {
        // Offers are shown before their frameworks hear of them. One that is not is of no use either.
        let offer = accept.offer_ids.first().and_then(|id| OfferId::try_from(id).ok());
        let role = offer.and_then(|offer| api.view.role_of(&offer));
        if let Some(role) = role {
            convert::allocate(accept, &role);
        }
    }
    convert::call_from_wire(call).map_err(|error| {
        let status = match &error {
            CallError::Invalid(_) | CallError::UnknownFramework => StatusCode::BAD_REQUEST,
            CallError::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
        };
        Refused::new(status, error.to_string())
    })
}

/// Whose calls this one counts among, and so when it may go on: who has proved to call, or else who the
/// framework says to be.
pub(super) fn counts_as(
    api: &Shared,
    call: &SchedulerCall,
    principal: Option<&Arc<str>>,
) -> Option<Arc<str>> {
    principal.cloned().or_else(|| match call {
        SchedulerCall::Subscribe(subscribe) => subscribe.framework.principal.clone(),
        SchedulerCall::SubscribeRefused { principal, .. } => principal.clone(),
        SchedulerCall::Call(framework, _) => api.view.principal_of(framework),
    })
}

/// A subscription, and what its events are written for.
pub(super) struct Subscription {
    /// What the framework is to hear.
    pub subscribed: Subscribed,
    /// What it understands.
    pub capabilities: Capabilities,
}

/// Carries out SUBSCRIBE.
pub(super) async fn subscribe(
    api: &Shared,
    call: Subscribe,
    principal: Option<Arc<str>>,
) -> Result<Subscription, Refused> {
    let _inside = api.standing.gate.enter()?;
    let capabilities = call.framework.capabilities;
    let subscribed = api.driver.subscribe(call, principal).await?;
    Ok(Subscription { subscribed, capabilities })
}

/// The subscription of whoever says of itself what cannot be. It consists of an ERROR: clients look for
/// it there. Whoever is not who it says to be has none at all.
pub(super) fn error_only(
    why: String,
    stated: Option<&Arc<str>>,
    principal: Option<&Arc<str>>,
) -> Result<Subscription, Refused> {
    check_principal(principal, stated).map_err(|refusal| refused(&refusal))?;
    let events = Queue::of_one(SchedulerEvent::Error(why));
    let stream = StreamId(*uuid::Uuid::new_v4().as_bytes());
    let subscribed = Subscribed { connection: None, stream, events };
    Ok(Subscription { subscribed, capabilities: Capabilities::default() })
}

/// A call that is with the core.
pub(super) struct Called {
    asked: Asked,
    inside: Inside,
}

impl Called {
    /// Waits for how it went.
    pub(super) async fn answer(self) -> Result<Done, Refused> {
        let Self { asked, inside } = self;
        let result = asked.answer().await;
        drop(inside);
        result
    }
}

/// Hands any other call of a framework to the core.
pub(super) fn call(
    api: &Shared,
    framework: FrameworkId,
    call: Call,
    stream: StreamClaim,
    principal: Option<Arc<str>>,
) -> Result<Called, Refused> {
    let inside = api.standing.gate.enter()?;
    api.meters.call(&call);
    let asked =
        api.driver.ask(|request| Input::Call { request, framework, stream, call, principal });
    Ok(Called { asked, inside })
}

/// The message of an event.
pub(super) fn message(
    api: &Shared,
    event: &SchedulerEvent,
    capabilities: Capabilities,
) -> scheduler::Event {
    convert::event_to_wire(event, capabilities, &api.master_info())
}
