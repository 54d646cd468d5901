//! The known roles, as `/roles` and GET_ROLES list them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::amount::Milli;
use model::role::Role;
use proto::mesos::v1;
use serde_json::{Value, json};

use super::super::viewer::Viewer;
use super::super::{Api, operator, roles_of};
use super::Seen;
use super::resources::{reserved_for, summary};
use crate::view::State;

/// What is known of one role.
#[derive(Default)]
struct RoleParts<'a> {
    frameworks: BTreeSet<&'a str>,
    allocated: Vec<&'a v1::Resource>,
    offered: Vec<&'a v1::Resource>,
    /// Both together.
    given: Vec<&'a v1::Resource>,
    reserved: Vec<&'a v1::Resource>,
}

pub(super) fn roles_object(seen: &Seen<'_>) -> Value {
    let Seen { api, viewer, state: _, all } = *seen;
    let (parts, weights) = (role_parts(api, viewer, all), weights(api, viewer));
    let set = api.view.rules();
    let seen = parts.iter().filter(|(name, _)| viewer.sees_role(name));
    let roles = seen.map(|(name, own)| {
        let of = with_below(&parts, name);
        let quota = set.quotas.iter().find(|(role, _)| role.as_str() == name.as_str());
        let promised = |amounts: Option<&BTreeMap<Arc<str>, Milli>>| -> Value {
            let one = |(name, amount): (&Arc<str>, &Milli)| (name.to_string(), amount.as_f64());
            json!(amounts.into_iter().flatten().map(one).collect::<BTreeMap<_, _>>())
        };
        json!({
            "name": name,
            "weight": weights.get(name).copied().unwrap_or(1.0),
            "quota": {
                "role": name,
                "guarantee": promised(quota.map(|(_, quota)| &quota.guarantees)),
                "limit": promised(quota.map(|(_, quota)| &quota.limits)),
                "consumed": consumed(&of),
            },
            "resources": summary(of.given.iter().copied()),
            "allocated": summary(of.allocated.iter().copied()),
            "offered": summary(of.offered.iter().copied()),
            "reserved": summary(of.reserved.iter().copied()),
            "frameworks": own.frameworks,
        })
    });
    json!({"roles": roles.collect::<Value>()})
}

/// What a role has with all roles below it: what is given to these, or kept for them, is of its share.
fn with_below<'a>(parts: &BTreeMap<String, RoleParts<'a>>, role: &str) -> RoleParts<'a> {
    let prefix = format!("{role}/");
    let below = parts.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
    let mut sum = RoleParts::default();
    for of in parts.get(role).into_iter().chain(below.map(|(_, of)| of)) {
        sum.allocated.extend(&of.allocated);
        sum.offered.extend(&of.offered);
        sum.given.extend(&of.given);
        sum.reserved.extend(&of.reserved);
    }
    sum
}

/// What counts against a role's quota: all that is reserved for it and the roles below it, and what
/// else they are given or offered.
fn consumed(of: &RoleParts<'_>) -> Value {
    let unreserved = of.given.iter().filter(|one| reserved_for(one).is_none());
    let firm = of.reserved.iter().chain(unreserved).filter(|one| one.revocable.is_none());
    json!(amounts(firm.copied()))
}

/// The sums of scalars, by name.
fn amounts<'a>(all: impl Iterator<Item = &'a v1::Resource>) -> BTreeMap<&'a str, f64> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for resource in all {
        if let Some(amount) = resource.scalar {
            *sums.entry(&resource.name).or_default() += amount.value;
        }
    }
    // Amounts have three decimals; their sums must not show more.
    for sum in sums.values_mut() {
        *sum = (*sum * 1_000.0).round() / 1_000.0;
    }
    sums
}

/// The weights that are set.
fn weights(api: &Api, viewer: &Viewer) -> BTreeMap<String, f64> {
    let all = operator::weights(api, viewer).into_iter();
    all.filter_map(|info| Some((info.role?, info.weight))).collect()
}

/// The known roles: subscribed, allocated, reserved or weighted ones, and their ancestors; or those
/// of the whitelist, where there is one. Of frameworks only those are named that are seen, and all that
/// is given to any counts.
fn role_parts<'a>(api: &Api, viewer: &Viewer, state: &'a State) -> BTreeMap<String, RoleParts<'a>> {
    let mut parts: BTreeMap<String, RoleParts<'a>> = BTreeMap::new();
    for framework in &state.frameworks {
        let info = &framework.framework_info;
        let id = info.id.as_ref().map_or("", |id| id.value.as_str());
        let is_seen = viewer.sees_framework(info);
        for role in roles_of(info) {
            let of = parts.entry(role.to_owned()).or_default();
            of.frameworks.extend(is_seen.then_some(id));
        }
    }
    for (role, given) in &state.given {
        let of = parts.entry(role.clone()).or_default();
        of.allocated.extend(&given.allocated);
        of.offered.extend(&given.offered);
        of.given.extend(&given.both);
    }
    for agent in &state.agents {
        for resource in &agent.total_resources {
            if let Some(role) = reserved_for(resource) {
                parts.entry(role.to_owned()).or_default().reserved.push(resource);
            }
        }
    }
    let with_quota = api.view.rules().quotas.keys().map(Role::to_string).collect::<Vec<_>>();
    for role in weights(api, viewer).into_keys().chain(with_quota) {
        parts.entry(role).or_default();
    }
    let ancestors: BTreeSet<String> = parts
        .keys()
        .flat_map(|role| role.match_indices('/').map(|(at, _)| role[..at].to_owned()))
        .collect();
    for role in ancestors {
        parts.entry(role).or_default();
    }
    if let Some(whitelist) = &api.facts.roles {
        parts.retain(|role, _| whitelist.contains(role));
        for role in whitelist {
            parts.entry(role.clone()).or_default();
        }
    }
    parts
}

/// The roles the operator API lists: the same ones.
pub(in super::super) fn role_messages(api: &Api, viewer: &Viewer, all: &State) -> Vec<v1::Role> {
    let (parts, weights) = (role_parts(api, viewer, all), weights(api, viewer));
    let seen = parts.iter().filter(|(name, _)| viewer.sees_role(name));
    let role = |(name, own): (&String, &RoleParts<'_>)| {
        let of = with_below(&parts, name);
        v1::Role {
            name: name.clone(),
            weight: weights.get(name).copied().unwrap_or(1.0),
            frameworks: own
                .frameworks
                .iter()
                .map(|id| v1::FrameworkId { value: (*id).to_owned() })
                .collect(),
            resources: amounts(of.given.into_iter()).into_iter().map(scalar).collect(),
        }
    };
    seen.map(role).collect()
}

fn scalar((name, value): (&str, f64)) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        ..v1::Resource::default()
    }
}
