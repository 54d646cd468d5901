//! Every member of what endpoints tell, as old tools read it: those that are always there, and those that
//! are where there is something to tell.

use std::collections::BTreeSet;

use master::Options;
use model::link::FaultDomain;
use model::task::TaskState;
use proto::mesos::v1::domain_info::FaultDomain as WireFaultDomain;
use proto::mesos::v1::domain_info::fault_domain::{RegionInfo, ZoneInfo};
use proto::mesos::v1::resource::RevocableInfo;
use proto::mesos::v1::{AgentInfo, DomainInfo, Resource, value};
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, agent_info, cores_of, eager, scalar};
use crate::words::{BOTH, amount, framework, launch, task, with};

/// The members of an object must be these and no others.
fn assert_has(what: &str, object: &Value, names: &[&str]) {
    let object = object.as_object().unwrap_or_else(|| panic!("{what} is no object: {object}"));
    let has: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(has, names.iter().copied().collect(), "{what}");
}

/// A task by an executor, with all that a task can say of itself.
fn whole_task(agent: &FakeAgent, framework: &Value) -> Value {
    let labels = json!({"labels": [{"key": "k", "value": "v"}]});
    let executor = json!({
        "type": "CUSTOM", "executor_id": {"value": "e"}, "framework_id": framework, "name": "e",
        "command": {"value": "./e"}, "labels": labels,
        "resources": [amount("cpus", 0.1), amount("mem", 32.0)],
    });
    let mut task = task("t", &agent.id);
    for (name, value) in [
        ("command", Value::Null),
        ("executor", executor),
        ("labels", labels),
        ("limits", json!({"cpus": {"value": 2.0}})),
        ("discovery", json!({"visibility": "CLUSTER", "name": "t"})),
        ("container", json!({"type": "MESOS"})),
        ("health_check", json!({"type": "TCP", "tcp": {"port": 80}})),
    ] {
        task[name] = value;
    }
    task
}

/// A cluster of which there is something to tell of everything.
async fn furnished() -> (Alone, FakeAgent, Scheduler) {
    let options = Options {
        cluster: Some("north".to_owned()),
        domain: Some(FaultDomain { region: "r".into(), zone: "z".into() }),
        flags: [("cluster".to_owned(), "north".to_owned())].into(),
        ..eager()
    };
    let master = Alone::with(options).await;
    let fault_domain = WireFaultDomain {
        region: RegionInfo { name: "r".to_owned() },
        zone: ZoneInfo { name: "z".to_owned() },
    };
    let domain = Some(DomainInfo { fault_domain: Some(fault_domain) });
    let mut info = AgentInfo { domain, ..agent_info(5_051) };
    info.resources.push(cores_of("web", 1.0));
    info.resources.push(Resource { revocable: Some(RevocableInfo {}), ..scalar("cpus", 2.0) });
    let item = vec!["a".to_owned(), "b".to_owned()];
    info.resources.push(Resource {
        name: "disks".to_owned(),
        r#type: value::Type::Set as i32,
        set: Some(value::Set { item }),
        ..Resource::default()
    });
    let mut agent = FakeAgent::registered_with(master.address(), &info).await;
    let info = with(framework(), "labels", json!({"labels": [{"key": "k", "value": "v"}]}));
    let info = with(info, "principal", json!("ops"));
    let exists = json!({"selector": {"pseudoattribute_type": "HOSTNAME"},
                        "predicate": {"exists": {}}});
    let groups = json!([{"attribute_constraints": [exists]}]);
    let constraints = json!({"role_constraints": {"web": {"groups": groups}}});
    let subscribe = json!({"framework_info": info, "offer_constraints": constraints});
    let scheduler = Scheduler::subscribed_by(&master, BOTH[0], &subscribe, None).await;
    let mut scheduler = scheduler.expect("let in");
    let offer = scheduler.offer_of(&agent.id).await;
    let tasks = [whole_task(&agent, &scheduler.id)];
    scheduler.accept(&[offer], launch(&tasks)).await;
    let id = agent.launched().await.tasks[0].id.clone();
    agent.report(&scheduler.framework(), &id, TaskState::Running, 1).await;
    scheduler.update().await;
    // What is left of the agent is offered.
    scheduler.offer_of(&agent.id).await;
    (master, agent, scheduler)
}

const OF_STATE: [&str; 25] = [
    "activated_slaves",
    "build_date",
    "build_time",
    "build_user",
    "capabilities",
    "cluster",
    "completed_frameworks",
    "deactivated_slaves",
    "domain",
    "elected_time",
    "flags",
    "frameworks",
    "git_tag",
    "hostname",
    "id",
    "leader",
    "leader_info",
    "orphan_tasks",
    "pid",
    "recovered_slaves",
    "slaves",
    "start_time",
    "unreachable_slaves",
    "unregistered_frameworks",
    "version",
];

const OF_AGENT: [&str; 16] = [
    "active",
    "attributes",
    "capabilities",
    "deactivated",
    "domain",
    "hostname",
    "id",
    "offered_resources",
    "pid",
    "port",
    "registered_time",
    "reserved_resources",
    "resources",
    "unreserved_resources",
    "used_resources",
    "version",
];

