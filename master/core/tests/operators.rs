//! What operators ask for, and what agents and frameworks come to hear of it.

mod world;

use master_core::explain::{AGENTS_NAMED_MAX, Explaining, Filter, Kept, Progress, Reason, Unknown};
use master_core::{Input, Refusal};
use model::amount::Milli;
use model::call::{Call, Decline};
use model::framework::Capabilities;
use model::ids::{AgentId, FrameworkId, OfferId};
use model::operator::OperatorCall;
use model::registry::Record;
use model::role::Role;
use model::rules::{Drain, Quota, Standing, Weight};
use model::task::TaskState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use world::{OK, World, invalid};

const ALL: &str = "cpus:4; mem:1024; ports:[31000-31009]";

#[test]
fn a_deactivated_agent_is_offered_to_nobody_until_it_is_reactivated() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    assert_eq!(world.heard("f"), ["subscribed".to_owned(), format!("offer of a for *: {ALL}")]);
    let id = world.id("a");
    let call = OperatorCall::ReactivateAgent(id.clone());
    assert_eq!(world.operate(call.clone()), Some(invalid("Agent is not deactivated")));

    assert_eq!(world.operate(OperatorCall::DeactivateAgent(id.clone())), OK);
    assert_eq!(world.heard("f"), ["rescind of a"]);
    assert!(!world.agent_views[&id].is_active());
    world.pass(Duration::from_secs(5));
    assert_eq!(world.heard("f"), [""; 0], "it is not offered");
    // Neither a new link nor a new leader changes an operator's word.
    world.disconnect("a");
    world.reconnect("a");
    world.lead();
    world.reconnect("a");
    world.resubscribe("f");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.heard("f"), ["subscribed"]);

    assert_eq!(world.operate(call), OK);
    world.settle();
    assert_eq!(world.heard("f"), [format!("offer of a for *: {ALL}")]);
    assert!(world.rules.standings.is_empty());
}

#[test]
fn a_drained_agent_is_emptied_marked_and_can_serve_again() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    world.launch("f", "a", &["t1", "t2"]);
    world.report("a", "t1", TaskState::Running);
    world.report("a", "t2", TaskState::Running);
    world.acknowledge_all("f");
    world.settle();
    world.heard("f");
    world.told("a");

    let id = world.id("a");
    let drain = Drain { grace_max: Some(Duration::from_secs(2)), marks_gone: false };
    let call = OperatorCall::DrainAgent { agent: id.clone(), drain };
    assert_eq!(world.operate(call), OK);
    assert_eq!(world.heard("f"), ["rescind of a"]);
    assert_eq!(world.told("a"), ["drain Some(2s) false"]);
    let reactivate = OperatorCall::ReactivateAgent(id.clone());
    let still = "Agent is still in the DRAINING state";
    assert_eq!(world.operate(reactivate.clone()), Some(invalid(still)));

    // It is told again when it comes back: it may not have heard.
    world.disconnect("a");
    world.reconnect("a");
    assert_eq!(world.told("a"), ["reregistered, 2 expected, 0 over", "drain Some(2s) false"]);

    world.report("a", "t1", TaskState::Killed);
    world.report("a", "t2", TaskState::Killed);
    assert!(matches!(world.rules.standing(&id), Standing::Draining { .. }), "not acknowledged");
    world.acknowledge_all("f");
    assert!(matches!(world.rules.standing(&id), Standing::Drained { .. }));
    assert_eq!(world.operate(reactivate), OK);
    world.heard("f");
    world.settle();
    assert_eq!(world.heard("f"), [format!("offer of a for *: {ALL}")]);
    // And once more: what was done before is not remembered.
    let drain = Drain::default();
    assert_eq!(world.operate(OperatorCall::DrainAgent { agent: id.clone(), drain }), OK);
    assert!(matches!(world.rules.standing(&id), Standing::Drained { .. }));
}

