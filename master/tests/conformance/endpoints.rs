//! The endpoints that tools read: what they list, in which order, and of whom.

use model::ids::TaskId;
use model::link::FromAgent;
use model::step::Timestamp;
use model::task::{Source, Status, TaskState};
use proto::convert::task::status_from_wire;
use proto::mesos::v1::TaskStatus;
use serde_json::{Value, json};
use transport::http::decode;

use crate::common::{Alone, FakeAgent, Scheduler, update_id};
use crate::words::{BOTH, able, amount, framework, impatient, launch, task, with};

/// Reports a state of a task, at a time of which each second is another one's.
async fn report(
    agent: &FakeAgent,
    scheduler: &Scheduler,
    task: &str,
    second: u64,
    state: TaskState,
) {
    let task = TaskId::new(task).expect("an id");
    let status = agent.status(&task, state);
    let at = Timestamp(second * 1_000_000);
    let status = Status { at, uuid: Some(update_id(1)), ..status };
    let framework = scheduler.framework();
    agent.say(&FromAgent::StatusUpdate { framework, status, latest: state }).await;
}

fn small(id: &str, agent: &FakeAgent) -> Value {
    with(task(id, &agent.id), "resources", json!([amount("cpus", 0.001)]))
}

/// A framework with tasks on an agent, of these names.
async fn with_tasks(master: &Alone, agent: &mut FakeAgent, names: &[String]) -> Scheduler {
    let mut scheduler = Scheduler::subscribed(master, BOTH[0], &framework(), None).await;
    start(&mut scheduler, agent, names).await;
    scheduler
}

/// Launches small tasks of these names.
async fn start(scheduler: &mut Scheduler, agent: &mut FakeAgent, names: &[String]) {
    let offer = scheduler.offer_of(&agent.id).await;
    let tasks: Vec<Value> = names.iter().map(|name| small(name, agent)).collect();
    scheduler.accept(&[offer], launch(&tasks)).await;
    for name in names {
        assert_eq!(agent.launched().await.tasks[0].id.as_str(), name);
    }
}

#[tokio::test]
async fn tasks_are_listed_by_the_page_and_in_order() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let names: Vec<String> = (0..103).map(|n| format!("t{n:03}")).collect();
    let mut scheduler = with_tasks(&master, &mut agent, &names).await;
    for (second, name) in (1_u64..).zip(&names) {
        let state = if second == 2 { TaskState::Finished } else { TaskState::Running };
        report(&agent, &scheduler, name, second, state).await;
        let status = scheduler.update().await;
        if second == 2 {
            let body = json!({
                "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
            });
            scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": body})).await;
        }
    }
    let framework = scheduler.framework();
    let at = |numbers: &[usize]| numbers.iter().map(|n| names[*n].clone()).collect::<Vec<_>>();
    let down: Vec<usize> = (0..103).rev().collect();
    let up: Vec<usize> = (0..103).collect();
    for (query, listed) in [
        (String::new(), &down[..100]),
        ("limit=2".to_owned(), &[102, 101]),
        ("limit=2&order=desc".to_owned(), &[102, 101]),
        ("limit=2&offset=1".to_owned(), &[101, 100]),
        // One that is over is listed among the others.
        ("limit=3&order=asc".to_owned(), &[0, 1, 2]),
        ("limit=3&offset=101&order=asc".to_owned(), &[101, 102]),
        ("offset=103".to_owned(), &[]),
        ("limit=0".to_owned(), &[]),
        ("limit=-1&order=asc".to_owned(), &up),
        ("task_id=t001".to_owned(), &[1]),
        (format!("task_id=t050&framework_id={framework}"), &[50]),
        (format!("limit=1&framework_id={framework}"), &[102]),
        ("framework_id=other".to_owned(), &[]),
    ] {
        let shown = master.get(&format!("/tasks?{query}")).await;
        let shown: Vec<_> = shown["tasks"].as_array().expect("a list").iter().collect();
        let shown: Vec<_> = shown.iter().filter_map(|task| task["id"].as_str()).collect();
        assert_eq!(shown, at(listed), "{query}");
    }
    let shown = master.get("/tasks?task_id=t001").await["tasks"][0].take();
    assert_eq!(shown["state"], "TASK_FINISHED");
    assert_eq!(shown["framework_id"], framework.as_str());
    assert_eq!(shown["executor_id"], "");
    assert_eq!(shown["slave_id"], agent.id.as_str());
    assert_eq!(shown["role"], "web");
    assert_eq!(shown["statuses"], json!([{"state": "TASK_FINISHED", "timestamp": 2.0}]));
    for query in ["limit=x", "offset=x", "limit=1.5"] {
        let answer = master.http.get(master.url(&format!("/tasks?{query}"))).send().await;
        assert_eq!(answer.expect("an answer").status(), 400, "{query}");
    }
}

