//! What only those are offered who say that they know of it.

use model::capability::AgentCapability;
use model::link::ToAgent;
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, agent_info, cores_of, eager};
use crate::words::{BOTH, able, amount, launch, reserved, task, with};

/// An operator's call about resources of an agent, which must be taken in and carried out.
async fn make(operator: &Operator<'_>, agent: &mut FakeAgent, kind: &str, list: &str, what: Value) {
    let body = json!({"agent_id": {"value": agent.id.as_str()}, list: what});
    let call = json!({"type": kind, kind.to_lowercase(): body});
    assert_eq!(operator.call(&call).await, (202, json!("")), "{kind}");
    agent.apply().await;
}

/// The stacks of reservations of what is offered of a name, with the amounts.
fn stacks(offer: &Value, name: &str) -> Vec<(usize, f64)> {
    let all = offer["resources"].as_array().expect("a list").iter();
    let of_name = all.filter(|resource| resource["name"] == name);
    let height = |it: &Value| {
        let stack = it["reservations"].as_array().map_or(0, Vec::len);
        // In the old form there is one at most.
        stack.max(usize::from(it["role"].as_str().is_some_and(|role| role != "*")))
    };
    let value = |it: &Value| it["scalar"]["value"].as_f64().expect("a scalar");
    let mut stacks: Vec<_> = of_name.map(|it| (height(it), value(it))).collect();
    stacks.sort_by_key(|(height, _)| *height);
    stacks
}

