//! Snapshots of the registry, as they lie on disk and travel to masters that were away.

use std::sync::Arc;

use master_core::registry::{Parts, Rules, Stored, StoredEntry, StoredLease, UnreachableAgent};
use model::ids::AgentId;
use model::step::Timestamp;
use proto::agora::v1 as wire;
use proto::convert::{Malformed, registry as convert, rules};

/// Everything in the registry.
pub(crate) fn to_wire(parts: &Parts) -> wire::RegistrySnapshot {
    wire::RegistrySnapshot {
        version: convert::VERSION,
        reign: parts.reign.as_ref().map(|it| it.id.0.to_vec()).unwrap_or_default().into(),
        latest_reign: parts.reign.as_ref().map(convert::reign_to_wire),
        agents: parts.agents.iter().map(|agent| convert::agent_to_wire(agent)).collect(),
        unreachable: parts
            .unreachable
            .iter()
            .map(|agent| wire::UnreachableAgent {
                agent: Some(convert::agent_to_wire(&agent.entry)),
                at_us: agent.at.0,
            })
            .collect(),
        gone: parts
            .gone
            .iter()
            .map(|(agent, at)| wire::AgentMark { agent_id: agent.to_string(), at_us: at.0 })
            .collect(),
        frameworks: parts.frameworks.iter().map(|one| convert::framework_to_wire(one)).collect(),
        completed: parts
            .completed
            .iter()
            .map(|(framework, at)| wire::CompletedFramework {
                framework: Some(convert::framework_to_wire(framework)),
                at_us: at.0,
            })
            .collect(),
        entries: parts.entries.iter().map(entry_to_wire).collect(),
        leases: parts.leases.iter().map(lease_to_wire).collect(),
        revision: parts.revision,
        weights: Some(rules::weights_to_wire(&parts.rules.weights)),
        quotas: Some(rules::quotas_to_wire(&parts.rules.quotas)),
        standings: parts
            .rules
            .standings
            .iter()
            .map(|(agent, standing)| rules::standing_to_wire(agent, *standing))
            .collect(),
        schedule: Some(rules::schedule_to_wire(&parts.rules.schedule)),
        machines_down: rules::machines_to_wire(&parts.rules.machines_down),
    }
}

fn entry_to_wire(entry: &StoredEntry) -> wire::StoredEntry {
    wire::StoredEntry {
        namespace: entry.namespace.to_string(),
        key: entry.key.to_string(),
        value: entry.stored.value.as_bytes().to_vec().into(),
        revision: entry.stored.revision,
    }
}

fn lease_to_wire(lease: &StoredLease) -> wire::StoredLease {
    wire::StoredLease {
        namespace: lease.namespace.to_string(),
        name: lease.name.to_string(),
        holder: lease.holder.to_string(),
        note: lease.note.as_bytes().to_vec().into(),
        token: lease.token,
        expires_at_us: lease.expires_at.0,
    }
}

/// The registry that [`to_wire`] was given; an error says what is no good.
pub(crate) fn from_wire(snapshot: wire::RegistrySnapshot) -> Result<Parts, String> {
    let bad = |error: Malformed| error.to_string();
    let agent = |agent| convert::agent_from_wire(agent).map(Arc::new).map_err(bad);
    let framework = |one: &_| convert::framework_from_wire(one).map(Arc::new).map_err(bad);
    if snapshot.version > convert::VERSION {
        let (version, known) = (snapshot.version, convert::VERSION);
        return Err(format!(
            "it has version {version} and this program knows {known}: start the newer program"
        ));
    }
    // A snapshot of before has only its id.
    let reign = snapshot.latest_reign.clone().or_else(|| {
        let reign = snapshot.reign.clone();
        (!reign.is_empty()).then(|| wire::ReignRecord { reign, ..wire::ReignRecord::default() })
    });
    let reign = reign.map(|it| convert::reign_from_wire(&it)).transpose().map_err(bad)?;
    let rules = rules_from_wire(&snapshot).map_err(bad)?;
    let unreachable = snapshot.unreachable.into_iter().map(|one| {
        let entry = agent(one.agent.unwrap_or_default())?;
        Ok(UnreachableAgent { entry, at: Timestamp(one.at_us) })
    });
    let gone = snapshot.gone.into_iter().map(|mark| {
        let id = AgentId::new(mark.agent_id).map_err(|error| error.to_string())?;
        Ok((id, Timestamp(mark.at_us)))
    });
    let completed = snapshot
        .completed
        .into_iter()
        .map(|one| Ok((framework(&one.framework.unwrap_or_default())?, Timestamp(one.at_us))));
    Ok(Parts {
        reign,
        rules,
        agents: snapshot.agents.into_iter().map(agent).collect::<Result<_, _>>()?,
        unreachable: unreachable.collect::<Result<_, String>>()?,
        gone: gone.collect::<Result<_, String>>()?,
        frameworks: snapshot.frameworks.iter().map(framework).collect::<Result<_, _>>()?,
        completed: completed.collect::<Result<_, String>>()?,
        entries: snapshot.entries.into_iter().map(entry_from_wire).collect(),
        leases: snapshot.leases.into_iter().map(lease_from_wire).collect(),
        revision: snapshot.revision,
    })
}

fn rules_from_wire(snapshot: &wire::RegistrySnapshot) -> Result<Rules, Malformed> {
    // A snapshot of before has none of these.
    let weights = snapshot.weights.clone().unwrap_or_default();
    let quotas = snapshot.quotas.clone().unwrap_or_default();
    let schedule = snapshot.schedule.clone().unwrap_or_default();
    let standings = snapshot.standings.iter().cloned().map(rules::standing_from_wire);
    let machines_down = rules::machines_from_wire(snapshot.machines_down.clone())?;
    Ok(Rules {
        weights: rules::weights_from_wire(weights)?.into_iter().collect(),
        quotas: rules::quotas_from_wire(quotas)?.into_iter().collect(),
        standings: standings.collect::<Result<_, _>>()?,
        schedule: rules::schedule_from_wire(schedule)?,
        machines_down: machines_down.into_iter().collect(),
    })
}

fn entry_from_wire(entry: wire::StoredEntry) -> StoredEntry {
    StoredEntry {
        namespace: entry.namespace.into(),
        key: entry.key.into(),
        stored: Stored { value: entry.value.to_vec().into(), revision: entry.revision },
    }
}

fn lease_from_wire(lease: wire::StoredLease) -> StoredLease {
    StoredLease {
        namespace: lease.namespace.into(),
        name: lease.name.into(),
        holder: lease.holder.into(),
        note: lease.note.to_vec().into(),
        token: lease.token,
        expires_at: Timestamp(lease.expires_at_us),
    }
}
