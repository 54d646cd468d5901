//! What users ask for of pods.

use super::Marathon;
use super::asks::{Reply, Who, clash, refusal, result};
use super::change::{self, Wish};
use crate::app::parse::{self, Invalid};
use crate::app::render;
use crate::event::Happening;
use crate::ids::{AppId, InstanceId};
use crate::instance::{Condition, Instance};
use crate::io::{Answer, Refusal};
use model::step::Now;
use serde_json::{Value, json};
use std::sync::Arc;

/// Makes a pod.
pub(super) fn create(
    marathon: &mut Marathon,
    who: &Who,
    body: &Value,
    force: bool,
    now: Now,
) -> Reply {
    let missing = || Invalid::one("/id", "error.path.missing").refusal();
    let id = parse::pod_id(body).ok_or_else(missing)?.map_err(|invalid| invalid.refusal())?;
    if marathon.books.tree.pod(&id).is_some() {
        let why = refusal(409, format!("A pod with id [{id}] already exists."));
        return Err(change::refused(marathon, &id.parent(), why, now));
    }
    if let Some(clash) = clash(marathon, &id) {
        return Err(change::refused(marathon, &id.parent(), refusal(409, clash), now));
    }
    put(marathon, &id, body, force, now, |answer| {
        answer.status = 201;
        answer.location = Some(format!("/v2/pods{id}"));
        Happening::PodCreated { client: who.0.clone(), uri: who.1.clone() }
    })
}

/// Changes a pod: the body is all of it.
pub(super) fn update(
    marathon: &mut Marathon,
    who: &Who,
    id: &AppId,
    body: &Value,
    force: bool,
    now: Now,
) -> Reply {
    if marathon.books.tree.pod(id).is_none() {
        return Err(no_pod(id));
    }
    let given = parse::pod_id(body).transpose().map_err(|invalid| invalid.refusal())?;
    if let Some(given) = given.filter(|given| given != id) {
        let message = format!("The id in the body, {given}, is not the one in the URL, {id}");
        return Err(refusal(400, message));
    }
    put(marathon, id, body, force, now, |_| Happening::PodUpdated {
        client: who.0.clone(),
        uri: who.1.clone(),
    })
}

fn put(
    marathon: &mut Marathon,
    id: &AppId,
    body: &Value,
    force: bool,
    now: Now,
    done: impl FnOnce(&mut Answer) -> Happening,
) -> Reply {
    let pod = parse::whole_pod(id, body, &marathon.defaults);
    let pod = pod.map_err(|invalid| invalid.refusal())?;
    let wish = Wish { force, ..Wish::of_one(id, Some(pod)) };
    let started = change::deploy(marathon, &wish, now)?;
    let mut answer = result(&started);
    answer.body = marathon.books.tree.pod(id).map(|pod| render::app(pod));
    let what = done(&mut answer);
    marathon.tell(what, now);
    Ok(answer)
}

/// Deletes a pod.
pub(super) fn delete(
    marathon: &mut Marathon,
    who: &Who,
    id: &AppId,
    force: bool,
    now: Now,
) -> Reply {
    if marathon.books.tree.pod(id).is_none() {
        return Err(no_pod(id));
    }
    let wish = Wish { force, ..Wish::of_one(id, None) };
    let started = change::deploy(marathon, &wish, now)?;
    let what = Happening::PodDeleted { client: who.0.clone(), uri: who.1.clone() };
    marathon.tell(what, now);
    Ok(Answer {
        status: 202,
        body: None,
        deployment: Some(started.id.to_string()),
        location: Some(format!("/v2/deployments/{}", started.id)),
    })
}

/// Ends instances of a pod; others take their place.
pub(super) fn kill(
    marathon: &mut Marathon,
    id: &AppId,
    instances: &[String],
    (is_single, wipe): (bool, bool),
    now: Now,
) -> Reply {
    if marathon.books.tree.pod(id).is_none() {
        return Err(no_pod(id));
    }
    let mut victims: Vec<Arc<Instance>> = Vec::new();
    for text in instances {
        let known = InstanceId::parse(text).and_then(|it| marathon.instance(&it).cloned());
        match known.filter(|it| it.app.id == *id) {
            Some(victim) => victims.push(victim),
            None if is_single => {
                let message = format!("Instance '{text}' does not exist in pod '{id}'");
                return Err(refusal(404, message));
            }
            // Of many, those that are gone already are as they were wanted.
            None => {}
        }
    }
    for victim in &victims {
        let is_lost =
            matches!(victim.condition, Condition::Unreachable | Condition::UnreachableInactive);
        if wipe {
            marathon.give_up_place(victim, now);
        }
        if wipe || is_lost {
            marathon.decommission(&victim.id, now);
        } else if victim.task.is_some() {
            marathon.kill(victim, victim.goal, now);
        }
    }
    let shown = victims.iter().map(|victim| {
        let present = marathon.instance(&victim.id).unwrap_or(victim);
        render::killed(present)
    });
    let mut shown: Vec<Value> = shown.collect();
    let body = if is_single { shown.pop().unwrap_or_default() } else { json!(shown) };
    Ok(Answer { status: 200, body: Some(body), deployment: None, location: None })
}

fn no_pod(id: &AppId) -> Refusal {
    refusal(404, format!("Pod '{id}' does not exist"))
}
