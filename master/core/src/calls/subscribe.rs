//! SUBSCRIBE: a framework opens its stream. What is new about it is agreed on before it hears so.

use super::check_principal;
use crate::authorize;
use crate::io::{Done, Output, Refusal};
use crate::note::Note;
use crate::state::frameworks::{Framework, Stream, Subscribing, Wishes};
use crate::state::timers::Due;
use crate::state::{Books, Turn};
use model::call::Subscribe;
use model::event::SchedulerEvent;
use model::framework::Framework as Description;
use model::ids::{ConnectionId, FrameworkId, RequestId, StreamId};
use model::link::ToAgent;
use model::registry::{FrameworkEntry, Record};
use model::role::in_braces;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Takes a subscription in.
pub(crate) fn apply(
    books: &mut Books,
    connection: ConnectionId,
    request: RequestId,
    call: Subscribe,
    principal: Option<Arc<str>>,
    turn: &mut Turn<'_>,
) {
    let Subscribe { framework: mut description, suppressed, constraints } = call;
    let stated = description.principal.as_ref();
    if let Err(refusal) = check_principal(principal.as_ref(), stated) {
        turn.answer(request, Err(refusal));
        return;
    }
    description.principal = description.principal.or(principal);
    // The order of these is part of the protocol.
    let checked = check(books, &description).and_then(|()| {
        let wishes = Wishes::new(&description, &suppressed, constraints, &books.config)?;
        authorize::roles(books, &description)?;
        check_owner(books, &description)?;
        Ok(wishes)
    });
    let wishes = match checked {
        Ok(wishes) => wishes,
        Err(why) => {
            refuse(books, connection, request, why, turn);
            return;
        }
    };
    let id = description.id.clone().unwrap_or_else(|| {
        let id = FrameworkId::numbered(&books.reign, books.frameworks_made);
        books.frameworks_made += 1;
        id
    });
    if let Some(known) = books.frameworks.get(&id) {
        // These decide how running tasks were started, so they stay as they were.
        description.user = known.description.user.clone();
        description.checkpoint = known.description.checkpoint;
    }
    description.id = Some(id);
    let connection = Some(connection);
    let waiting = Subscribing { connection, request, wishes, is_gone: false, entry: None };
    agree(books, waiting, description, turn);
}

/// Has the masters agree on how a framework, whose id is set, describes itself; whoever waits goes on then.
pub(crate) fn agree(
    books: &mut Books,
    mut waiting: Subscribing,
    description: Description,
    turn: &mut Turn<'_>,
) {
    let id = description.id.clone().expect("the caller has set it");
    let known = books.frameworks.get(&id);
    let registered_at = known.map_or(turn.now.wall, |known| known.registered_at);
    let entry = FrameworkEntry { framework: description, registered_at, away_since: None };
    let entry = Arc::new(entry);
    // That it is back is agreed on, too: else the next leader would count on from when it went.
    let is_written = books.members.frameworks.get(&id) == Some(&entry)
        && known.is_some_and(|known| !known.is_marked_away);
    waiting.entry = Some(entry.clone());
    if is_written && !books.subscribing.contains_key(&id) {
        finish(books, &id, waiting, turn);
        return;
    }
    turn.propose(vec![Record::PutFramework((*entry).clone())]);
    books.subscribing.entry(id).or_default().push_back(waiting);
}

/// What a framework reads that says it is another one's.
pub(super) const PRINCIPAL_CHANGES: &str = "Changing framework's principal is not allowed.";

/// The order of these is part of the protocol; each text is what the framework reads.
pub(super) fn check(books: &Books, description: &Description) -> Result<(), String> {
    if let Some(allowed) = &books.config.roles {
        let foreign: BTreeSet<_> = description.roles.difference(allowed).collect();
        if !foreign.is_empty() {
            let foreign = in_braces(foreign);
            return Err(format!("Roles {foreign} are not present in the master's --roles"));
        }
    }
    if &*description.user == "root" && !books.config.root_submissions {
        return Err(
            "User 'root' is not allowed to run frameworks without '--root_submissions' set"
                .to_owned(),
        );
    }
    let known = description.id.as_ref().and_then(|id| books.frameworks.get(id));
    if let Some(id) = &description.id
        && (books.members.is_completed(id) || known.is_some_and(|known| known.is_ending))
    {
        return Err("Framework has been removed".to_owned());
    }
    Ok(())
}

