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
    reserved: Vec<&'a v1::Resource>,
}

pub(super) fn roles_object(seen: &Seen<'_>) -> Value {
    let Seen { api, viewer, state } = *seen;
    let (parts, weights) = (role_parts(api, viewer, state), weights(api, viewer));
    let set = api.view.rules();
    let consumed: BTreeMap<String, Value> =
        parts.keys().map(|name| (name.clone(), consumed(&parts, name))).collect();
    let roles = parts.into_iter().map(|(name, of)| {
        let quota = set.quotas.iter().find(|(role, _)| role.as_str() == name);
        let amounts = |amounts: Option<&BTreeMap<Arc<str>, Milli>>| -> Value {
            let one = |(name, amount): (&Arc<str>, &Milli)| (name.to_string(), amount.as_f64());
            json!(amounts.into_iter().flatten().map(one).collect::<BTreeMap<_, _>>())
        };
        let both = of.allocated.iter().chain(&of.offered).copied();
        json!({
            "name": name,
            "weight": weights.get(&name).copied().unwrap_or(1.0),
            "quota": {
                "role": name,
                "guarantee": amounts(quota.map(|(_, quota)| &quota.guarantees)),
                "limit": amounts(quota.map(|(_, quota)| &quota.limits)),
                "consumed": consumed[&name],
            },
            "resources": summary(both),
            "allocated": summary(of.allocated.iter().copied()),
            "offered": summary(of.offered.iter().copied()),
            "reserved": summary(of.reserved.iter().copied()),
            "frameworks": of.frameworks,
        })
    });
    json!({"roles": roles.collect::<Value>()})
}

/// What counts against a role's quota: all that is reserved for it and the roles below it, and what
/// else they are given or offered.
fn consumed(parts: &BTreeMap<String, RoleParts<'_>>, role: &str) -> Value {
    let is_below = |name: &str| name.strip_prefix(role).is_some_and(|rest| rest.starts_with('/'));
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, of) in parts.iter().filter(|(name, _)| *name == role || is_below(name)) {
        let unreserved = of.allocated.iter().chain(&of.offered);
        let unreserved = unreserved.filter(|one| reserved_for(one).is_none());
        for resource in of.reserved.iter().chain(unreserved) {
            if resource.revocable.is_none()
                && let Some(amount) = resource.scalar
            {
                *sums.entry(&resource.name).or_default() += amount.value;
            }
        }
    }
    json!(sums)
}

/// The weights that are set.
fn weights(api: &Api, viewer: &Viewer) -> BTreeMap<String, f64> {
    let all = operator::weights(api, viewer).into_iter();
    all.filter_map(|info| Some((info.role?, info.weight))).collect()
}

/// The known roles: subscribed, allocated, reserved or weighted ones, and their ancestors; or those
/// of the whitelist, where there is one.
fn role_parts<'a>(api: &Api, viewer: &Viewer, state: &'a State) -> BTreeMap<String, RoleParts<'a>> {
    let mut parts: BTreeMap<String, RoleParts<'a>> = BTreeMap::new();
    let role_of = |resource: &v1::Resource| {
        let allocated = resource.allocation_info.as_ref().and_then(|info| info.role.clone());
        allocated.unwrap_or_else(|| "*".to_owned())
    };
    for framework in &state.frameworks {
        let info = &framework.framework_info;
        let id = info.id.as_ref().map_or("", |id| id.value.as_str());
        for role in roles_of(info) {
            parts.entry(role.to_owned()).or_default().frameworks.insert(id);
        }
        for resource in &framework.allocated_resources {
            parts.entry(role_of(resource)).or_default().allocated.push(resource);
        }
        for resource in &framework.offered_resources {
            parts.entry(role_of(resource)).or_default().offered.push(resource);
        }
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
    parts.retain(|role, _| viewer.sees_role(role));
    parts
}

/// The roles the operator API lists: the same ones.
pub(in super::super) fn role_messages(api: &Api, viewer: &Viewer, state: &State) -> Vec<v1::Role> {
    let (parts, weights) = (role_parts(api, viewer, state), weights(api, viewer));
    let role = |(name, of): (String, RoleParts<'_>)| v1::Role {
        weight: weights.get(&name).copied().unwrap_or(1.0),
        name,
        frameworks: of
            .frameworks
            .iter()
            .map(|id| v1::FrameworkId { value: (*id).to_owned() })
            .collect(),
        resources: of.allocated.iter().chain(&of.offered).map(|&one| one.clone()).collect(),
    };
    parts.into_iter().map(role).collect()
}
