//! A new leader: what it knows at once, what it must be told again, and what it answers meanwhile.

use std::time::Duration;

use master::Options;
use model::link::{FromAgent, ToAgent};
use model::rules::Drain;
use model::task::TaskState;
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager, live};
use crate::words::{BOTH, able, launch_only, task, until, with};

fn asker(is_aware: bool) -> Value {
    let capabilities = if is_aware { &["PARTITION_AWARE"][..] } else { &[] };
    with(able(capabilities), "checkpoint", json!(true))
}

/// Comes back as it was.
async fn again(master: &Alone, scheduler: &Scheduler, is_aware: bool) -> Scheduler {
    let info = with(asker(is_aware), "id", scheduler.id.clone());
    Scheduler::subscribed(master, scheduler.encoding(), &info, None).await
}

/// Asks for a task, and for all; what is answered.
async fn asked(scheduler: &mut Scheduler, task: Option<(&str, Option<&str>)>) -> Vec<Value> {
    scheduler.reconcile(task).await;
    let told = scheduler.heard().await;
    let updates = told.into_iter().filter(|event| event["type"] == "UPDATE");
    updates.map(|mut event| event["update"]["status"].take()).collect()
}

#[tokio::test]
async fn nobody_guesses_about_tasks_while_their_agents_are_still_to_come_back() {
    for (encoding, is_aware) in
        [(BOTH[0], true), (BOTH[0], false), (BOTH[1], true), (BOTH[1], false)]
    {
        let master = Alone::with(eager()).await;
        let mut agent = FakeAgent::registered(master.address()).await;
        let gone = FakeAgent::registered_on(master.address(), None, 5_052).await;
        let body = json!({"agent_id": {"value": gone.id.as_str()}});
        let operator = Operator::new(&master, encoding);
        operator.done(json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": body})).await;
        let info = asker(is_aware);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        launch_only(&scheduler, &offer, task("t", &agent.id)).await;
        let launch = agent.launched().await;
        let back =
            agent.back(vec![launch.framework.clone()], vec![live(&launch, TaskState::Running)]);
        let (here, gone) = (agent.id.to_string(), gone.id.to_string());

        let master = master.restarted().await;
        let former = scheduler;
        let mut scheduler = again(&master, &former, is_aware).await;
        for question in [
            Some(("t", Some(here.as_str()))),
            Some(("x", Some(here.as_str()))),
            Some(("x", None)),
            None,
        ] {
            assert_eq!(asked(&mut scheduler, question).await, [Value::Null; 0], "{question:?}");
        }
        // What an agent that may come back cannot change is answered at once.
        for (agent, aware, why) in [
            (gone.as_str(), "TASK_GONE_BY_OPERATOR", "gone"),
            ("nowhere", "TASK_UNKNOWN", "unknown"),
        ] {
            let told = asked(&mut scheduler, Some(("x", Some(agent)))).await;
            assert_eq!(told[0]["state"], if is_aware { aware } else { "TASK_LOST" });
            assert_eq!(told[0]["message"], format!("Reconciliation: Task is {why}"));
        }

        let agent = FakeAgent::reregistered(master.address(), back).await;
        for question in [Some(("t", Some(here.as_str()))), Some(("t", None)), None] {
            let told = asked(&mut scheduler, question).await;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["state"], "TASK_RUNNING", "{question:?}");
            assert_eq!(told[0]["message"], "Reconciliation: Latest task state");
        }
        let told = asked(&mut scheduler, Some(("x", Some(here.as_str())))).await;
        assert_eq!(told[0]["state"], if is_aware { "TASK_GONE" } else { "TASK_LOST" });
        let told = asked(&mut scheduler, Some(("x", None))).await;
        assert_eq!(told[0]["state"], if is_aware { "TASK_UNKNOWN" } else { "TASK_LOST" });
        agent.say(&FromAgent::Unregister).await;
    }
}

#[tokio::test]
async fn a_framework_that_stays_away_is_over_in_its_time_under_the_next_leader() {
    for encoding in BOTH {
        // The next leader gives everybody as long as it gives agents.
        let short = Duration::from_millis(500);
        let options =
            Options { agent_reregister_timeout: short, agent_ping_timeout: short, ..eager() };
        let master = Alone::with(options).await;
        let info = with(asker(true), "failover_timeout", json!(1.0));
        let scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let id = scheduler.id.clone();
        drop(scheduler);
        let master = master.restarted().await;
        let known = async |list: &str| {
            let state = master.get("/state").await;
            let all = state[list].as_array().expect("a list").clone();
            all.into_iter().find(|framework| framework["id"] == id["value"])
        };
        let recovered = known("frameworks").await.expect("its time has not come");
        assert_eq!(recovered["connected"], json!(false));
        until("it is over", async || known("completed_frameworks").await).await;
        assert_eq!(known("frameworks").await, None);
        let subscribe = json!({"framework_info": with(info, "id", id.clone())});
        let refused = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
        assert_eq!(refused.err().as_deref(), Some("Framework has been removed"));
    }
}

