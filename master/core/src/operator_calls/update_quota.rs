//! UPDATE_QUOTA: roles get other guarantees and limits. And the two old calls, SET_QUOTA and
//! REMOVE_QUOTA, which give a role its first quota or take it away.

use super::check_allowed;
use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::amount::Milli;
use model::ids::RequestId;
use model::registry::Record;
use model::role::Role;
use model::rules::Quota;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Has the quotas agreed on, if they can be kept or `force` says that this does not matter.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    quotas: Vec<(Role, Quota)>,
    force: bool,
    turn: &mut Turn<'_>,
) {
    match check(books, &quotas, force) {
        Ok(()) => books.propose_for(request, Record::SetQuotas(quotas), turn),
        Err(why) => {
            let why = format!("Invalid QuotaConfig: {why}");
            turn.answer(request, Err(Refusal::Invalid(why)));
        }
    }
}

/// Has a role's first quota agreed on: SET_QUOTA.
pub(crate) fn set(
    books: &mut Books,
    request: RequestId,
    role: Role,
    quota: Quota,
    force: bool,
    turn: &mut Turn<'_>,
) {
    if has_quota(books, &role) {
        let why = format!("Role '{role}' has quota already; change it with UPDATE_QUOTA");
        turn.answer(request, Err(Refusal::Invalid(why)));
        return;
    }
    let quotas = vec![(role, quota)];
    if let Err(why) = check(books, &quotas, true) {
        turn.answer(request, Err(Refusal::Invalid(format!("Invalid QuotaConfig: {why}"))));
        return;
    }
    // What cannot be kept is a conflict here, and merely invalid in the call that came after.
    if !force && let Err(why) = check_guarantees(books, &quotas) {
        turn.answer(request, Err(Refusal::Conflict(why)));
        return;
    }
    apply(books, request, quotas, force, turn);
}

/// Has a role's quota taken away: REMOVE_QUOTA.
pub(crate) fn remove(books: &mut Books, request: RequestId, role: Role, turn: &mut Turn<'_>) {
    if !has_quota(books, &role) {
        let why = format!("Role '{role}' has no quota");
        turn.answer(request, Err(Refusal::Invalid(why)));
        return;
    }
    books.propose_for(request, Record::SetQuotas(vec![(role, Quota::default())]), turn);
}

/// Whether a role has a quota that says anything.
fn has_quota(books: &Books, role: &Role) -> bool {
    books.rules.quotas.get(role).is_some_and(|quota| !quota.is_empty())
}

fn check(books: &Books, quotas: &[(Role, Quota)], force: bool) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (role, quota) in quotas {
        if !seen.insert(role) {
            return Err(format!("Role '{role}' is there twice"));
        }
        check_allowed(books, role)?;
        if role.components().nth(1).is_some() {
            return Err(format!("Setting quota on nested role '{role}' is not supported"));
        }
        if role.is_any() {
            return Err("Setting quota on the default '*' role is not supported".to_owned());
        }
        for (name, guarantee) in &quota.guarantees {
            if quota.limits.get(name).is_some_and(|limit| limit < guarantee) {
                return Err(format!("'{name}' of role '{role}': the guarantee is above the limit"));
            }
        }
        if !force {
            check_limits(books, role, quota)?;
        }
    }
    if force { Ok(()) } else { check_guarantees(books, quotas) }
}

/// A limit below what the role has could only be kept by ending tasks, which nobody asked for.
fn check_limits(books: &Books, role: &Role, quota: &Quota) -> Result<(), String> {
    let consumed = books.allocator.consumed(role);
    for (name, limit) in &quota.limits {
        let has = consumed.get(name).copied().unwrap_or_default();
        if has > *limit {
            return Err(format!(
                "Role '{role}' consumes {name}:{has} already, more than the limit {name}:{limit}; \
                 use 'force' to set it all the same"
            ));
        }
    }
    Ok(())
}

/// The guarantees together must fit in the cluster.
fn check_guarantees(books: &Books, quotas: &[(Role, Quota)]) -> Result<(), String> {
    let changed = |role: &Role| quotas.iter().any(|(of, _)| of == role);
    let kept = books.rules.quotas.iter().filter(|(role, _)| !changed(role));
    let all = kept.map(|(_, quota)| quota).chain(quotas.iter().map(|(_, quota)| quota));
    let mut sum: BTreeMap<Arc<str>, Milli> = BTreeMap::new();
    for (name, amount) in all.flat_map(|quota| &quota.guarantees) {
        *sum.entry(name.clone()).or_default() += *amount;
    }
    for (name, guaranteed) in sum {
        let total = books.total(&name);
        if guaranteed > total {
            return Err(format!(
                "All guarantees together are {name}:{guaranteed}, but the cluster has \
                 {name}:{total}; use 'force' to set them all the same"
            ));
        }
    }
    Ok(())
}
