//! What is said of tasks, by themselves and by the master.

use super::World;
use marathon_core::io::{Input, UpdateView};
use model::ids::{TaskId, UpdateId};
use model::task::{Reason, Source, Status, TaskState};

impl World {
    /// A task is in another state, and says so.
    pub(crate) fn report(&mut self, task: &TaskId, state: TaskState, healthy: Option<bool>) {
        let running = self.tasks.get_mut(task).expect("it runs");
        running.state = state;
        let agent = running.agent;
        if state.is_terminal() {
            self.tasks.remove(task);
        }
        self.numbers += 1;
        let mut status = Status::new(task.clone(), state, Source::Executor, self.now().wall);
        status.agent = Some(self.agents[agent].id.clone());
        status.uuid = Some(UpdateId([u8::try_from(self.numbers % 256).expect("a byte"); 16]));
        status.healthy = healthy;
        if healthy.is_some() && state == TaskState::Running {
            status.reason = Some(Reason::TaskHealthCheckStatusUpdated);
        }
        let failing = std::mem::take(&mut self.failing);
        self.step(Input::Update(UpdateView {
            addresses: vec!["10.0.0.1".into()],
            failing,
            ..UpdateView::plain(status)
        }));
        // What was freed is offered again, whatever was refused before.
        if state.is_terminal() {
            self.filtered.remove(&agent);
        }
    }

    /// A task is in another state, and says this of it.
    pub(crate) fn report_saying(&mut self, task: &TaskId, state: TaskState, message: &str) {
        let agent = self.tasks.remove(task).expect("it runs").agent;
        let mut status = Status::new(task.clone(), state, Source::Executor, self.now().wall);
        status.agent = Some(self.agents[agent].id.clone());
        status.message = Some(message.into());
        self.step(Input::Update(UpdateView::plain(status)));
    }

    /// The master says what it knows of a task.
    pub(crate) fn report_of(
        &mut self,
        task: &TaskId,
        agent: Option<usize>,
        state: TaskState,
        reason: Option<Reason>,
    ) {
        let mut status = Status::new(task.clone(), state, Source::Master, self.now().wall);
        status.agent = agent.map(|agent| self.agents[agent].id.clone());
        status.reason = reason;
        self.step(Input::Update(UpdateView::plain(status)));
    }
}
