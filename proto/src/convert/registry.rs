//! The records of the masters' log: `registry.proto`.

use std::sync::Arc;
use std::time::Duration;

use model::framework::Framework;
use model::ids::{AgentId, FrameworkId, Reign, Term};
use model::registry::{AgentEntry, FrameworkEntry, LeaseAcquire, Record, ReignEntry, StoreCommit};
use model::step::Timestamp;

use super::link::{bytes_of, description_from_wire, description_to_wire, payload_of};
use super::{Malformed, framework, millis, rules};
use crate::agora::v1 as wire;
use crate::agora::v1::registry_record::Body;

/// The highest version of records that this program can apply.
pub const VERSION: u32 = 4;

/// Writes one entry of the log. Its version is the lowest that can apply it, so that masters of before
/// go on for as long as nothing new is used.
pub fn entry_to_wire(records: &[Record]) -> wire::RegistryEntry {
    let version = records.iter().map(version_of).max().unwrap_or(1);
    wire::RegistryEntry { version, records: records.iter().map(to_wire).collect() }
}

/// In which version a kind of record came.
fn version_of(record: &Record) -> u32 {
    match record {
        Record::BeginReign { .. }
        | Record::PutAgent(_)
        | Record::MarkUnreachable { .. }
        | Record::MarkGone { .. }
        | Record::RemoveAgent { .. }
        | Record::PutFramework(_)
        | Record::CompleteFramework { .. }
        | Record::StoreCommit(_)
        | Record::LeaseAcquire(_)
        | Record::LeaseRelease { .. } => 1,
        Record::SetWeights(_)
        | Record::SetQuotas(_)
        | Record::SetStanding { .. }
        | Record::SetSchedule(_)
        | Record::SetMachines { .. } => 2,
        Record::ForgetAgents(_) => 3,
        Record::MarkFrameworkAway { .. } => 4,
    }
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
        Record::BeginReign(it) => Body::BeginReign(reign_to_wire(it)),
        Record::PutAgent(agent) => Body::PutAgent(agent_to_wire(agent)),
        Record::MarkUnreachable { agent, at } => Body::MarkUnreachable(mark(agent, *at)),
        Record::MarkGone { agent, at } => Body::MarkGone(mark(agent, *at)),
        Record::RemoveAgent { agent, at } => Body::RemoveAgent(mark(agent, *at)),
        Record::PutFramework(it) => Body::PutFramework(framework_to_wire(it)),
        Record::MarkFrameworkAway { framework, at } => {
            Body::MarkFrameworkAway(framework_mark(framework, *at))
        }
        Record::CompleteFramework { framework, at } => {
            Body::CompleteFramework(framework_mark(framework, *at))
        }
        Record::SetWeights(weights) => {
            let weights = weights.iter().map(|(role, weight)| (role, weight));
            Body::SetWeights(rules::weights_to_wire(weights))
        }
        Record::SetQuotas(quotas) => {
            let quotas = quotas.iter().map(|(role, quota)| (role, quota));
            Body::SetQuotas(rules::quotas_to_wire(quotas))
        }
        Record::SetStanding { agent, standing } => {
            Body::SetStanding(rules::standing_to_wire(agent, *standing))
        }
        Record::SetSchedule(windows) => Body::SetSchedule(rules::schedule_to_wire(windows)),
        Record::SetMachines { machines, are_down } => Body::SetMachines(wire::MachinesMark {
            machines: rules::machines_to_wire(machines),
            are_down: *are_down,
        }),
        Record::ForgetAgents(agents) => Body::ForgetAgents(wire::AgentList {
            agents: agents.iter().map(ToString::to_string).collect(),
        }),
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
        Body::BeginReign(it) => Record::BeginReign(reign_from_wire(&it)?),
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
        Body::MarkFrameworkAway(it) => Record::MarkFrameworkAway {
            framework: FrameworkId::new(it.framework_id)?,
            at: Timestamp(it.at_us),
        },
        Body::CompleteFramework(it) => Record::CompleteFramework {
            framework: FrameworkId::new(it.framework_id)?,
            at: Timestamp(it.at_us),
        },
        Body::SetWeights(it) => Record::SetWeights(rules::weights_from_wire(it)?),
        Body::SetQuotas(it) => Record::SetQuotas(rules::quotas_from_wire(it)?),
        Body::SetStanding(it) => {
            let (agent, standing) = rules::standing_from_wire(it)?;
            Record::SetStanding { agent, standing }
        }
        Body::SetSchedule(it) => Record::SetSchedule(rules::schedule_from_wire(it)?),
        Body::SetMachines(it) => Record::SetMachines {
            machines: rules::machines_from_wire(it.machines)?,
            are_down: it.are_down,
        },
        Body::ForgetAgents(it) => {
            let agents = it.agents.into_iter().map(AgentId::new);
            Record::ForgetAgents(agents.collect::<Result<_, _>>()?)
        }
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

/// Writes a reign.
pub fn reign_to_wire(it: &ReignEntry) -> wire::ReignRecord {
    wire::ReignRecord {
        reign: it.id.0.to_vec().into(),
        at_us: it.at.0,
        term: it.term.0,
        address: it.address.to_string(),
    }
}

/// Reads a reign.
pub fn reign_from_wire(record: &wire::ReignRecord) -> Result<ReignEntry, Malformed> {
    let id = record.reign[..].try_into();
    let id = id.map_err(|_| Malformed::new("A reign's id has 16 bytes"))?;
    Ok(ReignEntry {
        id: Reign(id),
        term: Term(record.term),
        at: Timestamp(record.at_us),
        address: record.address.as_str().into(),
    })
}

fn framework_mark(framework: &FrameworkId, at: Timestamp) -> wire::FrameworkMark {
    wire::FrameworkMark { framework_id: framework.to_string(), at_us: at.0 }
}

/// Writes an agent as admitted.
pub fn agent_to_wire(agent: &AgentEntry) -> wire::AgentRecord {
    let description = description_to_wire(&agent.description);
    wire::AgentRecord {
        agent_id: agent.id.to_string(),
        info: description.info,
        address: description.address,
        version: description.version,
        capabilities: description.capabilities,
        registered_at_us: agent.registered_at.0,
    }
}

/// Reads an agent as admitted.
pub fn agent_from_wire(record: wire::AgentRecord) -> Result<AgentEntry, Malformed> {
    let wire::AgentRecord { agent_id, info, address, version, registered_at_us, capabilities } =
        record;
    let description = wire::AgentDescription { info, address, version, capabilities };
    Ok(AgentEntry {
        id: AgentId::new(agent_id)?,
        description: description_from_wire(description)?,
        registered_at: Timestamp(registered_at_us),
    })
}

/// Writes a framework as subscribed.
pub fn framework_to_wire(entry: &FrameworkEntry) -> wire::FrameworkRecord {
    wire::FrameworkRecord {
        info: bytes_of(&framework::to_payload(&entry.framework)),
        registered_at_us: entry.registered_at.0,
        away_since_us: entry.away_since.map(|at| at.0),
    }
}

/// Reads a framework as subscribed.
pub fn framework_from_wire(record: &wire::FrameworkRecord) -> Result<FrameworkEntry, Malformed> {
    let framework: Framework = framework::from_payload(&payload_of(&record.info))?;
    if framework.id.is_none() {
        return Err(Malformed::new("The registry has a framework without an id"));
    }
    Ok(FrameworkEntry {
        framework,
        registered_at: Timestamp(record.registered_at_us),
        away_since: record.away_since_us.map(Timestamp),
    })
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
    use model::amount::Milli;
    use model::payload::Payload;
    use model::role::Role;
    use model::rules::{Drain, Machine, Quota, Standing, Unavailability, Weight, Window};

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
            Record::BeginReign(ReignEntry {
                id: Reign([7; 16]),
                term: Term(3),
                at,
                address: "m:5050".into(),
            }),
            Record::PutAgent(AgentEntry { id: agent.clone(), description, registered_at: at }),
            Record::MarkUnreachable { agent: agent.clone(), at },
            Record::MarkGone { agent: agent.clone(), at },
            Record::RemoveAgent { agent, at },
            Record::PutFramework(FrameworkEntry {
                framework,
                registered_at: at,
                away_since: Some(at),
            }),
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

    fn rules() -> Vec<Record> {
        let web = Role::new("web").expect("a role");
        let agent = AgentId::new("a-S0").expect("an id");
        let amounts = |name: &str, amount| [(name.into(), Milli(amount))].into();
        let quota = Quota { guarantees: amounts("cpus", 1_500), limits: amounts("mem", 64_000) };
        let drain = Drain { grace_max: Some(Duration::from_secs(5)), marks_gone: true };
        let since = Timestamp(7);
        let standing = |standing| Record::SetStanding { agent: agent.clone(), standing };
        let machine = Machine::new("h", "10.0.0.1").expect("named");
        let unavailability = Unavailability { start_ns: -5, duration_ns: Some(9) };
        let window = Window { machines: vec![machine.clone()], unavailability };
        vec![
            Record::SetWeights(vec![(web.clone(), Weight::from_f64(2.5).expect("above zero"))]),
            Record::SetQuotas(vec![(web, quota)]),
            standing(Standing::Active),
            standing(Standing::Deactivated),
            standing(Standing::Draining { drain, since }),
            standing(Standing::Drained { drain: Drain::default(), since }),
            Record::SetSchedule(vec![window]),
            Record::SetMachines { machines: vec![machine], are_down: true },
        ]
    }

    fn forget() -> Vec<Record> {
        let ids = ["a-S0", "a-S1"].map(|id| AgentId::new(id).expect("an id"));
        vec![Record::ForgetAgents(ids.to_vec())]
    }

    fn away() -> Vec<Record> {
        let framework = FrameworkId::new("f-0000").expect("an id");
        vec![Record::MarkFrameworkAway { framework, at: Timestamp(9) }]
    }

    #[test]
    fn records_survive() {
        assert_eq!(entry_from_wire(entry_to_wire(&records())), Ok(records()));
        assert_eq!(entry_from_wire(entry_to_wire(&rules())), Ok(rules()));
        assert_eq!(entry_from_wire(entry_to_wire(&forget())), Ok(forget()));
        assert_eq!(entry_from_wire(entry_to_wire(&away())), Ok(away()));
    }

    #[test]
    fn an_entry_needs_no_later_version_than_its_records() {
        assert_eq!(entry_to_wire(&records()).version, 1);
        assert_eq!(entry_to_wire(&rules()).version, 2);
        assert_eq!(entry_to_wire(&forget()).version, 3);
        assert_eq!(entry_to_wire(&away()).version, VERSION);
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
