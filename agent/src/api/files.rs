//! `/files/*`: what lies in sandboxes, the agent's own log if it is in a file, and nothing else.
//!
//! Another path names a sandbox, by the path people see in Mesos
//! (`/frameworks/…/executors/…/runs/latest`) or by the one on disk, and something in it. The names of
//! the sandbox are checked one by one.

use std::path::Path;

use axum::extract::{Query, State};
use axum::response::Response;
use model::acl::Action;
use model::ids::{ContainerId, ExecutorId, FrameworkId};
use proto::mesos::v1::agent::call::{ListFiles, ReadFile};
use proto::mesos::v1::agent::response;
use serde_json::{Map, json};
use transport::files::{Located, not_found};
use transport::http::{Parameters, Refused, rendered};

use super::Api;
use super::caller::{Caller, user_of_executor, user_of_run};
use crate::sandbox::{LATEST, Run, agent_dir};

pub(super) async fn browse(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Query<Parameters>,
) -> Response {
    transport::files::browse(parameters, |path| locate(&api, &caller, path)).await
}

pub(super) async fn read(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Query<Parameters>,
) -> Response {
    transport::files::read(parameters, |path| locate(&api, &caller, path)).await
}

pub(super) async fn download(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Query<Parameters>,
) -> Response {
    transport::files::download(parameters, |path| locate(&api, &caller, path)).await
}

/// Which paths lead where, of those that the caller may follow.
pub(super) async fn debug(
    State(api): State<Api>,
    caller: Caller,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refused> {
    caller.check_endpoint("/files/debug", "see where files lead")?;
    let mirror = api.shared.mirror.read();
    let mut all = Map::new();
    if let Some(file) = &api.shared.options.log_file {
        all.insert(LOG.to_owned(), json!(file.display().to_string()));
    }
    if let Some(agent) = &mirror.agent {
        for framework in mirror.frameworks.values().chain(&mirror.completed_frameworks) {
            let executors = framework.executors.values().map(|it| (it, true));
            for (it, is_live) in
                executors.chain(framework.completed_executors.iter().map(|it| (it, false)))
            {
                let user = user_of_executor(&api.shared, framework, it);
                if !caller.may_to_user(Action::AccessSandbox, Some(user)) {
                    continue;
                }
                let run = Run {
                    agent: agent.clone(),
                    framework: framework.id.clone(),
                    executor: it.spec.id.clone(),
                    container: it.container.clone(),
                };
                let real = run.sandbox(&api.shared.options.work_dir).display().to_string();
                all.insert(run.virtual_path(), json!(real));
                if is_live {
                    let latest = format!(
                        "/frameworks/{}/executors/{}/runs/{LATEST}",
                        run.framework, run.executor
                    );
                    all.insert(latest, json!(real));
                }
                all.insert(real.clone(), json!(real));
            }
        }
    }
    drop(mirror);
    Ok(rendered(&all.into(), &parameters))
}

/// Carries out LIST_FILES.
pub(super) async fn list(
    api: &Api,
    caller: &Caller,
    call: ListFiles,
) -> Result<response::ListFiles, Refused> {
    let entries = transport::files::list(|path: &str| locate(api, caller, path), call.path).await?;
    Ok(response::ListFiles { file_infos: entries.into_iter().map(Into::into).collect() })
}

/// Carries out READ_FILE.
pub(super) async fn part(
    api: &Api,
    caller: &Caller,
    call: ReadFile,
) -> Result<response::ReadFile, Refused> {
    let locate = |path: &str| locate(api, caller, path);
    let part = transport::files::part(locate, call.path, call.offset, call.length).await?;
    Ok(response::ReadFile { size: part.size, data: part.data.into() })
}

/// What clients know the agent's own log by.
const LOG: &str = "/slave/log";

/// Where a path leads, if the caller may follow it.
fn locate(api: &Api, caller: &Caller, path: &str) -> Result<Located, Refused> {
    let shared = &api.shared;
    if let Some(file) = &shared.options.log_file
        && (path == LOG || Path::new(path) == file)
    {
        caller.check(Action::AccessMesosLog, None, "read the log of the agent")?;
        return Located::file(file).ok_or_else(not_found);
    }
    let agent = shared.mirror.read().agent.clone();
    let agents_dir = agent.as_ref().map(|agent| agent_dir(&shared.options.work_dir, agent));
    let found = Sandboxed::find(path, &shared.slaves, agents_dir.as_deref());
    let found = found.ok_or_else(not_found)?;
    if !caller.acls().allow_all_of(Action::AccessSandbox) {
        let (framework, executor) = (&found.framework, &found.executor);
        let user = user_of_run(shared, (framework, executor), &found.container);
        if !caller.may_to_user(Action::AccessSandbox, user.as_deref()) {
            let what =
                format!("read the sandbox of executor '{executor}' of framework {framework}");
            return Err(caller.refused(&what));
        }
    }
    Ok(found.located)
}

/// Something in a sandbox, and whose that is.
struct Sandboxed {
    framework: FrameworkId,
    executor: ExecutorId,
    container: ContainerId,
    located: Located,
}

impl Sandboxed {
    /// Finds the sandbox in a path. `slaves`: where all sandboxes are on disk; `agents_dir`: that of this
    /// agent's registration, which virtual paths are below.
    fn find(path: &str, slaves: &Path, agents_dir: Option<&Path>) -> Option<Self> {
        let (mut sandbox, rest) = match Path::new(path).strip_prefix(slaves) {
            Ok(below) => {
                let mut parts = below.to_str()?.splitn(2, '/');
                let agent = model::ids::AgentId::new(parts.next()?).ok()?;
                (slaves.join(agent.as_str()), parts.next()?.to_owned())
            }
            Err(_) => (agents_dir?.to_owned(), path.trim_start_matches('/').to_owned()),
        };
        let mut parts = rest.splitn(7, '/').filter(|part| !part.is_empty());
        let mut named = |word: &str| (parts.next() == Some(word)).then(|| parts.next()).flatten();
        // Ids are names of directories and can lead nowhere else: that is part of being an id.
        let framework = FrameworkId::new(named("frameworks")?).ok()?;
        let executor = ExecutorId::new(named("executors")?).ok()?;
        let run = named("runs")?;
        let inside = parts.next().unwrap_or(".").trim_start_matches('/');
        sandbox.extend(["frameworks", framework.as_str(), "executors", executor.as_str(), "runs"]);
        let run = if run == LATEST {
            // The link is the agent's own, and only the last name in it counts.
            let target = std::fs::read_link(sandbox.join(LATEST)).ok()?;
            target.file_name()?.to_str()?.to_owned()
        } else {
            run.to_owned()
        };
        let container = ContainerId::new(run).ok()?;
        sandbox.push(container.as_str());
        let inside = if inside.is_empty() { "." } else { inside };
        let located = Located { root: sandbox, inside: inside.into() };
        Some(Self { framework, executor, container, located })
    }
}
