//! Where a task runs: its agent and the container there.

use proto::mesos::v1::ContainerId;
use serde_json::Value;

use super::show::{items, text};
use super::task::{find, is_live};
use super::{Cluster, Failure};

/// Where a task runs.
pub(super) struct Place {
    /// The task, as the master tells of it.
    pub(super) task: Value,
    /// How its agent is reached.
    pub(super) address: String,
    /// Its container, or that of its executor where it has none of its own.
    pub(super) container: ContainerId,
}

/// Where the task runs that `id` means.
pub(super) async fn of(id: &str, cluster: &Cluster) -> Result<Place, Failure> {
    let task = find(id, cluster).await?;
    let (id, state) = (text(&task, "/id"), text(&task, "/state"));
    if !is_live(&task) {
        return Err(Failure::Refused(format!(
            "task {id} is over ({state}); 'agora task logs' shows what it has written"
        )));
    }
    let address = agent_address(&text(&task, "/slave_id"), cluster).await?;
    if let Some(container) = own_container(&task) {
        return Ok(Place { task, address, container });
    }
    let executor = executor(&task, &address, cluster).await?;
    let container = executor.map(|executor| text(&executor, "/container"));
    let container = container.filter(|it| it != "-").ok_or_else(|| {
        Failure::NotFound(format!("its agent does not know of task {id} yet, or not any more"))
    })?;
    let container = super::process_io::container(&container, None);
    Ok(Place { task, address, container })
}

/// The container of its own that a task has in its executor's, as its reports tell.
pub(super) fn own_container(task: &Value) -> Option<ContainerId> {
    let told = items(task, "/statuses").iter().rev();
    let mut ids = told.filter_map(|status| status.pointer("/container_status/container_id"));
    let id = ids.next()?.to_string();
    let id: ContainerId = proto::json::from_slice(id.as_bytes()).ok()?;
    id.parent.is_some().then_some(id)
}

/// How an agent is reached.
pub(super) async fn agent_address(agent: &str, cluster: &Cluster) -> Result<String, Failure> {
    let answer = cluster.master(&format!("/slaves?slave_id={agent}")).await?;
    let pid = items(&answer, "/slaves").first().map(|agent| text(agent, "/pid"));
    let address = pid.as_deref().and_then(|pid| pid.rsplit('@').next()).map(ToOwned::to_owned);
    address.ok_or_else(|| Failure::NotFound(format!("agent {agent} is not connected")))
}

/// The executor that has `task`, if its agent knows of it.
pub(super) async fn executor(
    task: &Value,
    address: &str,
    cluster: &Cluster,
) -> Result<Option<Value>, Failure> {
    let state = cluster.agent(address, "/state").await?;
    let (framework, id) = (text(task, "/framework_id"), text(task, "/id"));
    let wanted = match text(task, "/executor_id").as_str() {
        // Of a command task the executor has the task's id.
        "-" => id,
        executor => executor.to_owned(),
    };
    let all = items(&state, "/frameworks").iter().chain(items(&state, "/completed_frameworks"));
    for one in all.filter(|one| text(one, "/id") == framework) {
        let mut known = items(one, "/executors").iter().chain(items(one, "/completed_executors"));
        if let Some(found) = known.find(|it| text(it, "/id") == wanted) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}
