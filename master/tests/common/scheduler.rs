//! A framework that says what it is told to, in JSON or in protobuf.

use std::collections::VecDeque;

use futures::StreamExt;
use model::ids::{AgentId, FrameworkId};
use proto::mesos::v1::scheduler::{Call, Event};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};
use transport::auth::Credential;
use transport::client::RecordStream;
use transport::http::{Encoding, decode};

use super::{Alone, SOON, written};

/// A subscribed framework.
pub struct Scheduler {
    caller: Caller,
    records: RecordStream,
    events: VecDeque<Value>,
    pub id: Value,
    /// What it was told when it was let in.
    pub greeting: Value,
}

/// What calls of a framework are made with.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    url: String,
    encoding: Encoding,
    who: Option<Credential>,
    stream: Option<String>,
    id: Value,
}

impl Caller {
    /// Sends a call; status and text of the answer.
    pub async fn answer(&self, call: &Value) -> (u16, String) {
        let mut call = call.clone();
        call["framework_id"] = self.id.clone();
        let mut request = request(&self.http, &self.url, self.encoding, self.who.as_ref(), &call);
        if let Some(stream) = &self.stream {
            request = request.header("mesos-stream-id", stream);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }
}

impl Scheduler {
    /// Subscribes with `info` as its description.
    pub async fn subscribed(
        master: &Alone,
        encoding: Encoding,
        info: &Value,
        who: Option<Credential>,
    ) -> Self {
        let subscribe = json!({"framework_info": info});
        Self::subscribed_by(master, encoding, &subscribe, who).await.expect("let in")
    }

