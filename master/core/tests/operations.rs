//! Stories of operations on resources: reserving, making volumes, using them, and the way back.

mod world;

use master_core::{Done, Input, Refusal};
use model::amount::Milli;
use model::call::Operation;
use model::ids::AgentId;
use model::operation::{Conversion, OperationState};
use model::operator::OperatorCall;
use model::resources::Resources;
use model::task::TaskState;
use std::time::Duration;
use world::World;
use world::operations::*;

#[test]
fn a_later_operation_uses_what_an_earlier_one_made() {
    let mut world = offered();
    let agent = world.id("a");
    let space = reserved(&parse("cpus:1;mem:64;disk:40"), "r");
    let disk = space.filtered(|key, _| &*key.name == "disk");
    let volume = volume(&disk, "v");
    let needs = space.minus(&disk).plus(&volume);
    accept(
        &mut world,
        vec![
            convert(reserve(&space)),
            convert(Conversion::Create(volume.clone())),
            launch("t", &agent, &needs),
        ],
    );
    assert_eq!(world.told("a"), ["apply RESERVE", "apply CREATE", "launch t"]);
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for r: cpus:3; disk:60; mem:960"]);
    let view = &world.agent_views[&agent];
    assert_eq!(view.total, world.agents["a"].total);
    assert_eq!(view.used, needs);

    // What is in use stays.
    accept(&mut world, vec![watched("d", Conversion::Destroy(volume.clone()))]);
    let errors = world.heard("f");
    let why = "d OPERATION_ERROR: Invalid DESTROY operation: Persistent volumes in use";
    assert_eq!(errors, [why]);

    // And the way back.
    world.report("a", "t", TaskState::Finished);
    world.acknowledge_all("f");
    world.settle();
    let offer = world.heard("f").pop().expect("an offer");
    assert_eq!(
        offer,
        "offer of a for r: cpus:3; cpus(r):1; disk:60; disk(r):40; mem:960; mem(r):64"
    );
    world.told("a");
    accept(
        &mut world,
        vec![convert(Conversion::Destroy(volume)), convert(Conversion::Unreserve(space))],
    );
    assert_eq!(world.told("a"), ["apply DESTROY", "apply UNRESERVE"]);
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for r: cpus:4; disk:100; mem:1024"]);
    assert_eq!(world.agent_views[&agent].total, parse("cpus:4;mem:1024;disk:100"));
}

#[test]
fn what_operations_made_is_not_kept_away_by_the_filter_of_the_rest() {
    let mut world = offered();
    let space = reserved(&parse("cpus:1"), "r");
    accept_as(&mut world, "f", vec![convert(reserve(&space))], Duration::from_secs(60));
    world.settle();
    // It comes back with all that is free beside it, which is more than was declined.
    assert_eq!(world.heard("f"), ["offer of a for r: cpus:3; cpus(r):1; disk:100; mem:1024"]);
}

#[test]
fn an_operation_that_cannot_be_holds_up_no_other() {
    let mut world = offered();
    let agent = world.id("a");
    let good = reserved(&parse("cpus:1"), "r");
    let bad = [
        ("other role", reserve(&reserved(&parse("cpus:1"), "other"))),
        ("not dynamic", reserve(&parse("cpus(r):1"))),
        ("too much", reserve(&reserved(&parse("cpus:9"), "r"))),
        ("nothing", reserve(&Resources::none())),
        ("not reserved", Conversion::Unreserve(parse("cpus:1"))),
        ("no volume", Conversion::Destroy(reserved(&parse("disk:1"), "r"))),
        ("not there", Conversion::Destroy(volume(&reserved(&parse("disk:1"), "r"), "v"))),
        ("unreserved", Conversion::Create(volume(&parse("disk:1"), "v"))),
    ];
    let mut operations: Vec<Operation> = Vec::new();
    for (name, conversion) in bad {
        operations.push(watched(name, conversion));
    }
    operations.push(watched("good", reserve(&good)));
    operations.push(launch("t", &agent, &good));
    accept(&mut world, operations);
    assert_eq!(
        world.heard("f"),
        [
            "other role OPERATION_ERROR: Invalid RESERVE operation: Resource 'cpus' is to be reserved \
             for role 'other', but was offered for role 'r'",
            "not dynamic OPERATION_ERROR: Invalid RESERVE operation: Resource 'cpus' is not \
             dynamically reserved",
            "too much OPERATION_ERROR: Invalid RESERVE operation: cpus:9 is more than available \
             cpus:4; disk:100; mem:1024",
            "nothing OPERATION_ERROR: Invalid RESERVE operation: No resources are named",
            "not reserved OPERATION_ERROR: Invalid UNRESERVE operation: Resource 'cpus' is not \
             dynamically reserved",
            "no volume OPERATION_ERROR: Invalid DESTROY operation: Resource 'disk' is not a \
             persistent volume",
            "not there OPERATION_ERROR: Invalid DESTROY operation: Persistent volumes not found",
            "unreserved OPERATION_ERROR: Invalid CREATE operation: Persistent volumes cannot be \
             created from unreserved resources",
        ]
    );
    assert_eq!(world.told("a"), ["apply RESERVE", "launch t"]);
}

