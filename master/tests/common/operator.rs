//! An operator who says what they are told to, in JSON or in protobuf.

use proto::mesos::v1::master::{Call, Event, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use transport::auth::Credential;
use transport::client::RecordStream;
use transport::http::{Encoding, decode};

use futures::StreamExt;

use super::{Alone, BOTH, SOON, written};

/// An operator who writes in one encoding.
pub struct Operator<'a> {
    pub master: &'a Alone,
    pub encoding: Encoding,
    /// Who it is, if they say so.
    pub who: Option<Credential>,
}

impl<'a> Operator<'a> {
    pub fn new(master: &'a Alone, encoding: Encoding) -> Self {
        Self { master, encoding, who: None }
    }

    async fn answer(&self, call: &Value) -> reqwest::Response {
        let mime = self.encoding.mime();
        let request = self.master.http.post(self.master.url("/api/v1")).header("accept", mime);
        let mut request =
            request.header("content-type", mime).body(written::<Call>(self.encoding, call));
        if let Some(who) = &self.who {
            request = request.header("authorization", who.basic());
        }
        request.send().await.expect("an answer")
    }

    /// Sends a call and returns status and body: what was said of a refusal, or the answer in JSON.
    pub async fn call(&self, call: &Value) -> (u16, Value) {
        let answer = self.answer(call).await;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a body");
        if status != 200 || body.is_empty() {
            return (status, String::from_utf8_lossy(&body).into_owned().into());
        }
        let response: Response = decode(self.encoding, &body, "Response").expect("an answer");
        (status, proto::json::to_value(&response))
    }

    /// Asks a question that has no body; the part of the answer that is named after it.
    pub async fn ask(&self, kind: &str) -> Value {
        let (status, mut answer) = self.call(&json!({"type": kind})).await;
        assert_eq!(status, 200, "{kind}: {answer}");
        assert_eq!(answer["type"], kind);
        answer[kind.to_lowercase()].take()
    }

    pub async fn done(&self, call: Value) {
        assert_eq!(self.call(&call).await, (200, json!("")), "{call}");
    }

    pub async fn refused(&self, call: Value, status: u16, why: &str) {
        assert_eq!(self.call(&call).await, (status, json!(why)), "{call}");
    }

    /// Subscribes: the snapshot, and the stream of what comes after it.
    pub async fn watch(&self) -> (Value, Watch) {
        let answer = self.answer(&json!({"type": "SUBSCRIBE"})).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], self.encoding.mime());
        assert!(!answer.headers().contains_key("mesos-stream-id"));
        let mut watch = Watch { encoding: self.encoding, records: RecordStream::new(answer) };
        let mut first = watch.next().await.expect("an event");
        assert_eq!(first["type"], "SUBSCRIBED");
        (first["subscribed"].take(), watch)
    }
}

/// Has a story told in JSON, and then in protobuf.
pub async fn operators<S: AsyncFn(Operator<'_>)>(master: &Alone, story: S) {
    for encoding in BOTH {
        story(Operator::new(master, encoding)).await;
    }
}

/// What an operator is told of changes.
pub struct Watch {
    encoding: Encoding,
    records: RecordStream,
}

impl Watch {
    /// The next event, heartbeats included; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        self.next_by(Instant::now() + SOON).await
    }

    async fn next_by(&mut self, by: Instant) -> Option<Value> {
        let record = timeout_at(by, self.records.next()).await.expect("in time")?;
        let record = record.expect("a whole record");
        let event: Event = decode(self.encoding, &record, "Event").expect("an event");
        Some(proto::json::to_value(&event))
    }

    /// The next event that is no heartbeat must be of this kind: its body.
    pub async fn event(&mut self, kind: &str) -> Value {
        let by = Instant::now() + SOON;
        loop {
            let mut event = self.next_by(by).await.expect("the stream goes on");
            if event["type"] != "HEARTBEAT" {
                assert_eq!(event["type"], kind, "{event}");
                return event[kind.to_lowercase()].take();
            }
        }
    }
}