#[tokio::test]
async fn the_summary_counts_tasks_by_state_for_agents_and_frameworks() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let idle = FakeAgent::registered_on(master.address(), None, 5_052).await;
    let states = [
        ("TASK_STAGING", None),
        ("TASK_STARTING", Some(TaskState::Starting)),
        ("TASK_RUNNING", Some(TaskState::Running)),
        ("TASK_KILLING", Some(TaskState::Killing)),
        ("TASK_FINISHED", Some(TaskState::Finished)),
        ("TASK_FAILED", Some(TaskState::Failed)),
        ("TASK_KILLED", Some(TaskState::Killed)),
        ("TASK_ERROR", Some(TaskState::Error)),
        ("TASK_LOST", Some(TaskState::Lost)),
    ];
    // One in the first state, two in the second, and so on.
    let count = |at: usize| at + 1;
    let each = |at: usize| (0..count(at)).map(move |n| format!("{}-{n}", states[at].0));
    let names: Vec<String> = (0..states.len()).flat_map(each).collect();
    let mut scheduler = with_tasks(&master, &mut agent, &names).await;
    for (at, (_, state)) in states.iter().enumerate() {
        let Some(state) = state else { continue };
        for name in each(at) {
            report(&agent, &scheduler, &name, 1, *state).await;
            scheduler.update().await;
        }
    }
    let summary = master.get("/state-summary").await;
    let of = |list: &str, id: &str| {
        let all = summary[list].as_array().expect("a list");
        all.iter().find(|one| one["id"] == id).expect("it is listed").clone()
    };
    let id = scheduler.framework();
    let (busy, by) = (of("slaves", agent.id.as_str()), of("frameworks", id.as_str()));
    let bored = of("slaves", idle.id.as_str());
    for (at, (name, _)) in states.iter().enumerate() {
        assert_eq!(busy[*name], count(at), "{name}");
        assert_eq!(by[*name], count(at), "{name}");
        assert_eq!(bored[*name], 0, "{name}");
    }
    assert_eq!(busy["TASK_UNREACHABLE"], 0);
    assert_eq!(busy["framework_ids"], json!([id.as_str()]));
    assert_eq!(by["slave_ids"], json!([agent.id.as_str()]));
    assert_eq!(bored["framework_ids"], json!([]));
    assert_eq!(by["tasks"], Value::Null, "it is a summary");
    assert!(summary["hostname"].is_string());
}

