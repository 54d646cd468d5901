//! What a task may not be: every text, in the order in which the checks come.

mod parts;

use model::ids::AgentId;
use model::link::ToAgent;
use serde_json::{Value, json};

use self::parts::{docker, environment, of_commands_and_containers};
use crate::common::{Alone, FakeAgent, Scheduler, eager};
use crate::words::{BOTH, amount, framework, launch, task, with};

/// A member of a task that spoils it, and what is said of it.
type Spoilt = (&'static str, Value, &'static str);

/// Mistakes that any task can have, however it is launched.
fn of_every_task() -> Vec<Spoilt> {
    [of_ids_and_times(), of_checks(), of_resources(), of_commands_and_containers()].concat()
}

fn of_ids_and_times() -> Vec<Spoilt> {
    let negative = json!({"nanoseconds": -1});
    vec![
        ("task_id", json!({"value": "a/b"}), "'a/b' contains invalid characters"),
        ("agent_id", json!({"value": "other"}), "Task is for agent other, but the offers are of"),
        (
            "kill_policy",
            json!({"grace_period": negative}),
            "Task's 'kill_policy.grace_period' must be non-negative",
        ),
        ("max_completion_time", negative, "Task's 'max_completion_time' must be non-negative"),
    ]
}

fn of_checks() -> Vec<Spoilt> {
    vec![
        ("check", json!({}), "Task uses invalid check: CheckInfo must specify 'type'"),
        (
            "check",
            json!({"type": "COMMAND"}),
            "Task uses invalid check: Expecting 'command' to be set for COMMAND check",
        ),
        (
            "check",
            json!({"type": "HTTP"}),
            "Task uses invalid check: Expecting 'http' to be set for HTTP check",
        ),
        (
            "check",
            json!({"type": "TCP"}),
            "Task uses invalid check: Expecting 'tcp' to be set for TCP check",
        ),
        (
            "check",
            json!({"type": "TCP", "tcp": {"port": 1}, "delay_seconds": -1.0}),
            "Task uses invalid check: Expecting 'delay_seconds' to be non-negative",
        ),
        (
            "health_check",
            json!({}),
            "Task uses invalid health check: HealthCheck must specify 'type'",
        ),
        (
            "health_check",
            json!({"type": "COMMAND"}),
            "Task uses invalid health check: Expecting 'command' to be set for COMMAND health check",
        ),
        (
            "health_check",
            json!({"type": "HTTP"}),
            "Task uses invalid health check: Expecting 'http' to be set for HTTP health check",
        ),
        (
            "health_check",
            json!({"type": "TCP"}),
            "Task uses invalid health check: Expecting 'tcp' to be set for TCP health check",
        ),
        (
            "health_check",
            json!({"type": "HTTP", "http": {"port": 1, "scheme": "ftp"}}),
            "Task uses invalid health check: Unsupported HTTP health check scheme: 'ftp'",
        ),
        (
            "health_check",
            json!({"type": "HTTP", "http": {"port": 1, "path": "x"}}),
            "Task uses invalid health check: The path 'x' of HTTP health check must start with '/'",
        ),
        (
            "health_check",
            json!({"type": "TCP", "tcp": {"port": 1}, "grace_period_seconds": -1.0}),
            "Task uses invalid health check: Expecting 'grace_period_seconds' to be non-negative",
        ),
    ]
}

