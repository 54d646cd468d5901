//! Steps, played on a world.

use super::broken;
use super::read::{CLUSTER, Expectation, Fault, Operator, Part, Plain, Step, Who};
use crate::Settings;
use crate::agents::hostname;
use crate::keepers::{reserved, some_of, volume, volume_name};
use crate::schedulers::{SchedulerNode, Work, framework};
use crate::world::{Event, MASTERS, Node, World};
use marathon_core::ids::AppId;
use marathon_core::instance::Condition;
use marathon_core::io::{Command, PutApp};
use model::amount::Milli;
use model::call::{Accept, Call, Kill, Operation};
use model::framework::Capabilities;
use model::ids::{AgentId, OperationId, TaskId};
use model::offer::Offer;
use model::operation::Conversion;
use model::operator::OperatorCall;
use model::payload::Payload;
use model::resources::{Kind, Resources, Value};
use model::role::Role;
use model::rules::Drain;
use model::task::{Needs, RunsBy, TaskSpec, TaskState};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often it is looked whether something was told: more often than a message takes on its way.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Where scenarios are played.
#[derive(Default)]
pub(super) struct Stage {
    /// Absent until one is asked for.
    pub(super) world: Option<World>,
}

impl Stage {
    /// What was told since it was last asked for.
    pub(super) fn take_told(&mut self) -> Vec<String> {
        self.world.as_mut().map(|world| std::mem::take(&mut world.story)).unwrap_or_default()
    }

    /// Plays one step, or says why that cannot be done.
    pub(super) fn play(&mut self, step: Step) -> Result<(), String> {
        if let Step::Cluster { agents, each, seed, marathons, as_requests } = step {
            if self.world.is_some() {
                return Err("there is a cluster already: write 'cluster' once".to_owned());
            }
            let settings = Settings {
                machine: each,
                batches: 0,
                keepers: 0,
                has_operators: false,
                marathons,
                is_told: true,
                ..Settings::new(seed, agents)
            };
            let mut world = World::new(settings);
            world.network.calls_are_requests = as_requests;
            world.network.loses = 0;
            self.world = Some(world);
            return Ok(());
        }
        let none = || format!("there is no cluster yet: begin with '{CLUSTER}'");
        self.world.as_mut().ok_or_else(none)?.play(step)
    }
}

