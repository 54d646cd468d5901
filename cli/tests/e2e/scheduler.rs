//! A framework that says JSON over HTTP, as anybody could write one.

use crate::harness::PATIENCE;
use proto::recordio::{Decoder, RECORD_BYTES_MAX};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::time::{Instant, timeout_at};

/// A subscribed framework.
pub(crate) struct Scheduler {
    http: reqwest::Client,
    master: String,
    stream_id: String,
    body: reqwest::Response,
    decoder: Decoder,
    events: VecDeque<Value>,
    pub(crate) id: Value,
}

impl Scheduler {
    /// Subscribes with `info` as the framework's description.
    pub(crate) async fn subscribe(master: &str, info: &Value) -> Self {
        let http = reqwest::Client::new();
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        if let Some(id) = info.get("id") {
            call["framework_id"] = id.clone();
        }
        let url = format!("http://{master}/api/v1/scheduler");
        let body = http.post(url).json(&call).send().await.expect("the master answers");
        assert_eq!(body.status().as_u16(), 200);
        let stream_id = body.headers()["mesos-stream-id"].to_str().expect("text").to_owned();
        let mut scheduler = Self {
            http,
            master: master.to_owned(),
            stream_id,
            body,
            decoder: Decoder::new(RECORD_BYTES_MAX),
            events: VecDeque::new(),
            id: Value::Null,
        };
        let subscribed = scheduler.event("SUBSCRIBED").await;
        scheduler.id = subscribed["subscribed"]["framework_id"].clone();
        scheduler
    }

    /// Sends a call, which must be taken in.
    pub(crate) async fn call(&self, mut call: Value) {
        call["framework_id"] = self.id.clone();
        let url = format!("http://{}/api/v1/scheduler", self.master);
        let request = self.http.post(url).header("Mesos-Stream-Id", &self.stream_id).json(&call);
        let answer = request.send().await.expect("the master answers");
        let status = answer.status().as_u16();
        assert_eq!(status, 202, "{call}: {}", answer.text().await.unwrap_or_default());
    }

    /// The next event of a type. Others stay for whoever asks for them.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["type"] == kind) {
                return self.events.remove(at).expect("it was just found");
            }
            let chunk = timeout_at(deadline, self.body.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no {kind} within {PATIENCE:?}"));
            let chunk = chunk.expect("the stream lives").expect("the stream lives");
            self.decoder.push(&chunk);
            while let Some(record) = self.decoder.next().expect("whole records") {
                self.heard(serde_json::from_slice(&record).expect("JSON"));
            }
        }
    }

    fn heard(&mut self, event: Value) {
        let rescinded = &event["rescind"]["offer_id"];
        self.events
            .retain(|old| rescinded.is_null() || old["offers"]["offers"][0]["id"] != *rescinded);
        self.events.push_back(event);
    }

    /// The next offer. It is alone.
    pub(crate) async fn offer(&mut self) -> Value {
        let offers = self.event("OFFERS").await;
        offers["offers"]["offers"][0].clone()
    }

    /// Does something with an offer, and is offered again what is left at once.
    pub(crate) async fn accept(&self, offer: &Value, operations: Value) {
        let accept = json!({
            "offer_ids": [offer["id"]],
            "operations": operations,
            "filters": {"refuse_seconds": 0.0},
        });
        self.call(json!({"type": "ACCEPT", "accept": accept})).await;
    }

    /// Waits until an operation has come to `state`, and keeps the report.
    pub(crate) async fn operation(&mut self, id: &str, state: &str) {
        let event = self.event("UPDATE_OPERATION_STATUS").await;
        let status = &event["update_operation_status"]["status"];
        assert_eq!(
            (&status["operation_id"]["value"], &status["state"]),
            (&json!(id), &json!(state)),
            "{status}"
        );
        if !status["uuid"].is_null() {
            let acknowledge = json!({
                "agent_id": status["agent_id"],
                "operation_id": status["operation_id"],
                "uuid": status["uuid"]["value"],
            });
            self.call(json!({
                "type": "ACKNOWLEDGE_OPERATION_STATUS",
                "acknowledge_operation_status": acknowledge,
            }))
            .await;
        }
    }

    /// Waits until a task has come to `state`, and keeps all its reports.
    pub(crate) async fn task(&mut self, id: &str, state: &str) -> Value {
        loop {
            let event = self.event("UPDATE").await;
            let status = event["update"]["status"].clone();
            if !status["uuid"].is_null() {
                let acknowledge = json!({
                    "agent_id": status["agent_id"],
                    "task_id": status["task_id"],
                    "uuid": status["uuid"],
                });
                self.call(json!({"type": "ACKNOWLEDGE", "acknowledge": acknowledge})).await;
            }
            if status["task_id"]["value"] == id && status["state"] == state {
                return status;
            }
        }
    }
}
