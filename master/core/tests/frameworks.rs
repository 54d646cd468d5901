//! What frameworks ask for and what becomes of it.

mod world;

use master_core::figures::FRAMEWORKS_TOLD_MAX;
use master_core::{Done, Refusal};
use model::call::{Accept, Call, Decline, Kill, Operation, ReconcileTask};
use model::constraints::{Constraint, Predicate, Selector};
use model::framework::Capabilities;
use model::ids::{AgentId, ExecutorId, OperationId, TaskId};
use model::operator::OperatorCall;
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::task::{ExecutorSpec, RunsBy, Status, TaskSpec, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::{World, task};

/// A framework with one task that runs on agent `a`.
fn running(capabilities: Capabilities) -> World {
    let mut world = World::new();
    world.agent("a");
    world.framework_in("f", "*", capabilities);
    world.settle();
    world.launch("f", "a", &["t1"]);
    world.report("a", "t1", TaskState::Running);
    world.acknowledge_all("f");
    world.settle();
    world.heard("f");
    world.told("a");
    world
}

fn aware() -> Capabilities {
    Capabilities { partition_aware: true, ..Capabilities::default() }
}

fn tid(id: &str) -> TaskId {
    TaskId::new(id).expect("an id")
}

#[test]
fn a_framework_that_comes_back_keeps_its_id_and_its_tasks() {
    let mut world = running(aware());
    let id = world.frameworks["f"].id.clone();
    world.told("a");
    world.resubscribe("f");
    assert_eq!(world.frameworks["f"].id, id);
    // By this its agent knows that what it has reported is heard again.
    assert_eq!(world.told("a"), ["framework has changed"]);
    world.settle();
    assert_eq!(
        world.heard("f"),
        ["subscribed", "offer of a for *: cpus:3; mem:960; ports:[31000-31009]"]
    );
    world.call("f", Call::Reconcile(Vec::new()));
    assert_eq!(world.heard("f"), ["t1 TASK_RUNNING REASON_RECONCILIATION"]);
}

#[test]
fn a_framework_that_stays_away_is_over_and_cannot_come_back() {
    let mut world = running(aware());
    let (id, connection) = {
        let framework = &world.frameworks["f"];
        (framework.id.clone(), framework.connection)
    };
    world.step(master_core::Input::SchedulerGone { connection });
    world.pass(Duration::from_secs(59));
    assert!(world.registry.members.frameworks.contains_key(&id));
    world.pass(Duration::from_secs(2));
    assert!(world.registry.members.is_completed(&id));
    assert_eq!(world.told("a"), ["shut down framework"]);
    world.heard("f");
    world.resubscribe("f");
    assert_eq!(world.heard("f"), ["error: Framework has been removed", "closed"]);
}

#[test]
fn a_framework_describes_itself_anew_on_the_same_stream() {
    let mut world = World::new();
    world.agent("a");
    let many = Capabilities { multi_role: true, ..aware() };
    world.framework_in("f", "web", many);
    world.settle();
    world.heard("f");
    let role = |name: &str| Role::new(name).expect("a role");
    let ok = Some(Ok(Done::Ok));
    assert_eq!(world.update("f", |it| it.roles = BTreeSet::from([role("dev")])), ok);
    assert_eq!(world.heard("f"), ["rescind of a"], "it has left that role");
    world.settle();
    assert_eq!(world.heard("f"), ["offer of a for dev: cpus:4; mem:1024; ports:[31000-31009]"]);

    let unchangeable = |field: &str, before: &str, after: &str| {
        Some(Err(Refusal::Invalid(format!(
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.{field}' is unsupported; \
             attempted to update from '{before}' to '{after}'"
        ))))
    };
    let user = unchangeable("user", "root", "nobody");
    assert_eq!(world.update("f", |it| it.user = "nobody".into()), user);
    let checkpoint = unchangeable("checkpoint", "true", "false");
    assert_eq!(world.update("f", |it| it.checkpoint = false), checkpoint);
}

#[test]
fn a_framework_may_take_a_principal_but_not_another() {
    let mut world = World::new();
    world.framework("f");
    world.settle();
    world.heard("f");
    for (principal, is_taken) in
        [(Some("web"), true), (Some("web"), true), (Some("eve"), false), (None, false)]
    {
        let framework = world.frameworks.get_mut("f").expect("it was made");
        framework.description.principal = principal.map(Into::into);
        world.resubscribe("f");
        world.settle();
        let refused = "error: Changing framework's principal is not allowed.".to_owned();
        assert_eq!(!world.heard("f").contains(&refused), is_taken, "{principal:?}");
    }
}

#[test]
fn a_framework_is_offered_only_the_agents_that_its_constraints_allow() {
    let mut world = World::new();
    world.agent("a");
    world.agent("b");
    world.framework("f");
    world.settle();
    assert_eq!(world.frameworks["f"].offers.len(), 2);
    world.heard("f");
    let host = |predicate| Constraint { selector: Selector::Hostname, predicate };
    let of = |role: &str, groups| BTreeMap::from([(Role::new(role).expect("a role"), groups)]);

    let no_b = vec![vec![host(Predicate::TextNotMatches("b.*".into()))]];
    assert_eq!(world.constrain("f", |_| (), of("*", no_b.clone())), Some(Ok(Done::Ok)));
    assert_eq!(world.heard("f"), [""; 0], "offers that stand are not touched");
    let offers = std::mem::take(&mut world.frameworks.get_mut("f").expect("it is there").offers);
    let offers = offers.into_keys().collect();
    world.call("f", Call::Decline(Decline { offers, refuse_for: Duration::ZERO }));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.heard("f"), ["offer of a for *: cpus:4; mem:1024; ports:[31000-31009]"]);

    let mut refused = |constraints, why: &str| {
        let why =
            format!("'UpdateFramework' call is not valid: Offer constraints are not valid: {why}");
        let answer = world.constrain("f", |_| (), constraints);
        assert_eq!(answer, Some(Err(Refusal::Invalid(why))));
    };
    refused(of("web", no_b), "the framework is not subscribed to role 'web'");
    let pattern = || host(Predicate::TextMatches("\\w{50}".into()));
    let many = vec![(0..300).map(|_| pattern()).collect()];
    refused(of("*", many), "300 of them, at most 256");
    refused(of("*", Vec::new()), "offer constraints must have at least one group");
    refused(
        of("*", vec![Vec::new()]),
        "a group of offer constraints must have at least one constraint",
    );

    assert_eq!(world.update("f", |_| ()), Some(Ok(Done::Ok)), "none at all");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.heard("f"), ["offer of b for *: cpus:4; mem:1024; ports:[31000-31009]"]);
}

