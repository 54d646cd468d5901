//! What Marathon tells whoever watches.

use crate::app::{App, HealthCheck, render};
use crate::clock;
use crate::ids::{AppId, DeploymentId, InstanceId};
use crate::planner::{Deployment, Plan, Step};
use model::step::Timestamp;
use model::task::TaskState;
use serde_json::{Value, json};
use std::sync::Arc;

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What happened. Each is one `eventType` of the event stream.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "variants and fields are those of the event stream")]
pub enum Happening {
    ApiPost {
        client: Arc<str>,
        uri: Arc<str>,
        app: Arc<App>,
    },
    PodCreated {
        client: Arc<str>,
        uri: Arc<str>,
    },
    PodUpdated {
        client: Arc<str>,
        uri: Arc<str>,
    },
    PodDeleted {
        client: Arc<str>,
        uri: Arc<str>,
    },
    StatusUpdate {
        agent: Option<Arc<str>>,
        task: Arc<str>,
        state: TaskState,
        message: Arc<str>,
        app: AppId,
        host: Arc<str>,
        addresses: Vec<Arc<str>>,
        ports: Vec<u16>,
        version: Timestamp,
    },
    InstanceChanged {
        instance: InstanceId,
        condition: &'static str,
        app: AppId,
        agent: Option<Arc<str>>,
        host: Option<Arc<str>>,
        version: Timestamp,
    },
    UnknownInstanceTerminated {
        instance: InstanceId,
        app: AppId,
        condition: &'static str,
    },
    InstanceHealthChanged {
        instance: InstanceId,
        app: AppId,
        is_healthy: bool,
        version: Timestamp,
    },
    HealthCheckAdded {
        app: AppId,
        version: Timestamp,
        check: HealthCheck,
    },
    HealthCheckRemoved {
        app: AppId,
    },
    HealthCheckFailed {
        app: AppId,
        instance: InstanceId,
        check: HealthCheck,
    },
    HealthStatusChanged {
        app: AppId,
        instance: InstanceId,
        version: Timestamp,
        is_alive: bool,
    },
    UnhealthyInstanceKill {
        app: AppId,
        task: Arc<str>,
        instance: InstanceId,
        version: Timestamp,
        reason: Arc<str>,
        host: Arc<str>,
        agent: Arc<str>,
    },
    GroupChangeSuccess {
        group: AppId,
        version: Timestamp,
    },
    GroupChangeFailed {
        group: AppId,
        version: Timestamp,
        reason: Arc<str>,
    },
    DeploymentInfo {
        id: DeploymentId,
        version: Timestamp,
        plan: Plan,
        step: Step,
    },
    DeploymentStepSuccess {
        id: DeploymentId,
        version: Timestamp,
        plan: Plan,
        step: Step,
    },
    DeploymentStepFailure {
        id: DeploymentId,
        version: Timestamp,
        plan: Plan,
        step: Step,
    },
    DeploymentSuccess {
        id: DeploymentId,
        version: Timestamp,
        plan: Plan,
    },
    DeploymentFailed {
        id: DeploymentId,
        version: Timestamp,
        plan: Plan,
        why: Option<Arc<str>>,
    },
    AppTerminated {
        app: AppId,
    },
    SchedulerRegistered {
        framework: Arc<str>,
        master: Arc<str>,
    },
    SchedulerReregistered {
        master: Arc<str>,
    },
    SchedulerDisconnected,
    FrameworkMessage {
        executor: Arc<str>,
        agent: Arc<str>,
        /// In base64, as JSON has no bytes.
        message: Arc<str>,
    },
}

