//! What is in an offer, and who is made which.

use model::ids::AgentId;
use model::link::FromAgent;
use proto::convert::link;
use proto::mesos::v1::resource::RevocableInfo;
use proto::mesos::v1::value::{self, Text, Type};
use proto::mesos::v1::{AgentInfo, Attribute, Resource};
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Scheduler, agent_info, eager, scalar};
use crate::words::{BOTH, able, amount, framework, in_roles, launch, task, with};

/// An attribute that is a text.
fn text(name: &str, text: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        r#type: Type::Text as i32,
        text: Some(Text { value: text.to_owned() }),
        ..Attribute::default()
    }
}

/// An agent with attributes and with something reserved for `web`.
fn furnished() -> AgentInfo {
    let mut info = AgentInfo { hostname: "host.example".to_owned(), ..agent_info(5_051) };
    let size = Attribute {
        name: "size".to_owned(),
        r#type: Type::Scalar as i32,
        scalar: Some(value::Scalar { value: 5.0 }),
        ..Attribute::default()
    };
    info.attributes = vec![text("rack", "r1"), text("rack", "r2"), size];
    info.resources.push(Resource { role: Some("web".to_owned()), ..scalar("cpus", 1.0) });
    // What agents share out among containers by themselves is nobody's to ask for.
    let range = vec![value::Range { begin: 40_000, end: 41_000 }];
    info.resources.push(Resource {
        name: "ephemeral_ports".to_owned(),
        r#type: Type::Ranges as i32,
        ranges: Some(value::Ranges { range }),
        ..Resource::default()
    });
    info
}

/// The resources of a name in an offer.
fn named<'a>(offer: &'a Value, name: &str) -> Vec<&'a Value> {
    let all = offer["resources"].as_array().expect("a list");
    all.iter().filter(|resource| resource["name"] == name).collect()
}

#[tokio::test]
async fn an_offer_tells_of_its_agent_in_the_words_that_its_framework_knows() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered_with(master.address(), &furnished()).await;
    for encoding in BOTH {
        for (info, is_of_many, is_new) in [
            (framework(), false, false),
            (able(&["RESERVATION_REFINEMENT"]), false, true),
            (in_roles(&["web"]), true, false),
        ] {
            let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
            let offer = scheduler.offer_of(&agent.id).await;
            assert!(offer["id"]["value"].is_string());
            assert_eq!(offer["framework_id"], scheduler.id);
            assert_eq!(offer["hostname"], "host.example");
            let address = json!({"hostname": "host.example", "ip": "127.0.0.1", "port": 5_051});
            let url = json!({"scheme": "http", "address": address, "path": "/slave(1)"});
            assert_eq!(offer["url"], url);
            let rack = |n: &str| json!({"name": "rack", "type": "TEXT", "text": {"value": n}});
            let size = json!({"name": "size", "type": "SCALAR", "scalar": {"value": 5.0}});
            assert_eq!(offer["attributes"], json!([rack("r1"), rack("r2"), size]));
            assert_eq!(offer["executor_ids"], Value::Null);
            assert_eq!(named(&offer, "ephemeral_ports"), [&Value::Null; 0]);
            let allocated = if is_of_many { json!({"role": "web"}) } else { Value::Null };
            assert_eq!(offer["allocation_info"], allocated);
            let cpus = named(&offer, "cpus");
            assert_eq!(cpus.len(), 2, "reserved ones are apart: {cpus:?}");
            for one in cpus {
                assert_eq!(one["allocation_info"], allocated, "{one}");
                let is_reserved = one["scalar"]["value"] == 1.0;
                let stack = json!([{"type": "STATIC", "role": "web"}]);
                let role = if is_reserved { "web" } else { "*" };
                let (old, new) = if is_new {
                    (Value::Null, if is_reserved { stack } else { Value::Null })
                } else {
                    (json!(role), Value::Null)
                };
                // Where a role is not written, it is read as that of everybody.
                let written = &one["role"];
                assert!(*written == old || is_new && *written == "*", "{one}");
                assert_eq!(one["reservations"], new, "{one}");
            }
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}

/// Hears offers until one of `agent` comes; those of others.
async fn others_before(scheduler: &mut Scheduler, agent: &AgentId) -> Vec<Value> {
    let mut others = Vec::new();
    loop {
        let mut event = scheduler.event("OFFERS").await;
        let offers = event["offers"]["offers"].as_array_mut().expect("a list");
        for offer in std::mem::take(offers) {
            if offer["agent_id"]["value"] == agent.as_str() {
                return others;
            }
            others.push(offer);
        }
    }
}

#[tokio::test]
async fn what_was_declined_is_not_offered_again_when_its_agent_is_back_as_it_was() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let agent = FakeAgent::registered_with(master.address(), &furnished()).await;
        let offer = scheduler.offer_of(&agent.id).await;
        let filters = json!({"refuse_seconds": 3_600.0});
        let decline = json!({"offer_ids": [offer["id"]], "filters": filters});
        scheduler.call(json!({"type": "DECLINE", "decline": decline})).await;
        let mut back = agent.back(Vec::new(), Vec::new());
        drop(agent);
        let agent = FakeAgent::reregistered(master.address(), back.clone()).await;
        // Offers of an agent that comes later are not made before those of this one would be.
        let later = FakeAgent::registered_on(master.address(), None, 5_052).await;
        assert_eq!(others_before(&mut scheduler, &later.id).await, [Value::Null; 0]);
        // As another one it is news.
        let changed = AgentInfo { attributes: vec![text("rack", "r3")], ..furnished() };
        back.description =
            link::describe(&changed, back.description.address, "1.11.0").expect("whole");
        drop(agent);
        let agent = FakeAgent::reregistered(master.address(), back).await;
        let offer = scheduler.offer_of(&agent.id).await;
        assert_eq!(offer["attributes"][0]["text"]["value"], "r3");
        for agent in [agent, later] {
            agent.say(&FromAgent::Unregister).await;
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
    }
}

