//! Agents that leave, in every way there is, and come back: what frameworks are told.

use model::framework::Framework;
use model::ids::{AgentId, ExecutorId};
use model::link::{FromAgent, Launch, LiveTask, ToAgent};
use model::task::{Reason, TaskState};
use serde_json::{Value, json};
use transport::http::Encoding;

use crate::common::{Alone, FakeAgent, Operator, Scheduler, agent_info, eager, live};
use crate::words::{BOTH, able, framework, impatient, launch, launch_only, task, with};

/// A framework that knows PARTITION_AWARE and one that does not, each with a task on the agent that is
/// to outlive it, and the launch of the second one's.
async fn two_with_tasks(
    master: &Alone,
    encoding: Encoding,
    agent: &mut FakeAgent,
) -> ([Scheduler; 2], [Launch; 2]) {
    let mut all = Vec::new();
    for capabilities in [&["PARTITION_AWARE"][..], &[]] {
        let info = with(able(capabilities), "checkpoint", json!(true));
        let mut scheduler = Scheduler::subscribed(master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        // The rest is for the other one.
        launch_only(&scheduler, &offer, task("t", &agent.id)).await;
        let launch = agent.launched().await;
        agent.report(&scheduler.framework(), &launch.tasks[0].id, TaskState::Running, 1).await;
        assert_eq!(scheduler.update().await["state"], "TASK_RUNNING");
        all.push((scheduler, launch));
    }
    let (two, of_two) = all.pop().expect("two were made");
    let (one, of_one) = all.pop().expect("two were made");
    ([one, two], [of_one, of_two])
}

/// What both frameworks must hear of their task, and that the agent has failed.
async fn assert_told(
    both: &mut [Scheduler; 2],
    agent: &AgentId,
    words: [&str; 2],
    reason: &str,
    message: &str,
) {
    for (scheduler, state) in both.iter_mut().zip(words) {
        let status = scheduler.update().await;
        assert_eq!(status["state"], state, "{status}");
        assert_eq!(status["reason"], reason, "{status}");
        assert_eq!(status["message"], message, "{status}");
        assert_eq!(status["source"], "SOURCE_MASTER", "{status}");
        assert_eq!(status["agent_id"]["value"], agent.as_str());
        assert!(status["uuid"].is_null(), "nobody waits for a confirmation: {status}");
        let is_away = message == "The agent is out of contact";
        assert_eq!(!status["unreachable_time"].is_null(), is_away, "{status}");
        let failure = scheduler.event("FAILURE").await["failure"].take();
        assert_eq!(failure, json!({"agent_id": {"value": agent.as_str()}}));
    }
}

async fn end(both: [Scheduler; 2]) {
    for scheduler in both {
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn an_agent_that_unregisters_takes_its_tasks_along_for_everybody() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, _) = two_with_tasks(&master, encoding, &mut agent).await;
        let (_, mut watch) = Operator::new(&master, encoding).watch().await;
        agent.say(&FromAgent::Unregister).await;
        let lost = ["TASK_LOST"; 2];
        assert_told(&mut both, &agent.id, lost, "REASON_AGENT_REMOVED", "The agent was removed")
            .await;
        for _ in 0..2 {
            assert_eq!(watch.event("TASK_UPDATED").await["state"], "TASK_LOST");
        }
        let removed = watch.event("AGENT_REMOVED").await;
        assert_eq!(removed["agent_id"]["value"], agent.id.as_str());
        assert_eq!(agent.hear().await, None, "the link has ended");
        end(both).await;
    }
}

#[tokio::test]
async fn a_machine_that_is_taken_down_takes_its_tasks_along() {
    let master = Alone::with(eager()).await;
    let machine = json!({"hostname": "localhost", "ip": "127.0.0.1"});
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, _) = two_with_tasks(&master, encoding, &mut agent).await;
        let unavailability = json!({"start": {"nanoseconds": 0}});
        let window = json!({"machine_ids": [machine], "unavailability": unavailability});
        let machines = json!({"machines": [machine]});
        for (kind, body) in [
            ("UPDATE_MAINTENANCE_SCHEDULE", json!({"schedule": {"windows": [window]}})),
            ("START_MAINTENANCE", machines.clone()),
        ] {
            operator.done(json!({"type": kind, kind.to_lowercase(): body})).await;
        }
        let told = agent.hear().await;
        let why = "Operator initiated 'Machine DOWN'".to_owned();
        assert_eq!(told, Some(ToAgent::Shutdown { why }));
        let lost = ["TASK_LOST"; 2];
        assert_told(&mut both, &agent.id, lost, "REASON_AGENT_REMOVED", "The agent was removed")
            .await;
        let info = agent_info(5_051);
        let refused = FakeAgent::register(master.address(), None, &info);
        let why = "Machine is DOWN: its maintenance has begun and is not over";
        assert_eq!(refused.await.err().as_deref(), Some(why));
        operator.done(json!({"type": "STOP_MAINTENANCE", "stop_maintenance": machines})).await;
        end(both).await;
    }
}