#[tokio::test]
async fn the_summary_counts_tasks_out_of_contact() {
    let master = Alone::with(impatient()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let names = ["a", "b", "c"].map(str::to_owned);
    let info = with(able(&["PARTITION_AWARE"]), "checkpoint", json!(true));
    let mut scheduler = Scheduler::subscribed(&master, BOTH[0], &info, None).await;
    start(&mut scheduler, &mut agent, &names).await;
    report(&agent, &scheduler, "a", 1, TaskState::Finished).await;
    scheduler.update().await;
    drop(agent);
    for _ in 0..2 {
        assert_eq!(scheduler.update().await["state"], "TASK_UNREACHABLE");
    }
    let summary = master.get("/state-summary").await;
    assert_eq!(summary["slaves"], json!([]));
    let shown = &summary["frameworks"][0];
    // What has ended there has ended, whatever became of its agent.
    for (state, count) in [("TASK_UNREACHABLE", 2), ("TASK_STAGING", 0), ("TASK_FINISHED", 1)] {
        assert_eq!(shown[state], count, "{state}: {shown}");
    }
    // When their framework is over, so are they.
    scheduler.call(json!({"type": "TEARDOWN"})).await;
    let over = master.get("/state").await["completed_frameworks"][0].take();
    assert_eq!(over["unreachable_tasks"], json!([]));
    assert_eq!(over["completed_tasks"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn reports_are_shown_as_they_came_and_of_equal_states_the_last() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let mut scheduler = with_tasks(&master, &mut agent, &["t".to_owned()]).await;
    let labels = json!({"labels": [{"key": "k", "value": "v"}]});
    let networks = json!([{"ip_addresses": [{"ip_address": "10.0.0.7", "protocol": "IPv4"}]}]);
    let container = json!({"container_id": {"value": "c"}, "network_infos": networks});
    for (n, more) in (1..).zip([
        json!({"state": "TASK_STARTING", "data": "aGk="}),
        json!({"state": "TASK_RUNNING", "healthy": false, "message": "not yet"}),
        json!({"state": "TASK_RUNNING", "healthy": true, "labels": labels,
               "container_status": container}),
    ]) {
        let mut wire = more.clone();
        wire["task_id"] = json!({"value": "t"});
        wire["timestamp"] = json!(f64::from(n));
        wire["uuid"] = json!("AQEBAQEBQAGAAQEBAQEBAQ==");
        let wire = wire.to_string();
        let wire: TaskStatus = decode(BOTH[0], wire.as_bytes(), "TaskStatus").expect("a status");
        let status = status_from_wire(wire, Source::Executor).expect("whole");
        let status = Status { uuid: Some(update_id(n)), ..status };
        let (framework, latest) = (scheduler.framework(), status.state);
        agent.say(&FromAgent::StatusUpdate { framework, status, latest }).await;
        let told = scheduler.update().await;
        for (name, value) in more.as_object().expect("an object") {
            assert_eq!(told[name], *value, "{name}");
        }
    }
    let shown = master.get("/tasks").await["tasks"][0]["statuses"].take();
    let expected = json!([
        {"state": "TASK_STARTING", "timestamp": 1.0},
        {"state": "TASK_RUNNING", "timestamp": 3.0, "healthy": true,
         "labels": [{"key": "k", "value": "v"}], "container_status": container},
    ]);
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn agents_and_frameworks_are_listed_one_by_one_if_asked_for() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let other = FakeAgent::registered_on(master.address(), None, 5_052).await;
    let scheduler = with_tasks(&master, &mut agent, &["t".to_owned()]).await;
    let _idle = Scheduler::subscribed(&master, BOTH[1], &framework(), None).await;
    let (id, of) = (agent.id.as_str(), scheduler.framework());
    for (path, list, count) in [
        ("/slaves".to_owned(), "slaves", 2),
        (format!("/slaves?slave_id={id}"), "slaves", 1),
        (format!("/slaves/{id}"), "slaves", 1),
        (format!("/slaves?slave_id={}", other.id), "slaves", 1),
        ("/slaves?slave_id=nobody".to_owned(), "slaves", 0),
        ("/frameworks".to_owned(), "frameworks", 2),
        (format!("/frameworks?framework_id={of}"), "frameworks", 1),
        (format!("/frameworks/{of}"), "frameworks", 1),
        ("/frameworks?framework_id=nobody".to_owned(), "frameworks", 0),
    ] {
        let shown = master.get(&path).await;
        assert_eq!(shown[list].as_array().map(Vec::len), Some(count), "{path}");
    }
    let shown = master.get(&format!("/slaves?slave_id={id}")).await["slaves"][0].take();
    assert_eq!(shown["id"], id);
    let full = |name: &str| shown[name][0]["scalar"]["value"].clone();
    assert_eq!(shown["used_resources_full"][0]["name"], "cpus");
    assert_eq!(
        (full("used_resources_full"), full("unreserved_resources_full")),
        (json!(0.001), json!(4.0))
    );
    assert_eq!(shown["reserved_resources_full"], json!({}));
}

#[tokio::test]
async fn every_read_endpoint_answers_old_browsers_too() {
    let master = Alone::started().await;
    for path in [
        "/state",
        "/state-summary",
        "/slaves",
        "/frameworks",
        "/tasks",
        "/roles",
        "/weights",
        "/quota",
        "/maintenance/schedule",
        "/maintenance/status",
        "/version",
        "/flags",
        "/metrics/snapshot",
        "/system/stats.json",
    ] {
        for prefix in ["", "/master"] {
            let path = format!("{prefix}{path}");
            let answer = master.http.get(master.url(&format!("{path}?jsonp=f"))).send().await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.headers()["content-type"], "text/javascript", "{path}");
            let text = answer.text().await.expect("a body");
            let inner = text.strip_prefix("f(").and_then(|text| text.strip_suffix(')'));
            let inner = inner.unwrap_or_else(|| panic!("{path}: {text}"));
            serde_json::from_str::<Value>(inner).expect("JSON");
            let bad = master.http.get(master.url(&format!("{path}?jsonp=f(x)"))).send().await;
            let bad = bad.expect("an answer");
            assert_eq!(bad.status(), 400, "{path}");
            let why = "'jsonp' must be a function's name: letters, digits, '_', '$' and '.'";
            assert_eq!(bad.text().await.expect("a body"), why);
            let plain = master.http.get(master.url(&path)).send().await.expect("an answer");
            assert_eq!(plain.headers()["content-type"], "application/json", "{path}");
        }
    }
}