#[test]
fn a_launch_on_what_was_not_made_is_an_error() {
    let mut world = offered();
    let agent = world.id("a");
    let wrong = reserved(&parse("cpus:1"), "other");
    accept(&mut world, vec![convert(reserve(&wrong)), launch("t", &agent, &wrong)]);
    assert_eq!(world.heard("f"), ["t TASK_ERROR REASON_TASK_INVALID"]);
    assert_eq!(world.told("a").len(), 0);
}

#[test]
fn whoever_makes_something_says_so() {
    let mut world = World::new();
    world.agent_with("a", "cpus:4;mem:1024;disk:100");
    world.framework_in("f", "r", sharing());
    let nobody = world.frameworks["f"].id.clone();
    world.operate(OperatorCall::TeardownFramework(nobody));
    world.frameworks.get_mut("f").expect("there").description.principal = Some("me".into());
    world.subscribe("f", None);
    world.settle();
    world.heard("f");
    let one = parse("cpus:1");
    accept(
        &mut world,
        vec![
            watched("nobody", reserve(&reserved(&one, "r"))),
            watched("another", reserve(&reserved_by(&one, "r", Some("you")))),
            watched("right", reserve(&reserved_by(&one, "r", Some("me")))),
        ],
    );
    assert_eq!(
        world.heard("f"),
        [
            "nobody OPERATION_ERROR: Invalid RESERVE operation: Resource 'cpus' reserved without a \
             principal, but it is 'me' who asks for it",
            "another OPERATION_ERROR: Invalid RESERVE operation: Resource 'cpus' reserved by \
             principal 'you', but it is 'me' who asks for it",
        ]
    );
    assert_eq!(world.told("a").last().map(String::as_str), Some("apply RESERVE"));
}

#[test]
fn a_shared_volume_is_used_by_many_and_destroyed_by_none_of_them() {
    let mut world = offered();
    let agent = world.id("a");
    let disk = reserved(&parse("disk:40"), "r");
    let data = shared(&volume(&disk, "v"));
    let needs = parse("cpus:1;mem:64").plus(&data);
    accept(
        &mut world,
        vec![
            convert(reserve(&disk)),
            convert(Conversion::Create(data.clone())),
            launch("t1", &agent, &needs),
            launch("t2", &agent, &needs),
        ],
    );
    assert_eq!(world.told("a"), ["apply RESERVE", "apply CREATE", "launch t1", "launch t2"]);
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for r: cpus:2; disk:60; disk(r):40; mem:896"]);
    assert_eq!(world.agent_views[&agent].used, parse("cpus:2;mem:128").plus(&data));
    for task in ["t1", "t2"] {
        let destroy = vec![watched(task, Conversion::Destroy(data.clone()))];
        accept(&mut world, destroy);
        let heard = world.heard("f");
        assert!(heard[0].ends_with("Persistent volumes in use"), "{heard:?}");
        world.report("a", task, TaskState::Finished);
        world.acknowledge_all("f");
        world.settle();
        world.heard("f");
    }
    world.told("a");
    accept(&mut world, vec![convert(Conversion::Destroy(data))]);
    assert_eq!(world.told("a"), ["apply DESTROY"]);
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for r: cpus:4; disk:60; disk(r):40; mem:1024"]);
}

#[test]
fn a_framework_that_does_not_share_makes_no_shared_volumes() {
    let mut world = offered();
    let mut can = sharing();
    can.shared_resources = false;
    world.update("f", |framework| framework.capabilities = can);
    world.settle();
    let disk = reserved(&parse("disk:40"), "r");
    world.heard("f");
    let create = watched("c", Conversion::Create(shared(&volume(&disk, "v"))));
    accept(&mut world, vec![convert(reserve(&disk)), create]);
    let heard = world.heard("f");
    assert!(heard[0].contains("not SHARED_RESOURCES capable"), "{heard:?}");
}