#[tokio::test]
async fn an_offer_names_the_executors_that_its_framework_has_there() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let mut scheduler = Scheduler::subscribed(&master, encoding, &framework(), None).await;
        let executor = json!({
            "executor_id": {"value": "e"}, "command": {"value": "./e"},
            "resources": [amount("cpus", 0.5)],
        });
        let by_executor = with(task("t", &agent.id), "executor", executor);
        let by_executor = with(by_executor, "command", Value::Null);
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.accept(&[offer], launch(&[by_executor, task("u", &agent.id)])).await;
        for _ in 0..2 {
            agent.launched().await;
        }
        let rest = scheduler.offer_of(&agent.id).await;
        assert_eq!(rest["executor_ids"], json!([{"value": "e"}]), "commands have none");
        assert_eq!(named(&rest, "cpus")[0]["scalar"]["value"], 3.3);
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.hear().await.expect("it is told to end them");
    }
}

#[tokio::test]
async fn what_may_be_taken_back_is_for_those_who_know_of_it() {
    let master = Alone::with(eager()).await;
    let mut info = agent_info(5_051);
    info.resources.push(Resource { revocable: Some(RevocableInfo {}), ..scalar("cpus", 2.0) });
    let agent = FakeAgent::registered_with(master.address(), &info).await;
    for encoding in BOTH {
        for (info, count) in [(framework(), 1), (able(&["REVOCABLE_RESOURCES"]), 2)] {
            let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
            let offer = scheduler.offer_of(&agent.id).await;
            let cpus = named(&offer, "cpus");
            assert_eq!(cpus.len(), count, "{cpus:?}");
            let revocable = cpus.iter().filter(|one| !one["revocable"].is_null());
            assert_eq!(revocable.count(), count - 1);
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
    let shown = master.get("/slaves").await["slaves"][0]["resources"].take();
    assert_eq!((&shown["cpus"], &shown["cpus_revocable"]), (&json!(4.0), &json!(2.0)));
}

/// A test of the furnished agent, and whether it passes.
fn constraints() -> Vec<(Value, bool)> {
    let on = |attribute: &str, predicate: &str, value: Option<&str>| {
        let body = match (predicate, value) {
            (_, None) => json!({}),
            ("text_matches" | "text_not_matches", Some(regex)) => json!({"regex": regex}),
            (_, Some(value)) => json!({"value": value}),
        };
        let selector = match attribute {
            "HOSTNAME" | "REGION" | "ZONE" => json!({"pseudoattribute_type": attribute}),
            _ => json!({"attribute_name": attribute}),
        };
        json!({"selector": selector, "predicate": {predicate: body}})
    };
    vec![
        (on("rack", "exists", None), true),
        (on("rack", "not_exists", None), false),
        (on("rack", "text_equals", Some("r1")), true),
        // Of two attributes of a name the first counts.
        (on("rack", "text_equals", Some("r2")), false),
        (on("rack", "text_not_equals", Some("r1")), false),
        (on("rack", "text_not_equals", Some("r2")), true),
        (on("rack", "text_matches", Some("r[0-9]")), true),
        // All of the text must match.
        (on("rack", "text_matches", Some("r")), false),
        (on("rack", "text_not_matches", Some("r.")), false),
        (on("rack", "text_not_matches", Some("r")), true),
        // What is not there is unlike everything.
        (on("none", "exists", None), false),
        (on("none", "not_exists", None), true),
        (on("none", "text_equals", Some("x")), false),
        (on("none", "text_not_equals", Some("x")), true),
        (on("none", "text_matches", Some(".*")), false),
        (on("none", "text_not_matches", Some(".*")), true),
        // What is no text passes every test of texts.
        (on("size", "exists", None), true),
        (on("size", "text_equals", Some("x")), true),
        (on("size", "text_not_equals", Some("5")), true),
        (on("size", "text_matches", Some("x")), true),
        (on("size", "text_not_matches", Some(".*")), true),
        (on("HOSTNAME", "text_equals", Some("host.example")), true),
        (on("HOSTNAME", "text_equals", Some("other")), false),
        (on("REGION", "exists", None), false),
        (on("ZONE", "not_exists", None), true),
    ]
}

/// SUBSCRIBE with groups of constraints.
fn constrained(groups: Value) -> Value {
    let constraints = json!({"role_constraints": {"web": {"groups": groups}}});
    json!({"framework_info": framework(), "offer_constraints": constraints})
}

#[tokio::test]
async fn every_constraint_lets_through_what_the_table_says() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered_with(master.address(), &furnished()).await;
    let group = |all: &[&Value]| json!({"attribute_constraints": all});
    for encoding in BOTH {
        let (mut passing, mut failing) = (Vec::new(), Vec::new());
        for (constraint, passes) in constraints() {
            let groups = json!([group(&[&constraint])]);
            let of_its_kind = if passes { &mut passing } else { &mut failing };
            of_its_kind.push(constraint);
            let subscribe = constrained(groups);
            let scheduler = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            let mut scheduler = scheduler.expect("let in");
            if passes {
                scheduler.offer_of(&agent.id).await;
            } else {
                assert_passed_over(&master, &agent, &mut scheduler, &subscribe).await;
            }
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
        // All of a group must pass, and any of several groups.
        let (yes, no) = (&passing[0], &failing[0]);
        for (groups, passes) in [
            (json!([group(&[yes, &passing[1]])]), true),
            (json!([group(&[yes, no])]), false),
            (json!([group(&[no]), group(&[yes])]), true),
            (json!([group(&[no]), group(&[no, yes])]), false),
        ] {
            let subscribe = constrained(groups);
            let scheduler = Scheduler::subscribed_by(&master, encoding, &subscribe, None).await;
            let mut scheduler = scheduler.expect("let in");
            if passes {
                scheduler.offer_of(&agent.id).await;
            } else {
                assert_passed_over(&master, &agent, &mut scheduler, &subscribe).await;
            }
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}

/// Somebody else is offered the agent again and again, and the framework, whose turn it was, nothing.
async fn assert_passed_over(
    master: &Alone,
    agent: &FakeAgent,
    scheduler: &mut Scheduler,
    what: &Value,
) {
    let mut witness = Scheduler::subscribed(master, BOTH[0], &framework(), None).await;
    for _ in 0..3 {
        let offer = witness.offer_of(&agent.id).await;
        let filters = json!({"refuse_seconds": 0.0});
        let decline = json!({"offer_ids": [offer["id"]], "filters": filters});
        witness.call(json!({"type": "DECLINE", "decline": decline})).await;
    }
    assert_eq!(scheduler.heard().await, [Value::Null; 0], "{what}");
    witness.call(json!({"type": "TEARDOWN"})).await;
}

#[tokio::test]
async fn a_framework_says_what_is_worth_an_offer() {
    let master = Alone::with(eager()).await;
    let agent = FakeAgent::registered(master.address()).await;
    let least = |quantities: Value| {
        let minimum = json!({"min_allocatable_resources": {"quantities": quantities}});
        with(framework(), "offer_filters", json!({"web": minimum}))
    };
    let sets = |sets: &[&[(&str, f64)]]| -> Value {
        let set = |set: &&[(&str, f64)]| {
            let one = |(name, value): &(&str, f64)| ((*name).to_owned(), json!({"value": value}));
            json!({"quantities": set.iter().map(one).collect::<serde_json::Map<_, _>>()})
        };
        sets.iter().map(set).collect()
    };
    for encoding in BOTH {
        for (quantities, passes) in [
            (sets(&[]), true),
            (sets(&[&[("cpus", 4.0)]]), true),
            (sets(&[&[("cpus", 4.1)]]), false),
            (sets(&[&[("cpus", 1.0), ("gpus", 1.0)]]), false),
            (sets(&[&[("gpus", 1.0)], &[("mem", 1_024.0)]]), true),
        ] {
            let info = least(quantities);
            let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
            if passes {
                scheduler.offer_of(&agent.id).await;
            } else {
                assert_passed_over(&master, &agent, &mut scheduler, &info).await;
            }
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
    }
}
