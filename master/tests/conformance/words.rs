//! What the stories here are told in.

use std::time::Duration;

use master::Options;
use model::ids::AgentId;
use serde_json::{Value, json};

pub(crate) use crate::common::BOTH;
use crate::common::Scheduler;

/// What a framework in one role says of itself.
pub(crate) fn framework() -> Value {
    json!({"user": "nobody", "name": "test", "role": "web", "failover_timeout": 3_600.0})
}

/// The same of one that knows these things.
pub(crate) fn able(capabilities: &[&str]) -> Value {
    let capabilities: Vec<Value> =
        capabilities.iter().map(|capability| json!({"type": capability})).collect();
    with(framework(), "capabilities", json!(capabilities))
}

/// The same of one in many roles, or in none.
pub(crate) fn in_roles(roles: &[&str]) -> Value {
    let mut info = able(&["MULTI_ROLE"]);
    info["role"] = Value::Null;
    info["roles"] = json!(roles);
    info
}

/// `value` with one more member, or another one.
pub(crate) fn with(mut value: Value, name: &str, member: Value) -> Value {
    value[name] = member;
    value
}

/// An amount of a resource.
pub(crate) fn amount(name: &str, amount: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": amount}})
}

/// An amount of a resource, reserved for a role by whoever may do so at run time.
pub(crate) fn reserved(name: &str, of: f64, role: &str) -> Value {
    with(amount(name, of), "reservations", json!([{"type": "DYNAMIC", "role": role}]))
}

/// A small command task.
pub(crate) fn task(id: &str, agent: &AgentId) -> Value {
    json!({
        "name": id, "task_id": {"value": id}, "agent_id": {"value": agent.as_str()},
        "command": {"value": "true"}, "resources": [amount("cpus", 0.1), amount("mem", 32.0)],
    })
}

/// The operations of an ACCEPT that launches tasks, each by itself.
pub(crate) fn launch(tasks: &[Value]) -> Value {
    json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}])
}

/// Launches a task by itself, and does not want the rest of the offer.
pub(crate) async fn launch_only(scheduler: &Scheduler, offer: &Value, task: Value) {
    let filters = json!({"refuse_seconds": 3_600.0});
    let accept = json!({
        "offer_ids": [offer["id"]], "operations": launch(&[task]), "filters": filters,
    });
    scheduler.call(json!({"type": "ACCEPT", "accept": accept})).await;
}

/// What is refused is offered again soon, and silence is noticed soon.
pub(crate) fn impatient() -> Options {
    Options {
        allocation_interval: Duration::from_millis(20),
        agent_ping_timeout: Duration::from_millis(500),
        ..Options::default()
    }
}

/// Looks again and again until something is so.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(crate::common::SOON, looking).await;
    found.unwrap_or_else(|_| panic!("not in time: {what}"))
}
