//! Make resources of one kind of those of another.

use crate::agent::{Agent, Phase};
use crate::master_messages;
use crate::operations;
use crate::output::{Change, Output};
use crate::record::{DoomedVolumes, Record};
use model::operation::{Conversion, Operation, OperationState};
use model::resources::Resources;
use model::step::Now;

pub(crate) fn apply(agent: &mut Agent, operation: Operation, now: Now, out: &mut Vec<Output>) {
    if agent.phase != Phase::Serving || !agent.is_registered() {
        // The master asks for it when the agent registers.
        return;
    }
    if agent.operations.contains_key(&operation.uuid) {
        return;
    }
    match carry_out(agent, &operation.conversion) {
        Ok(total) => keep(agent, operation, total, now, out),
        Err(why) => {
            operations::drop_one(agent, operation, why, now, out);
            // The master has booked it as done. It books anew what the agent has when that registers.
            master_messages::give_up(agent, out);
        }
    }
}

/// What the agent has afterwards. Nothing is taken that anything runs on.
fn carry_out(agent: &Agent, conversion: &Conversion) -> Result<Resources, String> {
    let consumed = conversion.consumed();
    let in_use = |name: &str| format!("{name} is in use by tasks or executors of the agent");
    let shared = consumed.shared();
    if let Some((key, _)) = agent.used.iter().find(|(used, _)| shared.has(used)) {
        return Err(in_use(&key.name));
    }
    agent.total.unused(&agent.used).check_holds(&consumed).map_err(|short| short.to_string())?;
    let mut total = agent.total.clone();
    conversion.apply(&mut total).map_err(|short| short.to_string())?;
    Ok(total)
}

/// What is so now and what is said of it come to the disk together: neither is true alone.
fn keep(
    agent: &mut Agent,
    operation: Operation,
    total: Resources,
    now: Now,
    out: &mut Vec<Output>,
) {
    let uuid = operation.uuid;
    let made = operation.conversion.made_volumes();
    let removed = operation.conversion.removed_volumes();
    let live = operations::outcome(agent, operation, OperationState::Finished, None);
    let mut records = vec![Record::Made(total.made())];
    if !removed.is_empty() {
        records.push(Record::Doomed(DoomedVolumes { operation: uuid, volumes: removed.clone() }));
    }
    if live.status.uuid.is_some() {
        records.push(Record::Operation(live.clone()));
    }
    out.push(Output::AppendTogether(records));
    if !removed.is_empty() {
        out.push(Output::RemoveVolumes { operation: uuid, volumes: removed });
    }
    if !made.is_empty() {
        out.push(Output::MakeVolumes(made));
    }
    out.push(Output::View(Change::Total(total.clone())));
    agent.total = total;
    operations::tell(agent, live, now, out);
}
