//! What flags of a master change for those who speak to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use master::{Options, RemovalRate};
use model::link::{FaultDomain, FromAgent};
use model::task::TaskState;
use proto::mesos::v1::domain_info::FaultDomain as WireFaultDomain;
use proto::mesos::v1::domain_info::fault_domain::{RegionInfo, ZoneInfo};
use proto::mesos::v1::{AgentInfo, DomainInfo};
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, agent_info, eager, scalar};
use crate::words::{
    BOTH, able, amount, framework, impatient, launch, launch_only, task, until, with,
};

#[tokio::test]
async fn clients_are_told_the_address_that_is_advertised() {
    let advertised = Options {
        advertise_ip: Some([10, 9, 8, 7].into()),
        advertise_port: Some(1_234),
        hostname: Some("leader.example".to_owned()),
        cluster: Some("blue".to_owned()),
        ..Options::default()
    };
    let master = Alone::with(advertised).await;
    for encoding in BOTH {
        let scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let told = &scheduler.greeting["master_info"];
        assert_eq!(told["hostname"], "leader.example");
        assert_eq!(told["port"], 1_234);
        assert_eq!(told["pid"], "master@10.9.8.7:1234");
        let address = json!({"hostname": "leader.example", "ip": "10.9.8.7", "port": 1_234});
        assert_eq!(told["address"], address);
        let answered = Operator::new(&master, encoding).ask("GET_MASTER").await;
        assert_eq!(answered["master_info"]["address"], address);
    }
    let state = master.get("/state").await;
    assert_eq!(state["pid"], "master@10.9.8.7:1234");
    assert_eq!(state["leader"], "master@10.9.8.7:1234");
    assert_eq!(state["hostname"], "leader.example");
    assert_eq!(state["leader_info"]["hostname"], "leader.example");
    assert_eq!(state["leader_info"]["port"], 1_234);
    assert_eq!(state["cluster"], "blue");
    assert_eq!(master.get("/state-summary").await["cluster"], "blue");
    let answer = master.http.get(master.url("/redirect")).send().await.expect("an answer");
    assert_eq!(answer.headers()["location"], "//leader.example:1234");
}

/// Launches a task and has its end acknowledged.
async fn finished(scheduler: &mut Scheduler, agent: &mut FakeAgent, name: &str) {
    let offer = scheduler.offer_of(&agent.id).await;
    scheduler.accept(&[offer], launch(&[task(name, &agent.id)])).await;
    let id = agent.launched().await.tasks[0].id.clone();
    agent.report(&scheduler.framework(), &id, TaskState::Finished, 1).await;
    let status = scheduler.update().await;
    let body = json!({
        "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
    });
    scheduler.call(json!({"type": "ACKNOWLEDGE", "acknowledge": body})).await;
    agent.hear().await.expect("it is told");
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect()
}

#[tokio::test]
async fn of_what_is_over_no_more_is_remembered_than_told() {
    let options =
        Options { max_completed_frameworks: 1, max_completed_tasks_per_framework: 2, ..eager() };
    let master = Alone::with(options).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    let mut over = Vec::new();
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        for name in ["a", "b", "c"] {
            finished(&mut scheduler, &mut agent, name).await;
        }
        let path = format!("/frameworks?framework_id={}", scheduler.framework());
        let shown = master.get(&path).await["frameworks"][0].take();
        assert_eq!(
            BTreeSet::from_iter(names(&shown["completed_tasks"])),
            BTreeSet::from(["b", "c"])
        );
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        over.push(scheduler.framework().to_string());
    }
    let state = master.get("/state").await;
    assert_eq!(names(&state["completed_frameworks"]), [over[1].as_str()]);
}