fn of_resources() -> Vec<Spoilt> {
    let cpus = |value: f64| amount("cpus", value);
    let revocable = with(cpus(0.1), "revocable", json!({}));
    let backwards = json!({"range": [{"begin": 2, "end": 1}]});
    let overlapping = json!({"range": [{"begin": 1, "end": 5}, {"begin": 5, "end": 6}]});
    let ports = |ranges: Value| json!([{"name": "ports", "type": "RANGES", "ranges": ranges}]);
    let set = json!([{"name": "s", "type": "SET", "set": {"item": ["a", "a"]}}]);
    let disk = json!({"persistence": {"id": "p"}, "volume": {"container_path": "p", "mode": "RW"}});
    let of_web = with(amount("disk", 1.0), "role", json!("web"));
    let of_web = with(of_web, "disk", disk.clone());
    let of_everybody = with(cpus(1.0), "reservation", json!({}));
    let of = |role: &str, it: Value| with(it, "allocation_info", json!({"role": role}));
    vec![
        ("resources", json!([]), "Task uses no resources"),
        (
            "resources",
            json!([with(cpus(1.0), "name", json!(""))]),
            "Task uses invalid resources: Empty resource name",
        ),
        (
            "resources",
            json!([cpus(-1.0)]),
            "Task uses invalid resources: Invalid scalar resource: value <= 0",
        ),
        // What is told to be nothing is nothing, and what is rounded to it is a mistake.
        ("resources", json!([cpus(0.0)]), "Task uses no resources"),
        (
            "resources",
            json!([cpus(0.0001)]),
            "Task uses invalid resources: Invalid scalar resource: value <= 0",
        ),
        (
            "resources",
            json!([of("a", cpus(0.1)), of("b", amount("mem", 32.0))]),
            "Invalid task resources: The resources have multiple allocation roles ('a' and 'b')",
        ),
        (
            "resources",
            json!([of("a//b", cpus(0.1))]),
            "Invalid task resources: Invalid allocation role: Role 'a//b' cannot start or end",
        ),
        (
            "resources",
            json!([of("a", cpus(0.1))]),
            "The resources are allocated to role 'a', but were offered for role 'web'",
        ),
        (
            "resources",
            json!([amount("gpus", 0.5)]),
            "Task uses invalid resources: Invalid scalar resource: 'gpus' must be a whole number",
        ),
        (
            "resources",
            ports(backwards),
            "Task uses invalid resources: Invalid ranges resource: begin > end",
        ),
        (
            "resources",
            ports(overlapping),
            "Task uses invalid resources: Invalid ranges resource: overlapping ranges",
        ),
        (
            "resources",
            set,
            "Task uses invalid resources: Invalid set resource: duplicated elements",
        ),
        (
            "resources",
            json!([{"name": "t", "type": "TEXT"}]),
            "Task uses invalid resources: Unsupported resource type",
        ),
        (
            "resources",
            json!([with(cpus(1.0), "disk", disk)]),
            "Task uses invalid resources: DiskInfo should not be set for cpus resource",
        ),
        (
            "resources",
            json!([of_everybody]),
            "Task uses invalid resources: Invalid reservation: role \"*\" cannot be reserved",
        ),
        (
            "resources",
            json!([cpus(0.1), of_web, of_web]),
            "Task uses invalid resources: Persistence ID 'p' is there twice",
        ),
        (
            "resources",
            json!([cpus(0.1), revocable]),
            "Task mixes revocable and non-revocable resources of 'cpus'",
        ),
    ]
}

fn executor() -> Value {
    json!({"executor_id": {"value": "e"}, "command": {"value": "./e"}, "type": "CUSTOM"})
}

/// Mistakes of tasks that are launched each by itself.
fn of_a_task_alone() -> Vec<Spoilt> {
    let one_of = "Task should have at least one (but not both) of CommandInfo or ExecutorInfo \
                  present";
    vec![
        ("command", Value::Null, one_of),
        ("executor", executor(), one_of),
        (
            "container",
            json!({"type": "MESOS", "linux_info": {"share_cgroups": false}}),
            "'share_cgroups' cannot be set to false on a task that is alone",
        ),
        ("resources", json!([amount("cpus", 64.0)]), "Resources cpus:64 of task and executor"),
    ]
}