#[test]
fn an_update_that_is_not_agreed_on_changes_nothing() {
    let mut world = World::new();
    world.framework("f");
    world.agrees = false;
    assert_eq!(world.update("f", |it| it.name = "other".into()), None);
    let lost = world.waiting.pop_front().expect("it was proposed");
    world.step(master_core::Input::ProposalFailed(lost));
    assert!(world.answers.values().any(|answer| *answer == Err(Refusal::NotAgreed)));
    let id = &world.frameworks["f"].id;
    assert_eq!(&*world.registry.members.frameworks[id].framework.name, "f");
}

#[test]
fn one_dead_offer_undoes_the_whole_call_and_the_living_are_given_back() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    world.heard("f");
    let agent = world.id("a");
    let good = world.frameworks["f"].offers.keys().next().expect("an offer").to_string();
    let accept = |offers: Vec<&str>| {
        Call::Accept(Accept {
            offers: offers.into_iter().map(Into::into).collect(),
            operations: vec![Operation::Launch(vec![Ok(task("t", &agent))])],
            refuse_for: Duration::ZERO,
        })
    };
    for offers in [vec![], vec![&*good, "gone"], vec!["gone"]] {
        world.call("f", accept(offers.clone()));
        let heard = world.heard("f");
        assert_eq!(heard, ["t TASK_DROPPED REASON_INVALID_OFFERS"], "{offers:?}");
        world.settle();
        world.heard("f");
    }
    let offers = world.frameworks["f"].offers.len();
    assert_eq!(offers, 2, "the living one was given back and is offered again");
}

