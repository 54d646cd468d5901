//! Whether an agent that comes back with other flags is still the one that its tasks run on.

use std::fmt;

use model::link::AgentDescription;
use model::resources::AttributeValue;

use crate::record::{Identity, Record};

/// What of itself an agent may change and still come back as itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ReconfigurationPolicy {
    /// Nothing.
    #[default]
    Equal,
    /// It may have more than before: resources, attributes, a domain where there was none.
    Additive,
}

/// Why an agent does not come back as itself: each thing that has changed and may not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reconfigured(pub Vec<String>);

impl fmt::Display for Reconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Reconfigured {}

/// Checks `now` against what `records` say the agent was when it last ran. One that no master has
/// taken in yet may change as it likes.
pub fn check_reconfigured(
    policy: ReconfigurationPolicy,
    now: &AgentDescription,
    records: &[Record],
) -> Result<(), Reconfigured> {
    let is_known = records.iter().any(|record| matches!(record, Record::Identity(Identity { .. })));
    let before = records.iter().rev().find_map(Record::described);
    let Some(before) = before.filter(|_| is_known) else { return Ok(()) };
    let changes = changes(policy, before, now);
    if changes.is_empty() { Ok(()) } else { Err(Reconfigured(changes)) }
}

/// Where the agent is reached is not among it: it tells its masters, and its executors find its socket.
fn changes(
    policy: ReconfigurationPolicy,
    before: &AgentDescription,
    now: &AgentDescription,
) -> Vec<String> {
    let adds = policy == ReconfigurationPolicy::Additive;
    let mut changes = Vec::new();
    if before.hostname != now.hostname {
        changes.push(format!("hostname was {} and is {}", before.hostname, now.hostname));
    }
    let is_domain_kept = before.domain == now.domain || adds && before.domain.is_none();
    if !is_domain_kept {
        let text = |of: &AgentDescription| {
            let domain = of.domain.as_ref();
            domain.map_or("none".to_owned(), |it| format!("{}/{}", it.region, it.zone))
        };
        changes.push(format!("domain was {} and is {}", text(before), text(now)));
    }
    changes.extend(changed_attributes(adds, before, now));
    let are_resources_kept =
        before.resources == now.resources || adds && now.resources.contains(&before.resources);
    if !are_resources_kept {
        let (before, now) = (&before.resources, &now.resources);
        changes.push(format!("resources were {before} and are {now}"));
    }
    changes
}

/// What is to be forgotten to begin as a new agent; none if something was made of the agent's resources,
/// which only a person may give up.
pub fn begun_anew(records: &[Record]) -> Option<Vec<Record>> {
    let is_bound =
        |it: &Record| it.made().is_some_and(|made| !made.is_empty()) || it.doomed().is_some();
    let forget = |it: &Record| Record::Forget(it.key());
    (!records.iter().any(is_bound)).then(|| records.iter().map(forget).collect())
}

fn changed_attributes(
    adds: bool,
    before: &AgentDescription,
    now: &AgentDescription,
) -> Vec<String> {
    let (mut old, mut new) = (before.attributes.0.clone(), now.attributes.0.clone());
    // Their order means something only among those of one name.
    old.sort_by(|one, other| one.0.cmp(&other.0));
    new.sort_by(|one, other| one.0.cmp(&other.0));
    let mut changes = Vec::new();
    for (name, value) in &old {
        let kept = |(of, now): &(_, AttributeValue)| of == name && may_become(adds, value, now);
        match new.iter().position(kept) {
            Some(at) => drop(new.remove(at)),
            None => changes.push(format!("attribute {name}:{value} is gone or changed")),
        }
    }
    if !adds {
        changes.extend(new.iter().map(|(name, value)| format!("attribute {name}:{value} is new")));
    }
    changes
}

