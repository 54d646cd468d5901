//! What the allocator says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use master_core::figures::{OfAllocator, OfQuota};
use model::amount::Milli;
use transport::metrics::{Samples, double};

/// Kinds of resources that are told of also where there are none.
const KINDS: [&str; 4] = ["cpus", "disk", "gpus", "mem"];

pub(super) fn tell(figures: &OfAllocator, all: &mut Samples) {
    let others = figures.resources.keys().map(|name| &**name);
    let others = others.filter(|name| !KINDS.contains(name));
    for name in KINDS.into_iter().chain(others) {
        let of = figures.resources.get(name).copied().unwrap_or_default();
        let given = "allocator/mesos/resources/<resource>/offered_or_allocated";
        all.gauge_of(given, &[name], of.given.as_f64());
        all.gauge_of("allocator/mesos/resources/<resource>/total", &[name], of.total.as_f64());
    }
    for of in &figures.roles {
        let role = &[of.role.as_str()];
        all.gauge_of("allocator/mesos/roles/<role>/shares/dominant", role, of.dominant_share);
        let filters = double(of.filters);
        all.gauge_of("allocator/mesos/offer_filters/roles/<role>/active", role, filters);
    }
    figures.quotas.iter().for_each(|quota| tell_quota(quota, all));
}

/// Of each kind that a quota is about or of which its role has something. There is no number for a limit
/// that there is not.
fn tell_quota(quota: &OfQuota, all: &mut Samples) {
    let amounts = [&quota.guarantees, &quota.limits, &quota.given, &quota.consumed];
    let kinds: BTreeSet<&Arc<str>> = amounts.into_iter().flat_map(BTreeMap::keys).collect();
    for kind in kinds {
        let of =
            |amounts: &BTreeMap<Arc<str>, Milli>| amounts.get(kind).copied().map(Milli::as_f64);
        let mut tell = |name, amount| all.gauge_of(name, &[quota.role.as_str(), kind], amount);
        let of_all = |amounts| of(amounts).unwrap_or_default();
        let guarantee = "allocator/mesos/quota/roles/<role>/resources/<resource>/guarantee";
        tell(guarantee, of_all(&quota.guarantees));
        let given = "allocator/mesos/quota/roles/<role>/resources/<resource>/offered_or_allocated";
        tell(given, of_all(&quota.given));
        let consumed = "allocator/mesos/quota/roles/<role>/resources/<resource>/consumed";
        tell(consumed, of_all(&quota.consumed));
        if let Some(limit) = of(&quota.limits) {
            tell("allocator/mesos/quota/roles/<role>/resources/<resource>/limit", limit);
        }
    }
}