/// Whether a framework that is known is still the same one's.
fn check_owner(books: &Books, description: &Description) -> Result<(), String> {
    let known = description.id.as_ref().and_then(|id| books.frameworks.get(id));
    // One that had none may take one: that is how a running cluster comes to ask for them.
    let before = known.and_then(|known| known.description.principal.as_ref());
    if before.is_some() && before != description.principal.as_ref() {
        return Err(PRINCIPAL_CHANGES.to_owned());
    }
    Ok(())
}

/// Turns a subscription down by an event, which is how clients expect it.
fn refuse(
    books: &mut Books,
    connection: ConnectionId,
    request: RequestId,
    why: String,
    turn: &mut Turn<'_>,
) {
    let stream = StreamId(books.rng.uuid());
    turn.out.push(Output::OpenStream { connection, request, stream });
    turn.note(Note::SubscribeRefused { why: why.clone() });
    turn.tell_scheduler(connection, SchedulerEvent::Error(why));
    turn.out.push(Output::CloseScheduler { connection });
}

/// A framework's record is applied: the first subscription that waits for it goes on.
pub(crate) fn applied(books: &mut Books, id: &FrameworkId, is_void: bool, turn: &mut Turn<'_>) {
    let Some(subscribing) = take_waiting(books, id) else { return };
    if is_void {
        // It ended while the record was under way.
        let Subscribing { connection, request, is_gone, .. } = subscribing;
        let why = "Framework has been removed".to_owned();
        match connection {
            Some(connection) if !is_gone => refuse(books, connection, request, why, turn),
            Some(_) => {}
            None => turn.answer(request, Err(Refusal::Invalid(why))),
        }
        return;
    }
    finish(books, id, subscribing, turn);
}

/// A framework's record is lost: the subscription that waits for it must try again.
pub(crate) fn failed(books: &mut Books, id: &FrameworkId, turn: &mut Turn<'_>) {
    if let Some(subscribing) = take_waiting(books, id)
        && !subscribing.is_gone
    {
        turn.answer(subscribing.request, Err(Refusal::NotAgreed));
    }
}

fn take_waiting(books: &mut Books, id: &FrameworkId) -> Option<Subscribing> {
    let waiting = books.subscribing.get_mut(id)?;
    let first = waiting.pop_front();
    if waiting.is_empty() {
        books.subscribing.remove(id);
    }
    first
}