#[tokio::test]
async fn an_agent_that_is_marked_gone_takes_its_tasks_along_by_their_name() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, _) = two_with_tasks(&master, encoding, &mut agent).await;
        let body = json!({"agent_id": {"value": agent.id.as_str()}});
        let gone = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": body});
        operator.done(gone.clone()).await;
        let states = ["TASK_GONE_BY_OPERATOR", "TASK_LOST"];
        let (reason, why) = ("REASON_AGENT_REMOVED_BY_OPERATOR", "The agent was marked gone");
        assert_told(&mut both, &agent.id, states, reason, why).await;
        let told = agent.hear().await;
        let why = "The agent was marked gone by an operator".to_owned();
        assert_eq!(told, Some(ToAgent::Shutdown { why: why.clone() }));
        operator.done(gone).await;
        end(both).await;
    }
}

#[tokio::test]
async fn an_agent_that_begins_anew_at_its_address_pushes_its_former_self_out() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, _) = two_with_tasks(&master, encoding, &mut agent).await;
        let anew = FakeAgent::registered(master.address()).await;
        assert_ne!(anew.id, agent.id);
        let lost = ["TASK_LOST"; 2];
        assert_told(&mut both, &agent.id, lost, "REASON_AGENT_REMOVED", "The agent was removed")
            .await;
        anew.say(&FromAgent::Unregister).await;
        end(both).await;
    }
}

#[tokio::test]
async fn tasks_out_of_contact_are_told_at_once_and_again_when_they_are_back() {
    let master = Alone::with(impatient()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, launches) = two_with_tasks(&master, encoding, &mut agent).await;
        let back = agent.back(described(&launches), running(&launches));
        let (_, mut watch) = Operator::new(&master, encoding).watch().await;
        let id = agent.id.clone();
        drop(agent);
        let words = ["TASK_UNREACHABLE", "TASK_LOST"];
        let (reason, why) = ("REASON_AGENT_REMOVED", "The agent is out of contact");
        assert_told(&mut both, &id, words, reason, why).await;
        for _ in 0..2 {
            assert_eq!(watch.event("TASK_UPDATED").await["state"], "TASK_UNREACHABLE");
        }
        let state = master.get("/state").await;
        assert_eq!(state["unreachable_slaves"], 1);
        for framework in state["frameworks"].as_array().expect("a list") {
            assert_eq!(framework["unreachable_tasks"][0]["state"], "TASK_UNREACHABLE");
        }
        assert_name_is_taken(&master, &mut both).await;

        let agent = FakeAgent::reregistered(master.address(), back).await;
        assert_eq!(agent.id, id);
        for scheduler in &mut both {
            let status = scheduler.update().await;
            assert_eq!(status["state"], "TASK_RUNNING", "also what was lost: {status}");
            assert_eq!(status["reason"], "REASON_AGENT_REREGISTERED");
            assert!(status["uuid"].is_null(), "nobody waits for a confirmation: {status}");
        }
        // That it was away was no removal; only the other one came and went.
        watch.event("AGENT_ADDED").await;
        watch.event("AGENT_REMOVED").await;
        for _ in 0..2 {
            watch.event("TASK_ADDED").await;
        }
        for _ in 0..2 {
            assert_eq!(watch.event("TASK_UPDATED").await["state"], "TASK_RUNNING");
        }
        let added = watch.event("AGENT_ADDED").await;
        assert_eq!(added["agent"]["agent_info"]["id"]["value"], id.as_str());
        agent.say(&FromAgent::Unregister).await;
        end(both).await;
    }
}

/// A task that is out of contact may come back, so that no other may have its id.
async fn assert_name_is_taken(master: &Alone, both: &mut [Scheduler; 2]) {
    let other = FakeAgent::registered_on(master.address(), None, 5_052).await;
    for scheduler in both.iter_mut() {
        let offer = scheduler.offer_of(&other.id).await;
        launch_only(scheduler, &offer, task("t", &other.id)).await;
        let status = scheduler.update().await;
        assert_eq!(status["state"], "TASK_ERROR");
        assert_eq!(status["reason"], "REASON_TASK_INVALID");
        assert_eq!(status["message"], "Task reuses the ID of an unreachable task: t");
    }
    other.say(&FromAgent::Unregister).await;
    for scheduler in both {
        scheduler.event("FAILURE").await;
    }
}

/// The frameworks of two launches, as their agent knows them.
fn described(launches: &[Launch; 2]) -> Vec<Framework> {
    launches.iter().map(|launch| launch.framework.clone()).collect()
}

/// The tasks of two launches, as their agent knows them.
fn running(launches: &[Launch; 2]) -> Vec<LiveTask> {
    launches.iter().map(|launch| live(launch, TaskState::Running)).collect()
}

