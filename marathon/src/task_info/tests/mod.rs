//! What launches become on the wire.

mod apps;
mod health;
mod pods;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use marathon_core::app::App;
use marathon_core::app::parse::{Defaults, Update, whole, whole_pod};
use marathon_core::ids::{AppId, InstanceId};
use marathon_core::io::Launch;
use model::amount::{Milli, Ranges};
use model::ids::{AgentId, FrameworkId};
use model::resources::{Resources, Value as Amount, unreserved};
use model::role::Role;
use proto::json::to_value as json_of;
use serde_json::Value;

use super::{Opened, Scene, task_info};
use crate::driver::reservations::Reserver;

/// Ports that every launch here was given, as far as it wants some.
const PORTS: [u16; 3] = [31_001, 31_002, 31_003];

fn defaults() -> Defaults {
    Defaults { role: "*".into(), network: Some("default-net".into()) }
}

fn id(body: &Value) -> AppId {
    AppId::parse(body["id"].as_str().expect("an id")).expect("an id")
}

/// Hands a scene to `what`: an offer of one agent to everybody.
fn with_scene<T>(what: impl FnOnce(&Scene<'_>) -> T) -> T {
    let framework = FrameworkId::new("F-0000").expect("an id");
    let agent = AgentId::new("S1").expect("an id");
    what(&Scene {
        reserver: Reserver { framework: Some(&framework), principal: None, role: &Role::any() },
        agent: &agent,
        bridge: "mesos-bridge",
    })
}

fn app(body: &Value) -> App {
    let update = Update::read(body, "").expect("a body");
    whole(&id(body), &update, &defaults()).expect("a valid app")
}

/// What every app here can have: the value of `key`.
fn secrets() -> Opened {
    [("key".to_owned(), Bytes::from_static(b"value"))].into()
}

/// The task that one instance of `body` becomes, as JSON.
fn task(body: &Value) -> Value {
    let launch = launch(app(body));
    json_of(&with_scene(|scene| task_info(&launch, &secrets(), scene)))
}

/// A launch of one instance of `app`, with all that it wants.
fn launch(app: App) -> Launch {
    let text = format!("{}.instance-2ac6ed1a-0000-4000-8000-000000000001", app.id.safe());
    let instance = InstanceId::parse(&text).expect("an id");
    let wanted = app.wanted_ports().len();
    let ports: Vec<u16> = PORTS[..wanted].to_vec();
    let mut given = ports.iter();
    let taken: Vec<Resources> = app
        .parts()
        .iter()
        .map(|part| {
            let named: Vec<(&str, Milli)> = part.needs.named().into();
            let mut resources = Resources::scalars(named);
            for port in given.by_ref().take(part.ports) {
                let one = Ranges::one(u64::from(*port), u64::from(*port)).expect("one");
                resources.insert(unreserved("ports"), Amount::Ranges(one));
            }
            resources
        })
        .collect();
    let names = app.pod.iter().flat_map(|pod| &pod.containers);
    let tasks: Vec<_> = names.map(|it| instance.container_task(&it.name, 1)).collect();
    let task = tasks.first().cloned().unwrap_or_else(|| instance.task(1));
    let own = if app.is_pod() { tasks.len() } else { 1 };
    Launch {
        task,
        host: "host1".into(),
        ports,
        resources: taken.iter().fold(Resources::none(), |sum, part| sum.plus(part)),
        claim: None,
        executor: taken.get(own).cloned().unwrap_or_else(Resources::none),
        containers: tasks.into_iter().zip(taken).collect(),
        secrets: BTreeMap::new(),
        is_role_enforced: false,
        instance,
        app: Arc::new(app),
    }
}

fn pod(body: &Value) -> App {
    whole_pod(&id(body), body, &defaults()).expect("a valid pod")
}
