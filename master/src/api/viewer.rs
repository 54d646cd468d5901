//! What somebody may see and read.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use model::acl::Action;
use model::ids::FrameworkId;
use proto::mesos::v1;
use proto::mesos::v1::master::response::get_agents::Agent;
use proto::mesos::v1::master::response::get_frameworks::Framework;
use transport::auth::{Asker, Principal};
use transport::http::{Encoding, Refused};
use transport::rendering::Whole;

use super::Api;
use crate::view::State;

/// One question, as far as it decides what the answer is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Question {
    /// The path and query, or the name of a call.
    what: String,
    /// Absent for questions whose path says it.
    encoding: Option<Encoding>,
    /// Whoever asks, where that makes a difference.
    principal: Option<Arc<str>>,
}

/// Whoever reads what may be large, and what they ask for.
pub(crate) struct Reader {
    pub(crate) viewer: Viewer,
    question: Question,
    headers: HeaderMap,
}

impl FromRequestParts<Api> for Reader {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let viewer = Viewer::new(api, Principal::name_of(&parts.extensions));
        let what = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self::new(viewer, what, None, parts.headers.clone()))
    }
}

impl Reader {
    /// A reader of `what`, who has sent `headers`.
    pub(crate) fn new(
        viewer: Viewer,
        what: String,
        encoding: Option<Encoding>,
        headers: HeaderMap,
    ) -> Self {
        let principal = viewer.principal().cloned().filter(|_| !viewer.acls().allow_everything());
        Self { viewer, question: Question { what, encoding, principal }, headers }
    }

    /// What `work` makes, or what another one makes of the same question.
    pub(crate) async fn answer(
        self,
        api: &Api,
        work: impl FnOnce() -> Result<Whole, Refused> + Send + 'static,
    ) -> Response {
        api.renderers.answer(self.question, &self.headers, work).await
    }
}

/// Whoever asks a master, and the rules that hold for them.
#[derive(Clone)]
pub(crate) struct Viewer(Asker);

impl Deref for Viewer {
    type Target = Asker;

    fn deref(&self) -> &Asker {
        &self.0
    }
}

impl FromRequestParts<Api> for Viewer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self::new(api, Principal::name_of(&parts.extensions)))
    }
}

impl Viewer {
    pub(crate) fn new(api: &Api, principal: Option<Arc<str>>) -> Self {
        Self(Asker::new(api.acls.clone(), principal))
    }

    /// Whether they may see all there is.
    pub(crate) fn sees_everything(&self) -> bool {
        let all = [Action::ViewFramework, Action::ViewTask, Action::ViewExecutor, Action::ViewRole];
        all.into_iter().all(|action| self.acls().allow_all_of(action))
    }

    /// Leaves out of an agent what they may not see.
    pub(crate) fn narrow_agent(&self, agent: &mut Agent) {
        self.narrow_agent_info(&mut agent.agent_info);
        for some in [
            &mut agent.total_resources,
            &mut agent.allocated_resources,
            &mut agent.offered_resources,
        ] {
            some.retain(|resource| self.sees_resource(resource));
        }
    }

    fn narrow_agent_info(&self, info: &mut v1::AgentInfo) {
        info.resources.retain(|resource| self.sees_resource(resource));
    }

    /// Leaves out of a framework what they may not see.
    pub(crate) fn narrow_framework(&self, framework: &mut Framework) {
        let offers = framework.offers.iter_mut().map(|offer| &mut offer.resources);
        let own = [&mut framework.allocated_resources, &mut framework.offered_resources];
        for some in own.into_iter().chain(offers) {
            some.retain(|resource| self.sees_resource(resource));
        }
    }

    /// Whether they may see a framework.
    pub(crate) fn sees_framework(&self, info: &v1::FrameworkInfo) -> bool {
        self.sees_frameworks_of(&info.user)
    }

    /// Whether they may see the framework with this id; of one that is not known nothing is to be seen.
    pub(crate) fn sees_framework_of(&self, api: &Api, id: &FrameworkId) -> bool {
        self.acls().allow_all_of(Action::ViewFramework)
            || api.view.user_of(id).is_some_and(|user| self.sees_frameworks_of(&user))
    }

    /// Whether they may see what a framework they see runs as `user`, or as its own.
    pub(crate) fn sees_task(&self, user: Option<&str>, of_framework: &str) -> bool {
        self.may(Action::ViewTask, Some(user.unwrap_or(of_framework)))
    }

    /// `state`, without what they may not see.
    pub(crate) fn seen(&self, mut state: State) -> State {
        if self.sees_everything() {
            return state;
        }
        let is_seen = |one: &Arc<Framework>| self.sees_framework(&one.framework_info);
        // Of those that are seen, the user that is meant where none is named.
        let users: BTreeMap<String, String> = (state.frameworks.iter())
            .chain(&state.completed_frameworks)
            .filter(|one| is_seen(one))
            .map(|one| &one.framework_info)
            .filter_map(|info| Some((info.id.as_ref()?.value.clone(), info.user.clone())))
            .collect();
        state.frameworks.retain(is_seen);
        state.completed_frameworks.retain(is_seen);
        state.executors.retain(|executor| {
            let info = &executor.executor_info;
            let framework = info.framework_id.as_ref().map_or("", |id| id.value.as_str());
            let own = info.command.as_ref().and_then(|command| command.user.as_deref());
            users
                .get(framework)
                .is_some_and(|user| self.may(Action::ViewExecutor, Some(own.unwrap_or(user))))
        });
        let sees_task = |task: &Arc<v1::Task>| {
            let user = users.get(&task.framework_id.value);
            user.is_some_and(|user| self.sees_task(task.user.as_deref(), user))
        };
        state.tasks.retain(sees_task);
        state.unreachable_tasks.retain(sees_task);
        state.completed_tasks.retain(sees_task);
        if !self.acls().allow_all_of(Action::ViewRole) {
            for agent in &mut state.agents {
                self.narrow_agent(Arc::make_mut(agent));
            }
            for info in &mut state.recovered_agents {
                self.narrow_agent_info(Arc::make_mut(info));
            }
            for framework in state.frameworks.iter_mut().chain(&mut state.completed_frameworks) {
                self.narrow_framework(Arc::make_mut(framework));
            }
            for both in state.both.values_mut() {
                both.retain(|resource| self.sees_resource(resource));
            }
        }
        state
    }
}
