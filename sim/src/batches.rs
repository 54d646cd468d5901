//! Schedulers of short tasks.

use crate::schedulers::{SchedulerNode, Work, framework};
use crate::world::World;
use model::call::Operation;
use model::framework::Capabilities;
use model::ids::{AgentId, ExecutorId, TaskId};
use model::offer::Offer;
use model::payload::Payload;
use model::resources::Resources;
use model::role::Role;
use model::task::{ExecutorSpec, Needs, RunsBy, TaskSpec, TaskState};
use std::time::Duration;

/// How long its tasks outlive it.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(20);

/// Tasks it has at the same time at most: more would only make runs longer.
const AT_ONCE_MAX: usize = 10;

/// What the ids of tasks begin with that end by themselves.
const SHORT: &str = "short-";

/// A scheduler of short tasks; the first of them knows that a task may be unreachable and come back.
pub(crate) fn batch(nth: usize) -> SchedulerNode {
    let role = Role::new("batch").expect("well formed");
    let mut framework = framework("batch", "nobody", role, FAILOVER_TIMEOUT);
    framework.capabilities = Capabilities { partition_aware: nth == 0, ..Capabilities::default() };
    SchedulerNode::new(Work::Tasks, framework)
}

/// A task that ends by itself after a while.
pub(crate) fn short_task(
    name: &str,
    agent: &AgentId,
    resources: &Resources,
    runs_by: RunsBy,
) -> TaskSpec {
    TaskSpec {
        id: TaskId::new(format!("{SHORT}{name}")).expect("well formed"),
        name: "short".into(),
        agent: agent.clone(),
        resources: resources.clone(),
        runs_by,
        user: None,
        kill_grace: None,
        needs: Needs::default(),
        info: Payload::default(),
    }
}

impl World {
    /// How a task ends by itself, if it does.
    pub(crate) fn end_of(&mut self, task: &TaskId) -> Option<TaskState> {
        let is_short = task.as_str().starts_with(SHORT);
        let end = if self.delays.below(10) == 0 { TaskState::Failed } else { TaskState::Finished };
        is_short.then_some(end)
    }

    /// A scheduler of short tasks answers an offer.
    pub(crate) fn runs_tasks(&mut self, at: usize, offer: &Offer) {
        let task = Resources::parse("cpus:0.5;mem:64", &Role::any()).expect("well formed");
        let room = AT_ONCE_MAX.saturating_sub(self.schedulers[at].live.len());
        let count = usize::try_from(1 + self.users.below(3)).unwrap_or(1).min(room);
        let mut needed = Resources::parse("cpus:0.1;mem:32", &Role::any()).expect("well formed");
        for _ in 0..count {
            needed.add(&task);
        }
        let refuse_for = Duration::from_secs(self.users.below(5));
        let is_wanted = self.is_chaos && count > 0 && self.users.chance(60);
        if !is_wanted || !offer.resources.contains(&needed) {
            return self.scheduler_declines(at, offer, refuse_for);
        }
        let kind = self.users.below(3);
        let node = &mut self.schedulers[at];
        node.counted += 1;
        let executor = ExecutorSpec {
            id: ExecutorId::new(format!("exec-{at}-{}", node.counted)).expect("well formed"),
            is_default: kind == 2,
            resources: Resources::parse("cpus:0.1;mem:32", &Role::any()).expect("well formed"),
            role: None,
            user: None,
            shutdown_grace: None,
            info: Payload::default(),
        };
        let mut tasks = Vec::new();
        for nth in 0..count {
            let runs_by = match kind {
                0 => RunsBy::Command,
                1 => RunsBy::Executor(executor.clone()),
                _ => RunsBy::Group,
            };
            let name = format!("{at}-{}-{nth}", node.counted);
            let task = short_task(&name, &offer.agent, &task, runs_by);
            node.live.insert(task.id.clone(), TaskState::Staging);
            tasks.push(Ok(task));
        }
        let operation = if kind == 2 {
            Operation::LaunchGroup { executor: Ok(executor), tasks }
        } else {
            Operation::Launch(tasks)
        };
        self.scheduler_accepts(at, offer, vec![operation], refuse_for);
    }
}
