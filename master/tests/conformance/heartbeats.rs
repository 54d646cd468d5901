//! Streams on which nothing happens: a heartbeat all the same, again and again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use transport::http::Encoding;

use crate::common::{Alone, Operator, Scheduler};
use crate::words::{BOTH, framework};

/// How far apart two heartbeats must be at least: the fifteen seconds that clients are told, less what a
/// busy machine may have delayed the first.
const APART: Duration = Duration::from_secs(10);

/// Hears the first heartbeat, which comes at once, and the second.
async fn assert_beats(mut next: impl AsyncFnMut() -> Option<Value>) {
    let heartbeat = json!({"type": "HEARTBEAT"});
    assert_eq!(next().await, Some(heartbeat.clone()));
    let first = Instant::now();
    assert_eq!(next().await, Some(heartbeat));
    assert!(first.elapsed() >= APART, "{:?}", first.elapsed());
}

#[tokio::test]
async fn a_heartbeat_comes_again_after_the_time_that_was_told() {
    let master = Alone::started().await;
    let of_framework = async |encoding: Encoding| {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        assert_eq!(scheduler.greeting["heartbeat_interval_seconds"], 15.0);
        assert_beats(async || scheduler.next().await).await;
    };
    // Operators first: that frameworks come would be news to them.
    let mut watches = Vec::new();
    for encoding in BOTH {
        let (greeting, watch) = Operator::new(&master, encoding).watch().await;
        assert_eq!(greeting["heartbeat_interval_seconds"], 15.0);
        watches.push(watch);
    }
    let [json, protobuf] = BOTH;
    let of_operator = async |mut watch: crate::common::Watch| {
        let mut beats = async || loop {
            let event = watch.next().await?;
            if event["type"] != "FRAMEWORK_ADDED" {
                return Some(event);
            }
        };
        assert_beats(async || beats().await).await;
    };
    let (second, first) = (watches.pop().expect("two"), watches.pop().expect("two"));
    tokio::join!(
        of_framework(json),
        of_framework(protobuf),
        of_operator(first),
        of_operator(second),
    );
}