#[test]
fn an_operation_with_an_id_that_cannot_be_done_is_answered() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    world.heard("f");
    let offer = world.frameworks["f"].offers.keys().next().expect("an offer").clone();
    let reserve = |id: Option<&str>| Operation::Unsupported {
        kind: "RESERVE".into(),
        id: id.map(|id| OperationId::new(id).expect("an id")),
    };
    let accept = |offer: &str| {
        let operations = vec![reserve(Some("op")), reserve(None)];
        Call::Accept(Accept { offers: vec![offer.into()], operations, refuse_for: Duration::ZERO })
    };
    world.call("f", accept("nothing"));
    let why = "Operation attempted with invalid offers: Offer nothing is no longer valid";
    assert_eq!(world.heard("f"), [format!("op OPERATION_ERROR: {why}")]);
    world.call("f", accept(offer.as_str()));
    assert_eq!(world.heard("f"), ["op OPERATION_ERROR: RESERVE is not supported"]);
}

#[test]
fn a_framework_whose_return_is_being_agreed_on_is_not_ended() {
    let mut world = running(aware());
    let (id, connection) = (world.frameworks["f"].id.clone(), world.frameworks["f"].connection);
    world.step(master_core::Input::SchedulerGone { connection });
    world.pass(Duration::from_secs(59));
    world.agrees = false;
    world.frameworks.get_mut("f").expect("there").description.name = "renamed".into();
    world.resubscribe("f");
    world.pass(Duration::from_secs(10));
    world.agree();
    world.settle();
    assert!(!world.registry.members.is_completed(&id));
    assert!(world.heard("f").contains(&"subscribed".to_owned()));
    world.pass(Duration::from_secs(120));
    assert!(world.registry.members.frameworks.contains_key(&id));
}

#[test]
fn what_a_task_asks_for_is_checked_one_by_one() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    let agent = world.id("a");
    let offer = world.frameworks["f"].offers.keys().next().expect("an offer").to_string();
    let elsewhere = AgentId::new("elsewhere").expect("an id");
    let mut empty = task("empty", &agent);
    empty.resources = Resources::none();
    let mut large = task("large", &agent);
    large.resources = Resources::parse("cpus:100", &Role::any()).expect("well formed");
    let tasks = vec![
        Ok(task("good", &agent)),
        Ok(task("good", &agent)),
        Ok(task("astray", &elsewhere)),
        Ok(empty),
        Ok(large),
    ];
    world.heard("f");
    world.call(
        "f",
        Call::Accept(Accept {
            offers: vec![offer.as_str().into()],
            operations: vec![Operation::Launch(tasks)],
            refuse_for: Duration::ZERO,
        }),
    );
    let mut errors = world.heard("f");
    errors.sort();
    assert_eq!(
        errors,
        [
            "astray TASK_ERROR REASON_TASK_INVALID",
            "empty TASK_ERROR REASON_TASK_INVALID",
            "good TASK_ERROR REASON_TASK_INVALID",
            "large TASK_ERROR REASON_TASK_INVALID",
        ]
    );
    let messages: BTreeSet<String> = world.frameworks["f"]
        .updates
        .iter()
        .filter_map(|status| status.message.as_ref().map(ToString::to_string))
        .collect();
    assert!(messages.contains("Task has duplicate ID: good"), "{messages:?}");
    assert!(messages.contains("Task uses no resources"), "{messages:?}");
    assert_eq!(world.told("a").last().map(String::as_str), Some("launch good"));
}

/// Every row of the table of explicit reconciliation.
#[test]
fn explicit_questions_are_answered_by_what_is_known() {
    for (capabilities, words) in [
        (aware(), ["GONE", "UNREACHABLE", "GONE_BY_OPERATOR", "UNKNOWN"]),
        (Capabilities::default(), ["LOST"; 4]),
    ] {
        let mut world = running(capabilities);
        world.agent("away");
        world.agent("gone");
        let (here, away, gone) = (world.id("a"), world.id("away"), world.id("gone"));
        assert_eq!(world.operate(OperatorCall::MarkAgentGone(gone.clone())), Some(Ok(Done::Ok)));
        world.disconnect("away");
        // The other agent answers pings, the one that is away does not.
        for _ in 0..6 {
            world.pass(Duration::from_secs(15));
            world.say("a", model::link::FromAgent::Pong);
        }
        world.heard("f");
        let mut ask = |task: &str, agent: Option<&AgentId>| {
            let question = ReconcileTask { task: tid(task), agent: agent.cloned() };
            world.call("f", Call::Reconcile(vec![question]));
            world.heard("f")
        };
        let answer = |word: &str| vec![format!("x TASK_{word} REASON_RECONCILIATION")];
        let running = vec!["t1 TASK_RUNNING REASON_RECONCILIATION".to_owned()];
        assert_eq!(ask("t1", Some(&here)), running);
        assert_eq!(ask("t1", None), running);
        assert_eq!(ask("x", Some(&here)), answer(words[0]));
        assert_eq!(ask("x", Some(&away)), answer(words[1]));
        assert_eq!(ask("x", Some(&gone)), answer(words[2]));
        let nowhere = AgentId::new("nowhere").expect("an id");
        assert_eq!(ask("x", Some(&nowhere)), answer(words[3]));
        assert_eq!(ask("x", None), answer(words[3]));
    }
}

