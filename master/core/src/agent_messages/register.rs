//! An agent is new and wants an id. It has it when the masters have agreed on it.

use super::{DOWN, is_down, misplaced, outdated, turn_away};
use crate::io::CloseReason;
use crate::note::Removal;
use crate::state::agents::{Link, Reach};
use crate::state::{Admission, Books, Brings, Turn};
use model::ids::{AgentId, ConnectionId};
use model::link::{Register, ToAgent};
use model::operation::OperationState;
use model::registry::{AgentEntry, Record};

/// Has the agent admitted. One that was here before at the same address, and forgot, takes the place
/// of its former self.
pub(crate) fn apply(
    books: &mut Books,
    connection: ConnectionId,
    link: &Link,
    new: Register,
    turn: &mut Turn<'_>,
) {
    let Register { description, total } = new;
    match link {
        Link::Unnamed => {}
        Link::Admitting(_) => return,
        Link::Agent(agent) => {
            let agent = agent.clone();
            greet(books, connection, agent, turn);
            return;
        }
    }
    if is_down(books, &description) {
        turn_away(books, connection, None, DOWN.to_owned(), turn);
        return;
    }
    if let Some(why) = outdated(&description).or_else(|| misplaced(books, &description)) {
        turn_away(books, connection, None, why, turn);
        return;
    }
    let mut records = Vec::new();
    if let Some(former) = books.agents_by_address.get(&description.address).cloned() {
        let agent = books.agents.get_mut(&former).expect("addresses name known agents");
        let ran_nothing = agent.tasks.is_empty() && agent.executors.is_empty();
        if agent.reach != Reach::Recovered
            && ran_nothing
            && !agent.is_leaving
            && *agent.description == description
        {
            // Its link broke before it could keep its id, and we may not have noticed yet.
            if let Reach::Connected(old) = agent.reach {
                books.links.remove(&old);
                turn.close_agent(old, CloseReason::Replaced);
                books.rescind_offers_on(&former, turn);
            }
            // Nor could it keep what was begun since.
            let (state, why) = (OperationState::Dropped, "The agent began anew");
            books.end_operations_on(&former, state, why, turn);
            let agent = books.agents.get_mut(&former).expect("it was just there");
            agent.total = total;
            books.connect_agent(&former, connection, turn);
            books.recount_agent(&former, turn);
            greet(books, connection, former, turn);
            return;
        }
        if books.begin_leaving(&former, Some(Removal::Replaced), turn) {
            records.push(Record::RemoveAgent { agent: former, at: turn.now.wall });
        }
    }
    let id = AgentId::numbered(&books.reign, books.agents_made);
    books.agents_made += 1;
    let entry = AgentEntry { id: id.clone(), description, registered_at: turn.now.wall };
    records.push(Record::PutAgent(entry));
    books.links.insert(connection, Link::Admitting(id.clone()));
    books
        .admissions
        .entry(id)
        .or_default()
        .push_back(Admission { connection, brings: Brings::Total(total) });
    turn.propose(records);
}

/// Tells an agent its id, and how to find other masters.
pub(crate) fn greet(books: &Books, connection: ConnectionId, agent: AgentId, turn: &mut Turn<'_>) {
    let ping_timeout = books.config.ping_patience();
    turn.tell_agent(connection, ToAgent::Registered { agent, ping_timeout });
    books.tell_masters(connection, turn);
}