#[test]
fn an_agent_drained_for_good_is_gone() {
    let mut world = World::new();
    world.agent("a");
    let id = world.id("a");
    let drain = Drain { grace_max: None, marks_gone: true };
    assert_eq!(world.operate(OperatorCall::DrainAgent { agent: id.clone(), drain }), OK);
    assert!(world.registry.members.gone.contains_key(&id));
    assert!(world.rules.standings.is_empty(), "nobody speaks of it any more");
    assert_eq!(
        world.told("a"),
        [
            "registered",
            "drain None true",
            "shutdown: The agent was marked gone by an operator",
            "closed: Removed",
        ]
    );
    let call = OperatorCall::DeactivateAgent(id);
    assert_eq!(world.operate(call), Some(invalid("Unknown agent")));
}

#[test]
fn weights_are_agreed_on_and_offers_made_anew() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    world.heard("f");
    let weight = |name: &str| {
        let role = Role::new(name).expect("a role");
        vec![(role, Weight::from_f64(2.5).expect("above zero"))]
    };
    assert_eq!(world.operate(OperatorCall::UpdateWeights(weight("nobody"))), OK);
    assert_eq!(world.heard("f"), [""; 0], "nobody is in that role");
    assert_eq!(world.operate(OperatorCall::UpdateWeights(weight("*"))), OK);
    assert_eq!(world.heard("f"), ["rescind of a"]);
    world.settle();
    assert_eq!(world.heard("f"), [format!("offer of a for *: {ALL}")]);
    world.lead();
    assert_eq!(world.rules.weights.len(), 2, "the next leader knows them");
}

fn amounts(all: &[(&str, i64)]) -> BTreeMap<Arc<str>, Milli> {
    all.iter().map(|(name, units)| (Arc::from(*name), Milli::units(*units))).collect()
}

fn update_quota(role: &str, quota: Quota, force: bool) -> OperatorCall {
    let role = Role::new(role).expect("a role");
    OperatorCall::UpdateQuota { quotas: vec![(role, quota)], force }
}

#[test]
fn a_limit_holds_for_offers_and_a_guarantee_keeps_room() {
    let mut world = World::new();
    world.agent("a");
    let limits = amounts(&[("cpus", 1)]);
    let limit = Quota { limits, ..Quota::default() };
    assert_eq!(world.operate(update_quota("dev", limit, false)), OK);
    let guarantees = amounts(&[("cpus", 2)]);
    let guarantee = Quota { guarantees, ..Quota::default() };
    assert_eq!(world.operate(update_quota("web", guarantee, false)), OK);
    let aware = Capabilities { partition_aware: true, ..Capabilities::default() };
    world.framework_in("dev", "dev", aware);
    world.settle();
    let heard = ["subscribed", "offer of a for dev: cpus:1; mem:1024; ports:[31000-31009]"];
    assert_eq!(world.heard("dev"), heard, "as much as the limit says");
    world.launch("dev", "a", &["t"]);
    world.report("a", "t", TaskState::Running);
    world.acknowledge_all("dev");
    world.pass(Duration::from_secs(2));

    // The next leader keeps to it too.
    world.lead();
    world.reconnect("a");
    world.resubscribe("dev");
    world.heard("dev");
    world.framework_in("any", "*", aware);
    world.pass(Duration::from_secs(2));
    let heard = ["subscribed", "offer of a for *: cpus:1; mem:960; ports:[31000-31009]"];
    assert_eq!(world.heard("any"), heard, "two cores stay free for web");
    let any = world.frameworks["any"].id.clone();
    let told = world.explain(&any, None).expect("it is there");
    assert_eq!(told.roles[0].kept_for_others, amounts(&[("cpus", 2)]));
    world.framework_in("web", "web", aware);
    world.pass(Duration::from_secs(2));
    let told = world.explain(&any, None).expect("it is there");
    assert_eq!(told.roles[0].kept_for_others, amounts(&[]), "web has them by an offer");
    assert_eq!(world.heard("web"), ["subscribed", "offer of a for web: cpus:2"]);
    let dev = world.frameworks["dev"].id.clone();
    let told = world.explain(&dev, None).expect("it is there");
    assert_eq!(told.roles[0].quota.limits, amounts(&[("cpus", 1)]));
    assert_eq!(told.roles[0].consumed.get("cpus"), Some(&Milli::units(1)));
    assert_eq!(world.rules.quotas.len(), 2);
}

