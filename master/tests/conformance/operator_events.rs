//! What operators are told who subscribe: a snapshot, and every change after it.

use master::Options;
use model::link::FromAgent;
use model::task::{Reason, Status, TaskState};
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, Watch, eager, update_id};
use crate::words::{BOTH, framework, launch, task, with};

#[tokio::test]
async fn operators_see_what_is_there_and_then_every_change_in_both_encodings() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let (snapshot, mut watch) = operator.watch().await;
        assert_eq!(snapshot["heartbeat_interval_seconds"], 15.0);
        assert_eq!(snapshot["get_state"]["get_agents"], json!({}));
        assert_eq!(watch.next().await.expect("an event"), json!({"type": "HEARTBEAT"}));

        let mut agent = FakeAgent::registered(master.address()).await;
        let added = watch.event("AGENT_ADDED").await["agent"].take();
        assert_eq!(added["agent_info"]["id"]["value"], agent.id.as_str());
        assert_eq!(added["agent_info"]["hostname"], "localhost");
        assert_eq!((&added["active"], &added["version"]), (&json!(true), &json!("1.11.0")));
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let added = watch.event("FRAMEWORK_ADDED").await["framework"].take();
        assert_eq!(added["framework_info"]["id"], scheduler.id);
        assert_eq!((&added["active"], &added["connected"]), (&json!(true), &json!(true)));

        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        let name = agent.launched().await.tasks[0].id.clone();
        let added = watch.event("TASK_ADDED").await["task"].take();
        assert_eq!(added["task_id"]["value"], "t");
        assert_eq!(added["framework_id"], scheduler.id);
        assert_eq!(added["state"], "TASK_STAGING");
        let id = scheduler.framework();
        agent.report(&id, &name, TaskState::Running, 1).await;
        assert_updated(&mut watch, &scheduler.id, "TASK_RUNNING", "TASK_RUNNING").await;
        // The same state again is no news, unless a check says so. Nor is the same report.
        agent.report(&id, &name, TaskState::Running, 2).await;
        agent.report(&id, &name, TaskState::Running, 2).await;
        let mut healthy = agent.status(&name, TaskState::Running);
        healthy.reason = Some(Reason::TaskHealthCheckStatusUpdated);
        healthy.healthy = Some(true);
        let status = Status { uuid: Some(update_id(3)), ..healthy };
        // The latest state is shown, whichever the report is about.
        let latest = TaskState::Killing;
        agent.say(&FromAgent::StatusUpdate { framework: id.clone(), status, latest }).await;
        assert_updated(&mut watch, &scheduler.id, "TASK_RUNNING", "TASK_KILLING").await;
        agent.report(&id, &name, TaskState::Killed, 4).await;
        assert_updated(&mut watch, &scheduler.id, "TASK_KILLED", "TASK_KILLED").await;

        // Whoever comes now sees all that.
        let (snapshot, _) = operator.watch().await;
        let state = &snapshot["get_state"];
        assert_eq!(state["get_tasks"]["tasks"][0]["state"], "TASK_KILLED");
        let info = with(framework(), "id", scheduler.id.clone());
        let info = with(info, "name", json!("other"));
        let again = Scheduler::subscribed(&master, encoding, &info, None).await;
        let updated = watch.event("FRAMEWORK_UPDATED").await["framework"].take();
        assert_eq!(updated["framework_info"]["name"], "other");
        again.call(json!({"type": "TEARDOWN"})).await;
        let removed = watch.event("FRAMEWORK_REMOVED").await;
        assert_eq!(removed["framework_info"]["id"], scheduler.id);
        agent.say(&FromAgent::Unregister).await;
        let removed = watch.event("AGENT_REMOVED").await;
        assert_eq!(removed, json!({"agent_id": {"value": agent.id.as_str()}}));
        scheduler.end().await;
    }
}

/// The next event must be of the task: a report of `status`, when the task was in `state`.
async fn assert_updated(watch: &mut Watch, framework: &Value, status: &str, state: &str) {
    let updated = watch.event("TASK_UPDATED").await;
    assert_eq!(updated["framework_id"], *framework);
    assert_eq!(updated["status"]["task_id"]["value"], "t");
    assert_eq!((&updated["status"]["state"], &updated["state"]), (&json!(status), &json!(state)));
}

#[tokio::test]
async fn the_oldest_of_too_many_who_watch_is_let_go() {
    let options = Options { max_operator_event_stream_subscribers: 2, ..Options::default() };
    let master = Alone::with(options).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let (_, mut first) = operator.watch().await;
        let (_, mut second) = operator.watch().await;
        let (_, mut third) = operator.watch().await;
        while first.next().await.is_some() {}
        let scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for watch in [&mut second, &mut third] {
            watch.event("FRAMEWORK_ADDED").await;
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        let counted = master.get("/metrics/snapshot").await;
        assert_eq!(counted["master/operator_event_stream_subscribers"], 2.0);
    }
}
