//! What agents say is used of them, and by whom, is what their tasks use, whatever has happened.

mod world;

use master_core::view::TaskList;
use model::call::Operation;
use model::ids::{AgentId, FrameworkId};
use model::resources::Resources;
use model::role::Role;
use model::task::TaskState;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use world::World;
use world::operations::*;

const AGENTS: [&str; 2] = ["a", "b"];
const FRAMEWORKS: [&str; 2] = ["f", "g"];

/// Who uses what on which agent.
type Usage = BTreeMap<(AgentId, FrameworkId, Role), Resources>;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A framework launches a task with a port of each agent that it has an offer of.
    Launch(&'static str),
    /// The task of so old an age ends, if there is one.
    End(usize),
    /// An agent's link breaks, and it is back with what it has.
    Reconnect(&'static str),
    /// Another master leads, and all are back.
    Failover,
    /// Offers that were not used come again.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => prop::sample::select(&FRAMEWORKS[..]).prop_map(Step::Launch),
        3 => (0_usize..4).prop_map(Step::End),
        1 => prop::sample::select(&AGENTS[..]).prop_map(Step::Reconnect),
        1 => Just(Step::Failover),
        2 => Just(Step::Wait),
    ];
    prop::collection::vec(one, 1..24)
}

fn launch_all(world: &mut World, framework: &str, launched: &mut usize) {
    let offers = std::mem::take(&mut world.frameworks.get_mut(framework).expect("there").offers);
    for (id, offer) in offers {
        let Some(port) = offer.resources.ranges("ports").numbers().next() else { continue };
        let what = parse(&format!("cpus:0.1;mem:32;ports:[{port}-{port}]"));
        let name = format!("t{launched}");
        *launched += 1;
        world.frameworks.get_mut(framework).expect("there").offers.insert(id, offer.clone());
        let run: Vec<Operation> = vec![launch(&name, &offer.agent, &what)];
        accept_as(world, framework, run, Duration::ZERO);
    }
}

fn end(world: &mut World, age: usize) {
    for name in AGENTS {
        let Some(task) = world.agents[name].tasks.keys().nth(age).cloned() else { continue };
        world.report(name, task.as_str(), TaskState::Finished);
        for framework in FRAMEWORKS {
            world.acknowledge_all(framework);
        }
        world.agents.get_mut(name).expect("there").tasks.remove(&task);
        return;
    }
}

fn happen(world: &mut World, step: &Step, launched: &mut usize) {
    match step {
        Step::Launch(framework) => launch_all(world, framework, launched),
        Step::End(age) => end(world, *age),
        Step::Reconnect(agent) => {
            world.disconnect(agent);
            world.reconnect(agent);
        }
        Step::Failover => {
            world.lead();
            for framework in FRAMEWORKS {
                world.resubscribe(framework);
            }
            for agent in AGENTS {
                world.reconnect(agent);
            }
        }
        Step::Wait => world.pass(Duration::from_secs(2)),
    }
    world.settle();
}

fn of_agents(world: &World) -> Usage {
    let mut usage = Usage::new();
    for agent in world.agent_views.values() {
        let mut all = Resources::none();
        for ((framework, role), used) in &agent.used_by {
            usage.insert((agent.id.clone(), framework.clone(), role.clone()), used.clone());
            all.add(used);
        }
        assert_eq!(agent.used, all, "nobody else uses anything");
    }
    usage
}

fn of_tasks(world: &World) -> Usage {
    let mut usage = Usage::new();
    for task in world.task_views.values() {
        if task.list == TaskList::Live && !task.state.is_terminal() {
            let key = (task.agent.clone(), task.framework.clone(), task.role.clone());
            usage.entry(key).or_default().add(&task.spec.resources);
        }
    }
    usage
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_agents_say_is_used_is_what_their_tasks_use(steps in steps()) {
        let mut world = World::new();
        for agent in AGENTS {
            world.agent_with(agent, "cpus:8;mem:2048;ports:[31000-31009]");
        }
        for framework in FRAMEWORKS {
            world.framework(framework);
        }
        world.settle();
        let mut launched = 0;
        for step in &steps {
            happen(&mut world, step, &mut launched);
            prop_assert_eq!(of_agents(&world), of_tasks(&world), "after {:?}", step);
        }
    }
}
