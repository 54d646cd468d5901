//! Whoever calls an agent, what the rules of operators let them see, and whose the things are that the
//! rules speak of.
//!
//! Rules of containers, sandboxes and executors speak of users: of an executor's container, and of all
//! that is in it, the user is the one that the executor runs as; of a standalone container its own.

use std::convert::Infallible;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use model::acl::Action;
use model::ids::{ContainerId, ExecutorId, FrameworkId};
use transport::auth::{Asker, Principal};
use transport::http::Refused;

use super::access::container_of;
use super::{Api, Shared};
use crate::mirror::{ExecutorView, FrameworkView, TaskView};

/// What one who may not see flags is not authorized to do.
pub(super) const FLAGS: &str = "see the flags";
/// The same of the metrics.
pub(super) const METRICS: &str = "read the metrics";
/// The same of what containers use.
pub(super) const CONTAINERS: &str = "see the containers";

/// Whoever calls, and the rules that hold for them.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    asker: Asker,
    /// The container that the executor runs in whose token was shown; absent if none was.
    executor_in: Option<ContainerId>,
    /// Whether a token was shown where it is all that lets somebody in.
    is_confined: bool,
}

impl Deref for Caller {
    type Target = Asker;

    fn deref(&self) -> &Asker {
        &self.asker
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        Ok(Self::new(api, parts.extensions.get::<Principal>()))
    }
}

impl Caller {
    pub(super) fn new(api: &Api, who: Option<&Principal>) -> Self {
        let options = &api.shared.options;
        let name = who.and_then(|who| who.value.clone());
        // Whoever has a name is no executor.
        let executor = who.filter(|who| who.value.is_none());
        Self {
            asker: Asker::new(options.acls.clone(), name),
            executor_in: executor.and_then(container_of),
            is_confined: executor.is_some() && options.authentication.readwrite,
        }
    }

    /// The rules, and who is asked about.
    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Whether they are let in as an executor, and so to its own containers only.
    pub(super) fn is_confined(&self) -> bool {
        self.is_confined
    }

    /// The container of the executor that they are, if `container` is in there.
    pub(super) fn own_around(&self, container: &ContainerId) -> Option<&ContainerId> {
        self.executor_in.as_ref().filter(|own| container.is_inside(own))
    }

    /// Refuses them where they may not read an endpoint.
    pub(super) fn check_endpoint(&self, path: &str, what: &str) -> Result<(), Refused> {
        self.check(Action::GetEndpoint, Some(path), what)
    }

    /// Whether they may see a framework.
    pub(super) fn sees_framework(&self, shared: &Shared, framework: &FrameworkView) -> bool {
        self.may_to_user(Action::ViewFramework, Some(user_of_framework(shared, framework)))
    }

    /// Whether they may see an executor of a framework that they see.
    pub(super) fn sees_executor(
        &self,
        shared: &Shared,
        framework: &FrameworkView,
        executor: &ExecutorView,
    ) -> bool {
        let user = user_of_executor(shared, framework, executor);
        self.may_to_user(Action::ViewExecutor, Some(user))
    }

    /// Whether they may see a task of an executor that they see.
    pub(super) fn sees_task(
        &self,
        shared: &Shared,
        framework: &FrameworkView,
        executor: &ExecutorView,
        task: &TaskView,
    ) -> bool {
        let user = user_of_task(shared, framework, executor, task);
        self.may_to_user(Action::ViewTask, Some(user))
    }

    /// Whether they may see a container, which is an executor's of `user`, or in such a one. Absent: it
    /// is a standalone one, or in such a one.
    pub(super) fn sees_container(
        &self,
        shared: &Shared,
        container: &ContainerId,
        user: Option<&str>,
    ) -> bool {
        if user.is_some() {
            return self.may_to_user(Action::ViewContainer, user);
        }
        let action = Action::ViewStandaloneContainer;
        self.acls().allow_all_of(action)
            || self.may_to_user(
                action,
                shared.real.containerizer.known_as(&container.root()).as_deref(),
            )
    }
}

/// Somebody's name, or the agent's own user where there is none.
fn or_own<'a>(shared: &'a Shared, user: &'a str) -> &'a str {
    if user.is_empty() { &shared.own_user } else { user }
}

fn user_of_framework<'a>(shared: &'a Shared, framework: &'a FrameworkView) -> &'a str {
    or_own(shared, &framework.framework.user)
}

/// As whom an executor runs.
pub(super) fn user_of_executor<'a>(
    shared: &'a Shared,
    framework: &'a FrameworkView,
    executor: &'a ExecutorView,
) -> &'a str {
    let command = executor.info.command.as_ref();
    let own = command.and_then(|command| command.user.as_deref()).filter(|own| !own.is_empty());
    own.unwrap_or_else(|| user_of_framework(shared, framework))
}

/// As whom a task runs.
fn user_of_task<'a>(
    shared: &'a Shared,
    framework: &'a FrameworkView,
    executor: &'a ExecutorView,
    task: &'a TaskView,
) -> &'a str {
    let own = task.spec.user.as_deref().filter(|own| !own.is_empty());
    own.unwrap_or_else(|| user_of_executor(shared, framework, executor))
}

/// Whose a container is, or the one that it is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    /// An executor's, which runs as this user.
    Executors(String),
    /// Nobody's executor's. The user may not be known.
    Standalone(Option<String>),
}

/// Finds out whose a container is; absent if it is not known here.
pub(super) fn whose(shared: &Shared, container: &ContainerId) -> Option<Whose> {
    let root = container.root();
    let mirror = shared.mirror.read();
    if let Some((framework, executor)) = mirror.run_in(&root) {
        return Some(Whose::Executors(user_of_executor(shared, framework, executor).to_owned()));
    }
    drop(mirror);
    // One that is only being started has no record yet.
    let is_here = shared.real.in_use(&root);
    is_here.then(|| Whose::Standalone(shared.real.containerizer.known_as(&root)))
}

/// Whether the executor in `container` runs as `user`, or a task of it does.
pub(super) fn is_user_in(shared: &Shared, container: &ContainerId, user: &str) -> bool {
    let mirror = shared.mirror.read();
    let Some((framework, executor)) = mirror.run_in(container) else { return false };
    let mut tasks = executor.tasks.values().chain(&executor.completed_tasks);
    user_of_executor(shared, framework, executor) == user
        || tasks.any(|task| user_of_task(shared, framework, executor, task) == user)
}

/// As whom a run of an executor runs, or ran; absent if that is not known any more.
pub(super) fn user_of_run(
    shared: &Shared,
    (framework, executor): (&FrameworkId, &ExecutorId),
    container: &ContainerId,
) -> Option<String> {
    let mirror = shared.mirror.read();
    let found = mirror.run_in(container);
    let (of, run) = found.filter(|(of, run)| of.id == *framework && run.spec.id == *executor)?;
    Some(user_of_executor(shared, of, run).to_owned())
}