#[tokio::test]
async fn of_tasks_out_of_contact_the_oldest_give_way() {
    let options = Options { max_unreachable_tasks_per_framework: 2, ..impatient() };
    let master = Alone::with(options).await;
    for encoding in BOTH {
        let mut agent = FakeAgent::registered(master.address()).await;
        let info = with(able(&["PARTITION_AWARE"]), "checkpoint", json!(true));
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let tasks = ["a", "b", "c"].map(|name| task(name, &agent.id));
        scheduler.accept(&[offer], launch(&tasks)).await;
        for _ in 0..3 {
            agent.launched().await;
        }
        drop(agent);
        for _ in 0..3 {
            assert_eq!(scheduler.update().await["state"], "TASK_UNREACHABLE");
        }
        let path = format!("/frameworks?framework_id={}", scheduler.framework());
        let shown = master.get(&path).await["frameworks"][0].take();
        assert_eq!(
            BTreeSet::from_iter(names(&shown["unreachable_tasks"])),
            BTreeSet::from(["b", "c"])
        );
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

/// An agent with GPUs.
fn with_gpus() -> AgentInfo {
    let mut info = agent_info(5_051);
    info.resources.push(scalar("gpus", 2.0));
    info
}

#[tokio::test]
async fn agents_with_gpus_are_for_those_who_can_use_them_unless_told_otherwise() {
    for filter_gpu_resources in [true, false] {
        let master = Alone::with(Options { filter_gpu_resources, ..eager() }).await;
        let agent = FakeAgent::registered_with(master.address(), &with_gpus()).await;
        for encoding in BOTH {
            let mut plain = Scheduler::subscribed(&master, encoding, &framework(), None).await;
            if filter_gpu_resources {
                let info = able(&["GPU_RESOURCES"]);
                let mut user = Scheduler::subscribed(&master, encoding, &info, None).await;
                let offer = user.offer_of(&agent.id).await;
                let resources = offer["resources"].as_array().expect("a list");
                assert!(resources.iter().any(|resource| resource["name"] == "gpus"), "{offer}");
                assert_eq!(plain.heard().await, [Value::Null; 0]);
                user.call(json!({"type": "TEARDOWN"})).await;
            } else {
                plain.offer_of(&agent.id).await;
            }
            plain.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}

#[tokio::test]
async fn what_does_not_count_as_a_share_does_not_decide_whose_turn_it_is() {
    for (excluded, next) in [(&[][..], "cpus"), (&["gpus"][..], "gpus")] {
        let fair_sharing_excluded: BTreeSet<Arc<str>> =
            excluded.iter().map(|name| Arc::from(*name)).collect();
        let master = Alone::with(Options { fair_sharing_excluded, ..eager() }).await;
        let agent = FakeAgent::registered_with(master.address(), &with_gpus()).await;
        let mut all = Vec::new();
        // One uses all GPUs there are and nearly nothing else, the other some of everything else.
        for (role, used) in [("gpus", amount("gpus", 2.0)), ("cpus", amount("cpus", 2.0))] {
            let info = with(able(&["GPU_RESOURCES"]), "role", json!(role));
            let mut scheduler = Scheduler::subscribed(&master, BOTH[0], &info, None).await;
            let offer = scheduler.offer_of(&agent.id).await;
            let task = with(task("t", &agent.id), "resources", json!([used, amount("mem", 1.0)]));
            launch_only(&scheduler, &offer, task).await;
            all.push((role, scheduler));
        }
        let fresh = FakeAgent::registered_on(master.address(), None, 5_052).await;
        for (role, scheduler) in &mut all {
            if *role == next {
                scheduler.offer_of(&fresh.id).await;
            }
        }
        for (role, scheduler) in &mut all {
            if *role != next {
                let told = scheduler.heard().await;
                assert_eq!(told, [Value::Null; 0], "{role} is not next with {excluded:?}");
            }
        }
    }
}

#[tokio::test]
async fn only_listed_hosts_are_offered_and_the_list_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let list = dir.path().join("hosts");
    std::fs::write(&list, "one\n").expect("room on the disk");
    let master = Alone::with(Options { whitelist: Some(list.clone()), ..eager() }).await;
    let mut agents = Vec::new();
    for (port, name) in [(5_051, "one"), (5_052, "two")] {
        let info = AgentInfo { hostname: name.to_owned(), ..agent_info(port) };
        agents.push(FakeAgent::registered_with(master.address(), &info).await);
    }
    let mut scheduler = Scheduler::subscribed(&master, BOTH[0], &framework(), None).await;
    scheduler.offer_of(&agents[0].id).await;
    assert_eq!(scheduler.heard().await, [Value::Null; 0]);
    std::fs::write(&list, "two\n").expect("room on the disk");
    let offer = scheduler.offer_of(&agents[1].id).await;
    assert_eq!(offer["hostname"], "two");
}

fn standing_in(region: &str, port: u16) -> AgentInfo {
    let fault_domain = Some(WireFaultDomain {
        region: RegionInfo { name: region.to_owned() },
        zone: ZoneInfo { name: "z".to_owned() },
    });
    AgentInfo { domain: Some(DomainInfo { fault_domain }), ..agent_info(port) }
}

#[tokio::test]
async fn agents_say_where_they_stand_if_and_only_if_the_master_does() {
    let master = Alone::started().await;
    let refused = FakeAgent::register(master.address(), None, &standing_in("north", 5_051)).await;
    let why =
        "The agent says that it stands in north/z, and the master has no --domain: give it one";
    assert_eq!(refused.err().as_deref(), Some(why));

    let domain = Some(FaultDomain::parse("north/z").expect("a domain"));
    let master = Alone::with(Options { domain, require_agent_domain: true, ..eager() }).await;
    let refused = FakeAgent::register(master.address(), None, &agent_info(5_051)).await;
    let why = "The agent has no --domain, and the master lets in only agents that have one";
    assert_eq!(refused.err().as_deref(), Some(why));
    let near = FakeAgent::registered_with(master.address(), &standing_in("north", 5_051)).await;
    let far = FakeAgent::registered_with(master.address(), &standing_in("south", 5_052)).await;
    let shown = json!({"fault_domain": {"region": {"name": "north"}, "zone": {"name": "z"}}});
    assert_eq!(master.get("/state").await["domain"], shown);
    for encoding in BOTH {
        // Where an agent stands is a constraint like others.
        for (what, name, agent) in [("REGION", "south", &far), ("REGION", "north", &near)] {
            let predicate = json!({"text_equals": {"value": name}});
            let one = json!({"selector": {"pseudoattribute_type": what}, "predicate": predicate});
            let zone = json!({"selector": {"pseudoattribute_type": "ZONE"},
                              "predicate": {"text_matches": {"regex": "z|y"}}});
            let groups = json!([{"attribute_constraints": [one, zone]}]);
            let constraints = json!({"role_constraints": {"web": {"groups": groups}}});
            let subscribe = json!({"framework_info": able(&["REGION_AWARE"]),
                                   "offer_constraints": constraints});
            let picky = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            let mut picky = picky.expect("let in");
            picky.offer_of(&agent.id).await;
            assert_eq!(picky.heard().await, [Value::Null; 0], "no other one is in {name}");
            picky.call(json!({"type": "TEARDOWN"})).await;
        }
        let mut local = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let offer = local.offer_of(&near.id).await;
        assert_eq!(offer["domain"], shown);
        let info = able(&["REGION_AWARE"]);
        let mut aware = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = aware.offer_of(&far.id).await;
        assert_eq!(offer["domain"]["fault_domain"]["region"]["name"], "south");
        assert_eq!(local.heard().await, [Value::Null; 0]);
        for scheduler in [local, aware] {
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}

#[tokio::test]
async fn whoever_takes_absence_for_loss_loses_one_agent_after_the_other() {
    let agent_removal_rate = Some(RemovalRate::parse("1/1hrs").expect("a rate"));
    let master = Alone::with(Options { agent_removal_rate, ..impatient() }).await;
    let agents = [
        FakeAgent::registered(master.address()).await,
        FakeAgent::registered_on(master.address(), None, 5_052).await,
    ];
    let aware = able(&["PARTITION_AWARE"]);
    let mut aware = Scheduler::subscribed(&master, BOTH[0], &aware, None).await;
    let mut unaware = Scheduler::subscribed(&master, BOTH[1], &framework(), None).await;
    drop(agents);
    for _ in 0..2 {
        aware.event("FAILURE").await;
    }
    unaware.event("FAILURE").await;
    let told = unaware.heard().await;
    assert!(told.iter().all(|event| event["type"] != "FAILURE"), "{told:?}");
    assert_eq!(master.get("/state").await["unreachable_slaves"], 2, "that is marked at once");
}

/// What is known of a task on an agent.
async fn asked(scheduler: &mut Scheduler, agent: &str) -> Value {
    scheduler.reconcile(Some(("x", Some(agent)))).await;
    scheduler.update().await["state"].take()
}

#[tokio::test]
async fn agents_that_are_gone_are_forgotten_by_number_and_with_age() {
    let registry_gc_interval = Duration::from_millis(50);
    let few = Options { registry_gc_interval, registry_max_agent_count: 1, ..eager() };
    let young = Options { registry_gc_interval, registry_max_agent_age: Duration::ZERO, ..eager() };
    for (options, last) in [(few, "TASK_GONE_BY_OPERATOR"), (young, "TASK_UNKNOWN")] {
        let master = Alone::with(options).await;
        let info = able(&["PARTITION_AWARE"]);
        let mut scheduler = Scheduler::subscribed(&master, BOTH[1], &info, None).await;
        let mut gone = Vec::new();
        for port in [5_051, 5_052] {
            let agent = FakeAgent::registered_on(master.address(), None, port).await;
            let body = json!({"agent_id": {"value": agent.id.as_str()}});
            let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": body});
            assert_eq!(master.post("/api/v1", &call).await.status(), 200);
            gone.push(agent.id.to_string());
        }
        for (agent, state) in gone.iter().zip(["TASK_UNKNOWN", last]) {
            let so = async || (asked(&mut scheduler, agent).await == state).then_some(());
            until(state, so).await;
        }
    }
}

#[tokio::test]
async fn an_agent_that_unregisters_is_removed_whatever_the_rate() {
    let agent_removal_rate = Some(RemovalRate::parse("1/1hrs").expect("a rate"));
    let master = Alone::with(Options { agent_removal_rate, ..eager() }).await;
    let mut unaware = Scheduler::subscribed(&master, BOTH[0], &framework(), None).await;
    for port in [5_051, 5_052] {
        let agent = FakeAgent::registered_on(master.address(), None, port).await;
        unaware.offer_of(&agent.id).await;
        agent.say(&FromAgent::Unregister).await;
        let failure = unaware.event("FAILURE").await["failure"].take();
        assert_eq!(failure, json!({"agent_id": {"value": agent.id.as_str()}}));
    }
}
