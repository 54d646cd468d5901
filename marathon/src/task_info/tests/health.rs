//! When health checks are made.

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
