//! The records of the masters' log: `registry.proto`.

use std::sync::Arc;
use std::time::Duration;

use model::framework::Framework;
use model::ids::{AgentId, FrameworkId, Reign};
use model::registry::{AgentEntry, FrameworkEntry, LeaseAcquire, Record, StoreCommit};
use model::step::Timestamp;

use super::link::{bytes_of, description_from_wire, description_to_wire, payload_of};
use super::{Malformed, framework, millis};
use crate::agora::v1 as wire;
use crate::agora::v1::registry_record::Body;

/// The version of the records that this program writes, and the highest it can apply.
pub const VERSION: u32 = 1;

/// Writes one entry of the log.
pub fn entry_to_wire(records: &[Record]) -> wire::RegistryEntry {
    wire::RegistryEntry { version: VERSION, records: records.iter().map(to_wire).collect() }
}

/// Reads one entry of the log. An entry of a later version is refused: to apply half of it would
/// make this master differ from the others.
pub fn entry_from_wire(entry: wire::RegistryEntry) -> Result<Vec<Record>, Malformed> {
    if entry.version > VERSION {
        return Err(Malformed(format!(
            "The registry has an entry of version {}, and this master knows versions up to \
             {VERSION} only: install the newer version here, too",
            entry.version
        )));
    }
    entry.records.into_iter().map(from_wire).collect()
}

/// Writes one record.
pub fn to_wire(record: &Record) -> wire::RegistryRecord {
    let mark = |agent: &AgentId, at: Timestamp| wire::AgentMark {
        agent_id: agent.to_string(),
        at_us: at.0,
    };
    let body = match record {
        Record::BeginReign { reign, at } => {
            Body::BeginReign(wire::ReignRecord { reign: reign.0.to_vec().into(), at_us: at.0 })
        }
        Record::PutAgent(agent) => Body::PutAgent(agent_to_wire(agent)),
        Record::MarkUnreachable { agent, at } => Body::MarkUnreachable(mark(agent, *at)),
        Record::MarkGone { agent, at } => Body::MarkGone(mark(agent, *at)),
        Record::RemoveAgent { agent, at } => Body::RemoveAgent(mark(agent, *at)),
        Record::PutFramework(it) => Body::PutFramework(framework_to_wire(it)),
        Record::CompleteFramework { framework, at } => {
            Body::CompleteFramework(wire::FrameworkMark {
                framework_id: framework.to_string(),
                at_us: at.0,
            })
        }
        Record::StoreCommit(commit) => Body::StoreCommit(commit_to_wire(commit)),
        Record::LeaseAcquire(it) => Body::LeaseAcquire(wire::LeaseAcquire {
            namespace: it.namespace.to_string(),
            name: it.name.to_string(),
            holder: it.holder.to_string(),
            ttl_ms: millis(it.ttl),
            note: bytes_of(&it.note),
            at_us: it.at.0,
        }),
        Record::LeaseRelease { namespace, name, token } => Body::LeaseRelease(wire::LeaseRelease {
            namespace: namespace.to_string(),
            name: name.to_string(),
            token: *token,
        }),
    };
    wire::RegistryRecord { body: Some(body) }
}

/// Reads one record.
pub fn from_wire(record: wire::RegistryRecord) -> Result<Record, Malformed> {
    let mark = |mark: wire::AgentMark| -> Result<_, Malformed> {
        Ok((AgentId::new(mark.agent_id)?, Timestamp(mark.at_us)))
    };
    let body = record.body.ok_or_else(|| {
        Malformed::new("The registry has a record of a kind that is not known here")
    })?;
    Ok(match body {
        Body::BeginReign(it) => {
            Record::BeginReign { reign: reign_from_wire(&it.reign)?, at: Timestamp(it.at_us) }
        }
        Body::PutAgent(it) => Record::PutAgent(agent_from_wire(it)?),
        Body::MarkUnreachable(it) => {
            let (agent, at) = mark(it)?;
            Record::MarkUnreachable { agent, at }
        }
        Body::MarkGone(it) => {
            let (agent, at) = mark(it)?;
            Record::MarkGone { agent, at }
        }
        Body::RemoveAgent(it) => {
            let (agent, at) = mark(it)?;
            Record::RemoveAgent { agent, at }
        }
        Body::PutFramework(it) => Record::PutFramework(framework_from_wire(&it)?),
        Body::CompleteFramework(it) => Record::CompleteFramework {
            framework: FrameworkId::new(it.framework_id)?,
            at: Timestamp(it.at_us),
        },
        Body::StoreCommit(it) => Record::StoreCommit(commit_from_wire(it)),
        Body::LeaseAcquire(it) => Record::LeaseAcquire(LeaseAcquire {
            namespace: it.namespace.into(),
            name: it.name.into(),
            holder: it.holder.into(),
            ttl: Duration::from_millis(it.ttl_ms),
            note: payload_of(&it.note),
            at: Timestamp(it.at_us),
        }),
        Body::LeaseRelease(it) => Record::LeaseRelease {
            namespace: it.namespace.into(),
            name: it.name.into(),
            token: it.token,
        },
    })
}

/// Reads the id of a reign.
pub fn reign_from_wire(bytes: &[u8]) -> Result<Reign, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed::new("A reign's id has 16 bytes"))?;
    Ok(Reign(bytes))
}