#[tokio::test]
async fn a_new_leader_lists_frameworks_and_agents_as_recovered_until_they_are_back() {
    for encoding in BOTH {
        let master = Alone::with(eager()).await;
        let agent = FakeAgent::registered(master.address()).await;
        let scheduler = Scheduler::subscribed(&master, encoding, &asker(true), None).await;
        let id = agent.id.to_string();
        let master = master.restarted().await;

        let operator = Operator::new(&master, encoding);
        let agents = operator.ask("GET_AGENTS").await;
        assert_eq!(agents["agents"], Value::Null);
        assert_eq!(agents["recovered_agents"][0]["id"]["value"], id);
        let listed = operator.ask("GET_FRAMEWORKS").await["frameworks"].take();
        let shown = &listed[0];
        assert_eq!(shown["framework_info"]["id"], scheduler.id);
        assert_eq!(
            (&shown["recovered"], &shown["connected"], &shown["active"]),
            (&json!(true), &json!(false), &json!(false))
        );
        let state = master.get("/state").await;
        assert_eq!(state["slaves"], json!([]));
        assert_eq!(state["recovered_slaves"][0]["id"], id);
        assert_eq!(state["frameworks"][0]["recovered"], json!(true));
        let listed = master.get("/slaves").await;
        assert_eq!(listed["recovered_slaves"][0]["hostname"], "localhost");

        // The stream of before belongs to the former reign.
        let caller = scheduler.at(&master);
        let refused = caller.answer(&json!({"type": "REVIVE"})).await;
        assert_eq!(refused, (403, "Framework is not subscribed".to_owned()));
        let back = agent.back(Vec::new(), Vec::new());
        let _agent = FakeAgent::reregistered(master.address(), back).await;
        let _scheduler = again(&master, &scheduler, true).await;
        let state = master.get("/state").await;
        assert_eq!(state["slaves"][0]["id"], id);
        assert_eq!(state["recovered_slaves"], json!([]));
        assert_eq!(state["frameworks"][0]["recovered"], json!(false));
        assert!(state["slaves"][0]["reregistered_time"].is_f64());
        assert!(state["frameworks"][0]["reregistered_time"].is_f64());
    }
}

#[tokio::test]
async fn an_agent_that_is_not_back_in_time_has_failed() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    let mut former = Vec::new();
    for encoding in BOTH {
        former.push(Scheduler::subscribed(&master, encoding, &asker(true), None).await);
    }
    let id = agent.id.to_string();
    // So long that frameworks are back before.
    let soon = |options: &mut Options| {
        options.agent_reregister_timeout = Duration::from_secs(5);
    };
    let master = master.restarted_with(soon).await;
    let mut both = Vec::new();
    for scheduler in &former {
        both.push(again(&master, scheduler, true).await);
    }
    for mut scheduler in both {
        let failure = scheduler.event("FAILURE").await["failure"].take();
        assert_eq!(failure, json!({"agent_id": {"value": id}}));
        let told = asked(&mut scheduler, Some(("x", Some(id.as_str())))).await;
        assert_eq!(told[0]["state"], "TASK_UNREACHABLE");
        assert!(told[0]["unreachable_time"]["nanoseconds"].is_i64(), "{told:?}");
        let told = asked(&mut scheduler, Some(("x", None))).await;
        assert_eq!(told[0]["state"], "TASK_UNKNOWN", "nobody is waited for any more");
    }
}

