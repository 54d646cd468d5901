//! Run tasks on one executor.

use crate::agent::{Agent, Phase};
use crate::output::{Change, ContainerLaunch, Event, ExecutorEvent, Output};
use crate::record::{ExecutorRecord, Record, TaskRecord};
use crate::state::{End, Executor, ExecutorState, FrameworkState, Task, id_of};
use crate::updates;
use model::acl::denial;
use model::framework::Framework;
use model::ids::{ConnectionId, ExecutorId, FrameworkId, TaskId};
use model::link::Launch;
use model::payload::Payload;
use model::resources::Resources;
use model::step::Now;
use model::task::{ExecutorSpec, Reason, TaskSpec, TaskState};

pub(crate) fn apply(agent: &mut Agent, launch: Launch, now: Now, out: &mut Vec<Output>) {
    let framework = id_of(&launch.framework);
    if agent.phase != Phase::Serving || !agent.is_registered() {
        return;
    }
    if agent.frameworks.get(&framework).is_some_and(|state| state.is_ending) {
        // The master has been told that the framework is over, and so has the framework.
        return;
    }
    know(agent, &framework, launch.framework, out);
    let (spec, is_command) = executor_of(launch.executor, &launch.tasks);
    // A task that is known already was launched before: the order was repeated.
    let is_known = |agent: &Agent, task: &TaskId| {
        agent.frameworks.get(&framework).is_some_and(|state| state.tasks.contains_key(task))
            || updates::line(agent, &framework, task).is_some()
    };
    let tasks: Vec<TaskSpec> =
        launch.tasks.into_iter().filter(|task| !is_known(agent, &task.id)).collect();
    if tasks.is_empty() {
        return;
    }
    let end = unauthorized(agent, &framework, &spec, &tasks, launch.is_group)
        .or_else(|| refused(agent, &framework, &spec, &tasks, launch.starts_executor));
    if let Some(end) = end {
        drop_all(agent, &framework, &tasks, &end, now, out);
        return;
    }
    let exists = agent
        .frameworks
        .get(&framework)
        .is_some_and(|state| state.executors.contains_key(&spec.id));
    if !exists {
        add_executor(agent, &framework, &spec, is_command, out);
    }
    accept(agent, &framework, &spec.id, &tasks, launch.is_group, now, out);
    if exists {
        deliver(agent, &framework, &spec.id, out);
    } else {
        start(agent, &framework, &spec.id, tasks, out);
    }
}

/// Notes a framework that is new, or described anew.
fn know(agent: &mut Agent, id: &FrameworkId, framework: Framework, out: &mut Vec<Output>) {
    if agent.frameworks.get(id).is_some_and(|known| known.framework == framework) {
        return;
    }
    out.push(Output::Append(Record::Framework(framework.clone())));
    out.push(Output::View(Change::Framework(framework.clone())));
    match agent.frameworks.get_mut(id) {
        Some(known) => known.framework = framework,
        None => {
            agent.frameworks.insert(id.clone(), FrameworkState::new(framework));
        }
    }
}

/// The executor that is meant, and whether it is a command task's own.
fn executor_of(given: Option<ExecutorSpec>, tasks: &[TaskSpec]) -> (ExecutorSpec, bool) {
    if let Some(spec) = given {
        return (spec, false);
    }
    let task = tasks.first().expect("the master sends a command with its one task");
    let id = ExecutorId::new(task.id.as_str()).expect("all ids follow the same rules");
    let spec = ExecutorSpec {
        id,
        is_default: false,
        resources: Resources::none(),
        role: None,
        user: None,
        shutdown_grace: None,
        info: Payload::default(),
    };
    (spec, true)
}

