//! `POST /api/v1`: what operators and tools call.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as Answer};
use model::acl::Action;
use model::link::LiveOperation;
use model::task::RunsBy;
use proto::convert;
use proto::convert::resources::Form;
use proto::mesos::v1::agent::call::{GetContainers, GetMetrics, SetLoggingLevel, Type};
use proto::mesos::v1::agent::response::{self, get_containers, get_executors, get_frameworks};
use proto::mesos::v1::agent::{Call, Response};
use proto::mesos::v1::{
    AgentInfo, ContainerId, ContainerStatus, ExecutorId, ExecutorInfo, Flag, FrameworkId, Metric,
    ResourceStatistics, Task, VersionInfo,
};
use transport::auth::Principal;
use transport::http::{Encoding, Refused, answer, read_call};

use super::caller::{Caller, FLAGS};
use super::streamed::{RECORDIO, Sent, Wanted, sent};
use super::{Api, allowed, attach, containers, files, images, read};
use crate::driver::wall;
use crate::mirror::{ExecutorView, FrameworkView, TaskView};
use crate::wire;

/// Answers one call.
pub(super) async fn call(State(api): State<Api>, request: Request) -> Answer {
    Box::pin(handled(&api, request)).await.unwrap_or_else(IntoResponse::into_response)
}

