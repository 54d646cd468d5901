//! The operator's event stream: a snapshot, and from then on every change.
//!
//! Snapshot and events must join without a gap, so the driver takes the one and starts the other
//! between two batches. Encoding happens here, on a task of the subscriber's own.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::{Extensions, header};
use axum::response::{IntoResponse, Response};
use master_core::Note;
use parking_lot::Mutex;
use proto::convert::task::status_to_wire;
use proto::mesos::v1::master::Event;
use proto::mesos::v1::master::event::{self, Type};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use transport::http::Encoding;
use transport::records::{QueueLimits, Records, records};

use super::Api;
use super::event_filter::EventFilter;
use super::viewer::Viewer;
use crate::driver::{FellBehind, Watching};
use crate::view::{View, agent_message, framework_info, task_message};

/// How often a heartbeat comes, which clients are told and act on.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The streams that are open, oldest first.
pub(crate) struct Subscribers {
    open: Mutex<VecDeque<CancellationToken>>,
    max: usize,
}

impl Subscribers {
    pub(crate) fn new(max: usize) -> Self {
        Self { open: Mutex::new(VecDeque::new()), max: max.max(1) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        let mut open = self.open.lock();
        open.retain(|token| !token.is_cancelled());
        open.len()
    }

    /// Makes room for one more: past the limit, the oldest is closed.
    fn admit(&self) -> CancellationToken {
        let mut open = self.open.lock();
        open.retain(|token| !token.is_cancelled());
        while open.len() >= self.max {
            let oldest = open.pop_front().expect("at least one, or there would be room");
            oldest.cancel();
        }
        let token = CancellationToken::new();
        open.push_back(token.clone());
        token
    }
}

/// Opens a stream.
pub(super) async fn subscribe(
    api: &Api,
    viewer: Viewer,
    encoding: Encoding,
    extensions: &Extensions,
) -> Response {
    let watching = match api.driver.watch().await {
        Ok(watching) => watching,
        Err(refused) => return refused.into_response(),
    };
    let (records, body) = records("operator", QueueLimits::default(), extensions);
    let (closed, stop) = (api.subscribers.admit(), api.stop.clone());
    let view = api.view.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = feed(watching, viewer, &view, encoding, &records) => {}
            () = records.closed() => {}
            () = closed.cancelled() => {}
            () = stop.cancelled() => {}
        }
        closed.cancel();
    });
    ([(header::CONTENT_TYPE, encoding.mime())], body).into_response()
}

/// Writes events until there are none any more, or nobody reads them.
async fn feed(
    watching: Watching,
    viewer: Viewer,
    view: &View,
    encoding: Encoding,
    records: &Records,
) {
    let picture = watching.picture;
    let first = tokio::task::spawn_blocking(move || {
        let state = viewer.seen(picture.state()).get_state();
        let filter = EventFilter::of(&viewer, &state);
        let subscribed = event::Subscribed {
            get_state: Some(state),
            heartbeat_interval_seconds: Some(HEARTBEAT.as_secs_f64()),
        };
        let event = Event {
            r#type: Some(Type::Subscribed as i32),
            subscribed: Some(subscribed),
            ..Event::default()
        };
        (encoding.encode(&event), filter)
    });
    let mut notes = watching.notes;
    let Ok((first, mut filter)) = first.await else { return };
    if records.send(&first).is_err() {
        return;
    }
    let heartbeat = Event { r#type: Some(Type::Heartbeat as i32), ..Event::default() };
    let heartbeat = encoding.encode(&heartbeat);
    // The first tick is at once: some clients see a record only when the next one begins.
    let mut beats = interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            biased;
            _ = beats.tick() => records.send(&heartbeat),
            note = notes.next() => match note {
                Ok(Some(note)) => match message(&note, view).and_then(|event| seen(&mut filter, event)) {
                    Some(event) => records.send(&encoding.encode(&event)),
                    None => Ok(()),
                },
                Ok(None) => return,
                // There is a gap after what was sent: the reader must see that the stream has broken.
                Err(FellBehind) => return records.cut(),
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

/// What a subscriber may hear of an event, if anything.
fn seen(filter: &mut Option<EventFilter>, mut event: Event) -> Option<Event> {
    let passes = filter.as_mut().is_none_or(|filter| filter.passes(&mut event));
    passes.then_some(event)
}

/// The event that tells of a note, if there is one.
fn message(note: &Note, view: &View) -> Option<Event> {
    let mut event = Event::default();
    let kind = match note {
        Note::FrameworkAdded(framework) => {
            let framework = view.picture().framework_message(framework);
            event.framework_added = Some(event::FrameworkAdded { framework });
            Type::FrameworkAdded
        }
        Note::FrameworkUpdated(framework) => {
            let framework = view.picture().framework_message(framework);
            event.framework_updated = Some(event::FrameworkUpdated { framework });
            Type::FrameworkUpdated
        }
        Note::FrameworkRemoved(framework) => {
            let framework_info = framework_info(framework);
            event.framework_removed = Some(event::FrameworkRemoved { framework_info });
            Type::FrameworkRemoved
        }
        Note::AgentAdded(agent) => {
            event.agent_added = Some(event::AgentAdded { agent: agent_message(agent) });
            Type::AgentAdded
        }
        Note::AgentRemoved { agent, .. } => {
            event.agent_removed = Some(event::AgentRemoved { agent_id: agent.into() });
            Type::AgentRemoved
        }
        Note::TaskAdded(task) => {
            event.task_added = Some(event::TaskAdded { task: task_message(task) });
            Type::TaskAdded
        }
        Note::TaskUpdated { framework, status, latest } => {
            event.task_updated = Some(event::TaskUpdated {
                framework_id: framework.into(),
                status: status_to_wire(status),
                state: latest.number(),
            });
            Type::TaskUpdated
        }
        Note::ReignBegan { .. }
        | Note::ReignEnded
        | Note::WeightsIgnored
        | Note::FrameworkDisconnected(_)
        | Note::SubscribeRefused { .. }
        | Note::AgentReregistered(_)
        | Note::AgentDisconnected(_)
        | Note::AgentUnreachable { .. }
        | Note::AgentGivenUp(_)
        | Note::AgentBackInTime(_)
        | Note::AgentsForgotten { .. }
        | Note::AgentRefused { .. }
        | Note::ExecutorRemoved { .. }
        | Note::OffersSent { .. }
        | Note::OfferRescinded(_)
        | Note::CallDropped { .. }
        | Note::TaskRefused { .. }
        | Note::OperationUpdated { .. }
        | Note::Relayed { .. }
        | Note::AllocationRan { .. }
        | Note::AgentMessageDropped { .. } => return None,
    };
    event.r#type = Some(kind as i32);
    Some(event)
}
