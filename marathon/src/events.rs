//! The event stream: who watches, and what they are sent.
//!
//! Events are written out on a task of their own, once for each form that somebody wants. A reader
//! that falls behind is cut off and counted; it can connect again and read the state anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Extensions;
use bytes::Bytes;
use marathon_core::event::Event;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use transport::records::{QueueLimits, Records, records};

use crate::clock;

/// How often every stream carries something, so that nobody takes it for dead.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Some clients measure bytes per second and give up below one byte in five minutes' average.
const KEEP_ALIVE: &[u8] = b": still here ....\r\n\r\n";

/// Events kept for readers that come back: some minutes of a busy cluster, and a few MiB. Who was
/// away for longer reads the state anew.
const REPLAY_MAX: usize = 1_024;

/// What a reader is told whose place in the stream is not known any more. The comment is for people;
/// the event only for those who ask for it by name, since others know only Marathon's own.
const MISSED: &[u8] = b": events were missed, read the state anew\r\n\r\n";
const RESYNC: &str = "agora_resync";

/// Bytes that may wait for one reader. Plans of large deployments are the largest events.
const BYTES_MAX: usize = 64 << 20;

/// What the task hears.
enum Message {
    Event(Box<Event>),
    Attach(Subscriber, Option<String>),
    CloseAll,
}

/// Who wants to read events.
pub(crate) struct NewReader {
    /// Its address.
    pub(crate) remote: String,
    /// Kinds it wants; empty means all.
    pub(crate) kinds: Vec<String>,
    pub(crate) wants_light_plans: bool,
    /// The id of the last event it has, if it has one.
    pub(crate) last: Option<String>,
}

struct Subscriber {
    records: Records,
    remote: String,
    /// Kinds it wants; empty means all.
    kinds: Vec<String>,
    wants_light_plans: bool,
}

/// Where events go in and readers attach. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bus {
    messages: mpsc::UnboundedSender<Message>,
    outstanding_max: usize,
}

impl Bus {
    /// Starts the task. It ends when the last bus is dropped.
    pub(crate) fn start(outstanding_max: usize) -> Self {
        let (messages, messages_rx) = mpsc::unbounded_channel();
        tokio::spawn(run(messages_rx));
        Self { messages, outstanding_max }
    }

    /// Tells everybody.
    pub(crate) fn emit(&self, event: Event) {
        self.tell(Message::Event(Box::new(event)));
    }

    /// Ends every stream: what comes next is told by another instance.
    pub(crate) fn close_all(&self) {
        self.tell(Message::CloseAll);
    }

    /// A new reader: the body it reads.
    pub(crate) fn attach(&self, reader: NewReader, extensions: &Extensions) -> Body {
        let NewReader { remote, kinds, wants_light_plans, last } = reader;
        let limits = QueueLimits { records_max: self.outstanding_max, bytes_max: BYTES_MAX };
        let (records, body) = records("marathon events", limits, extensions);
        let subscriber = Subscriber { records, remote, kinds, wants_light_plans };
        self.tell(Message::Attach(subscriber, last));
        body
    }

    fn tell(&self, message: Message) {
        // The task lives for as long as a bus does.
        let _ = self.messages.send(message);
    }
}

async fn run(mut messages: mpsc::UnboundedReceiver<Message>) {
    let mut subscribers: Vec<Subscriber> = Vec::new();
    let mut replay = Replay::new();
    let mut keep_alive = tokio::time::interval(KEEP_ALIVE_EVERY);
    keep_alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                None => return,
                Some(Message::Event(event)) => {
                    let event = Arc::new(*event);
                    let id = replay.push(event.clone());
                    tell_event(&mut subscribers, &event, &id);
                }
                Some(Message::Attach(subscriber, last)) => {
                    // Its own comes first on its stream: nothing was sent there before.
                    let kind = "event_stream_attached";
                    let body = json!({"remoteAddress": subscriber.remote});
                    subscribers.push(subscriber);
                    tell(&mut subscribers, kind, body);
                    if let (Some(last), Some(subscriber)) = (last, subscribers.last()) {
                        catch_up(subscriber, &replay, &last);
                    }
                }
                Some(Message::CloseAll) => {
                    replay = Replay::new();
                    for subscriber in subscribers.drain(..) {
                        subscriber.records.end();
                    }
                }
            },
            _ = keep_alive.tick() => {
                let bytes = Bytes::from_static(KEEP_ALIVE);
                send(&mut subscribers, |_| Some(bytes.clone()));
            }
        }
    }
}

/// The latest events, for readers that come back.
struct Replay {
    /// Tells apart the events of one time of leading from those of others.
    reign: uuid::Uuid,
    /// The number of the next event.
    next: u64,
    events: VecDeque<Arc<Event>>,
}

impl Replay {
    fn new() -> Self {
        Self { reign: uuid::Uuid::new_v4(), next: 0, events: VecDeque::new() }
    }

    /// Keeps `event`. Its id.
    fn push(&mut self, event: Arc<Event>) -> String {
        if self.events.len() == REPLAY_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.next += 1;
        self.id(self.next - 1)
    }

