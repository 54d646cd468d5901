//! Agents that are to be away: whoever is there leaves before, and nobody goes there.
//!
//! An inverse offer is accepted at once and kept to when its time has come: shortly before the agent is to be
//! away every instance on it gets another one elsewhere, and goes when that serves. None of it counts as failure.

use super::{Due, Marathon};
use crate::fleet::is_one_per_agent;
use crate::ids::{AppId, InstanceId};
use crate::instance::{Condition, Goal, Instance};
use crate::io::{OfferView, Output};
use model::ids::{AgentId, OfferId};
use model::offer::InverseOffer;
use model::rules::Unavailability;
use model::step::{Now, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long before an agent is to be away it is left: time to start elsewhere and to be found healthy, and
/// not so long that agents stand empty for the sake of a plan for next week.
const LEAD: Duration = Duration::from_secs(600);

/// When an agent is to be away.
#[derive(Debug)]
pub(super) struct Away {
    offer: OfferId,
    when: Unavailability,
}

/// We are asked to leave agents: yes.
pub(super) fn asked(marathon: &mut Marathon, offers: Vec<InverseOffer>, now: Now) {
    if !marathon.is_leading || offers.is_empty() {
        return;
    }
    let mut accepted = Vec::new();
    for InverseOffer { id, agent, unavailability, .. } in offers {
        let leave_at = from(unavailability);
        marathon.books.away.insert(agent.clone(), Away { offer: id.clone(), when: unavailability });
        accepted.push(id);
        marathon.wake_at(now.time + leave_at.since(now.wall), Due::Away(agent));
    }
    marathon.outbox.push(Output::AcceptInverse { offers: accepted });
}

/// The plan has changed.
pub(super) fn rescinded(marathon: &mut Marathon, offer: &OfferId) {
    marathon.books.away.retain(|_, away| away.offer != *offer);
}

/// The time has come to leave `agent`.
pub(super) fn leave(marathon: &mut Marathon, agent: &AgentId, now: Now) {
    if !marathon.books.away.get(agent).is_some_and(|away| is_near(away.when, now.wall)) {
        return;
    }
    for instance in marathon.all_instances(|it| is_there(it, agent)) {
        marathon.books.touched.insert(instance.app.id.clone());
        // There is never a second one to wait for.
        if instance.app.is_single_instance() && is_up(&instance) {
            marathon.kill(&instance, instance.goal, now);
        }
    }
}

/// Who of `app` is to leave its agent.
pub(super) fn leaving(marathon: &Marathon, app: &AppId, now: Now) -> BTreeSet<InstanceId> {
    let away = &marathon.books.away;
    let may_leave = |it: &&Arc<Instance>| {
        let app = &it.app;
        let may_move = !app.is_single_instance() && !is_one_per_agent(app) && !app.is_resident();
        may_move && is_up(it)
    };
    let near = away.iter().filter(|(_, away)| is_near(away.when, now.wall));
    let there = near.flat_map(|(agent, _)| marathon.instances_of(app).on(agent));
    there.filter(may_leave).map(|it| it.id.clone()).collect()
}

/// Whether nothing is to go to the agent of `offer`.
pub(super) fn refuses(marathon: &mut Marathon, offer: &OfferView, now: Now) -> bool {
    let agent = &offer.offer.agent;
    if let Some(when) = offer.offer.unavailability {
        return is_near(when, now.wall);
    }
    // It is back, or never went.
    marathon.books.away.remove(agent);
    false
}

fn is_up(instance: &Instance) -> bool {
    instance.goal == Goal::Running && instance.condition == Condition::Running
}

fn is_there(instance: &Instance, agent: &AgentId) -> bool {
    instance.task.as_ref().is_some_and(|task| task.place.agent == *agent)
}

/// From when on the agent is left.
fn from(when: Unavailability) -> Timestamp {
    let start = u64::try_from(when.start_ns / 1_000).unwrap_or(0);
    let lead = u64::try_from(LEAD.as_micros()).unwrap_or(u64::MAX);
    Timestamp(start.saturating_sub(lead))
}

/// Whether the agent is about to be away, or is.
fn is_near(when: Unavailability, at: Timestamp) -> bool {
    let end = when.duration_ns.map(|duration| when.start_ns.saturating_add(duration));
    let end = end.map(|end| Timestamp(u64::try_from(end / 1_000).unwrap_or(0)));
    from(when) <= at && end.is_none_or(|end| at < end)
}
