//! What the core wants of the master, as calls.

use framework_sdk::calls;
use marathon_core::io::{Input, Launch, Output, Release, UpdateView};
use model::ids::{AgentId, FrameworkId};
use model::task::{Source, Status, TaskState};
use proto::mesos::v1;
use proto::mesos::v1::offer::Operation;
use proto::mesos::v1::scheduler::{Call, call};

use super::Driver;
use super::reservations::Reserver;
use crate::task_info::{self, Opened, Scene};
use crate::vault::Vault;

/// Apps go together in one operation; each pod is one of its own, launched whole or not at all.
/// Reservations are undone and made before.
fn operations(
    releases: &[Release],
    launches: &[(Launch, Opened)],
    scene: &Scene<'_>,
) -> Vec<Operation> {
    let undone = releases.iter().flat_map(|release| scene.reserver.undoing(release));
    let made = launches.iter().flat_map(|(launch, _)| scene.reserver.making(launch));
    let apps = launches.iter().filter(|(launch, _)| !launch.app.is_pod());
    let tasks: Vec<_> =
        apps.map(|(launch, secrets)| task_info::task_info(launch, secrets, scene)).collect();
    let groups = launches.iter().filter_map(|(launch, secrets)| {
        let pod = launch.app.pod.as_deref()?;
        Some(task_info::launch_group(launch, pod, secrets, scene))
    });
    let together = (!tasks.is_empty()).then(|| calls::launch(tasks));
    undone.chain(made).chain(together).chain(groups).collect()
}

/// The launches with their secrets opened, and those whose secrets do not open.
fn opened(launches: Vec<Launch>, vault: Option<&Vault>) -> (Vec<(Launch, Opened)>, Vec<Launch>) {
    let (mut good, mut closed) = (Vec::new(), Vec::new());
    for launch in launches {
        let secrets = launch.secrets.iter();
        let secrets: Option<Opened> =
            secrets.map(|(name, sealed)| Some((name.clone(), vault?.open(sealed)?))).collect();
        match secrets {
            Some(secrets) => good.push((launch, secrets)),
            None => closed.push(launch),
        }
    }
    (good, closed)
}

/// What the core is told of a task that was not launched, for its secrets cannot be opened.
fn unlaunched(launch: &Launch, agent: &AgentId) -> Input {
    let task = launch.task.clone();
    tracing::error!(
        %task,
        "not launched: its secrets cannot be opened; is --secrets_key_file the one they were kept with?"
    );
    let mut status = Status::new(task, TaskState::Error, Source::Master, crate::clock::wall());
    status.agent = Some(agent.clone());
    status.message = Some("its secrets cannot be opened with the key of this Marathon".into());
    Input::Update(UpdateView::plain(status))
}

impl Driver {
    /// Sends one call. How it goes is not waited for: what matters is reported, or found missing
    /// when all tasks are asked for after the next subscription.
    pub(super) fn call(&mut self, output: Output) {
        let session = self.lead.as_ref().and_then(|lead| lead.session.as_ref());
        let Some(session) = session else { return };
        let call = match output {
            Output::Accept { offer, agent, role, releases, launches, refuse_for } => {
                let (launches, closed) = opened(launches, self.parts.vault.as_deref());
                self.later.extend(closed.into_iter().map(|launch| unlaunched(&launch, &agent)));
                let framework = session.handle.framework_id();
                let framework = framework.and_then(|id| FrameworkId::try_from(&id).ok());
                let scene = Scene {
                    reserver: Reserver {
                        framework: framework.as_ref(),
                        principal: self.parts.framework.principal.as_deref(),
                        role: &role,
                    },
                    agent: &agent,
                    bridge: &self.parts.bridge,
                };
                let operations = operations(&releases, &launches, &scene);
                // Without any, it is a way to give the offer back.
                calls::accept([v1::OfferId::from(&offer)], operations, Some(refuse_for))
            }
            Output::Decline { offers, refuse_for } => {
                calls::decline(offers.iter().map(Into::into), Some(refuse_for))
            }
            Output::AcceptInverse { offers } => {
                calls::accept_inverse(offers.iter().map(Into::into), None)
            }
            Output::Roles { roles, is_suppressed } => {
                self.roles = roles.iter().map(ToString::to_string).collect();
                let suppressed = if is_suppressed { self.roles.clone() } else { Vec::new() };
                let id = session.handle.framework_id();
                calls::update_framework(self.info(id), suppressed)
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
            | Output::AskAgents
            | Output::Answer { .. }
            | Output::Event(_)
            | Output::View(_) => return,
        };
        drop(session.handle.submit(call));
    }
}
