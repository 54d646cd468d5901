//! Resources as the read endpoints show them: one object with a number or a text for each name.

use std::collections::BTreeMap;

use proto::mesos::v1;
use serde_json::{Map, Value, json};

/// Scalars that are there even when there is nothing of them.
const ALWAYS: [&str; 4] = ["cpus", "gpus", "mem", "disk"];

/// All of `resources` in one object. What may be taken back has names of its own.
pub(crate) fn summary<'a>(resources: impl IntoIterator<Item = &'a v1::Resource>) -> Value {
    let mut scalars: BTreeMap<String, f64> =
        ALWAYS.into_iter().map(|name| (name.to_owned(), 0.0)).collect();
    let mut ranges: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources {
        let suffix = if resource.revocable.is_some() { "_revocable" } else { "" };
        let name = format!("{}{suffix}", resource.name);
        if let Some(scalar) = &resource.scalar {
            *scalars.entry(name).or_default() += scalar.value;
        } else if let Some(more) = &resource.ranges {
            let more = more.range.iter().map(|range| (range.begin, range.end));
            ranges.entry(name).or_default().extend(more);
        } else if let Some(more) = &resource.set {
            sets.entry(name).or_default().extend(more.item.iter().cloned());
        }
    }
    let mut object = Map::new();
    for (name, value) in scalars {
        // Amounts have three decimals; their sums must not show more.
        object.insert(name, json!((value * 1_000.0).round() / 1_000.0));
    }
    for (name, ranges) in ranges {
        let merged: model::amount::Ranges = ranges.into_iter().collect();
        object.insert(name, Value::String(merged.to_string()));
    }
    for (name, mut items) in sets {
        items.sort_unstable();
        items.dedup();
        object.insert(name, Value::String(format!("{{{}}}", items.join(", "))));
    }
    Value::Object(object)
}

/// The role a resource is reserved for, if it is. Both ways to write a reservation are read.
pub(crate) fn reserved_for(resource: &v1::Resource) -> Option<&str> {
    match resource.reservations.last() {
        Some(reservation) => reservation.role.as_deref(),
        None => resource.role.as_deref().filter(|role| *role != "*"),
    }
}

/// What is reserved, by role.
pub(crate) fn reserved(resources: &[v1::Resource]) -> BTreeMap<&str, Vec<&v1::Resource>> {
    let mut by_role: BTreeMap<&str, Vec<&v1::Resource>> = BTreeMap::new();
    for resource in resources {
        if let Some(role) = reserved_for(resource) {
            by_role.entry(role).or_default().push(resource);
        }
    }
    by_role
}

/// What is reserved, by role, each as a summary.
pub(crate) fn reserved_summary(resources: &[v1::Resource]) -> Value {
    let by_role = reserved(resources).into_iter();
    Value::Object(by_role.map(|(role, all)| (role.to_owned(), summary(all))).collect())
}

/// What is nobody's in particular.
pub(crate) fn unreserved(resources: &[v1::Resource]) -> impl Iterator<Item = &v1::Resource> {
    resources.iter().filter(|resource| reserved_for(resource).is_none())
}

#[cfg(test)]
mod tests {
    use proto::mesos::v1::value;

    use super::*;

    fn scalar(name: &str, amount: f64) -> v1::Resource {
        v1::Resource {
            name: name.to_owned(),
            scalar: Some(value::Scalar { value: amount }),
            ..Default::default()
        }
    }

    #[test]
    fn resources_add_up_under_their_names() {
        let mut ports = v1::Resource { name: "ports".to_owned(), ..Default::default() };
        ports.ranges = Some(value::Ranges {
            range: vec![
                value::Range { begin: 31_005, end: 31_010 },
                value::Range { begin: 31_000, end: 31_004 },
            ],
        });
        let mut spare = scalar("cpus", 1.0);
        spare.revocable = Some(v1::resource::RevocableInfo {});
        let mut kept = scalar("mem", 64.0);
        kept.role = Some("web".to_owned());
        let all = [scalar("cpus", 0.1), scalar("cpus", 0.2), ports, spare, kept];
        assert_eq!(
            summary(&all),
            json!({
                "cpus": 0.3, "cpus_revocable": 1.0, "gpus": 0.0, "mem": 64.0, "disk": 0.0,
                "ports": "[31000-31010]",
            })
        );
        assert_eq!(reserved_summary(&all)["web"]["mem"], json!(64.0));
        assert_eq!(summary(unreserved(&all))["mem"], json!(0.0));
    }
}