#[tokio::test]
async fn the_end_of_a_task_is_kept_when_its_agent_goes_out_of_contact() {
    let master = Alone::with(impatient()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, launches) = two_with_tasks(&master, encoding, &mut agent).await;
        for (scheduler, launch) in both.iter_mut().zip(&launches) {
            let task = &launch.tasks[0].id;
            agent.report(&scheduler.framework(), task, TaskState::Failed, 2).await;
            assert_eq!(scheduler.update().await["state"], "TASK_FAILED");
        }
        drop(agent);
        for scheduler in &mut both {
            scheduler.event("FAILURE").await;
            let told = scheduler.heard().await;
            assert!(told.iter().all(|event| event["type"] == "RESCIND"), "{told:?}");
            let path = format!("/frameworks?framework_id={}", scheduler.framework());
            let shown = master.get(&path).await["frameworks"][0]["unreachable_tasks"].take();
            assert_eq!(shown[0]["state"], "TASK_FAILED");
        }
        end(both).await;
    }
}

#[tokio::test]
async fn a_link_that_breaks_ends_only_what_is_not_to_outlive_its_agent() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let (mut both, launches) = two_with_tasks(&master, encoding, &mut agent).await;
        let mut short = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = short.offer_of(&agent.id).await;
        short.accept(&[offer], launch(&[task("t", &agent.id)])).await;
        agent.launched().await;
        let offer = short.offer_of(&agent.id).await;
        // Killed while the agent is away: it hears of it when it is back.
        let back = agent.back(described(&launches), running(&launches));
        let id = agent.id.clone();
        drop(agent);
        short.rescinded(&offer).await;
        let status = short.update().await;
        assert_eq!(status["state"], "TASK_LOST");
        assert_eq!(status["reason"], "REASON_AGENT_DISCONNECTED");
        assert_eq!(status["message"], "The agent has disconnected");
        for scheduler in &mut both {
            assert_eq!(scheduler.heard().await, [Value::Null; 0], "the agent may be back soon");
            let kill = json!({"task_id": {"value": "t"}});
            scheduler.call(json!({"type": "KILL", "kill": kill})).await;
            // What cannot be sent is not kept: the agent will report again.
            let acknowledge = json!({
                "agent_id": {"value": id.as_str()}, "task_id": {"value": "t"},
                "uuid": "AQEBAQEBQAGAAQEBAQEBAQ==",
            });
            scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": acknowledge})).await;
        }
        let mut agent = FakeAgent::reregistered(master.address(), back).await;
        let mut killed = Vec::new();
        for _ in 0..2 {
            let told = agent.hear().await;
            let Some(ToAgent::Kill { framework, .. }) = told else { panic!("{told:?}") };
            killed.push(framework);
        }
        assert!(both.iter().all(|scheduler| killed.contains(&scheduler.framework())));
        agent.say(&FromAgent::Unregister).await;
        short.call(json!({"type": "TEARDOWN"})).await;
        end(both).await;
    }
}

#[tokio::test]
async fn an_agent_that_is_back_is_told_what_is_expected_of_it() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let (both, launches) = two_with_tasks(&master, encoding, &mut agent).await;
        let [mut kept, over] = both;
        let id = over.framework();
        let mut back = agent.back(described(&launches), running(&launches));
        // The one launch was lost on its way, and the framework of the other is over.
        back.tasks.remove(0);
        back.executors.remove(0);
        drop(agent);
        over.call(json!({"type": "TEARDOWN"})).await;
        let agent = FakeAgent::reregistered(master.address(), back).await;
        let ToAgent::Reregistered { expected, completed, .. } = &agent.greeting else {
            panic!("{:?}", agent.greeting)
        };
        let task = launches[0].tasks[0].id.clone();
        assert_eq!(*expected, [(kept.framework(), task.clone())]);
        assert_eq!(*completed, [id]);
        let mut status = agent.status(&task, TaskState::Dropped);
        status.reason = Some(Reason::Reconciliation);
        let (framework, latest) = (kept.framework(), status.state);
        agent.say(&FromAgent::StatusUpdate { framework, status, latest }).await;
        let status = kept.update().await;
        assert_eq!(status["state"], "TASK_DROPPED");
        assert_eq!(status["reason"], "REASON_RECONCILIATION");
        agent.say(&FromAgent::Unregister).await;
        kept.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn the_end_of_an_executor_is_a_failure_with_its_status() {
    let master = Alone::started().await;
    let agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for status in [Some(256), None] {
            let executor = ExecutorId::new("e").expect("an id");
            let framework = scheduler.framework();
            agent.say(&FromAgent::ExecutorExited { framework, executor, status }).await;
            let failure = scheduler.event("FAILURE").await["failure"].take();
            let mut told = json!({
                "agent_id": {"value": agent.id.as_str()}, "executor_id": {"value": "e"},
            });
            if let Some(status) = status {
                told["status"] = json!(status);
            }
            assert_eq!(failure, told);
        }
    }
}