#[tokio::test]
async fn what_is_reserved_within_a_reservation_is_for_those_who_know_of_that() {
    let master = Alone::with(eager()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let mut info = agent_info(5_051);
        info.resources.push(cores_of("web", 2.0));
        let mut agent = FakeAgent::registered_with(master.address(), &info).await;
        let stack = json!([
            {"type": "STATIC", "role": "web"}, {"type": "DYNAMIC", "role": "web/api"},
        ]);
        let refined = json!([with(amount("cpus", 0.5), "reservations", stack.clone())]);
        make(&operator, &mut agent, "RESERVE_RESOURCES", "resources", refined.clone()).await;
        let of_below = |info: Value| with(info, "role", json!("web/api"));
        let plain = vec![(0, 4.0), (1, 1.5)];
        let all = vec![(0, 4.0), (1, 1.5), (2, 0.5)];
        for (info, offered) in [(able(&[]), plain), (able(&["RESERVATION_REFINEMENT"]), all)] {
            let info = of_below(info);
            let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
            let offer = scheduler.offer_of(&agent.id).await;
            assert_eq!(stacks(&offer, "cpus"), offered, "{offer}");
            // Nor may those refine a reservation themselves who do not know of it.
            let of_refined = json!({"resources": refined});
            let reserve = json!({"type": "RESERVE", "id": {"value": "op"}, "reserve": of_refined});
            scheduler.accept(&[offer], json!([reserve])).await;
            if offered.len() == 3 {
                assert_eq!(agent.apply().await, "RESERVE");
            } else {
                let report = scheduler.operation().await;
                assert_eq!(report["state"], "OPERATION_ERROR");
                let why = "Invalid RESERVE operation: Resource 'cpus' is reserved already, and the \
                           framework is not RESERVATION_REFINEMENT capable";
                assert_eq!(report["message"], why);
            }
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
        agent.say(&model::link::FromAgent::Unregister).await;
        while agent.hear().await.is_some() {}
    }
}

/// Makes a shared volume: the disk that it is made of, in a list, and itself.
async fn shared_volume(operator: &Operator<'_>, agent: &mut FakeAgent) -> (Value, Value) {
    let space = reserved("disk", 64.0, "web");
    let disk = json!({
        "persistence": {"id": "data"}, "volume": {"container_path": "data", "mode": "RW"},
    });
    let volume = with(with(space.clone(), "disk", disk), "shared", json!({}));
    let space = json!([space]);
    make(operator, agent, "RESERVE_RESOURCES", "resources", space.clone()).await;
    make(operator, agent, "CREATE_VOLUMES", "volumes", json!([volume])).await;
    (space, volume)
}

/// How many shared volumes are in an offer.
fn count_shared(offer: &Value) -> usize {
    let all = offer["resources"].as_array().expect("a list").iter();
    all.filter(|resource| !resource["shared"].is_null()).count()
}

#[tokio::test]
async fn what_is_shared_is_used_at_once_by_those_who_know_of_that() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let (space, volume) = shared_volume(&operator, &mut agent).await;
        let volumes = json!([volume]);
        let info = able(&["RESERVATION_REFINEMENT"]);
        let mut plain = Scheduler::subscribed(&master, encoding, &info, None).await;
        assert_eq!(count_shared(&plain.offer_of(&agent.id).await), 0);
        plain.call(json!({"type": "TEARDOWN"})).await;

        let info = able(&["RESERVATION_REFINEMENT", "SHARED_RESOURCES"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let uses = |id: &str| {
            let resources = json!([amount("cpus", 0.1), volume]);
            with(task(id, &agent.id), "resources", resources)
        };
        let offer = scheduler.offer_of(&agent.id).await;
        assert_eq!(count_shared(&offer), 1);
        // Two tasks of one call, and one of another: the volume is offered while it is used.
        scheduler.accept(&[offer], launch(&[uses("one"), uses("two")])).await;
        let offer = scheduler.offer_of(&agent.id).await;
        assert_eq!(count_shared(&offer), 1);
        scheduler.accept(&[offer], launch(&[uses("three")])).await;
        for id in ["one", "two", "three"] {
            assert_eq!(agent.launched().await.tasks[0].id.as_str(), id);
        }
        let shown = master.get("/slaves").await["slaves"][0]["used_resources"].take();
        assert_eq!(shown["disk"], 64.0, "once, however many use it");
        let body = json!({"agent_id": {"value": agent.id.as_str()}, "volumes": volumes});
        let destroy = json!({"type": "DESTROY_VOLUMES", "destroy_volumes": body});
        let why =
            format!("Invalid DESTROY operation on agent {}: Persistent volumes in use", agent.id);
        operator.refused(destroy, 400, &why).await;

        scheduler.call(json!({"type": "TEARDOWN"})).await;
        assert!(matches!(agent.hear().await, Some(ToAgent::ShutdownFramework(_))));
        make(&operator, &mut agent, "DESTROY_VOLUMES", "volumes", volumes).await;
        make(&operator, &mut agent, "UNRESERVE_RESOURCES", "resources", space).await;
    }
}

#[tokio::test]
async fn a_shared_volume_that_is_destroyed_is_taken_back_from_all_others() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let (space, volume) = shared_volume(&operator, &mut agent).await;
        let info = able(&["RESERVATION_REFINEMENT", "SHARED_RESOURCES"]);
        let mut holder = Scheduler::subscribed(&master, encoding, &info, None).await;
        let held = holder.offer_of(&agent.id).await;
        assert_eq!(count_shared(&held), 1);
        // The other one takes whatever there is, and there is nothing else left.
        let anything = json!({"web": {"min_allocatable_resources": {"quantities": []}}});
        let info = with(info, "offer_filters", anything);
        let mut other = Scheduler::subscribed(&master, encoding, &info, None).await;
        let offer = other.offer_of(&agent.id).await;
        assert_eq!(offer["resources"].as_array().map(Vec::len), Some(1), "{offer}");
        assert_eq!(count_shared(&offer), 1);
        let destroy = json!({"type": "DESTROY", "destroy": {"volumes": [volume]}});
        other.accept(&[offer], json!([destroy])).await;
        assert_eq!(agent.apply().await, "DESTROY");
        holder.rescinded(&held).await;
        for scheduler in [holder, other] {
            scheduler.call(json!({"type": "TEARDOWN"})).await;
        }
        make(&operator, &mut agent, "UNRESERVE_RESOURCES", "resources", space).await;
    }
}

