//! Resources in all forms, and what is done with them.

use super::{World, task as plain_task};
use master_core::{Config, Done, Input, Refusal};
use model::call::{Accept, Call, Operation};
use model::disk::{Disk, Persistence, Volume};
use model::framework::Capabilities;
use model::ids::{AgentId, OperationId, PersistenceId, Term};
use model::link::{FromAgent, LiveOperation};
use model::operation::{Conversion, OperationStatus};
use model::operator::OperatorCall;
use model::payload::Payload;
use model::resources::{Reservation, Resources};
use model::role::Role;
use model::task::TaskSpec;
use std::time::Duration;

impl World {
    /// An operator who is known asks for a change; what it is answered, if it is.
    pub(crate) fn operate_as(
        &mut self,
        principal: &str,
        call: OperatorCall,
    ) -> Option<Result<Done, Refusal>> {
        self.operate_by(Some(principal), call)
    }

    /// Agents say what has come of what operators have had done, which is changed before.
    pub(crate) fn agents_say(&mut self, change: impl Fn(&mut OperationStatus)) {
        for (connection, mut message) in std::mem::take(&mut self.to_say) {
            if let FromAgent::OperationUpdate { status, .. } = &mut message {
                change(status);
            }
            self.step(Input::FromAgent { connection, term_seen: Term(0), message });
        }
    }

    /// An agent reports on all its operations.
    pub(crate) fn report_operations(&mut self, name: &str) {
        let agent = self.agents.get_mut(name).expect("it is there");
        for live in agent.operations.clone() {
            let LiveOperation { operation, status } = live;
            self.say(
                name,
                FromAgent::OperationUpdate {
                    operation: operation.uuid,
                    framework: operation.framework,
                    status,
                },
            );
        }
        let agent = self.agents.get_mut(name).expect("it is there");
        agent.operations.retain(|live| live.operation.id.is_some());
    }
}

pub(crate) fn parse(text: &str) -> Resources {
    Resources::parse(text, &Role::any()).expect("well formed")
}

/// `text` with another reservation on top.
pub(crate) fn reserved(what: &Resources, role: &str) -> Resources {
    reserved_by(what, role, None)
}

pub(crate) fn reserved_by(what: &Resources, role: &str, principal: Option<&str>) -> Resources {
    what.with_kinds(|kind| {
        kind.reservations.push(Reservation {
            is_dynamic: true,
            role: Role::new(role).expect("a role"),
            principal: principal.map(Into::into),
            labels: Payload::default(),
        });
    })
}

pub(crate) fn volume(space: &Resources, id: &str) -> Resources {
    space.with_kinds(|kind| {
        let id = PersistenceId::new(id).expect("an id");
        let volume =
            Volume { container_path: "data".into(), is_read_only: false, info: Payload::default() };
        kind.disk = Some(Disk {
            persistence: Some(Persistence { id, principal: None }),
            volume: Some(volume),
            source: None,
        });
    })
}

pub(crate) fn shared(what: &Resources) -> Resources {
    what.with_kinds(|kind| kind.is_shared = true)
}

pub(crate) fn reserve(resources: &Resources) -> Conversion {
    Conversion::Reserve { source: Resources::none(), resources: resources.clone() }
}

pub(crate) fn id(text: &str) -> OperationId {
    OperationId::new(text).expect("an id")
}

pub(crate) fn convert(conversion: Conversion) -> Operation {
    Operation::Convert { id: None, role: None, conversion: Ok(conversion) }
}

pub(crate) fn watched(name: &str, conversion: Conversion) -> Operation {
    Operation::Convert { id: Some(id(name)), role: None, conversion: Ok(conversion) }
}

pub(crate) fn task(name: &str, agent: &AgentId, resources: &Resources) -> TaskSpec {
    TaskSpec { resources: resources.clone(), ..plain_task(name, agent) }
}

pub(crate) fn launch(name: &str, agent: &AgentId, resources: &Resources) -> Operation {
    Operation::Launch(vec![Ok(task(name, agent, resources))])
}

/// Has `f` use all its offers.
pub(crate) fn accept(world: &mut World, operations: Vec<Operation>) {
    accept_as(world, "f", operations, Duration::ZERO);
}

pub(crate) fn accept_as(
    world: &mut World,
    name: &str,
    operations: Vec<Operation>,
    refuse_for: Duration,
) {
    let framework = world.frameworks.get_mut(name).expect("it is there");
    let offers = std::mem::take(&mut framework.offers);
    let offers = offers.keys().map(|id| id.as_str().into()).collect();
    world.call(name, Call::Accept(Accept { offers, operations, refuse_for }));
}

pub(crate) fn sharing() -> Capabilities {
    Capabilities {
        partition_aware: true,
        shared_resources: true,
        reservation_refinement: true,
        ..Capabilities::default()
    }
}

/// Framework `f` of role `r` with an offer of all that agent `a` has.
pub(crate) fn offered() -> World {
    offered_with(Config::default())
}

pub(crate) fn offered_with(config: Config) -> World {
    let mut world = World::with(config);
    world.agent_with("a", "cpus:4;mem:1024;disk:100");
    world.framework_in("f", "r", sharing());
    world.settle();
    assert_eq!(world.heard("f"), ["subscribed", "offer of a for r: cpus:4; disk:100; mem:1024"]);
    world.told("a");
    world
}

/// The same with 1 CPU, 64 MiB and a volume `v` of 40 MiB.
pub(crate) fn with_volume() -> (World, Resources, Resources) {
    let mut world = offered();
    let space = reserved(&parse("cpus:1;mem:64;disk:40"), "r");
    let disk = space.filtered(|key, _| &*key.name == "disk");
    let volume = volume(&disk, "v");
    accept(&mut world, vec![convert(reserve(&space)), convert(Conversion::Create(volume.clone()))]);
    world.settle();
    world.report_operations("a");
    world.told("a");
    world.heard("f");
    (world, space, volume)
}
