//! Ending tasks, and keeping at it until they have ended.

use super::{Due, Marathon, updates};
use crate::app::UnreachableStrategy;
use crate::ids::InstanceId;
use crate::instance::{Condition, Goal, Instance, Task};
use crate::instances::Instances;
use crate::io::Output;
use crate::pace;
use model::ids::{AgentId, TaskId};
use model::step::Now;
use std::sync::Arc;
use std::time::Duration;

/// The tasks of `task` that have not ended, as the master is asked about them.
pub(super) fn alive(task: &Task) -> Vec<(TaskId, Option<AgentId>)> {
    task.alive().map(|id| (id.clone(), Some(task.place.agent.clone()))).collect()
}

impl Marathon {
    /// Every instance that `keep` says yes to.
    pub(super) fn all_instances(&self, keep: impl Fn(&Instance) -> bool) -> Vec<Arc<Instance>> {
        let all = self.books.instances.values().flat_map(Instances::values);
        all.filter(|it| keep(it)).cloned().collect()
    }

    /// Sees to it that `id` goes for good.
    pub(super) fn decommission(&mut self, id: &InstanceId, now: Now) {
        let Some(instance) = self.instance(id).cloned() else { return };
        match instance.condition {
            Condition::Scheduled => self.remove_instance(id, "Killed", now),
            // Nobody can end it now. Should it come back, it will be nobody's, and be ended then.
            Condition::Unreachable | Condition::UnreachableInactive => {
                self.remove_instance(id, instance.condition.name(), now);
            }
            Condition::Provisioned
            | Condition::Staging
            | Condition::Starting
            | Condition::Running
            | Condition::Killing => self.kill(&instance, Goal::Decommissioned, now),
        }
    }

    /// Ends the task of `instance`; what becomes of the instance then is its goal.
    pub(super) fn kill(&mut self, instance: &Instance, goal: Goal, now: Now) {
        if instance.condition == Condition::Killing && instance.goal == goal {
            return;
        }
        let mut changed = instance.clone();
        changed.goal = goal;
        changed.condition = Condition::Killing;
        let app = self.books.tree.apps.get(&instance.app.id).unwrap_or(&instance.app);
        let wait = if instance.is_serving() { pace::drains_for(app) } else { Duration::ZERO };
        let due = Due::Kill(changed.id.clone(), changed.incarnation);
        if self.books.draining.contains(&changed.id) {
            // Its time runs already.
        } else if wait.is_zero() {
            // Of a pod each container tells of itself, as soon as it hears of it.
            if instance.condition == Condition::Running && !instance.app.is_pod() {
                updates::tell_killing(self, &changed, "to end", now);
            }
            self.send_kill(&changed);
            self.wake_at(now.time + self.config.kill_retry, due);
        } else {
            self.books.draining.insert(changed.id.clone());
            updates::tell_killing(self, &changed, "draining", now);
            self.wake_at(now.time + wait, due);
        }
        self.put_instance(changed, now);
    }

    /// Asks the agent once to end the task of `instance`.
    pub(super) fn send_kill(&mut self, instance: &Instance) {
        let Some(task) = &instance.task else { return };
        // The grace may have changed since the launch; the app's present wish counts.
        let app = self.books.tree.apps.get(&instance.app.id).unwrap_or(&instance.app);
        for id in task.alive() {
            let (task, agent) = (id.clone(), Some(task.place.agent.clone()));
            self.outbox.push(Output::Kill { task, agent, grace: app.kill_grace });
        }
    }

    /// Ends a task that nobody wants.
    pub(super) fn kill_orphan(&mut self, task: TaskId, agent: Option<AgentId>) {
        self.outbox.push(Output::Kill { task, agent, grace: None });
    }

    /// A kill has not ended in time: ask again, and ask whether the task is still there.
    pub(super) fn kill_due(&mut self, id: &InstanceId, incarnation: u64, now: Now) {
        let Some(instance) = self.instance(id).cloned() else { return };
        let is_same = instance.incarnation == incarnation;
        let Some(task) = instance.task.as_ref().filter(|_| is_same) else { return };
        if instance.condition != Condition::Killing {
            return;
        }
        let is_first = self.books.draining.remove(id);
        if self.books.is_connected {
            self.send_kill(&instance);
        }
        if self.books.is_connected && !is_first {
            self.outbox.push(Output::Reconcile(alive(task)));
        }
        self.wake_at(now.time + self.config.kill_retry, Due::Kill(id.clone(), incarnation));
    }

    /// A task has not run in time: ask about it and, past the limit, end it.
    pub(super) fn start_due(&mut self, id: &InstanceId, incarnation: u64, now: Now) {
        let Some(instance) = self.instance(id).cloned() else { return };
        let is_same = instance.incarnation == incarnation;
        let Some(task) = instance.task.as_ref().filter(|_| is_same) else { return };
        let is_fetched = instance.app.is_fetched();
        let (limit, since) = match instance.condition {
            Condition::Provisioned => (Some(self.config.launch_confirm_timeout), task.staged_at),
            // A download is as long as it is. Its agent ends one that stands still, and the launch with it.
            Condition::Staging if is_fetched => (None, task.staged_at),
            Condition::Starting if is_fetched => {
                (Some(self.config.launch_timeout), instance.changed_at)
            }
            Condition::Staging | Condition::Starting => {
                (Some(self.config.launch_timeout), task.staged_at)
            }
            Condition::Scheduled
            | Condition::Running
            | Condition::Killing
            | Condition::Unreachable
            | Condition::UnreachableInactive => return,
        };
        if limit.is_some_and(|limit| now.wall.since(since) >= limit) {
            self.kill(&instance, instance.goal, now);
            return;
        }
        if self.books.is_connected {
            self.outbox.push(Output::Reconcile(alive(task)));
        }
        self.watch(&instance, now);
    }

    /// What becomes of `instance` out of contact: what its app says now, for that needs no restart.
    pub(super) fn unreachable_strategy(&self, instance: &Instance) -> UnreachableStrategy {
        let app = self.books.tree.apps.get(&instance.app.id).unwrap_or(&instance.app);
        app.unreachable_strategy
    }

    /// Sets the timers that the condition of `instance` calls for.
    pub(super) fn watch(&mut self, instance: &Instance, now: Now) {
        let Some(task) = &instance.task else { return };
        let (id, incarnation) = (instance.id.clone(), instance.incarnation);
        match instance.condition {
            Condition::Provisioned | Condition::Staging | Condition::Starting => {
                // Asked about well before the limit: a launch that was lost on the way is
                // known to be lost as soon as the master is asked.
                let limit = self.config.launch_confirm_timeout.min(self.config.launch_timeout);
                let mut pause = (limit / 20).max(self.config.kill_retry);
                if self.is_reservation_asked(instance) {
                    pause = pause.min(self.config.reservation_timeout);
                }
                self.wake_at(now.time + pause, Due::Start(id, incarnation));
            }
            Condition::Killing => {
                self.wake_at(now.time + self.config.kill_retry, Due::Kill(id, incarnation));
            }
            Condition::Unreachable | Condition::UnreachableInactive => {
                let strategy = self.unreachable_strategy(instance);
                if let UnreachableStrategy::After { inactive_after, expunge_after } = strategy {
                    let since = now.wall.since(task.unreachable_at.unwrap_or(now.wall));
                    let next = if instance.condition == Condition::Unreachable {
                        inactive_after
                    } else {
                        expunge_after
                    };
                    let wait = next.saturating_sub(since);
                    self.wake_at(now.time + wait, Due::Unreachable(id));
                }
            }
            Condition::Scheduled | Condition::Running => {}
        }
    }
}