/// Why these tasks may not be run here, if they may not. The master has asked its own rules; those of
/// this agent may be others.
fn unauthorized(
    agent: &Agent,
    framework: &FrameworkId,
    spec: &ExecutorSpec,
    tasks: &[TaskSpec],
    is_group: bool,
) -> Option<End> {
    let framework = &agent.frameworks.get(framework)?.framework;
    let acls = &agent.config.acls;
    let user = tasks.iter().find_map(|task| acls.refused_user(framework, task, Some(spec)))?;
    let reason = if is_group { Reason::TaskGroupUnauthorized } else { Reason::TaskUnauthorized };
    let why = denial(framework.principal.as_deref(), &format!("run tasks as user '{user}'"));
    Some(End::new(TaskState::Error, reason, why))
}

/// Why these tasks cannot be run here, if they cannot.
fn refused(
    agent: &Agent,
    framework: &FrameworkId,
    spec: &ExecutorSpec,
    tasks: &[TaskSpec],
    starts_executor: bool,
) -> Option<End> {
    let state = agent.frameworks.get(framework)?;
    let dropped = |reason, why: String| Some(End::new(state.word(TaskState::Dropped), reason, why));
    if agent.drain.is_some() {
        return dropped(Reason::AgentDraining, "The agent is being drained".to_owned());
    }
    let executor = state.executors.get(&spec.id);
    match executor {
        None if !starts_executor => {
            return dropped(Reason::ExecutorTerminated, "Executor has ended".to_owned());
        }
        Some(it) if matches!(it.state, ExecutorState::Ending { .. }) => {
            return dropped(Reason::ExecutorTerminated, "Executor is ending".to_owned());
        }
        None | Some(_) => {}
    }
    let mut wanted = if executor.is_none() { spec.resources.clone() } else { Resources::none() };
    for task in tasks {
        wanted.add(&task.resources);
    }
    match agent.total.unused(&agent.used).check_holds(&wanted) {
        Ok(()) => None,
        Err(shortage) => {
            dropped(Reason::InvalidOffers, format!("The agent has not enough left: {shortage}"))
        }
    }
}

fn drop_all(
    agent: &mut Agent,
    framework: &FrameworkId,
    tasks: &[TaskSpec],
    end: &End,
    now: Now,
    out: &mut Vec<Output>,
) {
    for task in tasks {
        out.push(Output::Note(Event::TaskDropped {
            framework: framework.clone(),
            task: task.id.clone(),
            reason: end.reason,
        }));
        let status = updates::own(agent, &task.id, end, now);
        updates::report(agent, framework, status, now, out);
    }
}

fn add_executor(
    agent: &mut Agent,
    framework: &FrameworkId,
    spec: &ExecutorSpec,
    is_command: bool,
    out: &mut Vec<Output>,
) {
    let container = agent.new_container_id();
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    out.push(Output::Append(Record::Executor(ExecutorRecord {
        framework: framework.clone(),
        spec: spec.clone(),
        container: container.clone(),
        is_command,
        has_subscribed: false,
    })));
    out.push(Output::View(Change::Executor {
        framework: framework.clone(),
        executor: spec.clone(),
        container: container.clone(),
        is_command,
    }));
    agent.used.add(&spec.resources);
    agent.containers.insert(container.clone(), (framework.clone(), spec.id.clone()));
    let executor = Executor {
        spec: spec.clone(),
        container,
        is_command,
        state: ExecutorState::Registering { by: None },
        connection: None,
        has_subscribed: false,
        groups_next: 0,
        end: None,
    };
    state.executors.insert(spec.id.clone(), executor);
}

fn accept(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    tasks: &[TaskSpec],
    is_group: bool,
    now: Now,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    let Some(it) = state.executors.get_mut(executor) else { return };
    let group = is_group.then_some(it.groups_next);
    it.groups_next += u32::from(is_group);
    for spec in tasks {
        out.push(Output::Append(Record::Task(TaskRecord {
            framework: framework.clone(),
            executor: executor.clone(),
            spec: spec.clone(),
            group,
            accepted_at: now.wall,
        })));
        out.push(Output::Note(Event::TaskAccepted {
            framework: framework.clone(),
            task: spec.id.clone(),
        }));
        out.push(Output::View(Change::Task {
            framework: framework.clone(),
            executor: executor.clone(),
            spec: Box::new(spec.clone()),
            accepted_at: now.wall,
        }));
        agent.used.add(&spec.resources);
        let task = Task {
            spec: spec.clone(),
            executor: executor.clone(),
            group,
            state: TaskState::Staging,
            is_delivered: false,
            kill: None,
            accepted_at: now.wall,
        };
        state.tasks.insert(spec.id.clone(), task);
    }
}