#[test]
fn only_hosts_on_the_whitelist_are_offered_in_every_reign() {
    let mut world = World::new();
    let hosts = |names: &[&str]| Some(names.iter().map(|name| Arc::from(*name)).collect());
    world.step(Input::SetWhitelist(hosts(&["b"])));
    world.agent("a");
    world.agent("b");
    world.framework("f");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.heard("f"), ["subscribed".to_owned(), format!("offer of b for *: {ALL}")]);
    world.step(Input::Depose);
    assert_eq!(world.heard("f"), ["closed"]);
    world.lead_again();
    world.reconnect("a");
    world.reconnect("b");
    world.resubscribe("f");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.heard("f"), ["subscribed".to_owned(), format!("offer of b for *: {ALL}")]);
    world.step(Input::SetWhitelist(None));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.heard("f"), [format!("offer of a for *: {ALL}")]);
}

#[test]
fn what_keeps_agents_from_a_framework_is_told() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.agent(name);
    }
    world.framework("f");
    world.settle();
    let f = world.frameworks["f"].id.clone();
    let nothing_free = "all that is not in use on the agent is in offers that are not answered";
    let told = world.explain(&f, None).expect("it is there");
    assert_eq!(told.offers, 3);
    let [of] = &told.roles[..] else { panic!("{told:?}") };
    let [reason] = &of.reasons[..] else { panic!("{told:?}") };
    assert_eq!((reason.why.as_str(), reason.count), (nothing_free, 3));
    let named =
        |reason: &Reason| reason.agents.iter().map(|kept| kept.agent.clone()).collect::<Vec<_>>();
    assert_eq!(named(reason), ["a", "b", "c"].map(|name| world.id(name)));

    // Two are declined, each for a time of its own, and one is taken out of use.
    assert_eq!(world.operate(OperatorCall::DeactivateAgent(world.id("b"))), OK);
    let offers = std::mem::take(&mut world.frameworks.get_mut("f").expect("there").offers);
    let offers: Vec<_> = offers.into_values().collect();
    let offer_of = |agent: AgentId| {
        let found = offers.iter().find(|offer| offer.agent == agent);
        found.expect("there is one").id.clone()
    };
    let (of_a, of_c) = (offer_of(world.id("a")), offer_of(world.id("c")));
    for (offer, secs) in [(&of_a, 60), (&of_c, 90)] {
        let refuse_for = Duration::from_secs(secs);
        world.call("f", Call::Decline(Decline { offers: [offer.clone()].into(), refuse_for }));
    }
    world.pass(Duration::from_secs(10));
    let told = world.explain(&f, None).expect("it is there");
    let kept = |agent: &str, secs: u64, offer: &OfferId| Kept {
        agent: world.id(agent),
        filter: Some(Filter { ends_in: Duration::from_secs(secs), offer: offer.clone() }),
    };
    let declined = Reason {
        why: "the framework has declined it, and the filter has not ended".to_owned(),
        count: 2,
        agents: vec![kept("a", 50, &of_a), kept("c", 80, &of_c)],
        ends_in: Some((Duration::from_secs(50), Duration::from_secs(80))),
    };
    let [first, second] = &told.roles[0].reasons[..] else { panic!("{told:?}") };
    assert_eq!(*first, declined);
    assert_eq!(
        (second.why.as_str(), named(second)),
        ("the agent is deactivated", vec![world.id("b")])
    );

    // Of one agent alone.
    let told = world.explain(&f, Some(&world.id("c"))).expect("it is there");
    let [only] = &told.roles[0].reasons[..] else { panic!("{told:?}") };
    assert_eq!(only.agents, [kept("c", 80, &of_c)]);
    let nowhere = AgentId::new("nowhere").expect("an id");
    let told = world.explain(&f, Some(&nowhere));
    assert_eq!(told, Err(Unknown::Agent));

    let unknown = FrameworkId::new("nobody").expect("an id");
    let told = world.explain(&unknown, None);
    assert_eq!(told, Err(Unknown::Framework));
}