/// Mistakes of the executor that a task brings along.
fn of_an_executor() -> Vec<Spoilt> {
    let shared = with(amount("disk", 1.0), "shared", json!({}));
    let persistence =
        json!({"persistence": {"id": "p"}, "volume": {"container_path": "p", "mode": "RW"}});
    let shared = with(with(shared, "disk", persistence), "role", json!("web"));
    let revocable = with(amount("cpus", 0.1), "revocable", json!({}));
    let of = |role: &str, cpus: f64| {
        with(amount("cpus", cpus), "allocation_info", json!({"role": role}))
    };
    vec![
        (
            "executor_id",
            json!({"value": "a/b"}),
            "Executor's ID is invalid: 'a/b' contains invalid characters",
        ),
        (
            "framework_id",
            json!({"value": "other"}),
            "ExecutorInfo has an invalid FrameworkID (Actual: other vs Expected: ",
        ),
        ("command", Value::Null, "'ExecutorInfo.command' must be set for 'CUSTOM' executor"),
        ("type", json!("DEFAULT"), "'ExecutorInfo.type' must not be 'DEFAULT' for a task alone"),
        (
            "shutdown_grace_period",
            json!({"nanoseconds": -1}),
            "ExecutorInfo's 'shutdown_grace_period' must be non-negative",
        ),
        (
            "command",
            environment(json!({"name": "A", "type": "VALUE"})),
            "Executor's `CommandInfo` is invalid: Environment variable 'A'",
        ),
        (
            "container",
            json!({"type": "DOCKER"}),
            "Executor's `ContainerInfo` is invalid: DockerInfo 'docker' is not set",
        ),
        (
            "container",
            json!({"type": "MESOS", "linux_info": {"share_cgroups": true}}),
            "The 'share_cgroups' field cannot be set on executors",
        ),
        (
            "resources",
            json!([amount("cpus", -1.0)]),
            "Executor uses invalid resources: Invalid scalar resource: value <= 0",
        ),
        ("resources", json!([shared]), "Executor resources must not include shared resources"),
        (
            "resources",
            json!([of("a", 0.1), of("b", 0.1)]),
            "Invalid executor resources: The resources have multiple allocation roles",
        ),
        (
            "resources",
            json!([of("a", 0.1)]),
            "The resources are allocated to role 'a', but were offered for role 'web'",
        ),
        (
            "resources",
            json!([amount("cpus", 0.1), revocable]),
            "Executor mixes revocable and non-revocable cpus",
        ),
        (
            "resources",
            json!([revocable]),
            "Task with its executor mixes revocable and non-revocable cpus",
        ),
        ("resources", json!([amount("cpus", 64.0)]), "Resources "),
    ]
}

fn assert_invalid(status: &Value, reason: &str, why: &str) {
    assert_eq!(status["state"], "TASK_ERROR", "{status}");
    assert_eq!(status["reason"], reason, "{status}");
    assert_eq!(status["source"], "SOURCE_MASTER", "{status}");
    assert!(status["uuid"].is_null(), "nobody waits for a confirmation: {status}");
    let message = status["message"].as_str().expect("text");
    assert!(message.starts_with(why), "{message} instead of {why}");
}

#[tokio::test]
async fn every_mistake_of_a_task_is_told_and_holds_up_no_other() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let base = task("bad", &agent.id);
        let alone = of_every_task().into_iter().chain(of_a_task_alone());
        let alone = alone.map(|(name, value, why)| (with(base.clone(), name, value), why));
        let by_executor = of_an_executor().into_iter().map(|(name, value, why)| {
            let executor = with(executor(), name, value);
            let task = with(base.clone(), "command", Value::Null);
            (with(task, "executor", executor), why)
        });
        let unused = with(base.clone(), "resources", json!([amount("cpus", 0.1)]));
        let unused = with(unused, "limits", json!({"mem": {"value": 64.0}}));
        let unused = (unused, "Task has a limit of 'mem' but does not use it");
        let cases: Vec<(Value, &str)> = alone.chain(by_executor).chain([unused]).collect();
        let mut tasks: Vec<Value> = cases.iter().map(|(task, _)| task.clone()).collect();
        // That there is no limit is no mistake.
        let limits = json!({"cpus": {"value": 0.1}, "mem": {"value": "Infinity"}});
        tasks.push(with(task("good", &agent.id), "limits", limits));
        tasks.push(task("good", &agent.id));
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&tasks)).await;
        for (task, why) in cases {
            let status = scheduler.update().await;
            assert_eq!(status["task_id"], task["task_id"], "{why}: {status}");
            assert_invalid(&status, "REASON_TASK_INVALID", why);
        }
        let status = scheduler.update().await;
        assert_invalid(&status, "REASON_TASK_INVALID", "Task has duplicate ID: good");
        assert_eq!(agent.launched().await.tasks[0].id.as_str(), "good");
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
    }
}