    fn id(&self, number: u64) -> String {
        format!("{}/{number}", self.reign.simple())
    }

    /// Everything after the event with the id `last`; absent if some of it is not there any more, or
    /// was told by another instance.
    fn after(&self, last: &str) -> Option<impl Iterator<Item = (String, &Arc<Event>)>> {
        let (reign, number) = last.split_once('/')?;
        let number: u64 = number.parse().ok()?;
        let first = self.next - u64::try_from(self.events.len()).ok()?;
        let is_here = reign == self.reign.simple().to_string();
        if !is_here || number >= self.next || number + 1 < first {
            return None;
        }
        let skipped = usize::try_from(number + 1 - first).ok()?;
        let rest = self.events.iter().enumerate().skip(skipped);
        Some(rest.map(move |(index, event)| (self.id(first + index as u64), event)))
    }
}

/// Sends a reader that was here before what it has missed, or tells it that this cannot be had.
fn catch_up(subscriber: &Subscriber, replay: &Replay, last: &str) {
    let Some(missed) = replay.after(last) else {
        // Whoever falls behind here is found out at the next event.
        let _ = subscriber.records.send_framed(Bytes::from_static(MISSED));
        if subscriber.kinds.iter().any(|kind| kind == RESYNC) {
            let body = json!({"eventType": RESYNC,
                              "timestamp": marathon_core::clock::format(clock::wall())});
            let _ = subscriber.records.send_framed(framed(RESYNC, &body, None));
        }
        return;
    };
    for (id, event) in missed.filter(|(_, event)| subscriber.wants(event.kind())) {
        let body = event.to_json(subscriber.wants_light_plans);
        let _ = subscriber.records.send_framed(framed(event.kind(), &body, Some(&id)));
    }
}

fn tell_event(subscribers: &mut Vec<Subscriber>, event: &Event, id: &str) {
    let kind = event.kind();
    let mut written: [Option<Bytes>; 2] = [None, None];
    send(subscribers, |subscriber| {
        subscriber.wants(kind).then(|| {
            let light = subscriber.wants_light_plans;
            let written = &mut written[usize::from(light)];
            written.get_or_insert_with(|| framed(kind, &event.to_json(light), Some(id))).clone()
        })
    });
}

/// Tells what the bus itself knows.
fn tell(subscribers: &mut Vec<Subscriber>, kind: &'static str, mut body: Value) {
    body["eventType"] = kind.into();
    body["timestamp"] = marathon_core::clock::format(clock::wall()).into();
    let bytes = framed(kind, &body, None);
    send(subscribers, |subscriber| subscriber.wants(kind).then(|| bytes.clone()));
}

/// Sends to each what `what` makes for it. Those that have gone are told of to the others.
fn send(subscribers: &mut Vec<Subscriber>, mut what: impl FnMut(&Subscriber) -> Option<Bytes>) {
    let gone: Vec<_> = subscribers
        .extract_if(.., |subscriber| {
            let is_sent =
                what(subscriber).is_none_or(|it| subscriber.records.send_framed(it).is_ok());
            !is_sent || subscriber.records.is_closed()
        })
        .collect();
    for subscriber in gone {
        tell(subscribers, "event_stream_detached", json!({"remoteAddress": subscriber.remote}));
    }
}

impl Subscriber {
    fn wants(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }
}

/// One event. The id comes last: there are readers that know only the lines before it.
fn framed(kind: &str, body: &Value, id: Option<&str>) -> Bytes {
    let id = id.map(|id| format!("id: {id}\r\n")).unwrap_or_default();
    format!("event: {kind}\r\ndata: {body}\r\n{id}\r\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use marathon_core::event::Happening;
    use model::step::Timestamp;

    #[test]
    fn what_was_missed_is_known_as_far_back_as_it_is_kept() {
        let event =
            |n| Arc::new(Event { at: Timestamp(n), what: Happening::SchedulerDisconnected });
        let mut replay = Replay::new();
        let ids: Vec<_> = (0..3).map(|n| replay.push(event(n))).collect();
        let after = |replay: &Replay, id: &str| {
            let missed = replay.after(id)?;
            Some(missed.map(|(_, event)| event.at.0).collect::<Vec<_>>())
        };
        assert_eq!(after(&replay, &ids[0]), Some(vec![1, 2]));
        assert_eq!(after(&replay, &ids[2]), Some(vec![]));
        assert_eq!(replay.after(&ids[1]).expect("known").next().expect("one").0, ids[2]);
        for foreign in ["", "x/1", &format!("{}/9", replay.reign.simple()), &Replay::new().id(0)] {
            assert_eq!(after(&replay, foreign), None, "{foreign}");
        }
        for n in 0..REPLAY_MAX as u64 {
            replay.push(event(n));
        }
        assert_eq!(after(&replay, &ids[1]), None, "too long ago");
        assert_eq!(after(&replay, &ids[2]).map(|it| it.len()), Some(REPLAY_MAX));
    }
}
