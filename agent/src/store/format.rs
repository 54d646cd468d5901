//! How records lie on disk: small protobuf messages around the wire messages they carry.

use std::collections::VecDeque;
use std::time::Duration;

use agent_core::record::{
    DoomedVolumes, ExecutorRecord, Identity, Key, Record, TaskRecord, UpdatesRecord,
};
use model::ids::{
    AgentId, BadId, ContainerId, ExecutorId, FrameworkId, OperationUuid, TaskId, Term, UpdateId,
};
use model::payload::Payload;
use model::resources::Resources;
use model::rules::Drain;
use model::step::Timestamp;
use model::task::{ExecutorSpec, RunsBy, Status, TaskState};
use prost::Message;
use proto::convert::link::{self, operations};

use crate::wire;

/// Between the parts of a key: no id may have it in it.
const SEPARATOR: u8 = 0;

#[derive(Clone, PartialEq, Message)]
struct IdentityForm {
    #[prost(string, tag = "1")]
    agent: String,
    #[prost(uint64, tag = "2")]
    term: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecutorForm {
    #[prost(string, tag = "1")]
    framework: String,
    #[prost(string, tag = "2")]
    executor: String,
    /// An encoded `ExecutorInfo`; empty for a command task's own executor.
    #[prost(bytes = "vec", tag = "3")]
    info: Vec<u8>,
    #[prost(string, tag = "4")]
    container: String,
    #[prost(bool, tag = "5")]
    is_command: bool,
    #[prost(bool, tag = "6")]
    has_subscribed: bool,
}

#[derive(Clone, PartialEq, Message)]
struct TaskForm {
    #[prost(string, tag = "1")]
    framework: String,
    #[prost(string, tag = "2")]
    executor: String,
    /// An encoded `TaskInfo`.
    #[prost(bytes = "vec", tag = "3")]
    info: Vec<u8>,
    #[prost(bool, tag = "4")]
    in_group: bool,
    #[prost(uint32, optional, tag = "5")]
    group: Option<u32>,
    #[prost(uint64, tag = "6")]
    accepted_at_us: u64,
}

#[derive(Clone, PartialEq, Message)]
struct UpdatesForm {
    #[prost(string, tag = "1")]
    framework: String,
    #[prost(string, tag = "2")]
    task: String,
    #[prost(int32, tag = "3")]
    latest: i32,
    /// Encoded `TaskStatus` messages.
    #[prost(bytes = "vec", repeated, tag = "4")]
    statuses: Vec<Vec<u8>>,
    /// Encoded `TaskStatus` messages.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pending: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    seen: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct MastersForm {
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct DrainForm {
    #[prost(uint64, optional, tag = "1")]
    grace_max_ms: Option<u64>,
    #[prost(bool, tag = "2")]
    marks_gone: bool,
}

#[derive(Clone, PartialEq, Message)]
struct DoomedForm {
    #[prost(bytes = "vec", tag = "1")]
    operation: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    volumes: Option<proto::agora::v1::ResourceList>,
}

/// What a record is found under.
pub(super) fn key(key: &Key) -> Vec<u8> {
    let join = |tag: u8, parts: &[&str]| {
        let mut bytes = vec![tag];
        for part in parts {
            bytes.push(SEPARATOR);
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    };
    match key {
        Key::Identity => join(b'i', &[]),
        Key::Described => join(b'a', &[]),
        Key::Masters => join(b'l', &[]),
        Key::Drain => join(b'd', &[]),
        Key::Made => join(b'm', &[]),
        Key::Operation(uuid) => join(b'o', &[&uuid.to_string()]),
        Key::Doomed(uuid) => join(b'v', &[&uuid.to_string()]),
        Key::Framework(framework) => join(b'f', &[framework.as_str()]),
        Key::Executor(framework, executor) => join(b'e', &[framework.as_str(), executor.as_str()]),
        Key::Task(framework, task) => join(b't', &[framework.as_str(), task.as_str()]),
        Key::Updates(framework, task) => join(b'u', &[framework.as_str(), task.as_str()]),
    }
}

/// A record as bytes. What is to be forgotten has none.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    match record {
        Record::Identity(it) => {
            IdentityForm { agent: it.agent.to_string(), term: it.term.0 }.encode_to_vec()
        }
        Record::Described(description) => link::description_to_wire(description).encode_to_vec(),
        Record::Masters(masters) => {
            let addresses = masters.iter().map(ToString::to_string).collect();
            MastersForm { addresses }.encode_to_vec()
        }
        Record::Drain(drain) => {
            let millis = |grace: Duration| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let grace_max_ms = drain.grace_max.map(millis);
            DrainForm { grace_max_ms, marks_gone: drain.marks_gone }.encode_to_vec()
        }
        Record::Framework(framework) => wire::framework_info(framework).encode_to_vec(),
        Record::Executor(it) => ExecutorForm {
            framework: it.framework.to_string(),
            executor: it.spec.id.to_string(),
            info: it.spec.info.as_bytes().to_vec(),
            container: it.container.to_string(),
            is_command: it.is_command,
            has_subscribed: it.has_subscribed,
        }
        .encode_to_vec(),
        Record::Task(it) => TaskForm {
            framework: it.framework.to_string(),
            executor: it.executor.to_string(),
            info: it.spec.info.as_bytes().to_vec(),
            in_group: it.spec.runs_by == RunsBy::Group,
            group: it.group,
            accepted_at_us: it.accepted_at.0,
        }
        .encode_to_vec(),
        Record::Updates(it) => UpdatesForm {
            framework: it.framework.to_string(),
            task: it.task.to_string(),
            latest: it.latest.number(),
            statuses: it.statuses.iter().map(status).collect(),
            pending: it.pending.iter().map(status).collect(),
            seen: it.seen.iter().map(|uuid| uuid.0.to_vec()).collect(),
        }
        .encode_to_vec(),
        Record::Made(made) => operations::list_to_wire(made).encode_to_vec(),
        Record::Operation(live) => operations::live_to_wire(live).encode_to_vec(),
        Record::Doomed(it) => DoomedForm {
            operation: it.operation.0.to_vec(),
            volumes: Some(operations::list_to_wire(&it.volumes)),
        }
        .encode_to_vec(),
        Record::Forget(_) => Vec::new(),
    }
}

fn status(status: &Status) -> Vec<u8> {
    wire::task_status(status).encode_to_vec()
}

/// The record that lies under `key`.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Record, String> {
    let kind = key.first().copied().unwrap_or_default();
    match kind {
        b'i' => {
            let form = read::<IdentityForm>(bytes)?;
            let agent = AgentId::new(form.agent).map_err(bad)?;
            Ok(Record::Identity(Identity { agent, term: Term(form.term) }))
        }
        b'a' => {
            let described = link::description_from_wire(read(bytes)?).map_err(|it| it.0)?;
            Ok(Record::Described(described))
        }
        b'l' => {
            let form = read::<MastersForm>(bytes)?;
            Ok(Record::Masters(form.addresses.into_iter().map(Into::into).collect()))
        }
        b'd' => {
            let form = read::<DrainForm>(bytes)?;
            let grace_max = form.grace_max_ms.map(Duration::from_millis);
            Ok(Record::Drain(Drain { grace_max, marks_gone: form.marks_gone }))
        }
        b'f' => Ok(Record::Framework(wire::framework(bytes)?)),
        b'e' => executor(read(bytes)?),
        b't' => task(read(bytes)?),
        b'u' => updates(read(bytes)?),
        b'm' => operations::list_from_wire(&read(bytes)?).map(Record::Made).map_err(|it| it.0),
        b'o' => operations::live_from_wire(&read(bytes)?).map(Record::Operation).map_err(|it| it.0),
        b'v' => doomed(read(bytes)?),
        other => Err(format!("a record of unknown kind {other}")),
    }
}

fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn bad(id: BadId) -> String {
    id.to_string()
}

fn executor(form: ExecutorForm) -> Result<Record, String> {
    let framework = FrameworkId::new(form.framework).map_err(bad)?;
    let id = ExecutorId::new(form.executor).map_err(bad)?;
    let spec = if form.is_command {
        ExecutorSpec {
            id,
            is_default: false,
            resources: Resources::none(),
            role: None,
            user: None,
            shutdown_grace: None,
            info: Payload::default(),
        }
    } else {
        wire::executor_spec(&form.info, &framework)?
    };
    Ok(Record::Executor(ExecutorRecord {
        framework,
        spec,
        container: ContainerId::new(form.container).map_err(bad)?,
        is_command: form.is_command,
        has_subscribed: form.has_subscribed,
    }))
}

fn doomed(form: DoomedForm) -> Result<Record, String> {
    let operation = form.operation.try_into().map_err(|_| "an operation's id has 16 bytes")?;
    let volumes = operations::list_from_wire(&form.volumes.unwrap_or_default());
    let volumes = volumes.map_err(|malformed| malformed.0)?;
    Ok(Record::Doomed(DoomedVolumes { operation: OperationUuid(operation), volumes }))
}

fn task(form: TaskForm) -> Result<Record, String> {
    let framework = FrameworkId::new(form.framework).map_err(bad)?;
    Ok(Record::Task(TaskRecord {
        spec: wire::task(&form.info, &framework, form.in_group)?,
        framework,
        executor: ExecutorId::new(form.executor).map_err(bad)?,
        group: form.group,
        accepted_at: Timestamp(form.accepted_at_us),
    }))
}

fn updates(form: UpdatesForm) -> Result<Record, String> {
    let latest = TaskState::from_number(form.latest)
        .ok_or_else(|| format!("there is no task state {}", form.latest))?;
    let seen: Option<VecDeque<UpdateId>> =
        form.seen.iter().map(|uuid| uuid.as_slice().try_into().ok().map(UpdateId)).collect();
    Ok(Record::Updates(UpdatesRecord {
        framework: FrameworkId::new(form.framework).map_err(bad)?,
        task: TaskId::new(form.task).map_err(bad)?,
        latest,
        statuses: form.statuses.iter().map(|it| wire::status(it)).collect::<Result<_, _>>()?,
        pending: form.pending.iter().map(|it| wire::status(it)).collect::<Result<_, _>>()?,
        seen: seen.ok_or("an update id is not of 16 bytes")?,
    }))
}