#[test]
fn while_agents_are_still_to_come_back_nobody_guesses() {
    let mut world = running(aware());
    let here = world.id("a");
    world.lead();
    world.resubscribe("f");
    world.heard("f");
    for agent in [Some(here), None] {
        let question = ReconcileTask { task: tid("t1"), agent };
        world.call("f", Call::Reconcile(vec![question]));
        assert_eq!(world.heard("f"), [""; 0], "the agent will say");
    }
    world.reconnect("a");
    world.call("f", Call::Reconcile(Vec::new()));
    assert_eq!(world.heard("f"), ["t1 TASK_RUNNING REASON_RECONCILIATION"]);
}

#[test]
fn an_agent_out_of_contact_takes_its_tasks_along_and_brings_them_back() {
    for (capabilities, word) in [(aware(), "UNREACHABLE"), (Capabilities::default(), "LOST")] {
        let mut world = running(capabilities);
        world.disconnect("a");
        assert_eq!(world.heard("f"), ["rescind of a"]);
        world.pass(Duration::from_secs(100));
        assert_eq!(
            world.heard("f"),
            [format!("t1 TASK_{word} REASON_AGENT_REMOVED"), "failure of a".to_owned()]
        );
        world.reconnect("a");
        assert_eq!(world.told("a"), ["reregistered, 1 expected, 0 over"]);
        assert_eq!(world.heard("f"), ["t1 TASK_RUNNING REASON_AGENT_REREGISTERED"]);
    }
}

#[test]
fn a_task_that_is_staging_still_when_its_agent_is_back_holds_what_it_was_given() {
    let mut world = World::new();
    world.agent("a");
    world.framework_in("f", "*", aware());
    world.settle();
    world.launch("f", "a", &["t1"]);
    world.settle();
    assert_eq!(world.agents["a"].tasks[&tid("t1")].2, TaskState::Staging);
    world.disconnect("a");
    world.pass(Duration::from_secs(100));
    world.heard("f");
    world.reconnect("a");
    assert_eq!(world.heard("f"), ["t1 TASK_STAGING REASON_AGENT_REREGISTERED"]);
    world.settle();
    // What it takes is offered to nobody, before and after it runs.
    let whole = world.agents["a"].total.clone();
    let offered = |world: &World| {
        let offers = world.frameworks["f"].offers.values();
        offers.fold(Resources::none(), |sum, offer| sum.plus(&offer.resources))
    };
    let rest = offered(&world);
    assert!(!rest.is_empty() && rest != whole, "{rest} of {whole}");
    world.report("a", "t1", TaskState::Running);
    world.settle();
    assert_eq!(offered(&world), rest);
    world.report("a", "t1", TaskState::Finished);
    world.pass(Duration::from_secs(10));
    assert_eq!(offered(&world), whole);
}

#[test]
fn a_task_that_its_agent_does_not_bring_back_is_asked_for() {
    let mut world = running(aware());
    world.disconnect("a");
    world.pass(Duration::from_secs(100));
    world.heard("f");
    world.told("a");
    // Its launch was lost with the link.
    world.reconnect_with("a", |back| back.tasks.clear());
    assert_eq!(world.told("a"), ["reregistered, 1 expected, 0 over"]);
    world.report("a", "t1", TaskState::Dropped);
    assert_eq!(world.heard("f"), ["t1 TASK_DROPPED"]);
    world.acknowledge_all("f");
    world.settle();
    world.heard("f");
    world.launch("f", "a", &["t1"]);
    assert_eq!(world.heard("f"), [""; 0], "its id can be used again");
}