#[test]
fn an_explanation_of_many_agents_is_made_in_parts() {
    let mut world = World::new();
    let names = (0..1_500).map(|number| &*format!("a{number}").leak());
    let names: Vec<&str> = names.collect();
    for name in &names {
        world.agent(name);
    }
    world.framework("f");
    world.settle();
    let f = world.frameworks["f"].id.clone();
    let begun = world.master.explain(Explaining::new(f, None), world.moment());
    let Ok(Progress::Part(part)) = begun else { panic!("so many at once: {begun:?}") };

    // The core goes on with other things, and the last of them goes.
    let last = names.iter().map(|name| world.id(name)).max().expect("there are some");
    assert_eq!(world.operate(OperatorCall::MarkAgentGone(last)), OK);
    world.agent("late");
    let ended = world.master.explain(part, world.moment());
    let Ok(Progress::Whole(told)) = ended else { panic!("so long: {ended:?}") };
    let [only] = &told.roles[0].reasons[..] else { panic!("{told:?}") };
    assert_eq!((only.count, only.agents.len()), (1_499, AGENTS_NAMED_MAX));
}

#[test]
fn why_an_agent_is_out_of_use_is_told_apart() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e"] {
        world.agent(name);
    }
    world.framework("f");
    world.settle();
    world.launch("f", "c", &["t"]);
    world.report("c", "t", TaskState::Running);
    let drain = Drain { grace_max: None, marks_gone: false };
    for agent in ["b", "c"] {
        let call = OperatorCall::DrainAgent { agent: world.id(agent), drain };
        assert_eq!(world.operate(call), OK);
    }
    assert_eq!(world.operate(OperatorCall::DeactivateAgent(world.id("d"))), OK);
    world.lead();
    for agent in ["a", "b", "c", "d"] {
        world.reconnect(agent);
    }
    world.resubscribe("f");
    world.disconnect("a");
    let f = world.frameworks["f"].id.clone();
    let why = |world: &World, agent: &str| {
        let told = world.explain(&f, Some(&world.id(agent)));
        let reasons = &told.expect("both are there").roles[0].reasons;
        reasons.iter().map(|reason| reason.why.clone()).collect::<String>()
    };
    for (agent, wanted) in [
        ("a", "the agent is not connected"),
        ("b", "the agent is drained"),
        ("c", "the agent is being drained"),
        ("d", "the agent is deactivated"),
        ("e", "the agent has not come back since the leader changed"),
    ] {
        assert_eq!(why(&world, agent), wanted, "{agent}");
    }
    world.call("f", Call::Suppress(BTreeSet::new()));
    let told = world.explain(&f, None).expect("it is there");
    let [only] = &told.roles[0].reasons[..] else { panic!("{told:?}") };
    assert_eq!((only.why.as_str(), only.count), ("the framework has suppressed the role", 5));
}

#[test]
fn quota_that_cannot_be_kept_is_refused_unless_it_is_forced() {
    let mut world = World::new();
    world.agent("a");
    let guarantee = |units| {
        let all = amounts(&[("cpus", units)]);
        Quota { guarantees: all.clone(), limits: all }
    };
    let refused = |why: &str| Some(invalid(&format!("Invalid QuotaConfig: {why}")));
    let why = "All guarantees together are cpus:5, but the cluster has cpus:4; use 'force' to set \
               them all the same";
    assert_eq!(world.operate(update_quota("web", guarantee(5), false)), refused(why));
    let why_nested = "Setting quota on nested role 'web/shop' is not supported";
    assert_eq!(world.operate(update_quota("web/shop", guarantee(1), true)), refused(why_nested));

    // In the old form it is a conflict.
    let role = Role::new("web").expect("a role");
    let set = |units, force| OperatorCall::SetQuota {
        role: role.clone(),
        quota: guarantee(units),
        force,
    };
    let conflict = Err(Refusal::Conflict(why.to_owned()));
    assert_eq!(world.operate(set(5, false)), Some(conflict));
    let remove = OperatorCall::RemoveQuota(role.clone());
    assert_eq!(world.operate(remove.clone()), Some(invalid("Role 'web' has no quota")));
    assert_eq!(world.operate(set(5, true)), OK);
    let why = "Role 'web' has quota already; change it with UPDATE_QUOTA";
    assert_eq!(world.operate(set(1, false)), Some(invalid(why)));
    assert_eq!(world.operate(remove.clone()), OK);
    assert_eq!(world.operate(remove), Some(invalid("Role 'web' has no quota")));
    assert!(world.rules.quotas[&role].is_empty(), "that it was reset is to be seen");
    assert_eq!(world.operate(set(1, false)), OK);
    assert_eq!(world.operate(update_quota("web", Quota::default(), false)), OK);
    assert_eq!(world.operate(update_quota("never", Quota::default(), false)), OK);
    world.lead();
    assert_eq!(world.rules.quotas.keys().collect::<Vec<_>>(), [&role]);
}

