//! What the core wants of the master, as calls.

use framework_sdk::calls;
use marathon_core::io::{Launch, Output};
use model::ids::{AgentId, FrameworkId};
use model::role::Role;
use proto::mesos::v1;
use proto::mesos::v1::offer::Operation;
use proto::mesos::v1::scheduler::{Call, call};

use super::Driver;
use crate::task_info;

/// Apps go together in one operation; each pod is one of its own, launched whole or not at all.
fn operations(
    launches: &[Launch],
    framework: Option<&FrameworkId>,
    agent: &AgentId,
    role: &Role,
) -> Vec<Operation> {
    let apps = launches.iter().filter(|launch| !launch.app.is_pod());
    let tasks: Vec<_> = apps.map(|launch| task_info::task_info(launch, agent, role)).collect();
    let groups = launches.iter().filter_map(|launch| {
        let pod = launch.app.pod.as_deref()?;
        Some(task_info::launch_group(launch, pod, framework, agent, role))
    });
    let together = (!tasks.is_empty()).then(|| calls::launch(tasks));
    together.into_iter().chain(groups).collect()
}

impl Driver {
    /// Sends one call. How it goes is not waited for: what matters is reported, or found missing
    /// when all tasks are asked for after the next subscription.
    pub(super) fn call(&mut self, output: Output) {
        let session = self.lead.as_ref().and_then(|lead| lead.session.as_ref());
        let Some(session) = session else { return };
        let role = &self.parts.role;
        let call = match output {
            Output::Accept { offer, agent, launches, refuse_for } => {
                let framework = session.handle.framework_id();
                let framework = framework.and_then(|id| FrameworkId::try_from(&id).ok());
                let operations = operations(&launches, framework.as_ref(), &agent, role);
                calls::accept([v1::OfferId::from(&offer)], operations, Some(refuse_for))
            }
            Output::Decline { offers, refuse_for } => {
                calls::decline(offers.iter().map(Into::into), Some(refuse_for))
            }
            Output::Revive => calls::revive(Vec::new()),
            Output::Suppress => calls::suppress(Vec::new()),
            Output::Kill { task, agent, grace } => {
                calls::kill((&task).into(), agent.as_ref().map(Into::into), grace)
            }
            Output::Acknowledge { agent, task, uuid } => {
                let acknowledge = call::Acknowledge {
                    agent_id: (&agent).into(),
                    task_id: (&task).into(),
                    uuid: uuid.0.to_vec().into(),
                };
                Call {
                    r#type: Some(call::Type::Acknowledge.into()),
                    acknowledge: Some(acknowledge),
                    ..Call::default()
                }
            }
            Output::Reconcile(tasks) => {
                let tasks = tasks.iter();
                calls::reconcile(
                    tasks.map(|(task, agent)| (task.into(), agent.as_ref().map(Into::into))),
                )
            }
            Output::Store { .. }
            | Output::StepDown
            | Output::Subscribe { .. }
            | Output::Probe(_)
            | Output::Answer { .. }
            | Output::Event(_)
            | Output::View(_) => return,
        };
        drop(session.handle.submit(call));
    }
}