async fn handled(api: &Api, request: Request) -> Result<Answer, Refused> {
    if !api.shared.mirror.read().is_ready {
        let text = "Agent has not finished recovery";
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    transport::http::post_only(request.method())?;
    let wanted = Wanted::of(request.headers())?;
    let caller = Caller::new(api, request.extensions().get::<Principal>());
    let (call, rest) = match sent(request)? {
        Sent::Streamed(mut stream) => (stream.first().await?, Some(stream)),
        Sent::Whole(request) => (read_call::<Call>(*request, "Call").await?.2, None),
    };
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present"))?;
    allowed::check_call(api, &caller, &call)?;
    if kind == Type::LaunchNestedContainerSession {
        return attach::session(api, &caller, call.launch_nested_container_session, wanted).await;
    }
    if kind == Type::AttachContainerOutput {
        return attach::output(api, call.attach_container_output, wanted).await;
    }
    let encoding = wanted.whole(kind)?;
    if kind == Type::AttachContainerInput {
        let rest = rest.ok_or_else(|| {
            let text = format!(
                "Expecting 'Content-Type' of {RECORDIO} for ATTACH_CONTAINER_INPUT call, which is a \
                 stream of records"
            );
            Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
        })?;
        return attach::input(api, call, rest).await;
    }
    Box::pin(answered(api, &caller, kind, call, encoding)).await
}

/// Answers a call that is no stream.
async fn answered(
    api: &Api,
    caller: &Caller,
    kind: Type,
    call: Call,
    encoding: Encoding,
) -> Result<Answer, Refused> {
    let of = |kind: response::Type| Response { r#type: Some(kind.into()), ..Response::default() };
    let given = match kind {
        Type::GetHealth => Response {
            get_health: Some(response::GetHealth { healthy: true }),
            ..of(response::Type::GetHealth)
        },
        Type::GetVersion => Response {
            get_version: Some(response::GetVersion { version_info: version() }),
            ..of(response::Type::GetVersion)
        },
        Type::GetFlags => Response {
            get_flags: Some(response::GetFlags { flags: flags(api, caller)? }),
            ..of(response::Type::GetFlags)
        },
        Type::GetMetrics => {
            let metrics = metrics(api, call.get_metrics)?;
            let get_metrics = Some(response::GetMetrics { metrics });
            Response { get_metrics, ..of(response::Type::GetMetrics) }
        }
        Type::GetAgent => {
            Response { get_agent: Some(this_agent(api, caller)), ..of(response::Type::GetAgent) }
        }
        Type::GetTasks => {
            Response { get_tasks: Some(tasks(api, caller)), ..of(response::Type::GetTasks) }
        }
        Type::GetExecutors => {
            let get_executors = Some(executors(api, caller));
            Response { get_executors, ..of(response::Type::GetExecutors) }
        }
        Type::GetFrameworks => {
            let get_frameworks = Some(frameworks(api, caller));
            Response { get_frameworks, ..of(response::Type::GetFrameworks) }
        }
        Type::GetState => Response {
            get_state: Some(response::GetState {
                get_tasks: Some(tasks(api, caller)),
                get_executors: Some(executors(api, caller)),
                get_frameworks: Some(frameworks(api, caller)),
            }),
            ..of(response::Type::GetState)
        },
        Type::GetOperations => operations(api, caller),
        Type::GetContainers => {
            let wanted = call.get_containers.unwrap_or_default();
            let get_containers = Some(containers(api, caller, wanted).await);
            Response { get_containers, ..of(response::Type::GetContainers) }
        }
        Type::ListFiles => {
            let call = call.list_files.ok_or_else(|| missing("list_files"))?;
            let list_files = Some(files::list(api, caller, call).await?);
            Response { list_files, ..of(response::Type::ListFiles) }
        }
        Type::ReadFile => {
            let call = call.read_file.ok_or_else(|| missing("read_file"))?;
            let read_file = Some(files::part(api, caller, call).await?);
            Response { read_file, ..of(response::Type::ReadFile) }
        }
        Type::GetLoggingLevel => {
            let get_logging_level =
                Some(response::GetLoggingLevel { level: transport::logging::level() });
            Response { get_logging_level, ..of(response::Type::GetLoggingLevel) }
        }
        Type::SetLoggingLevel => return set_level(caller, call.set_logging_level),
        Type::LaunchNestedContainer => {
            return containers::launch_nested(api, caller, call.launch_nested_container).await;
        }
        Type::WaitNestedContainer => {
            return containers::wait_nested(api, call.wait_nested_container, encoding).await;
        }
        Type::KillNestedContainer => {
            return containers::kill_nested(api, call.kill_nested_container).await;
        }
        Type::RemoveNestedContainer => {
            return containers::remove_nested(api, call.remove_nested_container).await;
        }
        Type::LaunchContainer => {
            return containers::launch(api, caller, call.launch_container).await;
        }
        Type::WaitContainer => return containers::wait(api, call.wait_container, encoding).await,
        Type::KillContainer => return containers::kill(api, call.kill_container).await,
        Type::RemoveContainer => return containers::remove(api, call.remove_container).await,
        Type::PruneImages => return images::prune(api, caller, call.prune_images).await,
        other @ (Type::Unknown
        | Type::GetResourceProviders
        | Type::LaunchNestedContainerSession
        | Type::AttachContainerInput
        | Type::AttachContainerOutput
        | Type::AddResourceProviderConfig
        | Type::UpdateResourceProviderConfig
        | Type::RemoveResourceProviderConfig
        | Type::MarkResourceProviderGone) => {
            let text = format!("{} is not implemented", other.as_str_name());
            return Err(Refused::new(StatusCode::NOT_IMPLEMENTED, text));
        }
    };
    Ok(answer(encoding, &given))
}

/// Logs more or less for a while.
fn set_level(caller: &Caller, call: Option<SetLoggingLevel>) -> Result<Answer, Refused> {
    caller.check(Action::SetLogLevel, None, "change how much is logged")?;
    let call = call.ok_or_else(|| missing("set_logging_level"))?;
    let duration = u64::try_from(call.duration.nanoseconds)
        .map_err(|_| invalid("'duration' must not be negative"))?;
    transport::logging::set_for(call.level, Duration::from_nanos(duration))
        .map_err(|error| Refused::bad_request(error.to_string()))?;
    Ok(StatusCode::OK.into_response())
}

pub(super) fn invalid(why: impl std::fmt::Display) -> Refused {
    Refused::bad_request(format!("Failed to validate agent::Call: {why}"))
}

pub(super) fn missing(field: &str) -> Refused {
    invalid(format!("Expecting '{field}' to be present"))
}

fn version() -> VersionInfo {
    VersionInfo {
        version: model::version::SPOKEN.to_owned(),
        git_tag: Some(concat!("agora-", env!("CARGO_PKG_VERSION")).to_owned()),
        ..VersionInfo::default()
    }
}

fn flags(api: &Api, caller: &Caller) -> Result<Vec<Flag>, Refused> {
    caller.check(Action::ViewFlags, None, FLAGS)?;
    let flags = api.shared.options.flags.iter();
    let flag =
        |(name, value): (&String, &String)| Flag { name: name.clone(), value: Some(value.clone()) };
    Ok(flags.map(flag).collect())
}

fn metrics(api: &Api, call: Option<GetMetrics>) -> Result<Vec<Metric>, Refused> {
    let timeout = call.and_then(|get| get.timeout);
    if timeout.is_some_and(|timeout| timeout.nanoseconds < 0) {
        return Err(Refused::bad_request("Invalid timeout: it must not be negative"));
    }
    let all = super::metrics::samples(api).flat().into_iter();
    Ok(all.map(|(name, value)| Metric { name, value: Some(value) }).collect())
}

/// This agent, without resources that are for roles that nobody shows the caller.
fn this_agent(api: &Api, caller: &Caller) -> response::GetAgent {
    let id = api.shared.mirror.read().agent.as_ref().map(Into::into);
    let mut info = AgentInfo { id, ..api.shared.info.clone() };
    info.resources.retain(|resource| caller.sees_resource(resource));
    response::GetAgent { agent_info: Some(info), ..response::GetAgent::default() }
}

/// Operations whose framework has not kept their report, where the caller sees all roles that they are
/// about.
fn operations(api: &Api, caller: &Caller) -> Response {
    let mirror = api.shared.mirror.read();
    let one = |live: &LiveOperation| {
        let agent = live.status.agent.as_ref();
        convert::operation::to_wire(&live.operation, agent, &live.status)
    };
    let is_seen = |live: &&LiveOperation| {
        live.operation.conversion.is_of_roles(|role| caller.sees_role(role))
    };
    let operations = mirror.operations.values().filter(is_seen).map(one).collect();
    Response {
        r#type: Some(response::Type::GetOperations.into()),
        get_operations: Some(response::GetOperations { operations }),
        ..Response::default()
    }
}

/// The frameworks that the caller sees, and whether each is over.
fn all_frameworks(api: &Api, caller: &Caller, mut each: impl FnMut(&FrameworkView, bool)) {
    let mirror = api.shared.mirror.read();
    let live = mirror.frameworks.values().map(|it| (it, false));
    for (it, is_over) in live.chain(mirror.completed_frameworks.iter().map(|it| (it, true))) {
        if caller.sees_framework(&api.shared, it) {
            each(it, is_over);
        }
    }
}

fn frameworks(api: &Api, caller: &Caller) -> response::GetFrameworks {
    let mut all = response::GetFrameworks::default();
    all_frameworks(api, caller, |view, is_over| {
        let entry =
            get_frameworks::Framework { framework_info: wire::framework_info(&view.framework) };
        if is_over {
            all.completed_frameworks.push(entry);
        } else {
            all.frameworks.push(entry);
        }
    });
    all
}

fn executors(api: &Api, caller: &Caller) -> response::GetExecutors {
    let entry = |it: &ExecutorView| get_executors::Executor {
        executor_info: ExecutorInfo::clone(&it.info),
    };
    let mut all = response::GetExecutors::default();
    all_frameworks(api, caller, |view, _| {
        let is_seen = |it: &&ExecutorView| caller.sees_executor(&api.shared, view, it);
        all.executors.extend(view.executors.values().filter(is_seen).map(entry));
        let over = view.completed_executors.iter().filter(is_seen);
        all.completed_executors.extend(over.map(entry));
    });
    all
}

fn tasks(api: &Api, caller: &Caller) -> response::GetTasks {
    let mut all = response::GetTasks::default();
    all_frameworks(api, caller, |view, _| {
        let executors = view.executors.values().chain(&view.completed_executors);
        for executor in executors.filter(|it| caller.sees_executor(&api.shared, view, it)) {
            let is_seen = |it: &&TaskView| caller.sees_task(&api.shared, view, executor, it);
            for it in executor.tasks.values().filter(is_seen) {
                let entry = task(view, executor, it);
                if it.is_delivered {
                    all.launched_tasks.push(entry);
                } else {
                    all.queued_tasks.push(entry);
                }
            }
            let over = executor.completed_tasks.iter().filter(is_seen);
            all.completed_tasks.extend(over.map(|it| task(view, executor, it)));
        }
    });
    all
}

fn task(framework: &FrameworkView, executor: &ExecutorView, it: &TaskView) -> Task {
    let info = wire::task_info(&it.spec);
    let is_command = it.spec.runs_by == RunsBy::Command;
    Task {
        name: it.spec.name.to_string(),
        task_id: (&it.spec.id).into(),
        framework_id: (&framework.id).into(),
        executor_id: (!is_command).then(|| (&executor.spec.id).into()),
        agent_id: (&it.spec.agent).into(),
        state: it.state.number(),
        resources: convert::resources::to_wire(&it.spec.resources, Form::Both, None),
        statuses: it.statuses.iter().map(wire::task_status).collect(),
        status_update_state: it.statuses.last().map(|status| status.state.number()),
        status_update_uuid: it
            .statuses
            .last()
            .and_then(|status| status.uuid)
            .map(|uuid| uuid.0.to_vec().into()),
        labels: info.labels,
        discovery: info.discovery,
        container: info.container,
        health_check: info.health_check,
        kill_policy: info.kill_policy,
        user: info.command.and_then(|command| command.user),
        limits: info.limits,
    }
}

async fn containers(api: &Api, caller: &Caller, call: GetContainers) -> response::GetContainers {
    let mut all = response::GetContainers::default();
    for one in read::live(api).into_iter().chain(containers::more(api, call)) {
        if !caller.sees_container(&api.shared, &one.container, one.user.as_deref()) {
            continue;
        }
        let usage = api.shared.containers.usage(one.container.clone()).await;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an amount of memory; the cast saturates"
        )]
        let mem_limit = one.mem_bytes as u64;
        let statistics = usage.map(|usage| ResourceStatistics {
            timestamp: wall().as_secs_f64(),
            processes: usage.pids.and_then(|it| it.try_into().ok()),
            cpus_user_time_secs: Some(usage.cpus_user.as_secs_f64()),
            cpus_system_time_secs: Some(usage.cpus_system.as_secs_f64()),
            cpus_limit: Some(one.cpus),
            cpus_nr_periods: u32::try_from(usage.cpu_periods).ok(),
            cpus_nr_throttled: u32::try_from(usage.cpu_throttled_periods).ok(),
            cpus_throttled_time_secs: Some(usage.cpu_throttled.as_secs_f64()),
            mem_total_bytes: usage.mem_bytes,
            mem_rss_bytes: usage.mem_bytes,
            mem_limit_bytes: Some(mem_limit),
            disk_used_bytes: usage.disk_used_bytes,
            disk_limit_bytes: usage.disk_limit_bytes,
            disk_statistics: super::disks::statistics(api, &usage),
            ..ResourceStatistics::default()
        });
        let status = ContainerStatus {
            container_id: Some((&one.container).into()),
            network_infos: super::networks(api, &one.container).await,
            executor_pid: api.shared.real.containerizer.pid(&one.container).map(i32::cast_unsigned),
            ..ContainerStatus::default()
        };
        all.containers.push(get_containers::Container {
            framework_id: some(one.framework).map(|value| FrameworkId { value }),
            executor_id: some(one.executor).map(|value| ExecutorId { value }),
            executor_name: some(one.name),
            // By its own name: those around it are told in the status.
            container_id: ContainerId { value: one.container.name().to_owned(), parent: None },
            container_status: Some(status),
            resource_statistics: statistics,
        });
    }
    all
}

/// A text, if there is anything in it.
fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
