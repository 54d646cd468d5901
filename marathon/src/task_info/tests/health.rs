//! What agents are told of health checks.

use serde_json::{Value, json};

use super::task;

/// How long the first probe is waited with where the check of an app says this.
fn delay(mut check: Value) -> Value {
    if check["protocol"] == "COMMAND" {
        check["command"] = json!({"value": "true"});
    }
    let body = json!({"id": "/web", "cmd": "serve", "healthChecks": [check]});
    task(&body)["health_check"]["delay_seconds"].clone()
}

#[test]
fn what_marathon_checked_itself_is_looked_at_within_five_seconds() {
    for protocol in ["HTTP", "HTTPS", "TCP"] {
        for (interval, first) in [(60, 5.0), (5, 5.0), (2, 2.0)] {
            let check = json!({"protocol": protocol, "intervalSeconds": interval});
            assert_eq!(delay(check), first, "{protocol} every {interval} s");
        }
        // What is shown for no delay and may come back.
        assert_eq!(delay(json!({"protocol": protocol, "delaySeconds": 15})), 5.0, "{protocol}");
        assert_eq!(delay(json!({"protocol": protocol, "delaySeconds": 0})), 0.0, "{protocol}");
        assert_eq!(delay(json!({"protocol": protocol, "delaySeconds": 40})), 40.0, "{protocol}");
    }
    for protocol in ["COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"] {
        let check = json!({"protocol": protocol, "intervalSeconds": 2});
        assert_eq!(delay(check), 15.0, "{protocol}");
    }
}

#[test]
fn agents_are_told_all_checks_of_an_app() {
    let checks = json!([
        {"protocol": "HTTP", "path": "/a", "ignoreHttp1xx": true},
        {"protocol": "MESOS_TCP", "maxConsecutiveFailures": 7},
        {"protocol": "COMMAND", "command": {"value": "true"}, "intervalSeconds": 5},
    ]);
    let task = task(&json!({"id": "/web", "cmd": "serve", "healthChecks": checks}));
    let first = &task["health_check"];
    let http = &first["http"];
    assert_eq!((&http["path"], &http["ignore_informational"]), (&json!("/a"), &json!(true)));
    let others = first["additional_checks"].as_array().expect("two");
    assert_eq!(others.len(), 2);
    assert_eq!(
        (&others[0]["type"], &others[0]["consecutive_failures"]),
        (&json!("TCP"), &json!(7))
    );
    assert_eq!(others[1]["command"]["value"], "true");
    assert_eq!(others[1]["interval_seconds"], 5.0);
    assert_eq!(others[1].get("additional_checks"), None);
}