impl World {
    fn play(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Cluster { .. } => {}
            Step::Framework { name, role, lives_on, is_aware } => {
                self.add_framework(&name, role, lives_on, is_aware)?;
            }
            Step::Run(time) => self.passes(time)?,
            Step::Wait { text, within } => self.waits_for(&text, within)?,
            Step::Accept { framework, agent, parts } => self.accepts(&framework, agent, &parts)?,
            Step::Decline { framework, agent, refuse_for } => {
                let (at, offers) = self.takes_offers(&framework, agent)?;
                for offer in offers {
                    self.scheduler_declines(at, &offer, refuse_for);
                }
            }
            Step::Kill { framework, task } => {
                let at = self.framework_at(&framework)?;
                let task = TaskId::new(task).map_err(|bad| bad.to_string())?;
                self.scheduler_calls(at, Call::Kill(Kill { task, agent: None, grace: None }));
            }
            Step::Call { framework, call } => {
                let at = self.framework_at(&framework)?;
                match call {
                    Plain::Reconcile => self.scheduler_reconciles(at),
                    Plain::Revive => self.scheduler_calls(at, Call::Revive(BTreeSet::new())),
                    Plain::Suppress => self.scheduler_calls(at, Call::Suppress(BTreeSet::new())),
                    Plain::Teardown => {
                        self.scheduler_calls(at, Call::Teardown);
                        self.scheduler_ended(at);
                    }
                }
            }
            Step::Leave(name) => {
                let at = self.framework_at(&name)?;
                self.scheduler_leaves(at);
            }
            Step::Return(name) => {
                let at = self.framework_at(&name)?;
                self.scheduler_back(at);
            }
            Step::Replace(name) => {
                let at = self.framework_at(&name)?;
                self.scheduler_is_replaced(at);
            }
            Step::Expect(expectation) => self.check(expectation)?,
            Step::Fault(fault) => self.plays_fault(fault)?,
            Step::Operator { agent, call } => self.operates(agent, call)?,
            Step::App { id, instances } => self.user_creates(&id, instances)?,
            Step::Scale { id, instances } => self.user_scales(&id, instances)?,
            Step::Restart { id } => {
                self.user_asks(Command::RestartApp { id: app(&id)?, force: false })?;
            }
        }
        Ok(())
    }

    fn plays_fault(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Crash(who) => match self.node(&who)? {
                Node::Master(at) => self.crash_master(at),
                Node::Agent(at) => self.crash_agent(at),
                Node::Marathon(at) => self.crash_marathon(at),
                Node::Scheduler(at) => self.scheduler_leaves(at),
            },
            Fault::Start(who) => {
                let node = self.node(&who)?;
                self.after(Duration::ZERO, Event::Start(node));
            }
            Fault::PowerOff(agent) => {
                let at = self.agent_at(agent)?;
                self.machine_goes_down(at);
            }
            Fault::Depose => self.depose(),
            Fault::Isolate => self.isolate_leader(),
            Fault::Cut { who, to, from, lasts } => {
                let node = self.node(&who)?;
                self.cut(node, to, from, self.now + lasts);
            }
            Fault::Break(who) => {
                let node = self.node(&who)?;
                self.break_all(node);
            }
            Fault::Lose { who, call } => {
                if !self.network.calls_are_requests {
                    return Err("calls get lost over HTTP: write 'cluster … calls=requests'".into());
                }
                let node = self.node(&who)?;
                self.network.dooms.push((node, call));
            }
        }
        Ok(())
    }

    fn user_creates(&mut self, id: &str, instances: u64) -> Result<(), String> {
        let body = json!({
            "id": id, "cmd": "sleep 1000", "instances": instances, "cpus": 0.5, "mem": 64,
        });
        self.user_asks(Command::CreateApp { body, force: false })
    }

    fn user_scales(&mut self, id: &str, instances: u64) -> Result<(), String> {
        let how = PutApp { partial: true, ..PutApp::default() };
        let body = json!({ "instances": instances });
        self.user_asks(Command::PutApp { id: app(id)?, body, how })
    }

    fn add_framework(
        &mut self,
        name: &str,
        role: Role,
        lives_on: Duration,
        is_aware: bool,
    ) -> Result<(), String> {
        if self.framework_at(name).is_ok() {
            return Err(format!("there is a framework {name} already: give it another name"));
        }
        let mut framework = framework(name, "nobody", role, lives_on);
        framework.capabilities = Capabilities {
            partition_aware: is_aware,
            reservation_refinement: true,
            ..Capabilities::default()
        };
        self.schedulers.push(SchedulerNode::new(Work::Told, framework));
        self.after(Duration::ZERO, Event::SchedulerDials(self.schedulers.len() - 1));
        Ok(())
    }

    fn passes(&mut self, time: Duration) -> Result<(), String> {
        self.run_until(self.now + time).map_err(|violation| broken(&violation))
    }

    fn waits_for(&mut self, text: &str, within: Duration) -> Result<(), String> {
        let limit = self.now + within;
        while !self.story.iter().any(|line| line.contains(text)) {
            if self.now >= limit {
                let told = self.story.join("\n  ");
                return Err(format!(
                    "'{text}' was not told within {within:?}; this was:\n  {told}"
                ));
            }
            self.passes(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// All that a framework is offered of an agent.
    fn takes_offers(&mut self, name: &str, agent: usize) -> Result<(usize, Vec<Offer>), String> {
        let at = self.framework_at(name)?;
        let id = self.agent_id(agent)?;
        let all = std::mem::take(&mut self.schedulers[at].offers);
        let (its, others): (Vec<_>, _) = all.into_iter().partition(|offer| offer.agent == id);
        self.schedulers[at].offers = others;
        if its.is_empty() {
            let offer = format!("{name} <- offer of agent-{}", agent + 1);
            return Err(format!("there is no {offer}: 'wait 5s for {offer}' first"));
        }
        Ok((at, its))
    }

    fn accepts(&mut self, name: &str, agent: usize, parts: &[Part]) -> Result<(), String> {
        let (at, all) = self.takes_offers(name, agent)?;
        let mut left = Resources::none();
        for offer in &all {
            left.add(&offer.resources);
        }
        let mut operations = Vec::new();
        for part in parts {
            operations.push(self.use_part(at, &all[0], &mut left, part)?);
        }
        let offers = all.iter().map(|offer| offer.id.as_str().into()).collect();
        let refuse_for = Duration::ZERO;
        self.scheduler_calls(at, Call::Accept(Accept { offers, operations, refuse_for }));
        Ok(())
    }

    /// Uses some of what is left of an offer.
    fn use_part(
        &mut self,
        at: usize,
        offer: &Offer,
        left: &mut Resources,
        part: &Part,
    ) -> Result<Operation, String> {
        if let Part::Launch { task, what, on } = part {
            let mut resources = pick(left, what, |kind| !kind.is_persistent_volume())?;
            if let Some(name) = on {
                resources.add(&volume_called(left, name)?);
            }
            left.subtract(&resources);
            let task = task_of(task, &offer.agent, resources)?;
            self.schedulers[at].live.insert(task.id.clone(), TaskState::Staging);
            return Ok(Operation::Launch(vec![Ok(task)]));
        }
        let (id, conversion) = conversion(left, &offer.role, part)?;
        left.subtract(&conversion.consumed());
        left.add(&conversion.converted());
        let id = id.map(OperationId::new).transpose().map_err(|bad| bad.to_string())?;
        if let Some(id) = &id {
            self.schedulers[at].operations.insert(id.clone(), offer.agent.clone());
        }
        Ok(Operation::Convert { id, role: None, conversion: Ok(conversion) })
    }

    fn operates(&mut self, agent: usize, call: Operator) -> Result<(), String> {
        let id = self.agent_id(agent)?;
        let at = self.raft.leader.ok_or("no master leads: 'wait 10s for leads' first")?;
        let call = match call {
            Operator::Drain => OperatorCall::DrainAgent {
                agent: id,
                drain: Drain { grace_max: None, marks_gone: false },
            },
            Operator::Deactivate => OperatorCall::DeactivateAgent(id),
            Operator::Reactivate => OperatorCall::ReactivateAgent(id),
            Operator::Gone => OperatorCall::MarkAgentGone(id),
        };
        let request = self.new_request();
        let input = master_core::Input::Operate { request, principal: None, call };
        self.step_master(at, self.masters[at].life, input);
        Ok(())
    }

    fn user_asks(&mut self, command: Command) -> Result<(), String> {
        if self.lease.is_none() {
            return Err("no Marathon leads: 'cluster … marathons=3' and 'run 5s' first".to_owned());
        }
        self.asks(command);
        Ok(())
    }

    fn check(&self, expectation: Expectation) -> Result<(), String> {
        match expectation {
            Expectation::Running(tasks) => {
                let wanted: BTreeSet<String> = tasks.into_iter().collect();
                let running: BTreeSet<String> =
                    self.running().iter().map(ToString::to_string).collect();
                if running == wanted { Ok(()) } else { Err(format!("there run {running:?}")) }
            }
            Expectation::Instances { id, count } => {
                let at = self.lease.ok_or("no Marathon leads")?;
                let id = app(&id)?;
                let instances = self.marathons[at].view.instances_of(&id);
                let running = instances.filter(|one| one.condition == Condition::Running).count();
                if running == count { Ok(()) } else { Err(format!("{running} of {id:?} run")) }
            }
            Expectation::Rest => match self.unrest() {
                None => Ok(()),
                Some(why) => Err(format!("there is no rest: {why}")),
            },
            Expectation::Never(text) => match self.story.iter().find(|it| it.contains(&text)) {
                None => Ok(()),
                Some(line) => Err(format!("'{line}' was told")),
            },
        }
    }

    fn node(&self, who: &Who) -> Result<Node, String> {
        let within = |at: usize, count: usize, what: &str| {
            if at < count {
                Ok(at)
            } else {
                Err(format!("there is no {what}-{}: there are {count}", at + 1))
            }
        };
        Ok(match who {
            Who::Leader => Node::Master(self.raft.leader.ok_or("no master leads")?),
            Who::Master(at) => Node::Master(within(*at, MASTERS, "master")?),
            Who::Agent(at) => Node::Agent(self.agent_at(*at)?),
            Who::Marathon => Node::Marathon(self.lease.ok_or("no Marathon leads")?),
            Who::MarathonNth(at) => Node::Marathon(within(*at, self.marathons.len(), "marathon")?),
            Who::Framework(name) => Node::Scheduler(self.framework_at(name)?),
        })
    }

    fn agent_at(&self, at: usize) -> Result<usize, String> {
        let count = self.agents.len();
        let is_there = at < count;
        is_there.then_some(at).ok_or_else(|| format!("there is no agent-{} of {count}", at + 1))
    }

    fn agent_id(&self, at: usize) -> Result<AgentId, String> {
        let agent = &self.agents[self.agent_at(at)?];
        // One that has just been let in has not heard its id yet.
        let mut shown = self.laws.agents.values();
        let shown = shown.find(|shown| shown.description.hostname == hostname(at));
        let id = agent.id().or(shown.map(|shown| &shown.id));
        id.cloned().ok_or_else(|| {
            let name = format!("agent-{}", at + 1);
            format!("{name} is not registered: 'wait 10s for {name} is registered' first")
        })
    }

    fn framework_at(&self, name: &str) -> Result<usize, String> {
        let found = self.schedulers.iter().position(|node| &*node.framework.name == name);
        found.ok_or_else(|| format!("there is no framework {name}: write 'framework {name}' first"))
    }
}

fn app(id: &str) -> Result<AppId, String> {
    AppId::parse_app(id).map_err(|_| format!("'{id}' is no app: write one such as /web"))
}

fn task_of(id: &str, agent: &AgentId, resources: Resources) -> Result<TaskSpec, String> {
    Ok(TaskSpec {
        id: TaskId::new(id).map_err(|bad| bad.to_string())?,
        name: id.into(),
        agent: agent.clone(),
        resources,
        runs_by: RunsBy::Command,
        user: None,
        kill_grace: None,
        needs: Needs::default(),
        info: Payload::default(),
    })
}

/// As much as is wanted of each name, of one kind that is right; of what is reserved first.
fn pick(
    left: &Resources,
    wanted: &Resources,
    is_right: impl Fn(&Kind) -> bool,
) -> Result<Resources, String> {
    let mut picked = Resources::none();
    for (name, amount) in wanted.scalar_totals() {
        let has = |key: &&_| {
            let (key, value): &(&model::resources::Key, &Value) = key;
            let is_enough = matches!(value, Value::Scalar(has) if *has >= amount);
            key.name == name && is_right(&key.kind) && is_enough
        };
        let found = left.iter().collect::<Vec<_>>();
        let Some((key, _)) = found.iter().rev().find(has) else {
            return Err(format!("the offer has not {name}:{amount} of the right kind: {left}"));
        };
        picked.insert((*key).clone(), Value::Scalar(amount));
    }
    Ok(picked)
}

fn volume_called(left: &Resources, name: &str) -> Result<Resources, String> {
    let is_it = |id: &str| id == name;
    let found = left.filtered(|key, _| volume_name(key).is_some_and(|(_, id)| is_it(id.as_str())));
    if found.is_empty() {
        Err(format!("the offer has no volume {name}: {left}"))
    } else {
        Ok(found)
    }
}

/// What an operation is, and what its framework calls it.
fn conversion(
    left: &Resources,
    role: &Role,
    part: &Part,
) -> Result<(Option<String>, Conversion), String> {
    let is_kept = |kind: &Kind| kind.is_dynamically_reserved() && !kind.is_persistent_volume();
    let space = |size: Milli| {
        let some = some_of(left, "disk", size, is_kept);
        let is_enough = some.scalar("disk") == size;
        is_enough.then_some(some).ok_or_else(|| format!("disk:{size} is not reserved: {left}"))
    };
    Ok(match part {
        Part::Launch { .. } => return Err("a launch is no operation on resources".to_owned()),
        Part::Reserve { id, what } => {
            let what = pick(left, what, |kind| kind.reservations.is_empty())?;
            let resources = reserved(&what, role);
            (id.clone(), Conversion::Reserve { source: Resources::none(), resources })
        }
        Part::Unreserve { id, what } => {
            (id.clone(), Conversion::Unreserve(pick(left, what, is_kept)?))
        }
        Part::Create { id, volume: name, size } => {
            (id.clone(), Conversion::Create(volume(&space(*size)?, name)))
        }
        Part::Destroy { id, volume } => {
            (id.clone(), Conversion::Destroy(volume_called(left, volume)?))
        }
        Part::Grow { id, volume, by } => {
            let volume = volume_called(left, volume)?;
            (id.clone(), Conversion::Grow { volume, addition: space(*by)? })
        }
        Part::Shrink { id, volume, by } => {
            let volume = volume_called(left, volume)?;
            (id.clone(), Conversion::Shrink { volume, subtract: *by })
        }
    })
}
