//! What containers may take, and what is told of those that took more.

use agent_core::input::Limitation;
use model::amount::Milli;
use model::resources::Resources;
use model::task::Reason;
use proto::mesos::v1::{Resource, TaskInfo, TaskResourceLimitation, TaskStatus, value};

use crate::containerizer::{self, Limits};

/// A limit that was broken, for people and for frameworks. `limits` are those of the container.
pub(crate) fn explained(limits: Option<Limits>, broken: containerizer::Limitation) -> Limitation {
    match broken {
        containerizer::Limitation::Memory => memory_limitation(limits),
        containerizer::Limitation::Disk => disk_limitation(limits),
        containerizer::Limitation::Volume { bytes } => volume_limitation(bytes),
        containerizer::Limitation::Port(port) => port_limitation(port),
    }
}

/// What a container may use: what it was given, and where its tasks name limits of their own, the
/// sum of these and of what those without one have.
pub(crate) fn limits(all: &Resources, executor: &Resources, tasks: &[TaskInfo]) -> Limits {
    let mut limits = Limits {
        cpus_milli: milli(all.scalar("cpus")),
        mem_bytes: bytes(all.scalar("mem")),
        gpus: milli(all.scalar("gpus")) / 1_000,
        // Persistent volumes have sizes of their own.
        disk_bytes: Some(bytes(
            all.filtered(|key, _| !key.kind.is_persistent_volume()).scalar("disk"),
        ))
        .filter(|bytes| *bytes > 0),
        ..Limits::default()
    };
    let sum = |name: &str, unit: f64| {
        if !tasks.iter().any(|task| task.limits.contains_key(name)) {
            return None;
        }
        let own = |task: &TaskInfo| {
            let asked = task.resources.iter().filter(|it| it.name == name);
            let asked: f64 = asked.filter_map(|it| it.scalar.as_ref()).map(|it| it.value).sum();
            task.limits.get(name).map_or(asked, |limit| limit.value)
        };
        let sum: f64 = tasks.iter().map(own).sum::<f64>() + executor.scalar(name).as_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "infinity is no limit, and the cast saturates"
        )]
        Some(if sum.is_finite() { (sum * unit) as u64 } else { Limits::UNLIMITED })
    };
    limits.cpus_limit_milli = sum("cpus", 1_000.0);
    limits.mem_limit_bytes = sum("mem", MIB);
    limits
}

/// Bytes in a mebibyte.
pub(crate) const MIB: f64 = 1_048_576.0;

fn milli(amount: Milli) -> u64 {
    u64::try_from(amount.0).unwrap_or(0)
}

pub(crate) fn bytes(mebibytes: Milli) -> u64 {
    milli(mebibytes).saturating_mul(1 << 20) / 1_000
}

fn memory_limitation(limits: Option<Limits>) -> Limitation {
    let most = limits.map(|limits| limits.mem_limit_bytes.unwrap_or(limits.mem_bytes));
    let most = most.filter(|most| *most != Limits::UNLIMITED);
    past(Reason::ContainerLimitationMemory, "Memory", "mem", most)
}

fn disk_limitation(limits: Option<Limits>) -> Limitation {
    let most = limits.and_then(|limits| limits.disk_bytes);
    past(Reason::ContainerLimitationDisk, "Disk", "disk", most)
}

fn volume_limitation(bytes: u64) -> Limitation {
    let past = past(Reason::ContainerLimitationDisk, "Disk", "disk", Some(bytes));
    #[expect(clippy::cast_precision_loss, reason = "for people, in mebibytes")]
    let size = bytes as f64 / MIB;
    let message = format!("Disk limit exceeded: a persistent volume may take {size} MB");
    Limitation { message: message.into(), ..past }
}

/// In the words that people know from Mesos.
fn port_limitation(port: u16) -> Limitation {
    let message = format!("Container is listening on unallocated port(s): [{port}-{port}]");
    let range = value::Range { begin: port.into(), end: port.into() };
    let resource = Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range: vec![range] }),
        ..Resource::default()
    };
    limitation(Reason::ContainerLimitation, message, vec![resource])
}

/// A container that went past `most` bytes of a resource, for people and for frameworks.
fn past(reason: Reason, shown: &str, name: &str, most: Option<u64>) -> Limitation {
    #[expect(clippy::cast_precision_loss, reason = "for people, in mebibytes")]
    let most = most.map(|most| most as f64 / MIB);
    let message = match most {
        Some(most) => format!("{shown} limit exceeded: the container may take {most} MB"),
        None => format!("{shown} limit exceeded"),
    };
    let resources = most.map(|most| Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: most }),
        ..Resource::default()
    });
    limitation(reason, message, resources.into_iter().collect())
}

fn limitation(reason: Reason, message: String, resources: Vec<Resource>) -> Limitation {
    let limitation = Some(TaskResourceLimitation { resources });
    let status = TaskStatus { limitation, ..TaskStatus::default() };
    Limitation { reason, message: message.into(), rest: proto::convert::payload(&status) }
}
