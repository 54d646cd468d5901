//! An agent's record is applied: the admission that waits for it goes on.

use crate::agent_messages::reregister::{self, Was};
use crate::agent_messages::{DOWN, is_down, register, turn_away, unregister};
use crate::note::Note;
use crate::state::agents::{Agent, Reach};
use crate::state::timers::Due;
use crate::state::{Admission, Books, Brings, Turn};
use model::ids::AgentId;
use model::registry::Record;
use std::sync::Arc;

/// Lets the agent in, if it is still there.
pub(crate) fn apply(books: &mut Books, id: &AgentId, is_void: bool, turn: &mut Turn<'_>) {
    let Some(Admission { connection, brings }) = take_waiting(books, id) else { return };
    let is_connected = books.links.contains_key(&connection);
    if is_void {
        if is_connected {
            let why = "The agent was marked gone by an operator".to_owned();
            turn_away(books, connection, Some(id.clone()), why, turn);
        }
        return;
    }
    // Its machine may have been sent away since it asked.
    let is_here = books.agents.contains_key(id);
    if is_connected && !is_here && is_down(books, &books.members.agents[id].description) {
        turn_away(books, connection, Some(id.clone()), DOWN.to_owned(), turn);
        turn.propose(vec![Record::RemoveAgent { agent: id.clone(), at: turn.now.wall }]);
        return;
    }
    match brings {
        Brings::Back(back) if is_connected => {
            let was = if books.agents.contains_key(id) { Was::Here } else { Was::Away };
            reregister::admit(books, connection, *back, was, turn);
        }
        Brings::Back(_) if books.agents.contains_key(id) => {}
        // It was out of contact, came back and went again. Its silence is counted anew.
        Brings::Back(_) => {
            let entry = books.members.agents[id].clone();
            books.insert_agent(Agent::new(&entry, Reach::Recovered));
            let wait = books.config.agent_reregister_timeout;
            let due = Due::AgentReturn(id.clone());
            books.timers.set(due, turn.now.time + wait);
        }
        Brings::Total(total) if is_connected => {
            let entry = books.members.agents[id].clone();
            // It may have asked twice, on two links.
            unregister::replace(books, &entry.description.address, id, turn);
            let mut agent = Agent::new(&entry, Reach::Connected(connection));
            agent.total = total;
            books.insert_agent(agent);
            books.connect_agent(id, connection, turn);
            books.recount_agent(id, turn);
            register::greet(books, connection, id.clone(), turn);
            let agent = &books.agents[id];
            turn.note(Note::AgentAdded(Arc::new(books.agent_view(agent))));
        }
        // It never heard of its id, so nobody can come back as it.
        Brings::Total(_) => {
            let agent = id.clone();
            turn.propose(vec![Record::RemoveAgent { agent, at: turn.now.wall }]);
        }
    }
}

/// The first admission that waits for an agent's record.
pub(crate) fn take_waiting(books: &mut Books, id: &AgentId) -> Option<Admission> {
    let waiting = books.admissions.get_mut(id)?;
    let first = waiting.pop_front();
    if waiting.is_empty() {
        books.admissions.remove(id);
    }
    first
}