#[tokio::test]
async fn an_agent_is_asked_for_nothing_that_it_has_not_said_it_can_do() {
    let master = Alone::with(eager()).await;
    let reserved = |name: &str, roles: &[&str]| {
        let stack: Vec<Value> =
            roles.iter().map(|role| json!({"type": "DYNAMIC", "role": role})).collect();
        with(amount(name, 1.0), "reservations", json!(stack))
    };
    let disk = json!({
        "persistence": {"id": "p"}, "volume": {"container_path": "p", "mode": "RW"},
    });
    let volume = with(reserved("disk", &["web"]), "disk", disk);
    let grow = json!({"volume": volume, "addition": reserved("disk", &["web"])});
    let shrink = json!({"volume": volume, "subtract": {"value": 0.5}});
    let nested = json!({"resources": [reserved("cpus", &["web/api"])]});
    let refined = json!({"resources": [reserved("cpus", &["web", "web/api"])]});
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        for (capabilities, call, body, what, lacks) in [
            (&[][..], "DRAIN_AGENT", &json!({}), "be drained", "AGENT_DRAINING"),
            (
                &[],
                "RESERVE_RESOURCES",
                &nested,
                "reserve for a role below another",
                "HIERARCHICAL_ROLE",
            ),
            (
                &[AgentCapability::HierarchicalRole],
                "RESERVE_RESOURCES",
                &refined,
                "refine a reservation",
                "RESERVATION_REFINEMENT",
            ),
            (&[], "GROW_VOLUME", &grow, "make a volume larger or smaller", "RESIZE_VOLUME"),
            (&[], "SHRINK_VOLUME", &shrink, "make a volume larger or smaller", "RESIZE_VOLUME"),
        ] {
            let all = [&[AgentCapability::MultiRole], capabilities].concat();
            let agent = FakeAgent::able_to(master.address(), &all).await;
            let body = with(body.clone(), "agent_id", json!({"value": agent.id.as_str()}));
            let call = json!({"type": call, call.to_lowercase(): body});
            let (status, text) = operator.call(&call).await;
            let text = text.as_str().expect("text");
            let why = format!("{} cannot {what}: it has not the capability {lacks}", agent.id);
            assert!(status == 400 && text.ends_with(&why), "{call}: {status} {text}");
            agent.say(&model::link::FromAgent::Unregister).await;
        }

        let agent = FakeAgent::able_to(master.address(), &[AgentCapability::MultiRole]).await;
        let mut scheduler =
            Scheduler::subscribed(&master, encoding, &able(&["RESERVATION_REFINEMENT"]), None)
                .await;
        let offer = scheduler.offer_of(&agent.id).await;
        let limited = with(task("t", &agent.id), "limits", json!({"cpus": {"value": 2.0}}));
        let reserve = json!({"resources": [reserved("cpus", &["web"])]});
        let mut operations = launch(&[limited]);
        let reserve = json!({"type": "RESERVE", "id": {"value": "op"}, "reserve": reserve});
        operations.as_array_mut().expect("a list").push(reserve);
        scheduler.accept(&[offer], operations).await;
        let status = scheduler.update().await;
        assert_eq!(status["state"], "TASK_ERROR");
        let cannot = format!("Agent {} cannot", agent.id);
        let why = "keep a task within limits: it has not the capability TASK_RESOURCE_LIMITS";
        assert_eq!(status["message"], format!("{cannot} {why}"));
        let report = scheduler.operation().await;
        assert_eq!(report["state"], "OPERATION_ERROR");
        let why = "carry out an operation with an id: it has not the capability RESOURCE_PROVIDER";
        assert_eq!(report["message"], format!("Invalid RESERVE operation: {cannot} {why}"));
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.say(&model::link::FromAgent::Unregister).await;
    }
}
