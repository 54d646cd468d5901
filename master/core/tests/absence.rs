//! Agents that are away, for how long they are remembered, and where they may stand.

mod world;

use master_core::{Config, Done, Refusal, RemovalRate};
use model::call::{Call, ReconcileTask};
use model::framework::Capabilities;
use model::ids::{AgentId, TaskId};
use model::link::FaultDomain;
use model::operator::OperatorCall;
use model::rules::{Drain, Machine, Unavailability, Window};
use model::task::TaskState;
use std::time::Duration;
use world::World;

/// Two agents with a task of each of two frameworks, one of which knows what being out of contact is.
fn cluster(rate: &str) -> World {
    let agent_removal_rate = Some(RemovalRate::parse(rate).expect("a rate"));
    let mut world = World::with(Config { agent_removal_rate, ..Config::default() });
    for agent in ["a", "b"] {
        world.agent(agent);
    }
    let aware = Capabilities { partition_aware: true, ..Capabilities::default() };
    for (framework, capabilities) in [("aware", aware), ("old", Capabilities::default())] {
        world.framework_in(framework, "*", capabilities);
        world.settle();
        for agent in ["a", "b"] {
            let task = format!("{framework}-{agent}");
            world.launch(framework, agent, &[&task]);
            world.report(agent, &task, TaskState::Running);
        }
        world.acknowledge_all(framework);
        world.call(framework, Call::Suppress(std::collections::BTreeSet::new()));
        world.settle();
    }
    for name in ["aware", "old"] {
        world.heard(name);
    }
    world
}

#[test]
fn those_who_take_absence_for_loss_hear_of_one_agent_after_the_other() {
    let mut world = cluster("1/10mins");
    for agent in ["a", "b"] {
        world.disconnect(agent);
    }
    world.pass(Duration::from_secs(100));
    let mut heard = world.heard("aware");
    heard.sort();
    assert_eq!(
        heard,
        [
            "aware-a TASK_UNREACHABLE REASON_AGENT_REMOVED",
            "aware-b TASK_UNREACHABLE REASON_AGENT_REMOVED",
            "failure of a",
            "failure of b",
        ]
    );
    assert_eq!(world.registry.members.unreachable.len(), 2, "both are marked at once");
    assert_eq!(world.heard("old"), ["old-a TASK_LOST REASON_AGENT_REMOVED", "failure of a"]);

    // Who asks hears what was known before.
    let ask = |task: &str| {
        Call::Reconcile(vec![ReconcileTask {
            task: TaskId::new(task).expect("an id"),
            agent: None,
        }])
    };
    world.call("old", ask("old-a"));
    world.call("old", ask("old-b"));
    world.call("old", Call::Reconcile(Vec::new()));
    assert_eq!(
        world.heard("old"),
        [
            "old-a TASK_LOST REASON_RECONCILIATION",
            "old-b TASK_RUNNING REASON_RECONCILIATION",
            "old-b TASK_RUNNING REASON_RECONCILIATION",
        ]
    );
    world.pass(Duration::from_secs(595));
    assert_eq!(world.heard("old"), ["old-b TASK_LOST REASON_AGENT_REMOVED", "failure of b"]);
}

#[test]
fn an_agent_that_is_back_in_time_was_never_lost() {
    let mut world = cluster("1/10mins");
    for agent in ["a", "b"] {
        world.disconnect(agent);
    }
    world.pass(Duration::from_secs(100));
    world.heard("old");
    world.heard("aware");
    world.reconnect("b");
    assert_eq!(world.heard("old"), [""; 0]);
    assert_eq!(world.heard("aware"), ["aware-b TASK_RUNNING REASON_AGENT_REREGISTERED"]);
    world.report("b", "old-b", TaskState::Finished);
    assert_eq!(world.heard("old"), ["old-b TASK_FINISHED"]);
    world.pass(Duration::from_secs(20 * 60));
    assert!(!world.heard("old").iter().any(|line| line.contains("LOST")));
}

#[test]
fn an_agent_that_is_declared_dead_waits_for_no_turn() {
    let mut world = cluster("1/10mins");
    for agent in ["a", "b"] {
        world.disconnect(agent);
    }
    world.pass(Duration::from_secs(100));
    world.heard("old");
    let id = world.id("b");
    world.operate(OperatorCall::MarkAgentGone(id));
    assert_eq!(
        world.heard("old"),
        ["old-b TASK_LOST REASON_AGENT_REMOVED_BY_OPERATOR", "failure of b"]
    );
}

#[test]
fn former_agents_are_forgotten_with_age_and_by_number() {
    let day = Duration::from_secs(86_400);
    let mut world = World::with(Config { registry_agent_count_max: 2, ..Config::default() });
    for agent in ["a", "b", "c"] {
        world.agent(agent);
        world.disconnect(agent);
        world.pass(Duration::from_secs(100));
    }
    let away = |world: &World| world.registry.members.unreachable.len();
    assert_eq!(away(&world), 3);
    world.pass(Duration::from_secs(15 * 60));
    assert_eq!(away(&world), 2, "the oldest had to go");
    assert!(!world.registry.members.unreachable.contains_key(&world.id("a")));
    world.agent("d");
    let id = world.id("d");
    world.operate(OperatorCall::MarkAgentGone(id));
    world.pass(13 * day);
    assert_eq!((away(&world), world.registry.members.gone.len()), (2, 1));
    world.pass(2 * day);
    assert_eq!((away(&world), world.registry.members.gone.len()), (0, 0));
    assert!(world.agent_views.is_empty(), "nor are they shown: {:?}", world.agent_views);
    // One that was only forgotten may come back.
    world.reconnect("b");
    assert!(world.registry.members.agents.contains_key(&world.id("b")));
}

