//! Containers and the executors in them: what runs on a machine whether its agent is up or not.

use crate::world::{Event, World};
use agent_core::Input;
use agent_core::input::{Exit, Subscribe};
use agent_core::output::{ContainerLaunch, ExecutorEvent};
use model::ids::{ConnectionId, ContainerId, ExecutorId, FrameworkId, RequestId, TaskId, UpdateId};
use model::task::{Source, Status, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an executor waits before it asks an agent that does not answer again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long short tasks run at most.
const SHORT_TASK_MAX: Duration = Duration::from_secs(20);

/// A container and the executor in it.
pub(crate) struct Container {
    framework: FrameworkId,
    executor: ExecutorId,
    /// Whether its processes have been started.
    is_up: bool,
    /// How it ended; absent while it runs.
    pub(crate) exit: Option<Exit>,
    /// Its event stream from the agent.
    pub(crate) connection: Option<ConnectionId>,
    subscribing: Option<RequestId>,
    pub(crate) tasks: BTreeMap<TaskId, TaskState>,
    /// Tasks it was given and has had no report taken of.
    unheard: BTreeSet<TaskId>,
    /// Reports that were not taken yet, oldest first.
    unacknowledged: Vec<Status>,
    is_ending: bool,
}

/// What happens in a container.
#[derive(Clone, Debug)]
pub(crate) enum ContainerEvent {
    /// Its processes run.
    Up,
    /// They could not be started.
    CannotStart,
    /// The executor opens its event stream.
    Subscribes,
    /// The executor hears something on this stream.
    Hears(ConnectionId, Box<ExecutorEvent>),
    /// A task gets to a state.
    Reaches(TaskId, TaskState),
    /// All its processes are killed.
    Destroyed,
    /// The executor exits.
    Exits(i32),
}

impl World {
    pub(crate) fn launch_container(&mut self, at: usize, launch: &ContainerLaunch) {
        let container = Container {
            framework: launch.framework.id.clone().expect("frameworks have their id by now"),
            executor: launch.executor.id.clone(),
            is_up: false,
            exit: None,
            connection: None,
            subscribing: None,
            tasks: BTreeMap::new(),
            unheard: BTreeSet::new(),
            unacknowledged: Vec::new(),
            is_ending: false,
        };
        for task in &launch.tasks {
            self.laws.launched(&task.id);
            self.summary.launches += 1;
            self.tell_launch(at, &launch.framework, task);
        }
        let id = launch.container.clone();
        self.agents[at].containers.insert(id.clone(), container);
        let fails = self.is_chaos && self.faults.chance(3);
        let event = if fails { ContainerEvent::CannotStart } else { ContainerEvent::Up };
        let wait = Duration::from_millis(5) + self.some_time(Duration::from_millis(200));
        self.after(wait, Event::Container(at, id, event));
    }

    /// Lets something happen in a container, if it is still there.
    pub(crate) fn container(&mut self, at: usize, id: &ContainerId, event: ContainerEvent) {
        let Some(container) = self.agents[at].containers.get_mut(id) else { return };
        if container.exit.is_some() {
            return;
        }
        match event {
            ContainerEvent::Up => {
                container.is_up = true;
                self.tell_agent(at, Input::Launched { container: id.clone() });
                self.soon(at, id, ContainerEvent::Subscribes);
            }
            ContainerEvent::CannotStart => {
                let why = "the simulated disk is full".into();
                // An agent that is down finds the container dead when it comes back.
                container.exit = Some(Exit::default());
                self.tell_agent(at, Input::LaunchFailed { container: id.clone(), why });
                self.forget_if_told(at, id);
            }
            ContainerEvent::Subscribes => self.executor_subscribes(at, id),
            ContainerEvent::Hears(connection, event) => {
                if container.connection == Some(connection) {
                    self.executor_hears(at, id, *event);
                }
            }
            ContainerEvent::Reaches(task, state) => self.reach(at, id, &task, state),
            ContainerEvent::Destroyed => self.end(at, id, 9),
            ContainerEvent::Exits(status) => self.end(at, id, status),
        }
    }

    fn end(&mut self, at: usize, id: &ContainerId, status: i32) {
        let Some(container) = self.agents[at].containers.get_mut(id) else { return };
        let was_up = container.is_up;
        let exit = Exit { status: Some(status), limitation: None };
        container.exit = Some(exit.clone());
        container.tasks.clear();
        let connection = container.connection.take();
        if let Some(connection) = connection {
            self.tell_agent(at, Input::ExecutorGone { connection });
        }
        let container = id.clone();
        let input = if was_up {
            Input::Exited { container, exit }
        } else {
            Input::LaunchFailed { container, why: "destroyed before it was up".into() }
        };
        self.tell_agent(at, input);
        self.forget_if_told(at, id);
    }

    /// An agent that is up has heard of the end; one that is down learns of it when it starts.
    fn forget_if_told(&mut self, at: usize, id: &ContainerId) {
        if self.agents[at].core.is_some() {
            self.agents[at].containers.remove(id);
        }
    }

    fn tell_agent(&mut self, at: usize, input: Input) {
        let life = self.agents[at].life;
        self.step_agent(at, life, input);
    }

    fn soon(&mut self, at: usize, id: &ContainerId, event: ContainerEvent) {
        let wait = self.some_time(Duration::from_millis(50));
        self.after(wait, Event::Container(at, id.clone(), event));
    }

    /// After a restart of the agent, executors find it again.
    pub(crate) fn executors_look_again(&mut self, at: usize) {
        let ids: Vec<ContainerId> = self.agents[at].containers.keys().cloned().collect();
        for id in ids {
            self.soon(at, &id, ContainerEvent::Subscribes);
        }
    }

    fn executor_subscribes(&mut self, at: usize, id: &ContainerId) {
        let (request, connection) = (self.new_request(), self.new_connection());
        let node = &mut self.agents[at];
        let Some(container) = node.containers.get_mut(id) else { return };
        if !container.is_up || container.connection.is_some() {
            return;
        }
        if node.core.is_none() {
            // Nobody answers: it is started again together with the agent.
            return;
        }
        container.subscribing = Some(request);
        container.connection = Some(connection);
        let call = Subscribe {
            request,
            connection,
            framework: container.framework.clone(),
            executor: container.executor.clone(),
            unacknowledged_updates: container.unacknowledged.clone(),
            unacknowledged_tasks: container.unheard.iter().cloned().collect(),
        };
        self.tell_agent(at, Input::Subscribe(call));
    }

    pub(crate) fn executor_answered(&mut self, at: usize, request: RequestId, is_yes: bool) {
        let waiting = self.agents[at]
            .containers
            .iter_mut()
            .find(|(_, container)| container.subscribing == Some(request));
        let Some((id, container)) = waiting else { return };
        container.subscribing = None;
        if !is_yes {
            container.connection = None;
            let id = id.clone();
            self.after(ASK_AGAIN, Event::Container(at, id, ContainerEvent::Subscribes));
        }
    }

    pub(crate) fn tell_executor(
        &mut self,
        at: usize,
        connection: ConnectionId,
        event: ExecutorEvent,
    ) {
        let of = |container: &Container| container.connection == Some(connection);
        let found = self.agents[at].containers.iter().find(|(_, container)| of(container));
        let Some((id, _)) = found else { return };
        // One machine, one stream: what is said first arrives first.
        let event = ContainerEvent::Hears(connection, Box::new(event));
        self.after(Duration::from_micros(200), Event::Container(at, id.clone(), event));
    }

    pub(crate) fn executor_closed(&mut self, at: usize, connection: ConnectionId) {
        for container in self.agents[at].containers.values_mut() {
            if container.connection == Some(connection) {
                container.connection = None;
            }
        }
    }

    fn executor_hears(&mut self, at: usize, id: &ContainerId, event: ExecutorEvent) {
        match event {
            ExecutorEvent::Subscribed(_) | ExecutorEvent::Message(_) => {}
            ExecutorEvent::Launch(task) => self.given(at, id, &task.id),
            ExecutorEvent::LaunchGroup(tasks) => {
                for task in tasks {
                    self.given(at, id, &task.id);
                }
            }
            ExecutorEvent::Kill { task, grace } => {
                let wait = self.some_time(grace.unwrap_or(Duration::from_secs(3)));
                let event = ContainerEvent::Reaches(task, TaskState::Killed);
                self.after(wait, Event::Container(at, id.clone(), event));
            }
            ExecutorEvent::Acknowledged { task, uuid } => self.taken(at, id, &task, uuid),
            ExecutorEvent::Shutdown => {
                let Some(container) = self.agents[at].containers.get_mut(id) else { return };
                container.is_ending = true;
                let tasks: Vec<TaskId> = container.tasks.keys().cloned().collect();
                for task in tasks {
                    self.soon(at, id, ContainerEvent::Reaches(task, TaskState::Killed));
                }
                self.after(
                    Duration::from_secs(2),
                    Event::Container(at, id.clone(), ContainerEvent::Exits(0)),
                );
            }
        }
    }

    fn given(&mut self, at: usize, id: &ContainerId, task: &TaskId) {
        let Some(container) = self.agents[at].containers.get_mut(id) else { return };
        // Delivered again after a reconnection: it has it already.
        if container.tasks.contains_key(task) || container.is_ending {
            return;
        }
        container.tasks.insert(task.clone(), TaskState::Staging);
        container.unheard.insert(task.clone());
        self.agents[at].ran.push(task.clone());
        self.reach(at, id, task, TaskState::Starting);
        let wait = self.some_time(Duration::from_millis(100));
        let event = ContainerEvent::Reaches(task.clone(), TaskState::Running);
        self.after(wait, Event::Container(at, id.clone(), event));
        if let Some(end) = self.end_of(task).or_else(|| self.end_of_container(task)) {
            let runs_for = wait + self.some_time(SHORT_TASK_MAX);
            let event = ContainerEvent::Reaches(task.clone(), end);
            self.after(runs_for, Event::Container(at, id.clone(), event));
        }
    }

    /// A task gets to a state, and the executor reports it.
    fn reach(&mut self, at: usize, id: &ContainerId, task: &TaskId, state: TaskState) {
        let uuid = UpdateId(self.ids.uuid());
        let wall = self.clocks().wall;
        let request = self.new_request();
        let Some(container) = self.agents[at].containers.get_mut(id) else { return };
        let Some(known) = container.tasks.get_mut(task) else { return };
        if known.is_terminal() || *known == state {
            return;
        }
        *known = state;
        if state == TaskState::Running {
            self.warm.begins(task, self.now);
        }
        let mut status = Status::new(task.clone(), state, Source::Executor, wall);
        status.uuid = Some(uuid);
        status.executor = Some(container.executor.clone());
        self.laws.reported(&status);
        container.unacknowledged.push(status.clone());
        if container.connection.is_some() && container.subscribing.is_none() {
            let (framework, executor) = (container.framework.clone(), container.executor.clone());
            self.tell_agent(at, Input::Update { request, framework, executor, status });
        }
        if state.is_terminal() {
            self.check_serving(task);
        }
    }

    fn taken(&mut self, at: usize, id: &ContainerId, task: &TaskId, uuid: UpdateId) {
        let Some(container) = self.agents[at].containers.get_mut(id) else { return };
        container.unheard.remove(task);
        container.unacknowledged.retain(|status| status.uuid != Some(uuid));
        if container.unacknowledged.is_empty() {
            container.tasks.retain(|_, state| !state.is_terminal());
            // Executors end with the last of their tasks.
            if container.tasks.is_empty() {
                self.soon(at, id, ContainerEvent::Exits(0));
            }
        }
    }
}