impl Event {
    /// Its `eventType`, for the `event:` line and the filter.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            Happening::ApiPost { .. } => "api_post_event",
            Happening::PodCreated { .. } => "pod_created_event",
            Happening::PodUpdated { .. } => "pod_updated_event",
            Happening::PodDeleted { .. } => "pod_deleted_event",
            Happening::StatusUpdate { .. } => "status_update_event",
            Happening::InstanceChanged { .. } => "instance_changed_event",
            Happening::UnknownInstanceTerminated { .. } => "unknown_instance_terminated_event",
            Happening::InstanceHealthChanged { .. } => "instance_health_changed_event",
            Happening::HealthCheckAdded { .. } => "add_health_check_event",
            Happening::HealthCheckRemoved { .. } => "remove_health_check_event",
            Happening::HealthCheckFailed { .. } => "failed_health_check_event",
            Happening::HealthStatusChanged { .. } => "health_status_changed_event",
            Happening::UnhealthyInstanceKill { .. } => "unhealthy_instance_kill_event",
            Happening::GroupChangeSuccess { .. } => "group_change_success",
            Happening::GroupChangeFailed { .. } => "group_change_failed",
            Happening::DeploymentInfo { .. } => "deployment_info",
            Happening::DeploymentStepSuccess { .. } => "deployment_step_success",
            Happening::DeploymentStepFailure { .. } => "deployment_step_failure",
            Happening::DeploymentSuccess { .. } => "deployment_success",
            Happening::DeploymentFailed { .. } => "deployment_failed",
            Happening::AppTerminated { .. } => "app_terminated_event",
            Happening::SchedulerRegistered { .. } => "scheduler_registered_event",
            Happening::SchedulerReregistered { .. } => "scheduler_reregistered_event",
            Happening::SchedulerDisconnected => "scheduler_disconnected_event",
            Happening::FrameworkMessage { .. } => "framework_message_event",
        }
    }

    /// The JSON of its `data:` line. Plans carry empty `original` and `target` unless the subscriber
    /// asked for light ones: some clients cannot read them without.
    pub fn to_json(&self, light_plans: bool) -> Value {
        let mut body = self.fields(light_plans);
        body["eventType"] = self.kind().into();
        body["timestamp"] = clock::format(self.at).into();
        body
    }

    fn fields(&self, light: bool) -> Value {
        let time = |at: &Timestamp| clock::format(*at);
        match &self.what {
            Happening::ApiPost { client, uri, app } => {
                json!({"clientIp": **client, "uri": **uri, "appDefinition": render::app(app)})
            }
            Happening::PodCreated { client, uri }
            | Happening::PodUpdated { client, uri }
            | Happening::PodDeleted { client, uri } => {
                json!({"clientIp": **client, "uri": **uri})
            }
            Happening::StatusUpdate {
                agent,
                task,
                state,
                message,
                app,
                host,
                addresses,
                ports,
                version,
            } => json!({
                "slaveId": agent.as_deref().unwrap_or_default(),
                "taskId": **task,
                "taskStatus": state.name(),
                "message": **message,
                "appId": app.as_str(),
                "host": **host,
                "ipAddresses": render::addresses(addresses),
                "ports": ports,
                "version": time(version),
            }),
            Happening::InstanceChanged { instance, condition, app, agent, host, version } => {
                json!({
                    "instanceId": instance.as_str(),
                    "condition": condition,
                    "runSpecId": app.as_str(),
                    "agentId": agent.as_deref(),
                    "host": host.as_deref(),
                    "runSpecVersion": time(version),
                })
            }
            Happening::UnknownInstanceTerminated { instance, app, condition } => json!({
                "instanceId": instance.as_str(),
                "runSpecId": app.as_str(),
                "condition": condition,
            }),
            Happening::InstanceHealthChanged { instance, app, is_healthy, version } => json!({
                "instanceId": instance.as_str(),
                "runSpecId": app.as_str(),
                "healthy": is_healthy,
                "runSpecVersion": time(version),
            }),
            Happening::HealthCheckAdded { app, version, check } => {
                of_check(app, check, "version", &time(version))
            }
            // The field has this name though it names the instance.
            Happening::HealthCheckFailed { app, instance, check } => {
                of_check(app, check, "taskId", instance.as_str())
            }
            Happening::HealthStatusChanged { app, instance, version, is_alive } => json!({
                "appId": app.as_str(),
                "instanceId": instance.as_str(),
                "version": time(version),
                "alive": is_alive,
            }),
            Happening::UnhealthyInstanceKill {
                app,
                task,
                instance,
                version,
                reason,
                host,
                agent,
            } => json!({
                "appId": app.as_str(),
                "taskId": **task,
                "instanceId": instance.as_str(),
                "version": time(version),
                "reason": **reason,
                "host": **host,
                "slaveId": **agent,
            }),
            Happening::GroupChangeSuccess { group, version } => of_group(group, *version),
            Happening::GroupChangeFailed { group, version, reason } => {
                json!({"groupId": group.as_str(), "version": time(version), "reason": **reason})
            }
            Happening::HealthCheckRemoved { app } | Happening::AppTerminated { app } => of_app(app),
            Happening::SchedulerRegistered { framework, master } => {
                json!({"frameworkId": **framework, "master": **master})
            }
            Happening::SchedulerReregistered { master } => json!({"master": **master}),
            Happening::SchedulerDisconnected => json!({}),
            Happening::FrameworkMessage { executor, agent, message } => {
                json!({"executorId": **executor, "slaveId": **agent, "message": **message})
            }
            Happening::DeploymentInfo { .. }
            | Happening::DeploymentStepSuccess { .. }
            | Happening::DeploymentStepFailure { .. }
            | Happening::DeploymentSuccess { .. }
            | Happening::DeploymentFailed { .. } => self.of_deployment(light),
        }
    }

    /// The fields of what happened to a deployment; none of what did not.
    fn of_deployment(&self, light: bool) -> Value {
        match &self.what {
            Happening::DeploymentInfo { id, version, plan, step }
            | Happening::DeploymentStepSuccess { id, version, plan, step }
            | Happening::DeploymentStepFailure { id, version, plan, step } => json!({
                "plan": plan_json(id, *version, plan, light),
                "currentStep": render::step(plan, step),
            }),
            Happening::DeploymentSuccess { id, version, plan } => {
                json!({"id": id.as_str(), "plan": plan_json(id, *version, plan, light)})
            }
            Happening::DeploymentFailed { id, version, plan, why } => {
                let plan = plan_json(id, *version, plan, light);
                let mut body = json!({"id": id.as_str(), "plan": plan});
                if let Some(why) = why {
                    body["reason"] = (**why).into();
                }
                body
            }
            Happening::ApiPost { .. }
            | Happening::PodCreated { .. }
            | Happening::PodUpdated { .. }
            | Happening::PodDeleted { .. }
            | Happening::StatusUpdate { .. }
            | Happening::InstanceChanged { .. }
            | Happening::UnknownInstanceTerminated { .. }
            | Happening::InstanceHealthChanged { .. }
            | Happening::HealthCheckAdded { .. }
            | Happening::HealthCheckRemoved { .. }
            | Happening::HealthCheckFailed { .. }
            | Happening::HealthStatusChanged { .. }
            | Happening::UnhealthyInstanceKill { .. }
            | Happening::GroupChangeSuccess { .. }
            | Happening::GroupChangeFailed { .. }
            | Happening::AppTerminated { .. }
            | Happening::SchedulerRegistered { .. }
            | Happening::SchedulerReregistered { .. }
            | Happening::SchedulerDisconnected
            | Happening::FrameworkMessage { .. } => json!({}),
        }
    }
}

/// The fields of what happened to a health check, of which one is `name`.
fn of_check(app: &AppId, check: &HealthCheck, name: &str, value: &str) -> Value {
    json!({"appId": app.as_str(), name: value, "healthCheck": render::health_check(check)})
}

fn of_group(group: &AppId, version: Timestamp) -> Value {
    json!({"groupId": group.as_str(), "version": clock::format(version)})
}

fn of_app(app: &AppId) -> Value {
    json!({"appId": app.as_str()})
}

fn plan_json(id: &DeploymentId, version: Timestamp, plan: &Plan, light: bool) -> Value {
    let mut body = json!({
        "id": id.as_str(),
        "version": clock::format(version),
        "steps": render::steps(plan),
    });
    if !light {
        body["original"] = json!({"id": "/"});
        body["target"] = json!({"id": "/"});
    }
    body
}

/// The event that says what `deployment` is doing now; absent when it has no step.
pub fn deployment_info(deployment: &Deployment) -> Option<Happening> {
    let step = deployment.plan.steps.get(deployment.step)?.clone();
    Some(Happening::DeploymentInfo {
        id: deployment.id.clone(),
        version: deployment.version,
        plan: deployment.plan.clone(),
        step,
    })
}
