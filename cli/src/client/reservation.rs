//! `agora reserve`, `agora unreserve`, and what is reserved: resources of an agent that are kept for a
//! role.

use super::node::find;
use super::show::{items, print, print_json, table, text};
use super::{Cluster, Failure};
use crate::say::say;
use clap::Args;
use framework_sdk::operations::Reservation;
use model::resources::{Key, Kind, Resources};
use model::role::Role;
use proto::convert::resources::{Form, from_wire, to_wire};
use proto::mesos::v1::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is to be kept for a role.
#[derive(Args, Debug)]
pub(crate) struct ReserveArgs {
    /// The agent: its id, the beginning or end of it, or its host name
    agent: String,
    /// How much, such as 'cpus:2;mem:512;disk:1024;ports:[31000-31010]'; memory and disk in MB
    resources: String,
    /// The role that it is kept for; those below it may use it too
    #[arg(long)]
    role: String,
    /// Who makes the reservation; by default the name in --credential, or in the certificate. Masters
    /// that ask for names take no other
    #[arg(long)]
    principal: Option<String>,
    /// Labels of the reservation, as key=value; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// What is not to be kept for a role any more.
#[derive(Args, Debug)]
pub(crate) struct UnreserveArgs {
    /// The agent: its id, the beginning or end of it, or its host name
    agent: String,
    /// How much of it, as for reserve
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    resources: Option<String>,
    /// The role that it is kept for
    #[arg(long)]
    role: String,
    /// Only what was reserved by this name
    #[arg(long)]
    principal: Option<String>,
    /// All that is reserved for the role on the agent, but for volumes
    #[arg(long)]
    all: bool,
}

/// The name that reservations and volumes are made under.
pub(super) fn maker(given: Option<&str>, cluster: &Cluster) -> Option<String> {
    let own = || cluster.identity().principal().map(|name| name.to_string());
    given.map(str::to_owned).or_else(own)
}

/// Has resources kept for a role.
pub(crate) async fn reserve(wanted: &ReserveArgs, cluster: &Cluster) -> Result<(), Failure> {
    let plain = parse(&wanted.resources)?;
    let mut reservation = Reservation::for_role(role(&wanted.role)?.as_str());
    if let Some(principal) = maker(wanted.principal.as_deref(), cluster) {
        reservation = reservation.by(&principal);
    }
    for label in &wanted.labels {
        let (key, value) = label.split_once('=').ok_or_else(|| {
            Failure::Local(format!("--label: '{label}' is not key=value, such as team=search"))
        })?;
        reservation = reservation.label(key, value);
    }
    let resources: Vec<Resource> = to_wire(&plain, Form::Stack, None)
        .into_iter()
        .map(|resource| reservation.of(resource))
        .collect();
    let agent = find(&wanted.agent, cluster).await?;
    let body = json!({"resources": messages(&resources)});
    operate(&agent, "RESERVE_RESOURCES", body, cluster).await?;
    say(&agent, &format!("reserved for role {}", wanted.role), &plain, cluster);
    Ok(())
}

/// Gives resources back to everybody.
pub(crate) async fn unreserve(wanted: &UnreserveArgs, cluster: &Cluster) -> Result<(), Failure> {
    let role = role(&wanted.role)?;
    let agent = find(&wanted.agent, cluster).await?;
    let is_meant = |kind: &Kind| {
        kind.is_dynamically_reserved()
            && !kind.is_persistent_volume()
            && kind.reservations.last().is_some_and(|top| {
                let by = top.principal.as_deref();
                top.role == role && wanted.principal.as_deref().is_none_or(|name| by == Some(name))
            })
    };
    let reserved = reserved_on(&agent)?.filtered(|key, _| is_meant(&key.kind));
    let resources = match &wanted.resources {
        Some(text) => part_of(&reserved, &parse(text)?).map_err(|name| {
            Failure::Refused(format!(
                "not as much {name} is reserved for role {role} on {} at run time: there is {}.\n\
                 Volumes are destroyed first, with 'agora volume destroy'; what the agent's flags \
                 reserve cannot be given back.",
                text_of_id(&agent),
                or_nothing(&reserved)
            ))
        })?,
        None if reserved.is_empty() => {
            let text = format!("nothing is reserved for role {role} on {}", text_of_id(&agent));
            return Err(Failure::NotFound(text));
        }
        None => reserved,
    };
    let body = json!({"resources": messages(&to_wire(&resources, Form::Stack, None))});
    operate(&agent, "UNRESERVE_RESOURCES", body, cluster).await?;
    let plain = resources.with_kinds(|kind| kind.reservations.clear());
    say(&agent, &format!("not reserved for role {role} any more"), &plain, cluster);
    Ok(())
}

/// Lists what is reserved, on one agent or all.
pub(crate) async fn list(name: Option<&str>, cluster: &Cluster) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for agent in agents(name, cluster).await? {
        let mut by_stack: BTreeMap<(String, Option<String>, bool), Resources> = BTreeMap::new();
        for (key, value) in reserved_on(&agent)?.iter() {
            let Some(top) = key.kind.reservations.last() else { continue };
            let principal = top.principal.as_deref().map(str::to_owned);
            let of = by_stack.entry((top.role.to_string(), principal, top.is_dynamic)).or_default();
            of.insert(plain(key), value.clone());
        }
        let id = text_of_id(&agent);
        rows.extend(by_stack.into_iter().map(|(stack, resources)| (id.clone(), stack, resources)));
    }
    if cluster.json {
        let row = |(agent, (role, principal, is_dynamic), resources): &(String, _, Resources)| {
            let (role, principal): (&String, &Option<String>) = (role, principal);
            json!({
                "agent": agent, "role": role, "principal": principal, "dynamic": is_dynamic,
                "resources": resources.to_string(),
            })
        };
        print_json(&rows.iter().map(row).collect());
        return Ok(());
    }
    let mut table = table(["AGENT", "ROLE", "BY", "RESOURCES"]);
    for (agent, (role, principal, is_dynamic), resources) in rows {
        let by = match (is_dynamic, principal) {
            (true, principal) => principal.unwrap_or_else(|| "-".to_owned()),
            (false, _) => "flags of the agent".to_owned(),
        };
        table.add_row([agent, role, by, resources.to_string()]);
    }
    print(&table);
    Ok(())
}

