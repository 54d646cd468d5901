//! UPDATE_MAINTENANCE_SCHEDULE: all planned maintenance, in place of what was planned before.

use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::ids::{AgentId, RequestId};
use model::link::ip_of;
use model::registry::Record;
use model::rules::{Machine, Standing, Window};
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

/// An agent on a machine that is being drained or is, be it in contact or not.
fn drained_on<'a>(books: &'a Books, machine: &Machine) -> Option<&'a AgentId> {
    let is_drained = |standing: &Standing| {
        matches!(standing, Standing::Draining { .. } | Standing::Drained { .. })
    };
    let drained = books.rules.standings.iter().filter(|(_, standing)| is_drained(standing));
    let is_there = |id: &&AgentId| {
        let description = books.members.description_of(id);
        description.is_some_and(|it| machine.is(&it.hostname, ip_of(&it.address)))
    };
    drained.map(|(id, _)| id).find(is_there)
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
            if let Some(agent) = drained_on(books, machine) {
                return Err(format!(
                    "Machine '{machine}' has agent {agent}, which is being drained; reactivate it \
                     first"
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