fn start(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    tasks: Vec<TaskSpec>,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let Some(it) = state.executors.get(executor) else { return };
    out.push(Output::Note(Event::ExecutorStarting {
        framework: framework.clone(),
        executor: executor.clone(),
        container: it.container.clone(),
    }));
    out.push(Output::LaunchContainer(Box::new(ContainerLaunch {
        container: it.container.clone(),
        agent: agent.id.clone().expect("tasks come from a master, which gives ids first"),
        framework: state.framework.clone(),
        executor: it.spec.clone(),
        is_command: it.is_command,
        tasks,
        resources: state.resources_of(executor),
    })));
}

/// Gives an executor the tasks that wait for it, if it can be reached: its container grows first.
pub(crate) fn deliver(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let Some(it) = state.executors.get(executor) else { return };
    if !it.is_command {
        out.extend(state.update_of(executor));
    }
    if let (ExecutorState::Running, Some(connection)) = (it.state, it.connection) {
        if agent.frameworks.get(framework).is_some_and(|it| !it.volumes_of(executor).is_empty()) {
            show_volumes(agent, framework, executor, out);
        }
        hand_over(agent, framework, executor, connection, out);
    }
}

/// Has the container of a running executor show the persistent volumes of its tasks, some of which it
/// may not have been told of yet, and no others: nobody is to hold on to what may be another's, or be
/// removed. Tasks of a group have theirs in containers of their own.
pub(crate) fn show_volumes(
    agent: &Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get(framework) else { return };
    let Some(it) = state.executors.get(executor) else { return };
    if it.is_command || it.spec.is_default {
        return;
    }
    let volumes = state.volumes_of(executor);
    let (container, connection) = (it.container.clone(), it.connection);
    out.push(Output::ShowVolumes { container, connection, volumes });
}

/// A task is its executor's from here on.
pub(crate) fn delivered(framework: &FrameworkId, task: &mut Task, out: &mut Vec<Output>) {
    task.is_delivered = true;
    let (framework, task) = (framework.clone(), task.spec.id.clone());
    out.push(Output::View(Change::TaskDelivered { framework, task }));
}

/// Sends an executor the tasks that it has not got: groups whole, and in the order they came.
pub(crate) fn hand_over(
    agent: &mut Agent,
    framework: &FrameworkId,
    executor: &ExecutorId,
    connection: ConnectionId,
    out: &mut Vec<Output>,
) {
    let Some(state) = agent.frameworks.get_mut(framework) else { return };
    let mut waiting: Vec<_> = state
        .tasks
        .iter_mut()
        .filter(|(_, task)| {
            task.executor == *executor && !task.is_delivered && !task.state.is_terminal()
        })
        .map(|(_, task)| task)
        .collect();
    waiting.sort_by_key(|task| (task.accepted_at, task.group));
    let mut groups: Vec<(u32, Vec<TaskSpec>)> = Vec::new();
    let mut events = Vec::new();
    for task in waiting {
        delivered(framework, task, out);
        match task.group {
            None => events.push(ExecutorEvent::Launch(Box::new(task.spec.clone()))),
            Some(group) => match groups.last_mut() {
                Some((last, specs)) if *last == group => specs.push(task.spec.clone()),
                Some(_) | None => groups.push((group, vec![task.spec.clone()])),
            },
        }
    }
    events.extend(groups.into_iter().map(|(_, specs)| ExecutorEvent::LaunchGroup(specs)));
    out.extend(events.into_iter().map(|event| Output::ToExecutor { connection, event }));
}