#[test]
fn a_framework_refines_reservations_and_is_offered_such_only_if_it_knows_of_them() {
    let mut world = World::new();
    world.agent_with("a", "cpus(r):4;mem:1024");
    let mut can = sharing();
    can.reservation_refinement = false;
    world.framework_in("f", "r/x", can);
    world.settle();
    assert_eq!(world.heard("f"), ["subscribed", "offer of a for r/x: cpus(r):4; mem:1024"]);
    world.told("a");
    let refine = |cpus: &str| reserve(&reserved(&parse(cpus), "r/x"));
    let plain = reserve(&reserved(&parse("mem:24"), "r/x"));
    accept(&mut world, vec![watched("refined", refine("cpus(r):1")), watched("plain", plain)]);
    let why = "refined OPERATION_ERROR: Invalid RESERVE operation: Resource 'cpus' is reserved \
               already, and the framework is not RESERVATION_REFINEMENT capable";
    assert_eq!(world.heard("f"), [why]);
    assert_eq!(world.told("a"), ["apply RESERVE"]);

    // An operator may, and it is not offered what comes of it.
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for r/x: cpus(r):4; mem:1000; mem(r/x):24"]);
    let call = OperatorCall::Convert { agent: world.id("a"), conversion: refine("cpus(r):1") };
    assert_eq!(world.operate(call), Some(Ok(Done::Accepted)));
    world.pass(Duration::from_secs(6));
    let rest = "offer of a for r/x: cpus(r):3; mem:1000; mem(r/x):24";
    assert_eq!(world.heard("f"), ["rescind of a", rest]);

    world.update("f", |framework| framework.capabilities.reservation_refinement = true);
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for r/x: cpus(r/x):1"]);
    accept(&mut world, vec![convert(refine("cpus(r):1"))]);
    assert_eq!(world.heard("f").len(), 0, "now it may");
    assert_eq!(world.told("a"), ["apply RESERVE", "apply RESERVE"]);
}

#[test]
fn a_volume_grows_and_shrinks_but_not_in_the_same_call_it_is_used() {
    let (mut world, space, volume) = with_volume();
    let agent = world.id("a");
    let more = reserved(&parse("disk:10"), "r");
    let larger = Conversion::Grow { volume: volume.clone(), addition: more.clone() }.converted();
    accept(
        &mut world,
        vec![
            convert(reserve(&more)),
            convert(Conversion::Grow { volume: volume.clone(), addition: more.clone() }),
            launch("t", &agent, &larger),
        ],
    );
    assert_eq!(world.told("a"), ["apply RESERVE", "apply GROW_VOLUME"]);
    assert_eq!(world.heard("f"), ["t TASK_ERROR REASON_TASK_INVALID"]);
    world.settle();
    let offer = "offer of a for r: cpus:3; cpus(r):1; disk:50; disk(r):50; mem:960; mem(r):64";
    assert_eq!(world.heard("f"), [offer]);
    for (bad, why) in [
        (Milli::ZERO, "'subtract' must be more than nothing"),
        (Milli::units(50), "'subtract' must be less than the volume's size"),
    ] {
        let shrink = Conversion::Shrink { volume: larger.clone(), subtract: bad };
        accept(&mut world, vec![watched("s", shrink)]);
        assert_eq!(
            world.heard("f"),
            [format!("s OPERATION_ERROR: Invalid SHRINK_VOLUME operation: {why}")]
        );
        world.pass(Duration::from_secs(2));
        world.heard("f");
    }
    let back = Conversion::Shrink { volume: larger, subtract: Milli::units(10) };
    accept(&mut world, vec![convert(back)]);
    assert_eq!(world.told("a"), ["apply SHRINK_VOLUME"]);
    let total = world.agents["a"].total.clone();
    assert!(
        total.contains(&volume)
            && total.contains(&more)
            && total.contains(&space.minus(&reserved(&parse("disk:40"), "r")))
    );
    assert_eq!(world.agent_views[&agent].total, total);
}