/// The agent of that name, or all.
pub(super) async fn agents(name: Option<&str>, cluster: &Cluster) -> Result<Vec<Value>, Failure> {
    match name {
        Some(name) => Ok(vec![find(name, cluster).await?]),
        None => Ok(items(&cluster.master("/slaves").await?, "/slaves").to_vec()),
    }
}

/// All that is reserved on an agent, as `/slaves` shows it.
pub(super) fn reserved_on(agent: &Value) -> Result<Resources, Failure> {
    let by_role = agent["reserved_resources_full"].as_object().into_iter().flatten();
    resources_of(by_role.flat_map(|(_, all)| items(all, "")))
}

/// Resources as JSON endpoints write them.
pub(super) fn resources_of<'a>(all: impl Iterator<Item = &'a Value>) -> Result<Resources, Failure> {
    let unreadable = |cause: String| Failure::Answer { url: "/slaves".to_owned(), cause };
    let one = |value: &Value| {
        let read = proto::json::from_slice::<Resource>(value.to_string().as_bytes());
        read.map_err(|error| unreadable(error.to_string()))
    };
    let all: Vec<Resource> = all.map(one).collect::<Result<_, _>>()?;
    from_wire(&all).map_err(|error| unreadable(error.to_string()))
}

/// As much as is wanted, taken of what is reserved; or the name of what there is too little of.
pub(super) fn part_of(reserved: &Resources, wanted: &Resources) -> Result<Resources, String> {
    let mut left = reserved.clone();
    let mut taken = Resources::none();
    for (key, value) in wanted.iter() {
        let of_key = |reserved: &Key| {
            let part = Resources::from_iter([(reserved.clone(), value.clone())]);
            (reserved.name == key.name && left.contains(&part)).then_some(part)
        };
        let part = left.iter().find_map(|(reserved, _)| of_key(reserved));
        let part = part.ok_or_else(|| key.name.to_string())?;
        left.subtract(&part);
        taken.add(&part);
    }
    Ok(taken)
}