#[test]
fn an_agent_that_is_back_hears_how_frameworks_have_changed() {
    let mut world = running(aware());
    world.disconnect("a");
    world.told("a");
    world.reconnect_with("a", |back| {
        back.frameworks[0].capabilities = Capabilities::default();
    });
    assert_eq!(world.told("a"), ["reregistered, 1 expected, 0 over", "framework has changed"]);
    world.reconnect("a");
    assert_eq!(world.told("a"), ["reregistered, 1 expected, 0 over"]);
}

#[test]
fn a_kill_reaches_an_agent_when_it_is_back() {
    let mut world = running(aware());
    world.disconnect("a");
    let kill = Kill { task: tid("t1"), agent: None, grace: Some(Duration::from_secs(1)) };
    world.call("f", Call::Kill(kill));
    assert_eq!(world.told("a"), [""; 0]);
    world.reconnect("a");
    assert_eq!(world.told("a"), ["reregistered, 1 expected, 0 over", "kill t1 Some(1s)"]);
    // Of a task that nobody knows, the truth is told.
    world.heard("f");
    let kill = Kill { task: tid("x"), agent: None, grace: None };
    world.call("f", Call::Kill(kill));
    assert_eq!(world.heard("f"), ["x TASK_UNKNOWN REASON_RECONCILIATION"]);
}

#[test]
fn the_end_of_a_task_frees_what_it_used_at_once() {
    let mut world = running(aware());
    world.report("a", "t1", TaskState::Finished);
    world.settle();
    let heard = world.heard("f");
    assert_eq!(heard[0], "t1 TASK_FINISHED");
    assert!(heard[1..].iter().any(|line| line.contains("cpus:1; mem:64")), "{heard:?}");
    assert_eq!(world.told("a"), [""; 0]);
    world.acknowledge_all("f");
    world.call("f", Call::Reconcile(Vec::new()));
    assert_eq!(world.heard("f"), [""; 0], "it is over and kept");
}

#[test]
fn what_an_executor_says_to_its_framework_reaches_it_and_is_not_kept() {
    let mut world = running(aware());
    let say = |status: &mut Status| status.data = Some(vec![7; 1_000].into());
    world.report_with("a", "t1", TaskState::Running, say);
    let told = world.frameworks["f"].updates.last().expect("it is told");
    assert_eq!(told.data, Some(vec![7; 1_000].into()));
    let shown = world.task_views.values().next().expect("it is shown");
    assert_eq!(shown.statuses.len(), 1);
    assert_eq!(shown.statuses[0].data, None);
    assert_eq!(shown.statuses[0].uuid, told.uuid, "it is that report");
}

#[test]
fn an_agent_with_nothing_but_an_executor_hears_how_its_framework_has_changed() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    let executor = ExecutorSpec {
        id: ExecutorId::new("e").expect("an id"),
        is_default: false,
        resources: Resources::none(),
        role: None,
        user: None,
        shutdown_grace: None,
        info: Payload::default(),
    };
    let runs_by = RunsBy::Executor(executor);
    let task = TaskSpec { runs_by, ..task("t1", &world.id("a")) };
    world::operations::accept(&mut world, vec![Operation::Launch(vec![Ok(task)])]);
    world.report("a", "t1", TaskState::Finished);
    world.acknowledge_all("f");
    world.told("a");
    world.frameworks.get_mut("f").expect("there").description.name = "renamed".into();
    world.resubscribe("f");
    assert_eq!(world.told("a"), ["framework has changed"]);
    assert_eq!(world.update("f", |it| it.name = "again".into()), Some(Ok(Done::Ok)));
    assert_eq!(world.told("a"), ["framework has changed"]);
}

#[test]
fn of_so_many_frameworks_numbers_are_told_and_no_more() {
    let mut world = World::new();
    for n in 0..=FRAMEWORKS_TOLD_MAX {
        world.framework_in(format!("f{n}").leak(), "*", Capabilities::default());
    }
    let figures = world.master.figures();
    assert_eq!(figures.frameworks.len(), FRAMEWORKS_TOLD_MAX);
    assert!(figures.frameworks.iter().all(|of| of.is_subscribed && of.counts.calls.sum() == 1));
}