/// Writes an agent as admitted.
pub fn agent_to_wire(agent: &AgentEntry) -> wire::AgentRecord {
    let description = description_to_wire(&agent.description);
    wire::AgentRecord {
        agent_id: agent.id.to_string(),
        info: description.info,
        address: description.address,
        version: description.version,
        registered_at_us: agent.registered_at.0,
    }
}

/// Reads an agent as admitted.
pub fn agent_from_wire(record: wire::AgentRecord) -> Result<AgentEntry, Malformed> {
    let wire::AgentRecord { agent_id, info, address, version, registered_at_us } = record;
    Ok(AgentEntry {
        id: AgentId::new(agent_id)?,
        description: description_from_wire(wire::AgentDescription { info, address, version })?,
        registered_at: Timestamp(registered_at_us),
    })
}

/// Writes a framework as subscribed.
pub fn framework_to_wire(entry: &FrameworkEntry) -> wire::FrameworkRecord {
    wire::FrameworkRecord {
        info: bytes_of(&framework::to_payload(&entry.framework)),
        registered_at_us: entry.registered_at.0,
    }
}

/// Reads a framework as subscribed.
pub fn framework_from_wire(record: &wire::FrameworkRecord) -> Result<FrameworkEntry, Malformed> {
    let framework: Framework = framework::from_payload(&payload_of(&record.info))?;
    if framework.id.is_none() {
        return Err(Malformed::new("The registry has a framework without an id"));
    }
    Ok(FrameworkEntry { framework, registered_at: Timestamp(record.registered_at_us) })
}

fn commit_to_wire(commit: &StoreCommit) -> wire::StoreCommit {
    let (lease, token) = commit.lease.clone().unzip();
    let condition = |(key, revision): &(Arc<str>, u64)| wire::StoreCondition {
        key: key.to_string(),
        revision: *revision,
    };
    wire::StoreCommit {
        namespace: commit.namespace.to_string(),
        conditions: commit.conditions.iter().map(condition).collect(),
        writes: commit
            .writes
            .iter()
            .map(|(key, value)| wire::StoreWrite {
                key: key.to_string(),
                value: value.as_ref().map(bytes_of),
            })
            .collect(),
        lease: lease.map(|name| name.to_string()).unwrap_or_default(),
        lease_token: token.unwrap_or_default(),
        at_us: commit.at.0,
    }
}

fn commit_from_wire(wire: wire::StoreCommit) -> StoreCommit {
    let conditions = wire.conditions.into_iter();
    let writes = wire.writes.into_iter();
    StoreCommit {
        namespace: wire.namespace.into(),
        conditions: conditions.map(|it| (it.key.into(), it.revision)).collect(),
        writes: writes.map(|it| (it.key.into(), it.value.as_ref().map(payload_of))).collect(),
        lease: (!wire.lease.is_empty()).then(|| (wire.lease.into(), wire.lease_token)),
        at: Timestamp(wire.at_us),
    }
}

#[cfg(test)]
mod tests {
    use model::payload::Payload;

    use super::*;
    use crate::convert::link::describe;
    use crate::mesos::v1::{AgentInfo, FrameworkInfo};

    fn records() -> Vec<Record> {
        let agent = AgentId::new("a-S0").expect("an id");
        let framework_id = FrameworkId::new("f-0000").expect("an id");
        let at = Timestamp(1_700_000_000_000_000);
        let info = AgentInfo { hostname: "h".into(), ..AgentInfo::default() };
        let description = describe(&info, "10.0.0.1:5051", "0.1.0").expect("well formed");
        let info = FrameworkInfo {
            user: "u".into(),
            name: "n".into(),
            id: Some((&framework_id).into()),
            ..FrameworkInfo::default()
        };
        let framework = framework::from_wire(info).expect("well formed");
        vec![
            Record::BeginReign { reign: Reign([7; 16]), at },
            Record::PutAgent(AgentEntry { id: agent.clone(), description, registered_at: at }),
            Record::MarkUnreachable { agent: agent.clone(), at },
            Record::MarkGone { agent: agent.clone(), at },
            Record::RemoveAgent { agent, at },
            Record::PutFramework(FrameworkEntry { framework, registered_at: at }),
            Record::CompleteFramework { framework: framework_id, at },
            Record::StoreCommit(StoreCommit {
                namespace: "marathon".into(),
                conditions: vec![("k".into(), 0)],
                writes: vec![
                    ("k".into(), Some(Payload::from(vec![1]))),
                    ("gone".into(), None),
                    ("empty".into(), Some(Payload::default())),
                ],
                lease: Some(("leader".into(), 3)),
                at,
            }),
            Record::LeaseAcquire(LeaseAcquire {
                namespace: "marathon".into(),
                name: "leader".into(),
                holder: "me".into(),
                ttl: Duration::from_secs(10),
                note: Payload::from(vec![2]),
                at,
            }),
            Record::LeaseRelease { namespace: "m".into(), name: "l".into(), token: 9 },
        ]
    }

    #[test]
    fn records_survive() {
        assert_eq!(entry_from_wire(entry_to_wire(&records())), Ok(records()));
    }

    #[test]
    fn an_entry_of_a_later_version_is_refused_whole() {
        let entry = wire::RegistryEntry { version: VERSION + 1, ..entry_to_wire(&records()) };
        let why = entry_from_wire(entry).expect_err("too new").0;
        assert!(why.contains("install the newer version"), "{why}");
        let strange = wire::RegistryRecord { body: None };
        assert!(from_wire(strange).is_err());
    }
}