#[tokio::test]
async fn what_operators_have_decided_holds_for_the_next_leader() {
    for encoding in BOTH {
        let master = Alone::with(eager()).await;
        let agent = FakeAgent::registered(master.address()).await;
        let away = json!({"hostname": "away", "ip": "10.1.2.3"});
        let window = json!({
            "machine_ids": [away], "unavailability": {"start": {"nanoseconds": 5}},
        });
        let machines = json!({"machines": [away]});
        let quota = json!({"role": "web", "limits": {"cpus": {"value": 2.0}}});
        let operator = Operator::new(&master, encoding);
        for (kind, body) in [
            ("UPDATE_WEIGHTS", json!({"weight_infos": [{"role": "web", "weight": 2.5}]})),
            ("UPDATE_QUOTA", json!({"quota_configs": [quota]})),
            ("UPDATE_MAINTENANCE_SCHEDULE", json!({"schedule": {"windows": [window]}})),
            ("START_MAINTENANCE", machines),
            ("DEACTIVATE_AGENT", json!({"agent_id": {"value": agent.id.as_str()}})),
        ] {
            operator.done(json!({"type": kind, kind.to_lowercase(): body})).await;
        }
        let questions =
            ["GET_WEIGHTS", "GET_QUOTA", "GET_MAINTENANCE_SCHEDULE", "GET_MAINTENANCE_STATUS"];
        let mut before = Vec::new();
        for question in questions {
            before.push(operator.ask(question).await);
        }
        let back = agent.back(Vec::new(), Vec::new());
        let master = master.restarted().await;
        let operator = Operator::new(&master, encoding);
        for (question, before) in questions.into_iter().zip(before) {
            assert!(before.as_object().is_some_and(|it| !it.is_empty()), "{question}");
            assert_eq!(operator.ask(question).await, before, "{question}");
        }
        let _agent = FakeAgent::reregistered(master.address(), back).await;
        let shown = operator.ask("GET_AGENTS").await["agents"][0].take();
        assert_eq!((&shown["active"], &shown["deactivated"]), (&json!(false), &json!(true)));
        let mut scheduler = Scheduler::subscribed(&master, encoding, &asker(true), None).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "it is still out of service");
        let id = json!({"agent_id": {"value": shown["agent_info"]["id"]["value"]}});
        operator.done(json!({"type": "REACTIVATE_AGENT", "reactivate_agent": id})).await;
        let offer = until("it is offered", async || {
            scheduler.heard().await.into_iter().find(|event| event["type"] == "OFFERS")
        });
        let cpus = offer.await["offers"]["offers"][0]["resources"][0].take();
        assert_eq!(cpus["scalar"]["value"], 2.0, "no more than the limit");
    }
}

#[tokio::test]
async fn an_agent_that_is_drained_is_so_under_the_next_leaders() {
    for encoding in BOTH {
        let master = Alone::with(eager()).await;
        let mut agent = FakeAgent::registered(master.address()).await;
        let mut scheduler = Scheduler::subscribed(&master, encoding, &asker(true), None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        launch_only(&scheduler, &offer, task("t", &agent.id)).await;
        let launch = agent.launched().await;
        let id = json!({"value": agent.id.as_str()});
        let body = json!({"agent_id": id, "max_grace_period": {"seconds": 7}});
        let drain = json!({"type": "DRAIN_AGENT", "drain_agent": body});
        Operator::new(&master, encoding).done(drain).await;
        let told = Some(ToAgent::Drain(Drain {
            grace_max: Some(Duration::from_secs(7)),
            marks_gone: false,
        }));
        assert_eq!(agent.hear().await, told);

        // It is told again by a leader that has not told it yet.
        let frameworks = vec![launch.framework.clone()];
        let back = agent.back(frameworks.clone(), vec![live(&launch, TaskState::Running)]);
        let master = master.restarted().await;
        let mut agent = FakeAgent::reregistered(master.address(), back).await;
        assert_eq!(agent.hear().await, told);
        let operator = Operator::new(&master, encoding);
        let state = async |operator: &Operator<'_>| {
            let agents = operator.ask("GET_AGENTS").await;
            agents["agents"][0]["drain_info"]["state"].clone()
        };
        assert_eq!(state(&operator).await, "DRAINING");
        let reactivate = json!({"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": id}});
        let why = "Agent is still in the DRAINING state";
        operator.refused(reactivate.clone(), 400, why).await;
        let mut scheduler = again(&master, &scheduler, true).await;
        agent.report(&scheduler.framework(), &launch.tasks[0].id, TaskState::Killed, 1).await;
        let status = scheduler.update().await;
        assert_eq!(status["state"], "TASK_KILLED");
        assert_eq!(state(&operator).await, "DRAINING", "its end is not acknowledged yet");
        let body = json!({
            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
        });
        scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": body})).await;
        until("it is drained", async || (state(&operator).await == "DRAINED").then_some(())).await;

        let back = agent.back(Vec::new(), Vec::new());
        let master = master.restarted().await;
        let agent = FakeAgent::reregistered(master.address(), back).await;
        let operator = Operator::new(&master, encoding);
        assert_eq!(state(&operator).await, "DRAINED");
        let mut scheduler = again(&master, &scheduler, true).await;
        assert_eq!(scheduler.heard().await, [Value::Null; 0], "nothing of it is offered");
        operator.done(reactivate).await;
        scheduler.offer_of(&agent.id).await;
    }
}
