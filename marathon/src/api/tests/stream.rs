use futures::StreamExt;
use serde_json::{Value, json};

use super::harness::{Api, PATIENCE};

/// A stream of events, read as it comes.
struct Events {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>>>>,
    text: String,
}

impl Events {
    async fn open(api: &Api, query: &str, last: Option<&str>) -> Self {
        let mut request = api.http.get(format!("{}/v2/events{query}", api.base));
        request = request.header("accept", "text/event-stream").header("accept-encoding", "gzip");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("answered");
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("content-encoding"), "never compressed");
        Self { body: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// The next block: lines up to an empty one.
    async fn next(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\r\n\r\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                // Comments that keep the stream alive may come at any time.
                if !block.starts_with(": still here") {
                    return block;
                }
                continue;
            }
            let next = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("in time");
            let bytes = next.expect("goes on").expect("readable");
            self.text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
    }

    /// The next event: its type, its data and its id.
    async fn event(&mut self) -> (String, Value, String) {
        let block = self.next().await;
        let line = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        let data = serde_json::from_str(&line("data: ")).expect("JSON");
        (line("event: "), data, line("id: "))
    }
}

#[tokio::test]
async fn who_comes_back_is_told_what_was_missed() {
    let api = Api::start().await;
    let query = "?event_type=api_post_event&plan-format=light";
    let mut all = Events::open(&api, "", None).await;
    let (kind, data, id) = all.event().await;
    assert_eq!((kind.as_str(), id.as_str()), ("event_stream_attached", ""));
    assert_eq!(data["eventType"], "event_stream_attached");

    let mut some = Events::open(&api, query, None).await;
    let app = |id: &str| json!({"id": id, "cmd": "x", "instances": 0});
    api.create(&app("/a")).await;
    let (kind, data, last) = some.event().await;
    assert_eq!((kind.as_str(), &data["appDefinition"]["id"]), ("api_post_event", &json!("/a")));
    drop(some);
    api.create(&app("/b")).await;
    api.create(&app("/c")).await;
    let mut some = Events::open(&api, query, Some(&last)).await;
    for id in ["/b", "/c"] {
        assert_eq!(some.event().await.1["appDefinition"]["id"], id);
    }
    api.create(&app("/d")).await;
    assert_eq!(some.event().await.1["appDefinition"]["id"], "/d", "and then what is new");
}

#[tokio::test]
async fn whose_place_is_lost_is_told_so() {
    let api = Api::start().await;
    let mut plain = Events::open(&api, "?event_type=api_post_event", Some("x/7")).await;
    assert_eq!(plain.next().await, ": events were missed, read the state anew");
    let query = "?event_type=api_post_event&event_type=agora_resync";
    let mut asked = Events::open(&api, query, Some("x/7")).await;
    assert_eq!(asked.next().await, ": events were missed, read the state anew");
    assert_eq!(asked.event().await.0, "agora_resync");
    let request = api.http.get(format!("{}/v2/events", api.base)).timeout(PATIENCE);
    let plain = request.header("accept", "application/json").send().await.expect("answered");
    assert_eq!(plain.status(), 405, "the stream must be asked for by its type");
}
