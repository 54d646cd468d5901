//! Stories of what frameworks hear of their operations, whoever dies meanwhile.

mod world;

use master_core::{Config, Done};
use model::call::{AcknowledgeOperation, Call, ReconcileOperation};
use model::ids::AgentId;
use model::operator::OperatorCall;
use std::time::Duration;
use world::World;
use world::operations::*;

#[test]
fn feedback_is_repeated_until_it_is_kept() {
    let mut world = offered();
    let agent = world.id("a");
    accept(&mut world, vec![watched("op", reserve(&reserved(&parse("cpus:1"), "r")))]);
    world.told("a");
    let twice = vec![watched("op", reserve(&reserved(&parse("mem:1"), "r")))];
    world.settle();
    world.heard("f");
    accept(&mut world, twice);
    let why = "op OPERATION_ERROR: Invalid RESERVE operation: Operation has duplicate ID: op";
    assert_eq!(world.heard("f"), [why]);

    world.call("f", Call::ReconcileOperations(Vec::new()));
    let latest = "Reconciliation: Latest operation state";
    assert_eq!(world.heard("f"), [format!("op OPERATION_PENDING: {latest}")]);
    world.report_operations("a");
    world.report_operations("a");
    assert_eq!(world.heard("f"), ["op OPERATION_FINISHED", "op OPERATION_FINISHED"]);
    world.call("f", Call::ReconcileOperations(Vec::new()));
    assert_eq!(world.heard("f"), [format!("op OPERATION_FINISHED: {latest}")]);

    let report = world.frameworks["f"].operations.iter().find(|it| it.uuid.is_some());
    let uuid = report.and_then(|it| it.uuid).expect("it must be kept");
    let call = AcknowledgeOperation { agent, operation: id("op"), uuid };
    world.call("f", Call::AcknowledgeOperation(call.clone()));
    assert_eq!(world.told("a"), ["operation acknowledged"]);
    assert_eq!(world.agents["a"].operations.len(), 0);
    // Once is enough.
    world.call("f", Call::AcknowledgeOperation(call));
    assert_eq!(world.told("a").len(), 0);
    world.call("f", Call::ReconcileOperations(Vec::new()));
    assert_eq!(world.heard("f").len(), 0);
}

#[test]
fn reconciliation_tells_what_can_be_known() {
    let mut world = offered();
    for name in ["b", "c", "d"] {
        world.agent(name);
    }
    world.settle();
    let ids: Vec<AgentId> = ["a", "b", "c", "d"].map(|name| world.id(name)).into();
    let answer = world.operate(OperatorCall::MarkAgentGone(ids[2].clone()));
    assert_eq!(answer, Some(Ok(Done::Ok)));
    world.disconnect("b");
    world.pass(Duration::from_secs(700));
    for name in ["a", "d"] {
        world.reconnect(name);
    }
    world.lead();
    world.reconnect("a");
    world.resubscribe("f");
    world.heard("f");
    let ask =
        |agent: Option<&AgentId>| ReconcileOperation { operation: id("op"), agent: agent.cloned() };
    let questions = ids.iter().map(|it| ask(Some(it))).chain([ask(None)]);
    world.call("f", Call::ReconcileOperations(questions.collect()));
    let answers: Vec<_> = world
        .heard("f")
        .into_iter()
        .map(|line| line.split(':').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        answers,
        [
            "op OPERATION_UNKNOWN",
            "op OPERATION_UNREACHABLE",
            "op OPERATION_GONE_BY_OPERATOR",
            "op OPERATION_RECOVERING",
            "op OPERATION_UNKNOWN",
        ]
    );
}

#[test]
fn an_operation_that_never_reached_its_agent_is_asked_for() {
    let mut world = offered();
    world.agents.get_mut("a").expect("there").loses_operations = true;
    let agent = world.id("a");
    accept(&mut world, vec![watched("op", reserve(&reserved(&parse("cpus:1"), "r")))]);
    world.told("a");
    world.disconnect("a");
    world.reconnect("a");
    assert_eq!(world.told("a"), ["reregistered, 0 expected, 0 over, awaits RESERVE"]);
    // What was booked as done is not, and nobody is offered it.
    assert_eq!(world.agent_views[&agent].total, parse("cpus:4;mem:1024;disk:100"));
    world.settle();
    assert_eq!(
        world.heard("f").last().map(String::as_str),
        Some("offer of a for r: cpus:4; disk:100; mem:1024")
    );
}

#[test]
fn reservations_and_reports_outlive_a_master() {
    let mut world = offered();
    let agent = world.id("a");
    accept(&mut world, vec![watched("op", reserve(&reserved(&parse("cpus:1"), "r")))]);
    let total = world.agents["a"].total.clone();
    world.lead();
    world.reconnect("a");
    world.resubscribe("f");
    world.settle();
    let heard = world.heard("f");
    let offer = "offer of a for r: cpus:3; cpus(r):1; disk:100; mem:1024";
    assert_eq!(heard.last().map(String::as_str), Some(offer));
    assert_eq!(world.agent_views[&agent].total, total);
    world.report_operations("a");
    assert_eq!(world.heard("f"), ["op OPERATION_FINISHED"]);
}

#[test]
fn the_report_of_an_operation_whose_framework_is_over_is_kept_by_the_master() {
    // Nobody answers pings here.
    let agent_ping_timeout = Duration::from_secs(86_400);
    let mut world = offered_with(Config { agent_ping_timeout, ..Config::default() });
    accept(&mut world, vec![watched("op", reserve(&reserved(&parse("cpus:1"), "r")))]);
    let framework = world.frameworks["f"].id.clone();
    world.operate(OperatorCall::TeardownFramework(framework));
    world.report_operations("a");
    world.told("a");
    world.pass(Duration::from_secs(599));
    assert_eq!(world.told("a").len(), 0);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.told("a"), ["operation acknowledged"]);
}

#[test]
fn frameworks_hear_of_operations_on_agents_that_leave() {
    for (gone, said) in [(true, "OPERATION_GONE_BY_OPERATOR"), (false, "OPERATION_UNREACHABLE")] {
        let mut world = offered();
        world.agents.get_mut("a").expect("there").loses_operations = true;
        accept(&mut world, vec![watched("op", reserve(&reserved(&parse("cpus:1"), "r")))]);
        world.heard("f");
        let agent = world.id("a");
        if gone {
            world.operate(OperatorCall::MarkAgentGone(agent));
        } else {
            world.disconnect("a");
            world.pass(Duration::from_secs(700));
        }
        let heard = world.heard("f");
        let line = heard.iter().find(|line| line.starts_with("op "));
        assert!(line.is_some_and(|line| line.contains(said)), "{heard:?}");
    }
}

#[test]
fn an_agent_is_not_emptied_while_somebody_waits_for_an_operation() {
    let mut world = offered();
    let agent = world.id("a");
    accept(&mut world, vec![watched("op", reserve(&reserved(&parse("cpus:1"), "r")))]);
    let drain = model::rules::Drain::default();
    world.operate(OperatorCall::DrainAgent { agent: agent.clone(), drain });
    let is_drained = |world: &World| {
        matches!(world.agent_views[&agent].standing, model::rules::Standing::Drained { .. })
    };
    assert!(!is_drained(&world));
    world.report_operations("a");
    let report = world.frameworks["f"].operations.iter().find_map(|it| it.uuid);
    let uuid = report.expect("it must be kept");
    let call = AcknowledgeOperation { agent: agent.clone(), operation: id("op"), uuid };
    world.call("f", Call::AcknowledgeOperation(call));
    assert!(is_drained(&world));
}
