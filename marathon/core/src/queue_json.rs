//! The JSON of `/v2/queue`.

use crate::app::render;
use crate::clock;
use crate::io::OfferView;
use crate::launch_queue::{Entry, Unused};
use crate::matcher::Reason;
use model::amount::Ranges;
use model::resources::{AttributeValue, Key, Value as Amount};
use model::step::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What waits of one app, with the delay as of `now`.
pub(crate) fn entry(entry: &Entry, now: Timestamp, with_last_unused_offers: bool) -> Value {
    let offers = &entry.offers;
    let left = entry.due_at.map_or(0, |due_at| due_at.since(now).as_millis().div_ceil(1_000));
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    let mut last: BTreeMap<Reason, u32> = BTreeMap::new();
    for unused in offers.last_unused.values() {
        *last.entry(unused.why.reason()).or_default() += 1;
    }
    let last_total = u32::try_from(offers.last_unused.len()).unwrap_or(u32::MAX);
    let mut summary = json!({
        "processedOffersCount": offers.processed,
        "unusedOffersCount": offers.unused,
        "rejectSummaryLastOffers": funnel(&last, last_total),
        "rejectSummaryLaunchAttempt": funnel(&offers.reasons, offers.processed),
    });
    if let Some(at) = offers.last_unused_at {
        summary["lastUnusedOfferAt"] = clock::format(at).into();
    }
    if let Some(at) = offers.last_used_at {
        summary["lastUsedOfferAt"] = clock::format(at).into();
    }
    let mut out = json!({
        "count": entry.count,
        "delay": {"timeLeftSeconds": left, "overdue": left == 0},
        "since": clock::format(entry.since),
        "processedOffersSummary": summary,
    });
    // Clients that read strictly do not know this one, so it is told where it says something.
    if let Some(role) = &entry.app.role {
        out["role"] = role.as_str().into();
    }
    let kind = if entry.app.is_pod() { "pod" } else { "app" };
    out[kind] = render::app(&entry.app);
    if with_last_unused_offers {
        out["lastUnusedOffers"] = offers.last_unused.values().map(|it| unused(it)).collect();
    }
    out
}

/// Each test in order: how many offers reached it, and how many it turned away.
fn funnel(declined: &BTreeMap<Reason, u32>, total: u32) -> Value {
    let mut left = total;
    let mut steps = Vec::new();
    for reason in Reason::ALL {
        let declined = declined.get(&reason).copied().unwrap_or(0);
        steps.push(json!({"reason": reason.name(), "declined": declined, "processed": left}));
        left = left.saturating_sub(declined);
    }
    steps.into()
}

fn unused(unused: &Unused) -> Value {
    json!({
        "offer": offer(&unused.offer),
        "reason": [unused.why.reason().name()],
        "timestamp": clock::format(unused.at),
    })
}

fn offer(view: &OfferView) -> Value {
    let offer = &view.offer;
    let resources: Vec<_> =
        offer.resources.iter().map(|(key, value)| resource(key, value)).collect();
    let attributes: Vec<_> = view
        .attributes
        .0
        .iter()
        .map(|(name, value)| match value {
            AttributeValue::Scalar(amount) => {
                json!({"name": **name, "scalar": render::amount(*amount)})
            }
            AttributeValue::Ranges(all) => json!({"name": **name, "ranges": ranges(all)}),
            AttributeValue::Text(text) => json!({"name": **name, "text": **text}),
        })
        .collect();
    json!({
        "id": offer.id.as_str(),
        "hostname": *offer.hostname,
        "agentId": offer.agent.as_str(),
        "resources": resources,
        "attributes": attributes,
    })
}

fn resource(key: &Key, value: &Amount) -> Value {
    let role = key.kind.reserved_for().map_or("*", |role| role.as_str());
    match value {
        Amount::Scalar(amount) => {
            json!({"name": *key.name, "role": role, "scalar": render::amount(*amount)})
        }
        Amount::Ranges(all) => json!({"name": *key.name, "role": role, "ranges": ranges(all)}),
        Amount::Set(items) => {
            let items: Vec<&str> = items.iter().map(|item| &**item).collect();
            json!({"name": *key.name, "role": role, "set": items})
        }
    }
}

fn ranges(ranges: &Ranges) -> Value {
    ranges.iter().map(|(begin, end)| json!({"begin": begin, "end": end})).collect()
}