/// The built-in executor of a group.
fn default_executor() -> Value {
    let resources = [amount("cpus", 0.1), amount("mem", 32.0), amount("disk", 10.0)];
    json!({"executor_id": {"value": "e"}, "type": "DEFAULT", "resources": resources})
}

/// Mistakes of the executor of a group.
fn of_a_groups_executor() -> Vec<Spoilt> {
    let revocable = with(amount("cpus", 0.1), "revocable", json!({}));
    let with_image = json!({"image": {"type": "DOCKER", "docker": {"name": "i"}}});
    let resources = |cpus: f64, mem: f64, disk: Option<f64>| {
        let mut all = vec![amount("cpus", cpus), amount("mem", mem)];
        all.extend(disk.map(|disk| amount("disk", disk)));
        json!(all)
    };
    vec![
        ("type", Value::Null, "'ExecutorInfo.type' must be set"),
        (
            "command",
            json!({"value": "x"}),
            "'ExecutorInfo.command' must not be set for 'DEFAULT' executor",
        ),
        (
            "container",
            docker(json!({"image": "i"})),
            "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor",
        ),
        (
            "container",
            json!({"type": "MESOS", "mesos": with_image}),
            "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor",
        ),
        (
            "resources",
            resources(0.005, 32.0, Some(1.0)),
            "Executor 'e' uses less cpus (0.005) than the minimum required (0.01)",
        ),
        (
            "resources",
            resources(0.1, 31.0, Some(1.0)),
            "Executor 'e' uses less mem (31) than the minimum required (32)",
        ),
        ("resources", resources(0.1, 32.0, None), "Executor 'e' uses no disk"),
        (
            "resources",
            json!([revocable, amount("mem", 32.0), amount("disk", 1.0)]),
            "Task group with its executor mixes revocable and non-revocable cpus",
        ),
        ("resources", resources(64.0, 32.0, Some(1.0)), "Resources "),
    ]
}

/// Mistakes of a task of a group; each is told of all of its tasks.
fn of_a_groups_task() -> Vec<Spoilt> {
    let other = with(default_executor(), "executor_id", json!({"value": "other"}));
    let port = json!({"range": [{"begin": 31_000, "end": 31_000}]});
    let port = json!([{"name": "ports", "type": "RANGES", "ranges": port}]);
    vec![
        (
            "executor",
            other,
            "Task 'bad' is invalid: The 'ExecutorInfo' of the task differs from that of its group",
        ),
        ("container", docker(json!({"image": "i"})), "Task 'bad' is invalid: Docker ContainerInfo"),
        (
            "container",
            json!({"type": "MESOS", "linux_info": {"share_cgroups": false}}),
            "'share_cgroups' must be the same for all tasks of executor e",
        ),
        (
            "limits",
            json!({"mem": {"value": 64.0}}),
            "Task 'bad' is invalid: Limits can only be set",
        ),
        (
            "task_id",
            json!({"value": "good"}),
            "Task 'good' is invalid: Task has duplicate ID: good",
        ),
        ("resources", port, "Task 'bad' is invalid: Ports or items of sets in ports:[31000-31000]"),
    ]
}

fn group(executor: &Value, tasks: &[Value]) -> Value {
    let body = json!({"executor": executor, "task_group": {"tasks": tasks}});
    json!([{"type": "LAUNCH_GROUP", "launch_group": body}])
}

/// A task of a group: it has a command, and a port that no other may have.
fn member(id: &str, agent: &AgentId) -> Value {
    let mut member = task(id, agent);
    let port = json!({"range": [{"begin": 31_000, "end": 31_000}]});
    let resources = member["resources"].as_array_mut().expect("a list");
    resources.push(json!({"name": "ports", "type": "RANGES", "ranges": port}));
    member
}

