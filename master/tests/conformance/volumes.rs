//! Reservations and volumes that cannot be made or undone for what is there already.

use std::sync::Arc;

use master::{Authentication, Options};
use serde_json::{Value, json};
use transport::auth::{Credential, Credentials};

use crate::common::{Alone, FakeAgent, Operator, Scheduler, eager};
use crate::words::{BOTH, able, amount, launch, task, with};

fn reserved(name: &str, value: f64, by: Option<&str>) -> Value {
    let mut reservation = json!({"type": "DYNAMIC", "role": "web"});
    if let Some(by) = by {
        reservation["principal"] = json!(by);
    }
    with(amount(name, value), "reservations", json!([reservation]))
}

fn volume(id: &str, value: f64, of: Option<&str>, by: Option<&str>) -> Value {
    let mut persistence = json!({"id": id});
    if let Some(by) = by {
        persistence["principal"] = json!(by);
    }
    let volume = json!({"container_path": "data", "mode": "RW"});
    let disk = json!({"persistence": persistence, "volume": volume});
    with(reserved("disk", value, of), "disk", disk)
}

/// An operator's call about resources of an agent.
fn call(kind: &str, list: &str, agent: &FakeAgent, resources: Value) -> Value {
    let body = json!({"agent_id": {"value": agent.id.as_str()}, list: resources});
    json!({"type": kind, kind.to_lowercase(): body})
}

#[tokio::test]
async fn a_volume_is_made_once_and_not_destroyed_while_it_is_used() {
    let master = Alone::with(eager()).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator::new(&master, encoding);
        let space = json!([reserved("disk", 64.0, None)]);
        let one = volume("data", 32.0, None, None);
        let create = call("CREATE_VOLUMES", "volumes", &agent, json!([one]));
        let destroy = call("DESTROY_VOLUMES", "volumes", &agent, json!([one]));
        let reserve = call("RESERVE_RESOURCES", "resources", &agent, space.clone());
        for (call, done) in [(reserve, "RESERVE"), (create.clone(), "CREATE")] {
            assert_eq!(operator.call(&call).await, (202, json!("")));
            assert_eq!(agent.apply().await, done);
        }
        let id = agent.id.clone();
        let why = |kind: &str, why: &str| format!("Invalid {kind} operation on agent {id}: {why}");
        let text = why("CREATE", "Persistence ID 'data' exists already for role 'web'");
        operator.refused(create, 400, &text).await;

        let info = able(&["RESERVATION_REFINEMENT"]);
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let uses = with(task("t", &agent.id), "resources", json!([amount("cpus", 0.1), one]));
        let offer = scheduler.offer_of(&agent.id).await;
        scheduler.call(json!({"type": "SUPPRESS"})).await;
        scheduler.accept(&[offer], launch(&[uses])).await;
        agent.launched().await;
        let in_use = why("DESTROY", "Persistent volumes in use");
        operator.refused(destroy.clone(), 400, &in_use).await;
        let unreserve = call("UNRESERVE_RESOURCES", "resources", &agent, space.clone());
        let (status, said) = operator.call(&unreserve).await;
        let said = said.as_str().expect("text").to_owned();
        assert!(status == 409 && said.contains("is not free on the agent"), "{status} {said}");

        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.hear().await.expect("it is told to end the task");
        for (call, done) in [(destroy, "DESTROY"), (unreserve, "UNRESERVE")] {
            assert_eq!(operator.call(&call).await, (202, json!("")), "{done}");
            assert_eq!(agent.apply().await, done);
        }
    }
}

#[tokio::test]
async fn whoever_makes_something_must_say_that_it_was_they() {
    let who = Credential::new("ops", "s");
    let authentication = Authentication {
        credentials: Some(Arc::new(Credentials::new([who.clone()]))),
        readwrite: true,
        ..Authentication::default()
    };
    let master = Alone::with(Options { authentication, ..Options::default() }).await;
    let mut agent = FakeAgent::registered(master.address()).await;
    for encoding in BOTH {
        let operator = Operator { who: Some(who.clone()), ..Operator::new(&master, encoding) };
        for (by, why) in [
            (Some("dev"), "by principal 'dev', but it is 'ops' who asks for it"),
            (None, "without a principal, but it is 'ops' who asks for it"),
        ] {
            let resources = json!([reserved("cpus", 1.0, by)]);
            let text = format!(
                "Invalid RESERVE operation on agent {}: Resource 'cpus' reserved {why}",
                agent.id
            );
            let reserve = call("RESERVE_RESOURCES", "resources", &agent, resources);
            operator.refused(reserve, 400, &text).await;
            let volumes = json!([volume("data", 1.0, Some("ops"), by)]);
            let text = format!(
                "Invalid CREATE operation on agent {}: Persistent volume 'data' {why}",
                agent.id
            );
            let create = call("CREATE_VOLUMES", "volumes", &agent, volumes);
            operator.refused(create, 400, &text).await;
        }
        let own = json!([reserved("cpus", 1.0, Some("ops"))]);
        for (kind, done) in [("RESERVE_RESOURCES", "RESERVE"), ("UNRESERVE_RESOURCES", "UNRESERVE")]
        {
            let call = call(kind, "resources", &agent, own.clone());
            assert_eq!(operator.call(&call).await, (202, json!("")), "{kind}");
            assert_eq!(agent.apply().await, done);
        }
    }
}