#[test]
fn a_quota_call_names_each_role_once_and_sums_do_not_overflow() {
    let mut world = World::new();
    let huge = Quota { guarantees: amounts(&[("mem", 1_099_511_627_776)]), ..Quota::default() };
    let role = |name: String| Role::new(name).expect("a role");
    let quotas = |count: usize, name: &dyn Fn(usize) -> String| OperatorCall::UpdateQuota {
        quotas: (0..count).map(|at| (role(name(at)), huge.clone())).collect(),
        force: false,
    };
    let twice = world.operate(quotas(2, &|_| "web".to_owned()));
    assert_eq!(twice, Some(invalid("Invalid QuotaConfig: Role 'web' is there twice")));
    let Some(Err(Refusal::Invalid(why))) = world.operate(quotas(10_000, &|at| format!("r{at}")))
    else {
        panic!("more than there can be was taken")
    };
    assert!(why.contains("but the cluster has mem:0"), "{why}");
}

#[test]
fn a_drain_outlasts_a_deactivation_that_was_asked_for_before() {
    let mut world = World::new();
    world.agent("a");
    world.framework("f");
    world.settle();
    world.launch("f", "a", &["t1"]);
    world.report("a", "t1", TaskState::Running);
    world.acknowledge_all("f");
    let id = world.id("a");
    world.agrees = false;
    let drain = Drain { grace_max: None, marks_gone: true };
    world.operate(OperatorCall::DrainAgent { agent: id.clone(), drain });
    world.operate(OperatorCall::DeactivateAgent(id.clone()));
    world.agree();
    world.settle();
    assert!(matches!(world.rules.standings[&id], Standing::Draining { .. }));
    world.report("a", "t1", TaskState::Killed);
    world.acknowledge_all("f");
    world.settle();
    assert!(world.registry.members.gone.contains_key(&id), "as the drain was to end");
}

#[test]
fn who_cannot_be_agreed_with_is_told_to_try_again() {
    let mut world = World::new();
    world.agent("a");
    world.agrees = false;
    let call = OperatorCall::DeactivateAgent(world.id("a"));
    assert_eq!(world.operate(call), None, "the answer waits for the others");
    let lost = world.waiting.pop_front().expect("it was proposed");
    world.step(Input::ProposalFailed(lost));
    assert!(world.answers.values().any(|answer| *answer == Err(Refusal::NotAgreed)));
}

#[test]
fn a_word_about_an_agent_that_has_left_meanwhile_is_a_conflict_and_leaves_nothing() {
    let left = Some(Err(Refusal::Conflict("Agent has left the cluster meanwhile".to_owned())));
    let last = |world: &World| world.answers.values().next_back().cloned();
    let mut world = World::new();
    world.agent("a");
    let id = world.id("a");
    assert_eq!(world.operate(OperatorCall::DeactivateAgent(id.clone())), OK);
    world.agrees = false;
    assert_eq!(world.operate(OperatorCall::MarkAgentGone(id.clone())), None);
    let being_marked = Refusal::Conflict("Agent is being removed or marked".to_owned());
    let drain = |agent: &AgentId| OperatorCall::DrainAgent {
        agent: agent.clone(),
        drain: Drain::default(),
    };
    assert_eq!(world.operate(drain(&id)), Some(Err(being_marked)));
    assert_eq!(world.operate(OperatorCall::ReactivateAgent(id)), None);
    world.agree();
    assert_eq!(last(&world), left);

    world.agent("b");
    let id = world.id("b");
    world.disconnect("b");
    world.pass(Duration::from_secs(100));
    assert!(world.registry.members.unreachable.contains_key(&id));
    world.agrees = false;
    world.waiting.push_back(vec![Record::ForgetAgents(vec![id.clone()])]);
    assert_eq!(world.operate(drain(&id)), None);
    world.agree();
    assert_eq!(last(&world), left);
    assert!(world.registry.rules.standings.is_empty(), "nobody would ever take it away");
}