#[test]
fn an_operator_takes_what_is_free_or_offered() {
    let mut world = offered();
    let agent = world.id("a");
    let operate = |world: &mut World, conversion| {
        let call = OperatorCall::Convert { agent: agent.clone(), conversion };
        world.operate(call).expect("answered at once")
    };
    let all = reserved(&parse("cpus:4"), "other");
    assert_eq!(operate(&mut world, reserve(&all)), Ok(Done::Accepted));
    assert_eq!(world.told("a"), ["apply RESERVE"]);
    assert_eq!(world.heard("f"), ["rescind of a"]);
    world.settle();
    // What is left is too little or was taken from it just now.
    assert_eq!(world.heard("f").len(), 0);
    world.pass(Duration::from_secs(6));
    assert_eq!(world.heard("f"), ["offer of a for r: disk:100; mem:1024"]);

    let much = operate(&mut world, reserve(&reserved(&parse("cpus:1"), "other")));
    assert!(matches!(much, Err(Refusal::Conflict(_))), "{much:?}");
    assert_eq!(world.heard("f").len(), 0, "offers are not taken back in vain");
    let bad = operate(&mut world, Conversion::Unreserve(parse("cpus:1")));
    let why = format!(
        "Invalid UNRESERVE operation on agent {agent}: Resource 'cpus' is not dynamically reserved"
    );
    assert_eq!(bad, Err(Refusal::Invalid(why)));

    // One reservation for another, at once.
    let next = reserved(&parse("cpus:4"), "r");
    let change = Conversion::Reserve { source: all, resources: next };
    assert_eq!(operate(&mut world, change), Ok(Done::Accepted));
    world.settle();
    assert!(world.agent_views[&agent].total.contains(&reserved(&parse("cpus:4"), "r")));

    let nowhere = AgentId::new("nowhere").expect("an id");
    let call = OperatorCall::Convert {
        agent: nowhere,
        conversion: reserve(&reserved(&parse("cpus:1"), "r")),
    };
    let why = "No agent found with specified ID".to_owned();
    assert_eq!(world.operate(call), Some(Err(Refusal::Invalid(why))));
}

#[test]
fn an_operator_is_told_that_it_is_done_when_the_agent_has_it_and_else_what_is_known() {
    type Ends = fn(&mut World);
    let unknown = |why| Err(Refusal::Interrupted(why));
    let conflict = |why: &str| Err(Refusal::Conflict(why.to_owned()));
    let cases: [(Ends, Result<Done, Refusal>); 6] = [
        (|world| world.agents_say(|_| ()), Ok(Done::Accepted)),
        (
            |world| {
                world.agents_say(|status| {
                    status.state = OperationState::Dropped;
                    status.message = Some("no room".into());
                });
            },
            conflict("The agent has not done it: no room"),
        ),
        (|world| world.disconnect("a"), unknown("The agent has disconnected")),
        (|world| world.reconnect("a"), unknown("The agent has disconnected")),
        (
            |world| {
                let gone = OperatorCall::MarkAgentGone(world.id("a"));
                assert_eq!(world.operate(gone), Some(Ok(Done::Ok)));
            },
            conflict("The agent was marked gone"),
        ),
        (|world| world.step(Input::Depose), unknown("The leading master has changed")),
    ];
    for (end, expected) in cases {
        let mut world = World::new();
        world.agent("a");
        world.are_slow = true;
        let conversion = reserve(&reserved(&parse("cpus:1"), "r"));
        let call = OperatorCall::Convert { agent: world.id("a"), conversion };
        assert_eq!(world.operate(call), None, "the answer waits for the agent");
        world.answers.clear();
        end(&mut world);
        let first = world.answers.values().next();
        assert_eq!(first, Some(&expected), "and nothing else of it");
    }
}

#[test]
fn an_operator_does_not_take_what_is_in_use() {
    let (mut world, _, volume) = with_volume();
    let agent = world.id("a");
    let needs = parse("cpus:1").plus(&volume);
    accept(&mut world, vec![launch("t", &agent, &needs)]);
    let call = |conversion| OperatorCall::Convert { agent: agent.clone(), conversion };
    let answer = world.operate_as("ops", call(Conversion::Destroy(volume.clone())));
    let why = format!("Invalid DESTROY operation on agent {agent}: Persistent volumes in use");
    assert_eq!(answer, Some(Err(Refusal::Invalid(why))));
    let taken = reserved_by(&parse("cpus:3"), "r", Some("ops"));
    let answer = world.operate_as("ops", call(reserve(&taken)));
    assert!(matches!(answer, Some(Err(Refusal::Conflict(_)))), "{answer:?}");
    world.report("a", "t", TaskState::Finished);
    world.acknowledge_all("f");
    assert_eq!(
        world.operate_as("ops", call(Conversion::Destroy(volume))),
        Some(Ok(Done::Accepted))
    );
    assert_eq!(world.operate_as("ops", call(reserve(&taken))), Some(Ok(Done::Accepted)));
}
