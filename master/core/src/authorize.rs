//! Whether somebody may do what they ask for, by the rules of operators. Each text is what the caller
//! reads.

use model::acl::{Action, denial};
use model::framework::Framework;
use model::ids::FrameworkId;
use model::operation::Conversion;
use model::operator::OperatorCall;
use model::resources::Resources;
use model::role::Role;
use model::task::{ExecutorSpec, RunsBy, TaskSpec};

use crate::io::Refusal;
use crate::state::Books;

/// Whether a framework may subscribe in all of its roles.
pub(crate) fn roles(books: &Books, framework: &Framework) -> Result<(), String> {
    let principal = framework.principal.as_deref();
    let acls = &books.config.acls;
    match acls.refused(Action::RegisterFramework, principal, &framework.roles) {
        Some(role) => Err(denial(principal, &format!("register a framework in role '{role}'"))),
        None => Ok(()),
    }
}

/// Whether a framework may run a task as the user that it would run as.
pub(crate) fn task(
    books: &Books,
    framework: &FrameworkId,
    task: &TaskSpec,
    executor: Option<&ExecutorSpec>,
) -> Result<(), String> {
    let framework = &books.frameworks[framework].description;
    let own = match &task.runs_by {
        RunsBy::Executor(executor) => Some(executor),
        RunsBy::Command | RunsBy::Group => executor,
    };
    match books.config.acls.refused_user(framework, task, own) {
        Some(user) => {
            Err(denial(framework.principal.as_deref(), &format!("run tasks as user '{user}'")))
        }
        None => Ok(()),
    }
}

/// Whether `principal` may ask for this change.
pub(crate) fn change(
    books: &Books,
    principal: Option<&str>,
    call: &OperatorCall,
) -> Result<(), Refusal> {
    let acls = &books.config.acls;
    if acls.allow_everything() {
        return Ok(());
    }
    let allow = |action: Action, what: &str, object: Option<&str>| {
        if acls.allow(action, principal, object) {
            return Ok(());
        }
        Err(Refusal::Forbidden(denial(principal, what)))
    };
    let allow_roles = |action: Action, what: &str, roles: &mut dyn Iterator<Item = &Role>| {
        for role in roles {
            allow(action, &format!("{what} '{role}'"), Some(role.as_str()))?;
        }
        Ok(())
    };
    match call {
        OperatorCall::TeardownFramework(id) => {
            let owner = books.frameworks.get(id).and_then(|it| it.description.principal.clone());
            allow(Action::TeardownFramework, "tear this framework down", owner.as_deref())
        }
        OperatorCall::UpdateWeights(weights) => {
            let mut roles = weights.iter().map(|(role, _)| role);
            allow_roles(Action::UpdateWeight, "weigh role", &mut roles)
        }
        OperatorCall::UpdateQuota { quotas, .. } => {
            let mut roles = quotas.iter().map(|(role, _)| role);
            allow_roles(Action::UpdateQuotaConfig, "change the quota of role", &mut roles)
        }
        OperatorCall::SetQuota { role, .. } | OperatorCall::RemoveQuota(role) => {
            let mut roles = std::iter::once(role);
            allow_roles(Action::UpdateQuota, "change the quota of role", &mut roles)
        }
        OperatorCall::DeactivateAgent(_) => {
            allow(Action::DeactivateAgent, "deactivate agents", None)
        }
        OperatorCall::ReactivateAgent(_) => {
            allow(Action::ReactivateAgent, "reactivate agents", None)
        }
        OperatorCall::DrainAgent { .. } => allow(Action::DrainAgent, "drain agents", None),
        OperatorCall::MarkAgentGone(_) => allow(Action::MarkAgentGone, "mark agents as gone", None),
        OperatorCall::Convert { conversion: wanted, .. } => {
            conversion(books, principal, wanted).map_err(Refusal::Forbidden)
        }
        OperatorCall::UpdateSchedule(_) => {
            allow(Action::UpdateMaintenanceSchedule, "plan maintenance", None)
        }
        OperatorCall::StartMaintenance(_) => {
            allow(Action::StartMaintenance, "begin maintenance", None)
        }
        OperatorCall::StopMaintenance(_) => allow(Action::StopMaintenance, "end maintenance", None),
    }
}

/// Whether `principal` may make of resources what an operation makes of them.
pub(crate) fn conversion(
    books: &Books,
    principal: Option<&str>,
    conversion: &Conversion,
) -> Result<(), String> {
    let acls = &books.config.acls;
    let allow = |action: Action, resources: &Resources, what: &str| {
        for (key, _) in resources.iter() {
            let kind = &key.kind;
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others are done to roles")]
            let object = match action {
                Action::UnreserveResources => {
                    kind.reservations.last().and_then(|top| top.principal.as_deref())
                }
                Action::DestroyVolume => kind
                    .disk
                    .as_ref()
                    .and_then(|disk| disk.persistence.as_ref()?.principal.as_deref()),
                _ => kind.reserved_for().map(Role::as_str),
            };
            if !acls.allow(action, principal, object) {
                let whose = object.map(|object| format!(" of '{object}'")).unwrap_or_default();
                return Err(denial(principal, &format!("{what}{whose}")));
            }
        }
        Ok(())
    };
    if acls.allow_everything() {
        return Ok(());
    }
    match conversion {
        Conversion::Reserve { source, resources } => {
            allow(Action::UnreserveResources, source, "unreserve resources")?;
            allow(Action::ReserveResources, resources, "reserve resources")
        }
        Conversion::Unreserve(resources) => {
            allow(Action::UnreserveResources, resources, "unreserve resources")
        }
        Conversion::Create(volumes) => allow(Action::CreateVolume, volumes, "make volumes"),
        Conversion::Destroy(volumes) => allow(Action::DestroyVolume, volumes, "destroy volumes"),
        Conversion::Grow { volume, .. } | Conversion::Shrink { volume, .. } => {
            allow(Action::ResizeVolume, volume, "resize volumes")
        }
    }
}