fn finish(books: &mut Books, id: &FrameworkId, subscribing: Subscribing, turn: &mut Turn<'_>) {
    let Subscribing { connection, request, entry, wishes, is_gone } = subscribing;
    let entry = entry.expect("it was agreed on");
    let Some(connection) = connection else {
        renew(books, id, &entry.framework, wishes, turn);
        turn.answer(request, Ok(Done::Ok));
        return;
    };
    let is_new = !books.frameworks.contains_key(id);
    if is_new {
        let description = entry.framework.clone();
        let mut framework = Framework::new(id.clone(), description, entry.registered_at);
        framework.stream = Stream::Disconnected;
        books.frameworks.insert(id.clone(), framework);
        if is_gone {
            // Whoever asked for it never heard of its id, so nobody can come back as it.
            books.propose_end(id, turn);
            return;
        }
    }
    // Its agents repeat at once what it may not have heard, unless they are told of a change anyway.
    if !update(books, id, &entry.framework, turn) && !is_new && !is_gone {
        tell_agents(books, id, turn);
    }
    if is_gone {
        return;
    }
    let stream = StreamId(books.rng.uuid());
    let framework = books.frameworks.get_mut(id).expect("it was just put there");
    let before = framework.connection();
    framework.stream = Stream::Connected { connection, stream };
    framework.is_marked_away = false;
    if !is_new {
        framework.reregistered_at = Some(turn.now.wall);
    }
    framework.wishes = wishes;
    framework.counts.subscribe();
    let wish = framework.wish();
    if let Some(before) = before {
        books.streams.remove(&before);
        let error = SchedulerEvent::Error("Framework failed over".to_owned());
        framework.counts.event(&error);
        turn.tell_scheduler(before, error);
        turn.out.push(Output::CloseScheduler { connection: before });
    }
    books.discard_offers_of(id, turn);
    books.forget_inverse_offers_of(id);
    books.streams.insert(connection, id.clone());
    books.timers.cancel(&Due::Failover(id.clone()));
    let heartbeat = books.config.heartbeat_interval;
    books.timers.set(Due::Heartbeat(id.clone()), turn.now.time + heartbeat);
    turn.out.push(Output::OpenStream { connection, request, stream });
    let subscribed = SchedulerEvent::Subscribed { framework: id.clone(), heartbeat };
    books.tell(id, subscribed, turn);
    // At once, since some clients see a record only when the next one begins.
    books.tell(id, SchedulerEvent::Heartbeat, turn);
    books.allocator.put_framework(id, &wish, turn.now.time);
    books.unpublished.framework(id);
    let framework = &books.frameworks[id];
    let view = Arc::new(framework.view(framework.condition()));
    turn.note(if is_new { Note::FrameworkAdded(view) } else { Note::FrameworkUpdated(view) });
}

/// A framework describes itself anew on its present stream.
fn renew(
    books: &mut Books,
    id: &FrameworkId,
    description: &Description,
    wishes: Wishes,
    turn: &mut Turn<'_>,
) {
    let Some(framework) = books.frameworks.get_mut(id) else { return };
    // What it wants is shown too, also where it says nothing else that is new.
    framework.wishes = wishes;
    books.unpublished.framework(id);
    let has_changed = *framework.description != *description;
    let offers = framework.offers.iter().filter_map(|offer| books.offers.get(offer));
    let left = offers.filter(|offer| !description.roles.contains(&offer.role));
    let left: Vec<_> = left.map(|offer| offer.id.clone()).collect();
    for offer in left {
        books.rescind(&offer, turn);
    }
    update(books, id, description, turn);
    let framework = &books.frameworks[id];
    if framework.connection().is_some() {
        let wish = framework.wish();
        books.allocator.put_framework(id, &wish, turn.now.time);
    }
    if has_changed {
        let framework = &books.frameworks[id];
        let view = Arc::new(framework.view(framework.condition()));
        turn.note(Note::FrameworkUpdated(view));
    }
}

/// Takes over how a framework describes itself, and tells agents that run something of it. Whether that is new.
fn update(
    books: &mut Books,
    id: &FrameworkId,
    description: &Description,
    turn: &mut Turn<'_>,
) -> bool {
    let framework = books.frameworks.get_mut(id).expect("it was just put there");
    if *framework.description == *description {
        return false;
    }
    framework.description = Arc::new(description.clone());
    books.unpublished.framework(id);
    tell_agents(books, id, turn);
    true
}

/// Tells agents that run something of a framework how it describes itself.
fn tell_agents(books: &mut Books, id: &FrameworkId, turn: &mut Turn<'_>) {
    let description = (*books.frameworks[id].description).clone();
    for agent in books.agents_of(id) {
        books.send(&agent, ToAgent::UpdateFramework(description.clone()), turn);
    }
}

/// A stream has ended, of a framework or of a subscription that waits.
pub(crate) fn gone(books: &mut Books, connection: ConnectionId, turn: &mut Turn<'_>) {
    for waiting in books.subscribing.values_mut().flatten() {
        if waiting.connection == Some(connection) {
            waiting.is_gone = true;
        }
    }
    if let Some(framework) = books.streams.remove(&connection) {
        books.disconnect_framework(&framework, turn);
    }
}