#[test]
fn an_agent_must_say_where_it_stands_if_the_master_does_and_only_then() {
    let here = FaultDomain { region: "north".into(), zone: "1".into() };
    for (masters, required, agents, welcome) in [
        (None, false, None, true),
        (None, false, Some(here.clone()), false),
        (Some(here.clone()), false, None, true),
        (Some(here.clone()), true, None, false),
        (Some(here.clone()), true, Some(here), true),
    ] {
        let config =
            Config { domain: masters, require_agent_domain: required, ..Config::default() };
        let mut world = World::with(config);
        world.agent_in("a", agents);
        let told = world.told("a");
        if welcome {
            assert_eq!(told, ["registered"]);
        } else {
            assert!(told[0].starts_with("shutdown: The agent"), "{told:?}");
            assert!(told[0].contains("--domain"), "{told:?}");
        }
    }
}

#[test]
fn an_agent_that_moved_to_another_address_is_another_agent() {
    let mut world = World::new();
    world.agent("a");
    world.told("a");
    world.disconnect("a");
    world.move_agent("a", "10.9.9.9:5051");
    world.reconnect("a");
    let told = world.told("a");
    assert_eq!(told[0], "shutdown: The agent's IP was 10.0.0.1 and is 10.9.9.9");
}

#[test]
fn an_agent_that_speaks_an_old_version_or_none_is_turned_away() {
    for (version, why) in [
        ("0.28.2", "The agent speaks 0.28.2, which is too old for this master"),
        ("newest", "The agent does not say what it speaks: 'newest' is no version"),
    ] {
        let refused = format!("shutdown: {why}");
        let mut world = World::new();
        world.agent_speaking("a", version);
        assert!(world.told("a")[0].starts_with(&refused));
        assert!(world.registry.members.agents.is_empty());

        world.agent("b");
        world.told("b");
        world.disconnect("b");
        world.speak("b", version);
        world.reconnect("b");
        assert!(world.told("b")[0].starts_with(&refused), "one that was in is asked again");
    }
}

#[test]
fn an_agent_that_asks_again_on_a_new_link_is_the_same_if_it_ran_nothing() {
    let mut world = World::new();
    world.agent("a");
    let id = world.id("a");
    world.framework("f");
    world.settle();
    world.heard("f");
    // That its first link is broken is not known yet.
    world.agent("a");
    assert_eq!(world.id("a"), id);
    assert!(world.heard("f")[0].starts_with("rescind of"), "it was to be reached by the old link");
    world.settle();
    world.launch("f", "a", &["t"]);
    world.report("a", "t", TaskState::Running);
    world.heard("f");

    // Whoever has forgotten its tasks is another one.
    world.agent("a");
    let successor = world.id("a");
    assert_ne!(successor, id);
    assert_eq!(world.registry.members.agents.keys().collect::<Vec<_>>(), [&successor]);
    let heard = world.heard("f");
    assert!(heard.contains(&"t TASK_LOST REASON_AGENT_REMOVED".to_owned()), "{heard:?}");
}

#[test]
fn two_agents_cannot_be_at_one_address() {
    let mut world = World::new();
    // Asked twice while the masters agree: the later one is there.
    world.agrees = false;
    world.agent("a");
    world.agent("a");
    world.agree();
    let id = world.id("a");
    assert_eq!(world.registry.members.agents.keys().collect::<Vec<_>>(), [&id]);

    // One that was elsewhere on the machine takes the place of another.
    world.agent("b");
    world.move_agent("b", "10.0.0.1:5052");
    world.agent("b");
    world.disconnect("b");
    world.move_agent("b", "10.0.0.1:5051");
    world.reconnect("b");
    let members = &world.registry.members.agents;
    assert!(members.contains_key(&world.id("b")) && !members.contains_key(&id), "{members:?}");
    assert!(!world.agent_views.contains_key(&id));
}

#[test]
fn an_agent_out_of_contact_is_drained_or_in_the_schedule_but_not_both() {
    let mut world = World::new();
    world.agent("a");
    world.agent("b");
    let machine = |name: &str, ip: &str| Machine::new(name, ip).expect("named");
    let (a, b) = (machine("a", "10.0.0.1"), machine("b", "10.0.0.2"));
    let (a_id, b_id) = (world.id("a"), world.id("b"));
    let drain = |agent: &AgentId| {
        let drain = Drain { grace_max: None, marks_gone: false };
        OperatorCall::DrainAgent { agent: agent.clone(), drain }
    };
    let plan = |machine: &Machine| {
        let unavailability = Unavailability { start_ns: 5, duration_ns: None };
        let machines = vec![machine.clone()];
        OperatorCall::UpdateSchedule(vec![Window { machines, unavailability }])
    };
    for name in ["a", "b"] {
        world.disconnect(name);
    }
    world.pass(Duration::from_secs(100));
    assert!(world.registry.members.agents.is_empty(), "they are out of contact");
    assert_eq!(world.operate(drain(&a_id)), Some(Ok(Done::Ok)));
    let why =
        format!("Machine '{a}' has agent {a_id}, which is being drained; reactivate it first");
    assert_eq!(world.operate(plan(&a)), Some(Err(Refusal::Invalid(why))));
    assert_eq!(world.operate(plan(&b)), Some(Ok(Done::Ok)));
    let why = "Agent is part of a maintenance schedule under the maintenance primitives";
    assert_eq!(world.operate(drain(&b_id)), Some(Err(Refusal::Invalid(why.to_owned()))));
}
