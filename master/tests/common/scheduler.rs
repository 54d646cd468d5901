//! A framework that says what it is told to, in JSON or in protobuf.

use std::collections::VecDeque;

use futures::StreamExt;
use proto::mesos::v1::scheduler::{Call, Event};
use serde_json::{Value, json};
use tokio::time::timeout;
use transport::auth::Credential;
use transport::client::RecordStream;
use transport::http::{Encoding, decode};

use super::{Alone, SOON};

/// A subscribed framework.
pub struct Scheduler {
    http: reqwest::Client,
    url: String,
    encoding: Encoding,
    who: Option<Credential>,
    stream: String,
    records: RecordStream,
    events: VecDeque<Value>,
    pub id: Value,
}

impl Scheduler {
    /// Subscribes with `info` as its description.
    pub async fn subscribed(
        master: &Alone,
        encoding: Encoding,
        info: &Value,
        who: Option<Credential>,
    ) -> Self {
        let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        let (http, url) = (master.http.clone(), master.url("/api/v1/scheduler"));
        let answer = request(&http, &url, encoding, who.as_ref(), &call).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        let stream = answer.headers()["mesos-stream-id"].to_str().expect("text").to_owned();
        let (records, events) = (RecordStream::new(answer), VecDeque::new());
        let mut scheduler =
            Self { http, url, encoding, who, stream, records, events, id: Value::Null };
        let subscribed = scheduler.event("SUBSCRIBED").await;
        scheduler.id = subscribed["subscribed"]["framework_id"].clone();
        scheduler
    }

    /// Sends a call, which must be taken in.
    pub async fn call(&self, mut call: Value) {
        call["framework_id"] = self.id.clone();
        let request = request(&self.http, &self.url, self.encoding, self.who.as_ref(), &call);
        let answer = request.header("mesos-stream-id", &self.stream).send().await;
        let answer = answer.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, 202, "{call}: {text}");
    }

    /// The next event of a kind. Others stay for whoever asks for them.
    pub async fn event(&mut self, kind: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["type"] == kind) {
                return self.events.remove(at).expect("it was just found");
            }
            self.hear(kind).await;
        }
    }

    /// Takes in one more event. An offer that was taken back is none.
    async fn hear(&mut self, awaited: &str) {
        let record = timeout(SOON, self.records.next()).await;
        let record = record.unwrap_or_else(|_| panic!("no {awaited} in time: {:?}", self.events));
        let record = record.expect("the stream lives").expect("a whole record");
        let event: Event = decode(self.encoding, &record, "Event").expect("an event");
        let event = proto::json::to_value(&event);
        let gone = &event["rescind"]["offer_id"];
        self.events.retain(|old| gone.is_null() || old["offers"]["offers"][0]["id"] != *gone);
        self.events.push_back(event);
    }

    /// Waits until as much disk is offered as there is, be it in pieces, and takes these offers.
    pub async fn offers_of_disk(&mut self, whole: f64) -> Vec<Value> {
        loop {
            let offers = self.events.iter().filter(|event| event["type"] == "OFFERS");
            let offers: Vec<&Value> =
                offers.filter_map(|event| event["offers"]["offers"].as_array()).flatten().collect();
            let resources =
                offers.iter().filter_map(|offer| offer["resources"].as_array()).flatten();
            let disk = resources.filter(|resource| resource["name"] == "disk");
            let sum: f64 = disk.filter_map(|disk| disk["scalar"]["value"].as_f64()).sum();
            if (sum - whole).abs() < 0.001 {
                let offers = offers.into_iter().cloned().collect();
                self.events.retain(|event| event["type"] != "OFFERS");
                return offers;
            }
            self.hear("offer of all").await;
        }
    }

    /// Does something with offers, and is offered again what is left at once.
    pub async fn accept(&self, offers: &[Value], operations: Value) {
        let filters = json!({"refuse_seconds": 0.0});
        let ids: Vec<&Value> = offers.iter().map(|offer| &offer["id"]).collect();
        let accept = json!({"offer_ids": ids, "operations": operations, "filters": filters});
        self.call(json!({"type": "ACCEPT", "accept": accept})).await;
    }

    /// The next report of an operation.
    pub async fn operation(&mut self) -> Value {
        self.event("UPDATE_OPERATION_STATUS").await["update_operation_status"]["status"].clone()
    }
}

fn request(
    http: &reqwest::Client,
    url: &str,
    encoding: Encoding,
    who: Option<&Credential>,
    call: &Value,
) -> reqwest::RequestBuilder {
    let message: Call =
        decode(Encoding::Json, call.to_string().as_bytes(), "Call").expect("a call");
    let mut request = http.post(url).body(encoding.encode(&message));
    request = request.header("content-type", encoding.mime()).header("accept", encoding.mime());
    if let Some(who) = who {
        request = request.header("authorization", who.basic());
    }
    request
}
