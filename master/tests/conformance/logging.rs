//! How much a master logs can be changed for a while, by a call and by an endpoint.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::{Alone, operators};
use crate::words::until;

fn set(level: u32, duration: i64) -> Value {
    let body = json!({"level": level, "duration": {"nanoseconds": duration}});
    json!({"type": "SET_LOGGING_LEVEL", "set_logging_level": body})
}

const HOUR: i64 = 3_600_000_000_000;

#[tokio::test]
async fn the_level_of_the_log_is_changed_for_a_while() {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = changes.clone();
    // One process has one log: no other test here changes it.
    transport::logging::install(move |level| seen.lock().push(level));
    let master = Alone::started().await;
    operators(&master, async |operator| {
        let level = async || operator.ask("GET_LOGGING_LEVEL").await["level"].clone();
        assert_eq!(level().await, 0);
        operator.done(set(2, HOUR)).await;
        assert_eq!(level().await, 2);
        for (call, why) in [
            (set(4, HOUR), "Invalid level: expecting a number from 0 to 3"),
            (set(1, -1), "'duration' must not be negative"),
        ] {
            operator.refused(call, 400, why).await;
        }
        assert_eq!(level().await, 2);
        // It ends when the last change does.
        operator.done(set(1, 1)).await;
        until("the log is as before", async || (level().await == 0).then_some(())).await;
    })
    .await;
    assert_eq!(changes.lock().drain(..).collect::<Vec<_>>(), [2, 1, 0, 2, 1, 0]);

    let toggle = async |query: &str| {
        let request = master.http.get(master.url(&format!("/logging/toggle{query}")));
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    for (query, status, text) in [
        ("", 200, "0\n"),
        ("?level=3&duration=1hrs", 200, ""),
        ("", 200, "3\n"),
        ("?level=3", 400, "Expecting 'duration=value' in query"),
        ("?duration=1mins", 400, "Expecting 'level=value' in query"),
        ("?level=x&duration=1mins", 400, "Invalid level: not a number"),
        ("?level=4&duration=1mins", 400, "Invalid level: expecting a number from 0 to 3"),
        ("?level=0&duration=1ns", 200, ""),
    ] {
        assert_eq!(toggle(query).await, (status, text.to_owned()), "{query}");
    }
    let answer = toggle("?level=1&duration=soon").await;
    assert_eq!(answer.0, 400, "{}", answer.1);
    until("the log is as before", async || {
        (toggle("").await == (200, "0\n".to_owned())).then_some(())
    })
    .await;
    assert_eq!(changes.lock()[..2], [3, 0]);
}