#[tokio::test]
async fn one_mistake_in_a_group_is_told_of_all_of_its_tasks() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let good = member("good", &agent.id);
        let bad = task("bad", &agent.id);
        let of_every_task = of_every_task().into_iter().filter(|(name, _, _)| {
            // What is wrong with limits in a group is another thing.
            *name != "limits"
        });
        let mut groups = Vec::new();
        for (name, value, why) in of_a_groups_executor() {
            groups.push((with(default_executor(), name, value), bad.clone(), why.to_owned()));
        }
        for (name, value, why) in of_every_task {
            let bad = with(bad.clone(), name, value);
            let id = bad["task_id"]["value"].as_str().expect("text");
            let why = format!("Task '{id}' is invalid: {why}");
            groups.push((default_executor(), bad, why));
        }
        for (name, value, why) in of_a_groups_task() {
            groups.push((default_executor(), with(bad.clone(), name, value), why.to_owned()));
        }
        // What is probed from the executor's network must be in it.
        let networks = json!({"type": "MESOS", "network_infos": [{"name": "net"}]});
        let probed = json!({"type": "TCP", "tcp": {"port": 1}});
        let apart = with(with(bad.clone(), "container", networks), "health_check", probed);
        let why = "Task 'bad' is invalid: HTTP and TCP health checks are not supported";
        groups.push((default_executor(), apart, why.to_owned()));
        let custom = with(default_executor(), "type", json!("CUSTOM"));
        let custom = with(custom, "command", json!({"value": "./e"}));
        let in_docker = with(custom.clone(), "container", docker(json!({"image": "i"})));
        let why = "Docker ContainerInfo is not supported on the executor";
        groups.push((in_docker, bad.clone(), why.to_owned()));
        let bare = with(custom, "command", Value::Null);
        let why = "'ExecutorInfo.command' must be set for 'CUSTOM' executor";
        groups.push((bare, bad.clone(), why.to_owned()));
        for (executor, bad, why) in groups {
            let offer = scheduler.offer_of(&agent.id).await;
            scheduler.accept(&[offer], group(&executor, &[good.clone(), bad.clone()])).await;
            for task in [&good, &bad] {
                let status = scheduler.update().await;
                assert_eq!(status["task_id"], task["task_id"], "{why}: {status}");
                assert_invalid(&status, "REASON_TASK_GROUP_INVALID", &why);
            }
        }
        let offer = scheduler.offer_of(&agent.id).await;
        // Whoever says which executor it is beside the command says nothing wrong.
        let good = with(good, "executor", default_executor());
        scheduler.accept(&[offer], group(&default_executor(), &[good, bad])).await;
        let launch = agent.launched().await;
        assert!(launch.is_group && launch.tasks.len() == 2);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
    }
}

#[tokio::test]
async fn an_executor_that_runs_cannot_be_described_differently() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let with_executor = |id: &str, executor: Value| {
            let task = with(task(id, &agent.id), "command", Value::Null);
            with(task, "executor", executor)
        };
        let one = with(executor(), "resources", json!([amount("cpus", 0.1)]));
        let other = with(one.clone(), "name", json!("other"));
        // For which role resources were offered is said for those who do not say it.
        let mut told = one.clone();
        told["resources"][0]["allocation_info"] = json!({"role": framework()["role"]});
        let tasks =
            [with_executor("one", one), with_executor("two", told), with_executor("three", other)];
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&tasks)).await;
        let status = scheduler.update().await;
        assert_eq!(status["task_id"]["value"], "three");
        let why = "Executor e runs already and is described differently";
        assert_invalid(&status, "REASON_TASK_INVALID", why);
        for (id, starts) in [("one", true), ("two", false)] {
            let launch = agent.launched().await;
            assert_eq!(launch.tasks[0].id.as_str(), id);
            assert_eq!(launch.starts_executor, starts, "{id}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
    }
}
