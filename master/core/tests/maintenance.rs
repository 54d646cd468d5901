//! Machines that are to be away: their agents, and the frameworks that are asked to leave them.

mod world;

use master_core::{Config, Input, Refusal};
use model::call::{AnswerInverseOffers, Call};
use model::framework::Capabilities;
use model::link::FromAgent;
use model::operator::OperatorCall;
use model::role::Role;
use model::rules::{Drain, Machine, Unavailability, Window};
use model::task::TaskState;
use std::collections::BTreeSet;
use std::time::Duration;
use world::operations::{parse, reserve, reserved};
use world::{OK, World, invalid};

#[test]
fn an_agent_is_not_let_in_whose_machine_leaves_while_the_masters_agree_on_it() {
    let mut world = World::new();
    let machine = Machine::new("a", "").expect("named");
    let window = Window {
        machines: vec![machine.clone()],
        unavailability: Unavailability { start_ns: 5, duration_ns: None },
    };
    assert_eq!(world.operate(OperatorCall::UpdateSchedule(vec![window])), OK);
    world.agrees = false;
    world.operate(OperatorCall::StartMaintenance(vec![machine]));
    world.agent("a");
    world.agree();
    world.settle();
    let down = "shutdown: Machine is DOWN: its maintenance has begun and is not over";
    assert_eq!(world.told("a"), [down, "closed: Removed"]);
    assert!(world.registry.members.agents.is_empty());
}

/// A framework that was offered an agent, which then begins to leave the cluster in this way.
fn leaving(begin: impl FnOnce(&mut World)) -> World {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    assert!(world.heard("f").iter().any(|it| it.starts_with("offer of a")));
    world.agrees = false;
    begin(&mut world);
    world.settle();
    world
}

fn unregisters(world: &mut World) {
    world.say("a", FromAgent::Unregister);
}

fn is_marked_gone(world: &mut World) {
    let gone = OperatorCall::MarkAgentGone(world.id("a"));
    assert_eq!(world.operate(gone), None, "the answer waits for the others");
}

fn is_silent(world: &mut World) {
    // Nobody answers pings here.
    world.pass(Duration::from_secs(200));
}

fn is_replaced(world: &mut World) {
    world.agent_in_place_of("b", "a");
}

#[test]
fn an_agent_that_goes_away_is_not_offered_while_the_masters_agree_on_it() {
    for begin in [unregisters, is_marked_gone, is_silent, is_replaced] {
        let mut world = leaving(begin);
        assert_eq!(world.heard("f"), ["rescind of a"]);
    }
}

#[test]
fn an_agent_on_whose_leaving_the_masters_did_not_agree_is_offered_again() {
    for begin in [unregisters, is_marked_gone, is_silent, is_replaced] {
        let mut world = leaving(begin);
        world.heard("f");
        let lost = world.waiting.pop_front().expect("it was proposed");
        world.step(Input::ProposalFailed(lost));
        world.settle();
        let offer = "offer of a for *: cpus:4; mem:1024; ports:[31000-31009]";
        assert_eq!(world.heard("f"), [offer]);
    }
}

#[test]
fn nothing_is_made_of_what_an_agent_has_that_goes_away() {
    let mut world = leaving(is_marked_gone);
    let conversion = reserve(&reserved(&parse("cpus:1"), "db"));
    let call = OperatorCall::Convert { agent: world.id("a"), conversion };
    let why = "Agent is being removed or marked".to_owned();
    assert_eq!(world.operate(call), Some(Err(Refusal::Conflict(why))));
}

#[test]
fn planned_maintenance_is_announced_and_machines_leave_and_come_back() {
    let mut world = World::new();
    world.agent("a");
    world.agent("b");
    world.framework("f");
    world.settle();
    world.launch("f", "a", &["t1"]);
    world.report("a", "t1", TaskState::Running);
    world.acknowledge_all("f");
    world.settle();
    world.heard("f");
    let machine = Machine::new("a", "10.0.0.1").expect("named");
    let unavailability = Unavailability { start_ns: 5, duration_ns: None };
    let window = Window { machines: vec![machine.clone()], unavailability };

    let down = OperatorCall::StartMaintenance(vec![machine.clone()]);
    let not_planned = "Machine 'a (10.0.0.1)' is not part of a maintenance schedule";
    assert_eq!(world.operate(down.clone()), Some(invalid(not_planned)));
    assert_eq!(world.operate(OperatorCall::UpdateSchedule(vec![window.clone()])), OK);
    world.settle();
    assert_eq!(
        world.heard("f"),
        [
            "rescind of a",
            "asked to leave a",
            "offer of a for *: cpus:3; mem:960; ports:[31000-31009], to be away"
        ]
    );
    let drain = OperatorCall::DrainAgent { agent: world.id("a"), drain: Drain::default() };
    let planned = "Agent is part of a maintenance schedule under the maintenance primitives";
    assert_eq!(world.operate(drain), Some(invalid(planned)));

    world.told("a");
    assert_eq!(world.operate(down), OK);
    assert_eq!(world.told("a"), ["shutdown: Operator initiated 'Machine DOWN'", "closed: Removed"]);
    assert_eq!(
        world.heard("f"),
        ["rescind of a", "t1 TASK_LOST REASON_AGENT_REMOVED", "not asked any more", "failure of a"]
    );
    world.agent("a");
    assert_eq!(
        world.told("a"),
        ["shutdown: Machine is DOWN: its maintenance has begun and is not over", "closed: Removed"]
    );
    let clear = OperatorCall::UpdateSchedule(Vec::new());
    let stays = "Machine 'a (10.0.0.1)' is deactivated and cannot be removed from the schedule";
    assert_eq!(world.operate(clear), Some(invalid(stays)));

    assert_eq!(world.operate(OperatorCall::StopMaintenance(vec![machine])), OK);
    assert!(world.rules.schedule.is_empty(), "its maintenance is over");
}

