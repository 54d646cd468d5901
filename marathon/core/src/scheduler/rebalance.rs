//! Moving instances to where the constraints of their app want them today.

use super::Marathon;
use super::asks::{Reply, no_app, refusal, result};
use super::change::{self, Prepared};
use crate::balance;
use crate::fleet::is_one_per_agent;
use crate::history::{GroupChanges, Outcome};
use crate::ids::AppId;
use crate::io::Answer;
use crate::planner::{Action, Changes, Plan, Step};
use model::step::Now;
use serde_json::json;
use std::collections::BTreeSet;

/// Starts the deployment that moves those who are in excess where they are, if there are any.
///
/// What a deployment left that was cut short is replaced with them, as any other change does.
pub(super) fn rebalance(marathon: &mut Marathon, id: &AppId, force: bool, now: Now) -> Reply {
    let app = marathon.books.tree.apps.get(id).ok_or_else(|| no_app(id))?.clone();
    if app.is_resident() {
        let message = format!(
            "{id} has persistent volumes: its instances stay where their data is and cannot be moved"
        );
        return Err(refusal(422, message));
    }
    let in_the_way = change::in_the_way(marathon, [id].into_iter(), force)?;
    let all = marathon.instances_of(id);
    let mut who = BTreeSet::new();
    // Who is on every agent follows the agents already.
    if app.instances > 0 && !is_one_per_agent(&app) {
        who = balance::excess(&app, all, &marathon.books.fleet);
    }
    if who.is_empty() {
        let message = format!("Nothing of {id} needs to move");
        return Ok(Answer {
            status: 200,
            body: Some(json!({"message": message})),
            deployment: None,
            location: None,
        });
    }
    let outdated = all.outdated(app.version_info.last_config_change_at);
    who.extend(outdated.ids().cloned());
    let pods = [id.clone()].into_iter().filter(|_| app.is_pod()).collect();
    let steps = vec![Step::of(vec![Action::Move { app: id.clone(), who }])];
    let prepared = Prepared {
        version: change::next_version(marathon, now),
        changes: Changes::from([(id.clone(), (Some(app.clone()), Some(app)))]),
        groups: GroupChanges::new(),
        plan: Plan { steps, pods },
        in_the_way,
        is_return: false,
    };
    let started = change::carry_out(marathon, prepared, id.parent(), Outcome::Overridden, now);
    Ok(result(&started))
}
