//! Which proof of identity each endpoint asks for, and whose executor calls.

use axum::http::{Extensions, Method, StatusCode};
use model::ids::{ContainerId, ExecutorId, FrameworkId};
use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::Type;
use std::collections::BTreeMap;
use transport::auth::{Authenticator, Gate, Principal, TokenKey};
use transport::http::Refused;

use super::Api;
use crate::options::Authentication;

/// What only tells something.
const READONLY: &str = "mesos-agent-readonly";
/// What changes something, and what may do both.
const READWRITE: &str = "mesos-agent-readwrite";
/// What executors call.
const EXECUTOR: &str = "mesos-agent-executor";

/// What a token says of its executor, as Mesos has it.
const FRAMEWORK_CLAIM: &str = "fid";
const EXECUTOR_CLAIM: &str = "eid";
const CONTAINER_CLAIM: &str = "cid";

/// The gate for these settings.
pub(super) fn gate(settings: &Authentication) -> Gate {
    let basic: Vec<_> = settings.credentials.iter().cloned().map(Authenticator::Basic).collect();
    let bearer: Vec<_> = settings.executors.iter().cloned().map(Authenticator::Bearer).collect();
    // Executors have containers nested in their own run by the same calls as operators.
    let both: Vec<_> = basic.iter().chain(&bearer).cloned().collect();
    let required = [
        (settings.readonly, READONLY, basic),
        (settings.readwrite, READWRITE, both),
        (settings.executors.is_some(), EXECUTOR, bearer),
    ];
    let realms = required.into_iter().filter(|(is_required, ..)| *is_required);
    realms.fold(Gate::new(realm_of), |gate, (_, realm, by)| gate.requiring(realm, by))
}

/// What is not named here counts as read-only, so that nothing new is open by mistake.
fn realm_of(_: &Method, path: &str) -> Option<&'static str> {
    match path {
        "/health" | "/version" => None,
        super::EXECUTOR_PATH => Some(EXECUTOR),
        "/api/v1" | "/api/v1/operator" | "/logging/toggle" => Some(READWRITE),
        _ => Some(READONLY),
    }
}

/// The token by which an executor shows that it runs in this container.
pub(crate) fn token(
    key: &TokenKey,
    framework: &FrameworkId,
    executor: &ExecutorId,
    container: &ContainerId,
) -> String {
    key.sign(&BTreeMap::from([
        (FRAMEWORK_CLAIM, framework.as_str()),
        (EXECUTOR_CLAIM, executor.as_str()),
        (CONTAINER_CLAIM, container.as_str()),
    ]))
}

/// An executor may only speak for itself, in the container that it was started in.
pub(super) fn check_executor(
    api: &Api,
    extensions: &Extensions,
    framework: &FrameworkId,
    executor: &ExecutorId,
) -> Result<(), Refused> {
    if api.shared.options.authentication.executors.is_none() {
        return Ok(());
    }
    let claims = extensions.get::<Principal>().map(|who| &who.claims);
    let claim = |name| claims.and_then(|all| all.get(name)).map_or("", String::as_str);
    let container = {
        let mirror = api.shared.mirror.read();
        mirror.executor(framework, executor).map(|known| known.container.clone())
    };
    // Of one that is not known there is no container; it hears that further on.
    let is_its_container =
        container.is_none_or(|container| claim(CONTAINER_CLAIM) == container.as_str());
    let is_itself = claim(FRAMEWORK_CLAIM) == framework.as_str()
        && claim(EXECUTOR_CLAIM) == executor.as_str()
        && is_its_container;
    if is_itself {
        return Ok(());
    }
    let text = format!(
        "The token is not the one that executor '{executor}' of framework {framework} was started \
         with"
    );
    Err(Refused::new(StatusCode::FORBIDDEN, text))
}

/// An executor may only have to do with containers in its own, and ask how this agent is. Whoever has a
/// name, or need not have one, is no executor.
pub(super) fn check_call(who: Option<&Principal>, call: &Call) -> Result<(), Refused> {
    let Some(executor) = who.filter(|who| who.value.is_none()) else { return Ok(()) };
    let own =
        executor.claims.get(CONTAINER_CLAIM).and_then(|own| ContainerId::new(own.as_str()).ok());
    let forbidden = |why: String| Err(Refused::new(StatusCode::FORBIDDEN, why));
    let container = match Touched::by(call) {
        // What should name one and does not is no good call, and its handler says so.
        Touched::Nothing | Touched::Container(None) => return Ok(()),
        Touched::Container(Some(container)) => container,
        Touched::More => {
            let kind = call.r#type().as_str_name();
            return forbidden(format!("The token of an executor does not allow {kind} calls"));
        }
    };
    // One that is no id is refused by its handler too.
    let Ok(container) = ContainerId::try_from(container) else { return Ok(()) };
    if own.is_some_and(|own| container.is_inside(&own)) {
        return Ok(());
    }
    forbidden(format!(
        "Container {container} is not in the container of the executor whose token this is"
    ))
}

/// What a call has to do with.
enum Touched<'a> {
    /// What everybody may know.
    Nothing,
    /// One container, if it names it.
    Container(Option<&'a mesos::ContainerId>),
    /// All of the agent.
    More,
}

impl<'a> Touched<'a> {
    fn by(call: &'a Call) -> Self {
        Self::Container(match call.r#type() {
            Type::GetHealth | Type::GetVersion => return Self::Nothing,
            Type::LaunchNestedContainer => {
                call.launch_nested_container.as_ref().map(|it| &it.container_id)
            }
            Type::WaitNestedContainer => {
                call.wait_nested_container.as_ref().map(|it| &it.container_id)
            }
            Type::KillNestedContainer => {
                call.kill_nested_container.as_ref().map(|it| &it.container_id)
            }
            Type::RemoveNestedContainer => {
                call.remove_nested_container.as_ref().map(|it| &it.container_id)
            }
            Type::LaunchNestedContainerSession => {
                call.launch_nested_container_session.as_ref().map(|it| &it.container_id)
            }
            Type::AttachContainerInput => {
                let input = call.attach_container_input.as_ref();
                input.and_then(|it| it.container_id.as_ref())
            }
            Type::AttachContainerOutput => {
                call.attach_container_output.as_ref().map(|it| &it.container_id)
            }
            Type::LaunchContainer => call.launch_container.as_ref().map(|it| &it.container_id),
            Type::WaitContainer => call.wait_container.as_ref().map(|it| &it.container_id),
            Type::KillContainer => call.kill_container.as_ref().map(|it| &it.container_id),
            Type::RemoveContainer => call.remove_container.as_ref().map(|it| &it.container_id),
            Type::Unknown
            | Type::GetFlags
            | Type::GetMetrics
            | Type::GetLoggingLevel
            | Type::SetLoggingLevel
            | Type::ListFiles
            | Type::ReadFile
            | Type::GetState
            | Type::GetContainers
            | Type::GetFrameworks
            | Type::GetExecutors
            | Type::GetOperations
            | Type::GetTasks
            | Type::GetAgent
            | Type::GetResourceProviders
            | Type::AddResourceProviderConfig
            | Type::UpdateResourceProviderConfig
            | Type::RemoveResourceProviderConfig
            | Type::MarkResourceProviderGone
            | Type::PruneImages => return Self::More,
        })
    }
}