/// Of a framework wherever it is shown.
const OF_FRAMEWORK: [&str; 10] = [
    "active",
    "capabilities",
    "connected",
    "hostname",
    "id",
    "name",
    "offered_resources",
    "recovered",
    "used_resources",
    "webui_url",
];

/// Of one that is shown whole, beside these.
const OF_WHOLE_FRAMEWORK: [&str; 15] = [
    "checkpoint",
    "completed_tasks",
    "executors",
    "failover_timeout",
    "labels",
    "offer_constraints",
    "offers",
    "principal",
    "registered_time",
    "resources",
    "role",
    "tasks",
    "unreachable_tasks",
    "unregistered_time",
    "user",
];

/// How many tasks are in each state, in a summary.
const COUNTS: [&str; 10] = [
    "TASK_ERROR",
    "TASK_FAILED",
    "TASK_FINISHED",
    "TASK_KILLED",
    "TASK_KILLING",
    "TASK_LOST",
    "TASK_RUNNING",
    "TASK_STAGING",
    "TASK_STARTING",
    "TASK_UNREACHABLE",
];

const OF_TASK: [&str; 14] = [
    "container",
    "discovery",
    "executor_id",
    "framework_id",
    "health_check",
    "id",
    "labels",
    "limits",
    "name",
    "resources",
    "role",
    "slave_id",
    "state",
    "statuses",
];

const OF_EXECUTOR: [&str; 9] = [
    "command",
    "executor_id",
    "framework_id",
    "labels",
    "name",
    "resources",
    "role",
    "slave_id",
    "type",
];

#[tokio::test]
async fn every_member_that_old_tools_read_is_there() {
    let (master, agent, _scheduler) = furnished().await;
    let state = master.get("/state").await;
    assert_has("/state", &state, &OF_STATE);
    assert_has("leader_info", &state["leader_info"], &["id", "pid", "port", "hostname", "domain"]);
    let slave = &state["slaves"][0];
    assert_has("slave", slave, &OF_AGENT);
    // Amounts are always there, ranges and sets are texts, and what may be taken back is told apart.
    let all = json!({
        "cpus": 5.0, "cpus_revocable": 2.0, "gpus": 0.0, "mem": 1_024.0, "disk": 1_024.0,
        "ports": "[31000-31009]", "disks": "{a, b}",
    });
    assert_eq!(slave["resources"], all);
    let shown = &state["frameworks"][0];
    assert_has("framework", shown, &[&OF_FRAMEWORK[..], &OF_WHOLE_FRAMEWORK].concat());
    assert_has("task", &shown["tasks"][0], &OF_TASK);
    assert_has("executor", &shown["executors"][0], &OF_EXECUTOR);
    let of_offer = ["id", "framework_id", "allocation_info", "slave_id", "resources"];
    assert_has("offer", &shown["offers"][0], &of_offer);

    // What is told elsewhere is the same, or more, or less.
    assert_eq!(master.get("/frameworks").await["frameworks"][0], *shown);
    assert_eq!(master.get("/tasks").await["tasks"][0], shown["tasks"][0]);
    let full =
        ["reserved", "unreserved", "used", "offered"].map(|it| format!("{it}_resources_full"));
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    let listed = master.get("/slaves").await;
    assert_has("/slaves", &listed, &["slaves", "recovered_slaves"]);
    assert_has("slave of /slaves", &listed["slaves"][0], &[&OF_AGENT[..], &full].concat());
    let summary = master.get("/state-summary").await;
    assert_has("/state-summary", &summary, &["hostname", "cluster", "slaves", "frameworks"]);
    let of_slave = [&OF_AGENT[..], &COUNTS, &["framework_ids"]].concat();
    assert_has("slave of the summary", &summary["slaves"][0], &of_slave);
    let of_framework = [&OF_FRAMEWORK[..], &COUNTS, &["slave_ids"]].concat();
    assert_has("framework of the summary", &summary["frameworks"][0], &of_framework);
    let role = master.get("/roles").await["roles"][0].take();
    let of_role =
        ["name", "weight", "quota", "resources", "allocated", "offered", "reserved", "frameworks"];
    assert_has("role", &role, &of_role);
    assert_has("quota of a role", &role["quota"], &["role", "guarantee", "limit", "consumed"]);
    let of_version = ["version", "build_date", "build_time", "build_user", "git_tag"];
    assert_has("/version", &master.get("/version").await, &of_version);

    // Of an agent that is emptied and of one that is back there is more.
    let drain = json!({"agent_id": {"value": agent.id.as_str()}});
    let drain = json!({"type": "DRAIN_AGENT", "drain_agent": drain});
    Operator::new(&master, BOTH[0]).done(drain).await;
    let state = master.get("/state").await;
    let emptied = ["drain_info", "estimated_drain_start_time_seconds"];
    assert_has("drained slave", &state["slaves"][0], &[&OF_AGENT[..], &emptied].concat());
    let back = agent.back(Vec::new(), Vec::new());
    let master = master.restarted().await;
    let state = master.get("/state").await;
    let of_former = ["id", "hostname", "port", "attributes", "domain"];
    assert_has("recovered slave", &state["recovered_slaves"][0], &of_former);
    let _agent = FakeAgent::reregistered(master.address(), back).await;
    let state = master.get("/state").await;
    let back = [&OF_AGENT[..], &emptied, &["reregistered_time"]].concat();
    assert_has("slave that is back", &state["slaves"][0], &back);
}
