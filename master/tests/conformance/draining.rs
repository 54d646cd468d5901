//! Agents that are emptied: what frameworks, operators and the agents themselves see of it.

use std::time::Duration;

use model::link::ToAgent;
use model::rules::Drain;
use model::task::{Reason, Status, TaskState};
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager, update_id};
use crate::words::{BOTH, able, launch_only, task, until, with};

fn call(kind: &str, agent: &FakeAgent, more: Value) -> Value {
    let body = with(more, "agent_id", json!({"value": agent.id.as_str()}));
    json!({"type": kind, kind.to_lowercase(): body})
}

/// The only agent, as GET_AGENTS shows it.
async fn shown(operator: &Operator<'_>) -> Value {
    operator.ask("GET_AGENTS").await["agents"][0].take()
}

/// A framework with a task that runs on the agent.
async fn with_task(operator: &Operator<'_>, agent: &mut FakeAgent) -> Scheduler {
    let info = with(able(&["PARTITION_AWARE"]), "checkpoint", json!(true));
    let mut scheduler =
        Scheduler::subscribed(operator.master, operator.encoding, &info, None).await;
    let offer = scheduler.offer_of(&agent.id).await;
    launch_only(&scheduler, &offer, task("t", &agent.id)).await;
    let name = agent.launched().await.tasks[0].id.clone();
    agent.report(&scheduler.framework(), &name, TaskState::Running, 1).await;
    assert_eq!(scheduler.update().await["state"], "TASK_RUNNING");
    scheduler
}

/// The agent ends its task for the reason it was given, and the framework keeps the report.
async fn end(scheduler: &mut Scheduler, agent: &mut FakeAgent, state: TaskState) {
    let task = model::ids::TaskId::new("t").expect("an id");
    let mut status = agent.status(&task, state);
    status.reason = Some(Reason::AgentDraining);
    let status = Status { uuid: Some(update_id(2)), ..status };
    let framework = scheduler.framework();
    let update = model::link::FromAgent::StatusUpdate { framework, status, latest: state };
    agent.say(&update).await;
    let told = scheduler.update().await;
    assert_eq!(
        (&told["state"], &told["reason"]),
        (&json!(state.name()), &json!("REASON_AGENT_DRAINING"))
    );
    let body =
        json!({"agent_id": told["agent_id"], "task_id": told["task_id"], "uuid": told["uuid"]});
    scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": body})).await;
    assert!(matches!(agent.hear().await, Some(ToAgent::Acknowledge { .. })));
}

#[tokio::test]
async fn an_agent_is_drained_when_its_last_task_is_over_and_may_come_back() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut agent = FakeAgent::registered(master.address()).await;
        let mut scheduler = with_task(&operator, &mut agent).await;
        let grace = json!({"max_grace_period": {"seconds": 7}});
        operator.done(call("DRAIN_AGENT", &agent, grace)).await;
        let drain = Drain { grace_max: Some(Duration::from_secs(7)), marks_gone: false };
        assert_eq!(agent.hear().await, Some(ToAgent::Drain(drain)));
        let agent_shown = shown(&operator).await;
        assert_eq!(agent_shown["drain_info"]["state"], "DRAINING");
        assert_eq!(
            (&agent_shown["active"], &agent_shown["deactivated"]),
            (&json!(false), &json!(true))
        );
        let reactivate = call("REACTIVATE_AGENT", &agent, json!({}));
        let why = "Agent is still in the DRAINING state";
        operator.refused(reactivate.clone(), 400, why).await;
        let state = master.get("/state").await["slaves"][0].take();
        assert_eq!(state["drain_info"]["state"], "DRAINING");
        assert!(state["estimated_drain_start_time_seconds"].is_f64(), "{state}");

        // Asked again, the new way counts. An agent that comes back meanwhile is told once more.
        operator.done(call("DRAIN_AGENT", &agent, json!({}))).await;
        let drain = Drain { grace_max: None, marks_gone: false };
        assert_eq!(agent.hear().await, Some(ToAgent::Drain(drain)));
        end(&mut scheduler, &mut agent, TaskState::Killed).await;
        until("it is drained", async || {
            (shown(&operator).await["drain_info"]["state"] == "DRAINED").then_some(())
        })
        .await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "nothing of it is offered");
        operator.done(reactivate).await;
        scheduler.call(json!({"type": "REVIVE"})).await;
        scheduler.offer_of(&agent.id).await;
        assert_eq!(shown(&operator).await["drain_info"], Value::Null);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.say(&model::link::FromAgent::Unregister).await;
        while agent.hear().await.is_some() {}
    }
}

#[tokio::test]
async fn an_agent_that_is_to_be_gone_is_so_when_it_is_empty() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut agent = FakeAgent::registered(master.address()).await;
        let mut scheduler = with_task(&operator, &mut agent).await;
        let (_, mut watch) = operator.watch().await;
        operator.done(call("DRAIN_AGENT", &agent, json!({"mark_gone": true}))).await;
        let drain = Drain { grace_max: None, marks_gone: true };
        assert_eq!(agent.hear().await, Some(ToAgent::Drain(drain)));
        assert_eq!(shown(&operator).await["drain_info"]["config"]["mark_gone"], true);
        // That it is to be gone, its tasks say as well.
        end(&mut scheduler, &mut agent, TaskState::GoneByOperator).await;
        watch.event("TASK_UPDATED").await;
        let removed = watch.event("AGENT_REMOVED").await;
        assert_eq!(removed["agent_id"]["value"], agent.id.as_str());
        let told = agent.hear().await;
        assert!(matches!(told, Some(ToAgent::Shutdown { .. })), "{told:?}");
        scheduler.event("FAILURE").await;
        scheduler.reconcile(Some(("x", Some(agent.id.as_str())))).await;
        assert_eq!(scheduler.update().await["state"], "TASK_GONE_BY_OPERATOR");
        let reactivate = call("REACTIVATE_AGENT", &agent, json!({}));
        operator.refused(reactivate, 400, "Unknown agent").await;
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}
