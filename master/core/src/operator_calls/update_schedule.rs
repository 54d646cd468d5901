//! UPDATE_MAINTENANCE_SCHEDULE: all planned maintenance, in place of what was planned before.

use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::ids::RequestId;
use model::registry::Record;
use model::rules::{Standing, Window};
use std::collections::BTreeSet;

/// Has the plan agreed on.
pub(crate) fn apply(
    books: &mut Books,
    request: RequestId,
    windows: Vec<Window>,
    turn: &mut Turn<'_>,
) {
    match check(books, &windows) {
        Ok(()) => books.propose_for(request, Record::SetSchedule(windows), turn),
        Err(why) => turn.answer(request, Err(Refusal::Invalid(why))),
    }
}

fn check(books: &Books, windows: &[Window]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for window in windows {
        if window.machines.is_empty() {
            return Err("List of machines in the maintenance window is empty".to_owned());
        }
        if window.unavailability.duration_ns.is_some_and(|duration| duration < 0) {
            return Err("Unavailability 'duration' is negative".to_owned());
        }
        for machine in &window.machines {
            if !seen.insert(machine) {
                return Err(format!("Machine '{machine}' appears more than once in the schedule"));
            }
            let drained = books.agents.values().find(|agent| {
                let (hostname, ip) = agent.host();
                let standing = books.rules.standing(&agent.id);
                machine.is(hostname, ip)
                    && matches!(standing, Standing::Draining { .. } | Standing::Drained { .. })
            });
            if let Some(agent) = drained {
                return Err(format!(
                    "Machine '{machine}' has agent {}, which is being drained; reactivate it first",
                    agent.id
                ));
            }
        }
    }
    match books.rules.machines_down.iter().find(|machine| !seen.contains(machine)) {
        Some(machine) => Err(format!(
            "Machine '{machine}' is deactivated and cannot be removed from the schedule"
        )),
        None => Ok(()),
    }
}