#[test]
fn who_was_asked_to_leave_is_asked_again_when_the_answer_has_aged() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    world.launch("f", "a", &["t1"]);
    let machine = Machine::new("a", "10.0.0.1").expect("named");
    let unavailability = Unavailability { start_ns: 5, duration_ns: None };
    let window = Window { machines: vec![machine], unavailability };
    assert_eq!(world.operate(OperatorCall::UpdateSchedule(vec![window])), OK);
    world.settle();
    let refuse_for = Duration::from_secs(20);
    let answer = |world: &mut World, accepts| {
        let offers =
            std::mem::take(&mut world.frameworks.get_mut("f").expect("there").asked_to_leave);
        assert_eq!(offers.len(), 1, "it is asked once");
        let answers = AnswerInverseOffers { offers: offers.clone(), accepts, refuse_for };
        world.call("f", Call::AnswerInverseOffers(answers.clone()));
        // What is answered already, or was never asked, changes nothing.
        world.call(
            "f",
            Call::AnswerInverseOffers(AnswerInverseOffers { accepts: !accepts, ..answers }),
        );
        let shown: Vec<_> =
            world.inverse_answers.iter().map(|it| (&it.agent, it.accepts)).collect();
        assert_eq!(shown, [(&world.id("a"), accepts)]);
    };
    answer(&mut world, false);
    world.heard("f");
    world.pass(refuse_for / 2);
    assert!(!world.heard("f").contains(&"asked to leave a".to_owned()), "it has answered");
    world.pass(refuse_for);
    answer(&mut world, true);

    // To revive is to want to be asked again. What it has answered stands until then.
    world.heard("f");
    world.call("f", Call::Revive(BTreeSet::new()));
    world.pass(Duration::from_secs(1));
    assert!(world.heard("f").contains(&"asked to leave a".to_owned()));
    assert_eq!(world.inverse_answers.len(), 1);
}

#[test]
fn who_answers_for_no_time_is_asked_to_leave_at_the_next_full_pass() {
    let interval = Duration::from_secs(7);
    let mut world = World::with(Config { allocation_interval: interval, ..Config::default() });
    world.agent("a");
    world.framework("f");
    world.settle();
    world.pass(interval);
    world.launch("f", "a", &["t1"]);
    let machines = vec![Machine::new("a", "10.0.0.1").expect("named")];
    let unavailability = Unavailability { start_ns: 5, duration_ns: None };
    let schedule = OperatorCall::UpdateSchedule(vec![Window { machines, unavailability }]);
    assert_eq!(world.operate(schedule), OK);
    for accepts in [false, true] {
        let framework = world.frameworks.get_mut("f").expect("there");
        let offers = std::mem::take(&mut framework.asked_to_leave);
        assert_eq!(offers.len(), 1);
        world.heard("f");
        let refuse_for = Duration::ZERO;
        world.call(
            "f",
            Call::AnswerInverseOffers(AnswerInverseOffers { offers, accepts, refuse_for }),
        );
        world.pass(interval.mul_f64(0.9));
        let asked = "asked to leave a".to_owned();
        assert!(!world.heard("f").contains(&asked), "it has only just answered");
        world.pass(interval.mul_f64(0.2));
        assert!(world.heard("f").contains(&asked));
    }
}

#[test]
fn who_revives_a_role_is_asked_again_to_leave_where_it_has_something_for_it() {
    let mut world = World::new();
    world.agent_with("a", "cpus:1;mem:64");
    let many = Capabilities { multi_role: true, ..Capabilities::default() };
    world.framework_in("f", "dev", many);
    world.settle();
    world.launch("f", "a", &["t1"]);
    let roles: BTreeSet<Role> = ["dev", "web"].map(|role| Role::new(role).expect("a role")).into();
    assert_eq!(world.update("f", |it| it.roles = roles.clone()), OK);
    let machines = vec![Machine::new("a", "10.0.0.1").expect("named")];
    let unavailability = Unavailability { start_ns: 5, duration_ns: None };
    let schedule = OperatorCall::UpdateSchedule(vec![Window { machines, unavailability }]);
    assert_eq!(world.operate(schedule), OK);
    let offers = std::mem::take(&mut world.frameworks.get_mut("f").expect("there").asked_to_leave);
    let refuse_for = Duration::from_secs(1_000);
    let answers = AnswerInverseOffers { offers, accepts: false, refuse_for };
    world.call("f", Call::AnswerInverseOffers(answers));
    let mut is_asked_after_reviving = |role: &Role| {
        world.heard("f");
        world.call("f", Call::Revive([role.clone()].into()));
        world.pass(Duration::from_secs(1));
        world.heard("f").contains(&"asked to leave a".to_owned())
    };
    let [dev, web] = [0, 1].map(|nth| roles.iter().nth(nth).expect("there are two"));
    assert!(!is_asked_after_reviving(web));
    assert!(is_asked_after_reviving(dev));
}