/// Has the master carry out an operation on an agent, and explains a refusal that needs it.
pub(super) async fn operate(
    agent: &Value,
    kind: &str,
    mut body: Value,
    cluster: &Cluster,
) -> Result<(), Failure> {
    body["agent_id"] = json!({"value": text_of_id(agent)});
    let call = json!({"type": kind, kind.to_lowercase(): body});
    match cluster.operate(&call).await {
        Ok(_) => Ok(()),
        Err(Failure::Conflict(why)) => Err(Failure::Conflict(format!(
            "{why}\nOnly what no task uses and nobody has reserved can be taken. 'agora node list' \
             shows what agents have and use, 'agora node reservations' what is reserved."
        ))),
        Err(other) => Err(other),
    }
}

/// Resources as the operator API takes them.
pub(super) fn messages(all: &[Resource]) -> Value {
    all.iter().map(proto::json::to_value).collect()
}

pub(super) fn text_of_id(agent: &Value) -> String {
    text(agent, "/id")
}

pub(super) fn role(name: &str) -> Result<Role, Failure> {
    let role = Role::new(name).map_err(|bad| Failure::Local(format!("--role: {bad}")))?;
    if role.is_any() {
        return Err(Failure::Local("--role: '*' means everybody; name one role".to_owned()));
    }
    Ok(role)
}

/// `resources`, or a word where there are none.
pub(super) fn or_nothing(resources: &Resources) -> String {
    if resources.is_empty() { "nothing".to_owned() } else { resources.to_string() }
}

fn parse(text: &str) -> Result<Resources, Failure> {
    let all = Resources::parse(text, &Role::any());
    let all = all.map_err(|bad| Failure::Local(format!("'{text}': {bad}")))?;
    if all.is_empty() {
        return Err(Failure::Local("no resources are named; write them like cpus:2".to_owned()));
    }
    if all.iter().any(|(key, _)| key.kind.reserved_for().is_some()) {
        let text = format!("'{text}': the role is given by --role, not in brackets");
        return Err(Failure::Local(text));
    }
    Ok(all)
}

/// The same resource for everybody.
fn plain(key: &Key) -> Key {
    let kind = Kind { reservations: Vec::new(), ..(*key.kind).clone() };
    Key { name: key.name.clone(), kind: kind.into() }
}

fn say(agent: &Value, done: &str, resources: &Resources, cluster: &Cluster) {
    let id = text_of_id(agent);
    if cluster.json {
        print_json(&json!({"agent": id, "done": done, "resources": resources.to_string()}));
    } else {
        say!("{resources} on {id} {done}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_a_part_of_what_is_reserved() {
        let agent = json!({"reserved_resources_full": {"db": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "role": "db",
             "reservation": {"principal": "ops"}},
            {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 5, "end": 9}]},
             "role": "db", "reservation": {}},
        ]}});
        let reserved = reserved_on(&agent).expect("resources");
        let part = |text: &str| part_of(&reserved, &parse(text).expect("resources"));
        let taken = part("cpus:1.5;ports:[6-7]").expect("there is enough");
        assert_eq!(taken.to_string(), "cpus(db):1.5; ports(db):[6-7]");
        assert_eq!(part("cpus:2.5"), Err("cpus".to_owned()));
        assert_eq!(part("cpus:1;ports:[9-10]"), Err("ports".to_owned()));
        assert_eq!(part("mem:1"), Err("mem".to_owned()));
    }

    #[test]
    fn resources_are_named_without_roles() {
        assert!(parse("cpus:2;mem:64").is_ok());
        for (text, why) in [
            ("", "no resources are named"),
            ("cpus(db):1", "given by --role"),
            ("cpus", "expected name:value"),
        ] {
            let bad = parse(text).expect_err("no resources").to_string();
            assert!(bad.contains(why), "{text}: {bad}");
        }
        assert!(role("*").is_err() && role("a/../b").is_err() && role("a/b").is_ok());
    }
}
