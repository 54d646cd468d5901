//! START_MAINTENANCE and STOP_MAINTENANCE: machines of the plan leave the cluster, and may come back.

use crate::io::Refusal;
use crate::state::{Books, Turn};
use model::ids::RequestId;
use model::registry::Record;
use model::rules::Machine;

/// Has the machines leave, if their maintenance is planned.
pub(crate) fn start(
    books: &mut Books,
    request: RequestId,
    machines: Vec<Machine>,
    turn: &mut Turn<'_>,
) {
    let check = |machine: &Machine| {
        if !books.rules.is_scheduled(machine) {
            return Err(format!("Machine '{machine}' is not part of a maintenance schedule"));
        }
        if books.rules.machines_down.contains(machine) {
            return Err(format!(
                "Machine '{machine}' is not in DRAINING mode and cannot be brought down"
            ));
        }
        Ok(())
    };
    let checked = machines.iter().try_for_each(check);
    set(books, request, machines, true, checked, turn);
}

/// Lets the machines come back, if they are away.
pub(crate) fn stop(
    books: &mut Books,
    request: RequestId,
    machines: Vec<Machine>,
    turn: &mut Turn<'_>,
) {
    let check = |machine: &Machine| {
        if books.rules.machines_down.contains(machine) {
            return Ok(());
        }
        Err(format!("Machine '{machine}' is not in DOWN mode and cannot be brought up"))
    };
    let checked = machines.iter().try_for_each(check);
    set(books, request, machines, false, checked, turn);
}

fn set(
    books: &mut Books,
    request: RequestId,
    machines: Vec<Machine>,
    are_down: bool,
    checked: Result<(), String>,
    turn: &mut Turn<'_>,
) {
    match checked {
        Ok(()) => books.propose_for(request, Record::SetMachines { machines, are_down }, turn),
        Err(why) => turn.answer(request, Err(Refusal::Invalid(why))),
    }
}
