//! The event stream: who watches, and what they are sent.
//!
//! Events are written out on a task of their own, once for each form that somebody wants. A reader
//! that falls behind is cut off and counted; it can connect again and read the state anew.

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

/// Bytes that may wait for one reader. Plans of large deployments are the largest events.
const BYTES_MAX: usize = 64 << 20;

/// What the task hears.
enum Message {
    Event(Box<Event>),
    Attach(Subscriber),
    CloseAll,
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
    pub(crate) fn attach(
        &self,
        remote: String,
        kinds: Vec<String>,
        wants_light_plans: bool,
        extensions: &Extensions,
    ) -> Body {
        let limits = QueueLimits { records_max: self.outstanding_max, bytes_max: BYTES_MAX };
        let (records, body) = records("marathon events", limits, extensions);
        self.tell(Message::Attach(Subscriber { records, remote, kinds, wants_light_plans }));
        body
    }

    fn tell(&self, message: Message) {
        // The task lives for as long as a bus does.
        let _ = self.messages.send(message);
    }
}

async fn run(mut messages: mpsc::UnboundedReceiver<Message>) {
    let mut subscribers: Vec<Subscriber> = Vec::new();
    let mut keep_alive = tokio::time::interval(KEEP_ALIVE_EVERY);
    keep_alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                None => return,
                Some(Message::Event(event)) => tell_event(&mut subscribers, &event),
                Some(Message::Attach(subscriber)) => {
                    // Its own comes first on its stream: nothing was sent there before.
                    let kind = "event_stream_attached";
                    let body = json!({"remoteAddress": subscriber.remote});
                    subscribers.push(subscriber);
                    tell(&mut subscribers, kind, body);
                }
                Some(Message::CloseAll) => {
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

fn tell_event(subscribers: &mut Vec<Subscriber>, event: &Event) {
    let kind = event.kind();
    let mut written: [Option<Bytes>; 2] = [None, None];
    send(subscribers, |subscriber| {
        subscriber.wants(kind).then(|| {
            let light = subscriber.wants_light_plans;
            let written = &mut written[usize::from(light)];
            written.get_or_insert_with(|| framed(kind, &event.to_json(light))).clone()
        })
    });
}

/// Tells what the bus itself knows.
fn tell(subscribers: &mut Vec<Subscriber>, kind: &'static str, mut body: Value) {
    body["eventType"] = kind.into();
    body["timestamp"] = marathon_core::clock::format(clock::wall()).into();
    let bytes = framed(kind, &body);
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

fn framed(kind: &str, body: &Value) -> Bytes {
    format!("event: {kind}\r\ndata: {body}\r\n\r\n").into()
}