fn may_become(adds: bool, before: &AttributeValue, now: &AttributeValue) -> bool {
    match (before, now) {
        (AttributeValue::Ranges(before), AttributeValue::Ranges(now)) if adds => {
            now.contains(before)
        }
        (before, now) => before == now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::{AgentId, Term};
    use model::link::FaultDomain;
    use model::payload::Payload;
    use model::resources::{Attributes, Resources};
    use model::role::Role;
    use std::collections::BTreeSet;

    fn agent(resources: &str, attributes: &str, domain: Option<&str>) -> AgentDescription {
        AgentDescription {
            hostname: "h".into(),
            address: "10.0.0.1:5051".into(),
            resources: Resources::parse(resources, &Role::any()).expect("resources"),
            attributes: Attributes::parse(attributes).expect("attributes"),
            domain: domain.map(|text| FaultDomain::parse(text).expect("a domain")),
            version: "1".into(),
            capabilities: BTreeSet::new(),
            info: Payload::default(),
        }
    }

    /// What is said of `now` under both policies.
    fn said(before: &AgentDescription, now: &AgentDescription) -> [String; 2] {
        let identity = Identity { agent: AgentId::new("a").expect("an id"), term: Term(1) };
        let records = [Record::Identity(identity), Record::Described(before.clone())];
        [ReconfigurationPolicy::Equal, ReconfigurationPolicy::Additive].map(|policy| {
            let checked = check_reconfigured(policy, now, &records);
            checked.err().map(|why| why.to_string()).unwrap_or_default()
        })
    }

    #[test]
    fn what_may_change_is_what_the_policy_says() {
        let before = agent("cpus:2;ports:[1-9]", "rack:a;slots:[1-2];gen:3", Some("r/z"));
        let moved = AgentDescription { address: "10.0.0.2:1".into(), ..before.clone() };
        let renamed = AgentDescription { hostname: "i".into(), ..before.clone() };
        let but = |resources: &str, attributes: &str| agent(resources, attributes, Some("r/z"));
        let (cpus, attributes) = ("cpus:2;ports:[1-9]", "rack:a;slots:[1-2];gen:3");
        for (now, equal, additive) in [
            (before.clone(), "", ""),
            (moved, "", ""),
            (but(cpus, "gen:3;slots:[1-2];rack:a"), "", ""),
            (renamed, "hostname was h and is i", "hostname was h and is i"),
            (but("cpus:4;ports:[1-20];gpus:1", attributes), "resources were", ""),
            (but("cpus:1;ports:[1-9]", attributes), "resources were", "resources were"),
            (but("cpus:2", attributes), "resources were", "resources were"),
            (but(cpus, "rack:a;slots:[1-5];gen:3"), "attribute slots:[1-2]", ""),
            (but(cpus, "rack:a;slots:[1-2];gen:3;os:x"), "attribute os:x is new", ""),
            (but(cpus, "rack:b;slots:[1-2];gen:3"), "attribute rack:a is", "attribute rack:a is"),
            (but(cpus, "rack:a;slots:[1-2];gen:4"), "attribute gen:3 is", "attribute gen:3 is"),
            (agent(cpus, attributes, None), "was r/z and is none", "was r/z and is none"),
        ] {
            for (said, expected) in said(&before, &now).iter().zip([equal, additive]) {
                assert_eq!(said.is_empty(), expected.is_empty(), "{now:?}: {said}");
                assert!(said.contains(expected), "{said}, not {expected}");
            }
        }
        let unplaced = agent(cpus, attributes, None);
        assert_eq!(said(&unplaced, &before), ["domain was none and is r/z", ""]);
    }

    #[test]
    fn an_agent_that_nobody_knows_may_become_anything() {
        let (before, now) = (agent("cpus:2", "", None), agent("cpus:1", "", None));
        let policy = ReconfigurationPolicy::Equal;
        assert_eq!(check_reconfigured(policy, &now, &[Record::Described(before)]), Ok(()));
        // Nor can one be held to what an earlier version did not write down.
        let identity = Identity { agent: AgentId::new("a").expect("an id"), term: Term(1) };
        assert_eq!(check_reconfigured(policy, &now, &[Record::Identity(identity)]), Ok(()));
    }
}
