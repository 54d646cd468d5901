//! What the core wants of the master, as calls.

use framework_sdk::calls;
use marathon_core::io::Output;
use proto::mesos::v1;
use proto::mesos::v1::scheduler::{Call, call};

use super::Driver;
use crate::task_info;

impl Driver {
    /// Sends one call. How it goes is not waited for: what matters is reported, or found missing
    /// when all tasks are asked for after the next subscription.
    pub(super) fn call(&mut self, output: Output) {
        let session = self.lead.as_ref().and_then(|lead| lead.session.as_ref());
        let Some(session) = session else { return };
        let role = &self.parts.role;
        let call = match output {
            Output::Accept { offer, agent, launches, refuse_for } => {
                let tasks =
                    launches.iter().map(|launch| task_info::task_info(launch, &agent, role));
                let launch = calls::launch(tasks.collect());
                calls::accept([v1::OfferId::from(&offer)], vec![launch], Some(refuse_for))
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
