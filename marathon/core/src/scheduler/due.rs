//! What falls due.

use super::{Due, Marathon, advance, agents, lead, maintenance, readiness, residence, updates};
use model::step::Now;

/// Does everything that is due.
pub(super) fn due(marathon: &mut Marathon, now: Now) {
    while let Some((at, due)) = marathon.books.timers.first().cloned() {
        if at > now.time {
            return;
        }
        marathon.books.timers.pop_first();
        match due {
            Due::Launch(instance) => {
                let app = marathon.books.owners.get(&instance).cloned();
                marathon.books.queue_shown.extend(app);
                marathon.books.asking.is_revive_wanted = true;
            }
            Due::Start(instance, incarnation) => marathon.start_due(&instance, incarnation, now),
            Due::Kill(instance, incarnation) => marathon.kill_due(&instance, incarnation, now),
            Due::Unreachable(instance) => updates::unreachable_due(marathon, &instance, now),
            Due::Progress(id) => advance::progress_due(marathon, &id, now),
            Due::Probe(instance, incarnation) => {
                readiness::due(marathon, &instance, incarnation, now);
            }
            Due::Look(app) => {
                marathon.books.looked_at_later.remove(&app);
                marathon.books.touched.insert(app);
            }
            Due::Reconcile if marathon.books.is_connected => lead::reconcile(marathon, now),
            Due::Tokens => marathon.books.asking.is_revive_wanted = true,
            Due::Check => {
                let apps: Vec<_> = marathon.books.tree.apps.keys().cloned().collect();
                marathon.books.touched.extend(apps);
                marathon.wake_at(now.time + marathon.config.scale_interval, Due::Check);
            }
            Due::Reservation(id) => residence::waited(marathon, &id, now),
            Due::Away(agent) => maintenance::leave(marathon, &agent, now),
            // The next subscription reconciles anyway. What is to be revived or asked shows on settling.
            Due::Collect => residence::collected(marathon, now),
            Due::Agents => agents::due(marathon, now),
            Due::Reconcile | Due::Revive => {}
        }
    }
}
