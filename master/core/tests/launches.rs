//! What is checked of tasks, their executors and operations when offers are used, and in which order.

mod world;

use master_core::Done;
use master_core::view::TaskView;
use model::call::{Accept, Call, Operation, Subscribe};
use model::framework::{Capabilities, Framework};
use model::ids::ExecutorId;
use model::payload::Payload;
use model::role::Role;
use model::task::{ExecutorSpec, InvalidTask, Needs, RunsBy, TaskSpec, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use world::operations::{accept, parse, reserve, reserved, watched};
use world::{World, task};

/// Framework `f` of role `web`, and agent `a`.
fn offered() -> World {
    let mut world = World::new();
    world.agent_with("a", "cpus:8;mem:1024;disk:100");
    world.framework_in("f", "web", aware());
    world.settle();
    world
}

fn aware() -> Capabilities {
    Capabilities { partition_aware: true, ..Capabilities::default() }
}

fn role(name: &str) -> Role {
    Role::new(name).expect("a role")
}

fn executor(name: &str) -> ExecutorSpec {
    ExecutorSpec {
        id: ExecutorId::new(name).expect("an id"),
        is_default: true,
        resources: parse("cpus:0.1;mem:32;disk:1"),
        role: None,
        user: None,
        shutdown_grace: None,
        info: Payload::default(),
    }
}

fn member(world: &World, id: &str, needs: Needs) -> TaskSpec {
    TaskSpec { runs_by: RunsBy::Group, needs, ..task(id, &world.id("a")) }
}

fn on(world: &World, id: &str, executor: &ExecutorSpec) -> TaskSpec {
    TaskSpec { runs_by: RunsBy::Executor(executor.clone()), ..task(id, &world.id("a")) }
}

fn group(executor: &ExecutorSpec, tasks: Vec<TaskSpec>) -> Operation {
    let tasks = tasks.into_iter().map(Ok).collect();
    Operation::LaunchGroup { executor: Ok(executor.clone()), tasks }
}

/// As whom each task is shown to run, by name.
fn users(world: &World) -> Vec<(String, Option<String>)> {
    let one =
        |task: &Arc<TaskView>| (task.id().to_string(), task.user.as_deref().map(str::to_owned));
    let mut users: Vec<_> = world.task_views.values().map(one).collect();
    users.sort();
    users
}

#[test]
fn a_task_of_a_group_runs_as_the_user_of_its_executor_unless_it_names_one() {
    let mut world = offered();
    let user = |name: &str| Some(name.into());
    let custom = ExecutorSpec { is_default: false, user: user("batch"), ..executor("group") };
    let plain = member(&world, "plain", Needs::default());
    let own = TaskSpec { user: user("web"), ..member(&world, "own", Needs::default()) };
    assert_eq!(refusals(&mut world, group(&custom, vec![plain, own])), [""; 0]);
    let expected = [("own", "web"), ("plain", "batch")];
    let expected = expected.map(|(task, user)| (task.to_owned(), Some(user.to_owned())));
    assert_eq!(users(&world), expected);
    // The next leader hears of it from the agent.
    world.lead();
    world.reconnect("a");
    assert_eq!(users(&world), expected);
}

/// Has `f` use its offers for this, and says what is said of tasks that were refused.
fn refusals(world: &mut World, operation: Operation) -> Vec<String> {
    // What was given back for nothing is offered again after a while.
    world.pass(Duration::from_secs(2));
    world.frameworks.get_mut("f").expect("there").updates.clear();
    accept(world, vec![operation]);
    let updates = std::mem::take(&mut world.frameworks.get_mut("f").expect("there").updates);
    let refused = updates.into_iter().filter(|status| status.state == TaskState::Error);
    refused.map(|status| status.message.expect("it says why").to_string()).collect()
}

#[test]
fn whose_place_a_task_takes_is_checked_before_its_form() {
    let mut world = offered();
    let agent = world.id("a");
    let running = Operation::Launch(vec![Ok(task("t1", &agent))]);
    assert_eq!(refusals(&mut world, running), [""; 0]);
    let bad = |id: &str, agent: &str| {
        Err(InvalidTask { id: id.into(), agent: agent.into(), why: "bad form".to_owned() })
    };
    let all = || {
        let here = agent.as_str();
        vec![bad("t1", "x"), bad("t2", "x"), bad("t3", here), bad("no/id", "x")]
    };
    let why = [
        "Task has duplicate ID: t1".to_owned(),
        format!("Task is for agent x, but the offers are of agent {agent}"),
        "bad form".to_owned(),
        "bad form".to_owned(),
    ];
    assert_eq!(refusals(&mut world, Operation::Launch(all())), why);
    for (task, why) in all().into_iter().zip(why) {
        let id = task.as_ref().expect_err("it is bad").id.clone();
        let group = Operation::LaunchGroup { executor: Ok(executor("e")), tasks: vec![task] };
        assert_eq!(refusals(&mut world, group), [format!("Task '{id}' is invalid: {why}")]);
    }
    world.pass(Duration::from_secs(2));
    accept(&mut world, vec![Operation::Launch(vec![bad("t3", agent.as_str())])]);
    let update = world.frameworks["f"].updates.last().expect("it is told");
    assert_eq!(update.agent, Some(agent), "as the task names it");
}

#[test]
fn resources_of_offers_for_another_role_are_not_these() {
    let mut world = offered();
    let why = "The resources are allocated to role 'dev', but were offered for role 'web'";
    let of = |name: &str| Needs { role: Some(role(name)), ..Needs::default() };
    let alone = |world: &World, name| TaskSpec { needs: of(name), ..task("t", &world.id("a")) };
    let launch = Operation::Launch(vec![Ok(alone(&world, "dev"))]);
    assert_eq!(refusals(&mut world, launch), [why]);
    let own = ExecutorSpec { role: Some(role("dev")), is_default: false, ..executor("e") };
    let launch = Operation::Launch(vec![Ok(on(&world, "t", &own))]);
    assert_eq!(refusals(&mut world, launch), [why]);
    let tasks = vec![member(&world, "t", Needs::default())];
    assert_eq!(refusals(&mut world, group(&own, tasks)), [why]);
    let tasks = vec![member(&world, "t", of("dev"))];
    let in_group = format!("Task 't' is invalid: {why}");
    assert_eq!(refusals(&mut world, group(&executor("e"), tasks)), [in_group]);

    let some = reserve(&reserved(&parse("cpus:1"), "web"));
    let Operation::Convert { id, conversion, .. } = watched("op", some) else { panic!() };
    let operation = |name: &str| Operation::Convert {
        id: id.clone(),
        role: Some(role(name)),
        conversion: conversion.clone(),
    };
    world.heard("f");
    assert_eq!(refusals(&mut world, operation("dev")), [""; 0]);
    let heard = world.heard("f");
    let told = format!("op OPERATION_ERROR: Invalid RESERVE operation: {why}");
    assert!(heard.contains(&told), "{heard:?}");

    world.told("a");
    let launch = Operation::Launch(vec![Ok(alone(&world, "web"))]);
    assert_eq!(refusals(&mut world, launch), [""; 0]);
    refusals(&mut world, operation("web"));
    assert_eq!(world.told("a"), ["launch t", "apply RESERVE"]);
}

/// Has `f` launch a task on what `say` makes of its offers of agents `a` and `b`, which is refused as it says.
fn refuse_offers(world: &mut World, say: impl Fn(&str, &str) -> (Vec<String>, String)) {
    // What was given back is offered again under another name.
    world.settle();
    let offers = std::mem::take(&mut world.frameworks.get_mut("f").expect("there").offers);
    let [a, b] = ["a", "b"].map(|name| {
        let agent = world.id(name);
        let offer = offers.values().find(|offer| offer.agent == agent);
        offer.expect("it is offered").id.to_string()
    });
    let (offers, why) = say(&a, &b);
    let operations = vec![Operation::Launch(vec![Ok(task("t", &world.id("a")))])];
    let offers = offers.iter().map(|id| id.as_str().into()).collect();
    world.call("f", Call::Accept(Accept { offers, operations, refuse_for: Duration::ZERO }));
    let update = world.frameworks["f"].updates.last().expect("it is told");
    let message = update.message.as_deref().expect("it says why");
    assert_eq!(message, format!("Task launched with invalid offers: Offer {why}"));
}

#[test]
fn what_is_wrong_with_offers_is_told_by_kind_and_not_one_by_one() {
    let mut world = World::new();
    let many = Capabilities { multi_role: true, ..aware() };
    // What is offered of the first agent is for one role, of the second for the other.
    world.agent("a");
    world.framework_in("f", "web", many);
    world.settle();
    let suppressed = ["web".into()].into();
    let roles: BTreeSet<Role> = [role("dev"), role("web")].into();
    let id = Some(world.frameworks["f"].id.clone());
    let framework = Framework { id, roles, ..world.frameworks["f"].description.clone() };
    let update = Subscribe { framework, suppressed, constraints: Ok(BTreeMap::new()) };
    assert_eq!(world.ask("f", Call::UpdateFramework(Box::new(Ok(update)))), Some(Ok(Done::Ok)));
    world.agent("b");
    world.settle();
    let all = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    refuse_offers(&mut world, |a, b| {
        let why = format!("{b} is for role dev, but offer {a} for role web; accept them apart");
        (all(&[a, b]), why)
    });
    refuse_offers(&mut world, |a, b| (all(&["gone", a, b, a]), format!("{a} is listed twice")));
    refuse_offers(&mut world, |a, b| (all(&[a, b, "gone"]), "gone is no longer valid".to_owned()));
}

#[test]
fn revocable_and_other_resources_of_one_name_are_not_mixed() {
    let mut world = offered();
    let revocable = parse("cpus:0.1").with_kinds(|kind| kind.is_revocable = true);
    let own = ExecutorSpec { resources: revocable, is_default: false, ..executor("e") };
    let launch = Operation::Launch(vec![Ok(on(&world, "t", &own))]);
    let why = "Task with its executor mixes revocable and non-revocable cpus";
    assert_eq!(refusals(&mut world, launch), [why]);
}

#[test]
fn a_new_leader_knows_for_which_role_a_task_runs_if_its_resources_say_so() {
    for (stated, role_after) in [(Some(role("web")), "web"), (None, "dev")] {
        let mut world = World::new();
        world.agent("a");
        world.framework_in("f", "web", Capabilities { multi_role: true, ..aware() });
        world.settle();
        let needs = Needs { role: stated.clone(), ..Needs::default() };
        let executor = ExecutorSpec { role: stated, is_default: false, ..executor("e") };
        let executor = ExecutorSpec { resources: parse("cpus:0.1"), ..executor };
        let task = TaskSpec { needs, ..on(&world, "t", &executor) };
        assert_eq!(refusals(&mut world, Operation::Launch(vec![Ok(task)])), [""; 0]);
        let roles: BTreeSet<Role> = [role("dev"), role("web")].into();
        world.update("f", |it| it.roles = roles.clone());
        world.frameworks.get_mut("f").expect("there").description.roles = roles;
        world.lead();
        world.resubscribe("f");
        world.reconnect("a");
        let task = world.task_views.values().next().expect("it runs");
        assert_eq!(task.role.as_str(), role_after);
    }
}

#[test]
fn all_tasks_of_an_executor_have_limits_of_their_own_or_none_has() {
    let mut world = offered();
    let own = || Needs { own_cgroup: true, ..Needs::default() };
    let why = "'share_cgroups' must be the same for all tasks of executor e";
    let mixed = vec![member(&world, "t1", own()), member(&world, "t2", Needs::default())];
    assert_eq!(refusals(&mut world, group(&executor("e"), mixed)), [why, why]);
    let first = vec![member(&world, "t1", own()), member(&world, "t2", own())];
    assert_eq!(refusals(&mut world, group(&executor("e"), first)), [""; 0]);
    let other = vec![member(&world, "t3", Needs::default())];
    assert_eq!(refusals(&mut world, group(&executor("e"), other.clone())), [why]);
    let like_them = vec![member(&world, "t3", own())];
    assert_eq!(refusals(&mut world, group(&executor("e"), like_them)), [""; 0]);
    let elsewhere = vec![member(&world, "t4", Needs::default())];
    assert_eq!(refusals(&mut world, group(&executor("another"), elsewhere)), [""; 0]);
}

#[test]
fn an_executor_is_the_same_only_if_all_of_it_is_also_under_the_next_leader() {
    let mut world = offered();
    let known = ExecutorSpec { is_default: false, info: vec![1].into(), ..executor("e") };
    let other = ExecutorSpec { info: vec![2].into(), ..known.clone() };
    let why = "Executor e runs already and is described differently";
    let launch = |world: &mut World, id: &str, executor: &ExecutorSpec| {
        let task = Ok(on(world, id, executor));
        refusals(world, Operation::Launch(vec![task]))
    };
    assert_eq!(launch(&mut world, "t1", &known), [""; 0]);
    assert_eq!(launch(&mut world, "t2", &other), [why]);
    world.lead();
    world.reconnect("a");
    world.resubscribe("f");
    assert_eq!(launch(&mut world, "t2", &other), [why]);
    assert_eq!(launch(&mut world, "t2", &known), [""; 0]);
    assert_eq!(world.told("a").last().map(String::as_str), Some("launch t2"));
}