    /// Subscribes in these words; an error is what the ERROR says, after which the stream has ended.
    pub async fn subscribed_by(
        master: &Alone,
        encoding: Encoding,
        subscribe: &Value,
        who: Option<Credential>,
    ) -> Result<Self, String> {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": subscribe});
        call["framework_id"] = subscribe["framework_info"]["id"].clone();
        let (http, url) = (master.http.clone(), master.url("/api/v1/scheduler"));
        let answer = request(&http, &url, encoding, who.as_ref(), &call).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], encoding.mime());
        let stream = Some(answer.headers()["mesos-stream-id"].to_str().expect("text").to_owned());
        let (records, events) = (RecordStream::new(answer), VecDeque::new());
        let caller = Caller { http, url, encoding, who, stream, id: Value::Null };
        let (id, greeting) = (Value::Null, Value::Null);
        let mut scheduler = Self { caller, records, events, id, greeting };
        let mut first = scheduler.next().await.expect("an event");
        if first["type"] == "ERROR" {
            assert_eq!(scheduler.next().await, None, "nothing follows an ERROR");
            return Err(first["error"]["message"].as_str().expect("text").to_owned());
        }
        assert_eq!(first["type"], "SUBSCRIBED", "{first}");
        scheduler.id = first["subscribed"]["framework_id"].clone();
        scheduler.caller.id = scheduler.id.clone();
        scheduler.greeting = first["subscribed"].take();
        Ok(scheduler)
    }

    /// Sends a call, which must be taken in.
    pub async fn call(&self, call: Value) {
        let (status, text) = self.answer(&call).await;
        assert_eq!((status, &*text), (202, ""), "{call}");
    }

    /// Sends a call; status and text of the answer.
    pub async fn answer(&self, call: &Value) -> (u16, String) {
        self.caller.answer(call).await
    }

    /// Hangs up; what it could call with is left.
    pub fn hang_up(self) -> Caller {
        self.caller
    }

    /// How it writes.
    pub fn encoding(&self) -> Encoding {
        self.caller.encoding
    }

    /// What it has, to call another master with.
    pub fn at(&self, master: &Alone) -> Caller {
        Caller { url: master.url("/api/v1/scheduler"), ..self.caller.clone() }
    }

    /// What it has, with another stream or none.
    pub fn with_stream(&self, stream: Option<&str>) -> Caller {
        Caller { stream: stream.map(str::to_owned), ..self.caller.clone() }
    }

    /// What somebody else would have who knows its stream.
    pub fn of(&self, who: Credential) -> Caller {
        Caller { who: Some(who), ..self.caller.clone() }
    }

    /// Its id, as agents know it.
    pub fn framework(&self) -> FrameworkId {
        FrameworkId::new(self.id["value"].as_str().expect("text")).expect("an id")
    }

    /// The next event of a kind. Others stay for whoever asks for them.
    pub async fn event(&mut self, kind: &str) -> Value {
        let by = Instant::now() + SOON;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["type"] == kind) {
                return self.events.remove(at).expect("it was just found");
            }
            self.hear(kind, by).await;
        }
    }

    /// The next report of a task.
    pub async fn update(&mut self) -> Value {
        self.event("UPDATE").await["update"]["status"].take()
    }

    /// Asks what is known of one task, on an agent if that is named, or of all tasks.
    pub async fn reconcile(&self, task: Option<(&str, Option<&str>)>) {
        let question = |(task, agent): (&str, Option<&str>)| {
            let mut question = json!({"task_id": {"value": task}});
            if let Some(agent) = agent {
                question["agent_id"] = json!({"value": agent});
            }
            question
        };
        let tasks: Vec<Value> = task.map(question).into_iter().collect();
        self.call(json!({"type": "RECONCILE", "reconcile": {"tasks": tasks}})).await;
    }

    /// All that has been said so far and nobody has asked for, without heartbeats.
    pub async fn heard(&mut self) -> Vec<Value> {
        self.catch_up().await;
        self.events.drain(..).filter(|event| event["type"] != "HEARTBEAT").collect()
    }

    /// All of a kind that has been said so far. Others stay for whoever asks for them.
    pub async fn heard_of(&mut self, kind: &str) -> Vec<Value> {
        self.catch_up().await;
        let (meant, others) = self.events.drain(..).partition(|event| event["type"] == kind);
        self.events = others;
        let meant: VecDeque<Value> = meant;
        meant.into()
    }

    /// Takes in all that has been said so far. An answer to a question shows where that ends.
    async fn catch_up(&mut self) {
        // Of an agent that nobody knows: that is answered at once, also after a change of leader.
        self.reconcile(Some(("so-far", Some("nowhere")))).await;
        let is_end = |event: &Value| event["update"]["status"]["task_id"]["value"] == "so-far";
        let by = Instant::now() + SOON;
        while !self.events.back().is_some_and(is_end) {
            self.hear("answer", by).await;
        }
        self.events.pop_back();
    }

    /// Takes in all there is until the stream ends; what came, without heartbeats.
    pub async fn end(&mut self) -> Vec<Value> {
        while let Some(event) = self.next().await {
            self.take_in(event);
        }
        self.events.drain(..).filter(|event| event["type"] != "HEARTBEAT").collect()
    }

    /// The next event off the wire; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        let record = timeout(SOON, self.records.next()).await.expect("in time")?;
        let record = record.expect("a whole record");
        let event: Event = decode(self.caller.encoding, &record, "Event").expect("an event");
        Some(proto::json::to_value(&event))
    }

    /// Takes in one more event, of those that must come `by` then: heartbeats keep no test alive.
    async fn hear(&mut self, awaited: &str, by: Instant) {
        let record = timeout_at(by, self.records.next()).await;
        let record = record.unwrap_or_else(|_| panic!("no {awaited} in time: {:?}", self.events));
        let record = record.expect("the stream lives").expect("a whole record");
        let event: Event = decode(self.caller.encoding, &record, "Event").expect("an event");
        self.take_in(proto::json::to_value(&event));
    }

    /// Keeps an event. An offer that was taken back is none.
    fn take_in(&mut self, event: Value) {
        let gone = event["rescind"]["offer_id"].clone();
        if !gone.is_null() {
            self.take_offer(|offer| offer["id"] == gone);
        }
        self.events.push_back(event);
    }

    /// Takes an offer out of those that have come.
    fn take_offer(&mut self, which: impl Fn(&Value) -> bool) -> Option<Value> {
        let offers = self.events.iter_mut().filter(|event| event["type"] == "OFFERS");
        let mut taken = None;
        for offers in offers.filter_map(|event| event["offers"]["offers"].as_array_mut()) {
            if taken.is_none()
                && let Some(at) = offers.iter().position(&which)
            {
                taken = Some(offers.remove(at));
            }
        }
        self.events.retain(|event| event["offers"]["offers"] != json!([]));
        taken
    }

    /// The next offer of an agent that still stands. Those of others stay.
    pub async fn offer_of(&mut self, agent: &AgentId) -> Value {
        self.catch_up().await;
        let by = Instant::now() + SOON;
        loop {
            if let Some(offer) = self.take_offer(|it| it["agent_id"]["value"] == agent.as_str()) {
                return offer;
            }
            self.hear("offer", by).await;
        }
    }

    /// Waits until an offer is taken back.
    pub async fn rescinded(&mut self, offer: &Value) {
        while self.event("RESCIND").await["rescind"]["offer_id"] != offer["id"] {}
    }

    /// Waits until as much disk is offered as there is, be it in pieces, and takes these offers.
    pub async fn offers_of_disk(&mut self, whole: f64) -> Vec<Value> {
        let by = Instant::now() + SOON;
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
            self.hear("offer of all", by).await;
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
        self.event("UPDATE_OPERATION_STATUS").await["update_operation_status"]["status"].take()
    }
}

fn request(
    http: &reqwest::Client,
    url: &str,
    encoding: Encoding,
    who: Option<&Credential>,
    call: &Value,
) -> reqwest::RequestBuilder {
    let mut request = http.post(url).body(written::<Call>(encoding, call));
    request = request.header("content-type", encoding.mime()).header("accept", encoding.mime());
    if let Some(who) = who {
        request = request.header("authorization", who.basic());
    }
    request
}
