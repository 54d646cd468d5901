//! What agents say: one file for each message, and here the checks that all share.

pub(crate) mod executor_exited;
pub(crate) mod gone;
pub(crate) mod message;
pub(crate) mod operation_update;
pub(crate) mod pong;
pub(crate) mod register;
pub(crate) mod reregister;
pub(crate) mod status_update;
pub(crate) mod unregister;

use crate::io::{CloseReason, Output};
use crate::note::{Note, Relayed};
use crate::state::agents::Link;
use crate::state::{Books, Turn};
use model::ids::{AgentId, ConnectionId, Term};
use model::link::{AgentDescription, FromAgent, ToAgent, ip_of};
use model::version::{AGENT_OLDEST, Version};

/// A link is open; whose it is comes next.
pub(crate) fn connected(books: &mut Books, connection: ConnectionId) {
    books.links.insert(connection, Link::Unnamed);
}

/// Takes in what came on a link.
pub(crate) fn apply(
    books: &mut Books,
    connection: ConnectionId,
    term_seen: Term,
    message: FromAgent,
    turn: &mut Turn<'_>,
) {
    let Some(link) = books.links.get(&connection).cloned() else {
        // Said before the link was closed from here.
        return;
    };
    if term_seen > books.term {
        turn.out.push(Output::Outdated { term: term_seen });
        gone::apply(books, connection, turn);
        turn.close_agent(connection, CloseReason::NotLeading);
        return;
    }
    match (message, link) {
        (FromAgent::Register(new), link) => {
            register::apply(books, connection, &link, *new, turn);
        }
        (FromAgent::Reregister(back), link) => {
            reregister::apply(books, connection, &link, back, turn);
        }
        (FromAgent::Pong, Link::Agent(agent)) => pong::apply(books, &agent),
        (FromAgent::StatusUpdate { framework, status, latest }, Link::Agent(agent)) => {
            status_update::apply(books, &agent, &framework, status, latest, turn);
        }
        (FromAgent::ExecutorExited { framework, executor, status }, Link::Agent(agent)) => {
            executor_exited::apply(books, &agent, &framework, executor, status, turn);
        }
        (FromAgent::Message { framework, message }, Link::Agent(agent)) => {
            message::apply(books, &agent, &framework, message, turn);
        }
        (FromAgent::OperationUpdate { operation, status, .. }, Link::Agent(agent)) => {
            operation_update::apply(books, &agent, operation, status, turn);
        }
        (FromAgent::Unregister, Link::Agent(agent)) => unregister::apply(books, &agent, turn),
        // An agent may answer a ping of before while it is being admitted.
        (FromAgent::Pong, Link::Unnamed | Link::Admitting(_)) => {}
        (
            FromAgent::StatusUpdate { .. }
            | FromAgent::ExecutorExited { .. }
            | FromAgent::Message { .. }
            | FromAgent::OperationUpdate { .. }
            | FromAgent::Unregister,
            Link::Unnamed | Link::Admitting(_),
        ) => {
            drop_message(None, None, "it has not registered on this link".to_owned(), turn);
            gone::apply(books, connection, turn);
            turn.close_agent(connection, CloseReason::Confused);
        }
    }
}

/// Notes that a message was taken in and nothing done.
pub(crate) fn drop_message(
    agent: Option<&AgentId>,
    what: Option<Relayed>,
    why: String,
    turn: &mut Turn<'_>,
) {
    turn.note(Note::AgentMessageDropped { agent: agent.cloned(), what, why });
}

/// Why an agent on a machine in maintenance is not let in.
pub(crate) const DOWN: &str = "Machine is DOWN: its maintenance has begun and is not over";

/// Whether an agent is on a machine that is away for maintenance.
pub(crate) fn is_down(books: &Books, description: &AgentDescription) -> bool {
    books.rules.is_down(&description.hostname, ip_of(&description.address))
}

/// Why an agent is not let in for where it stands, or for not saying so; absent if it may come in.
pub(crate) fn misplaced(books: &Books, description: &AgentDescription) -> Option<String> {
    let config = &books.config;
    match &description.domain {
        Some(domain) if config.domain.is_none() => Some(format!(
            "The agent says that it stands in {}/{}, and the master has no --domain: give it one",
            domain.region, domain.zone
        )),
        None if config.require_agent_domain => Some(
            "The agent has no --domain, and the master lets in only agents that have one"
                .to_owned(),
        ),
        Some(_) | None => None,
    }
}

/// Why an agent is not let in for what it speaks; absent if it may come in.
pub(crate) fn outdated(description: &AgentDescription) -> Option<String> {
    let speaks = &description.version;
    match speaks.parse::<Version>() {
        Err(bad) => Some(format!("The agent does not say what it speaks: {bad}")),
        Ok(version) if version < AGENT_OLDEST => Some(format!(
            "The agent speaks {speaks}, which is too old for this master: give it a newer program"
        )),
        Ok(_) => None,
    }
}

/// Does not let an agent in, and has it end what it runs.
pub(crate) fn turn_away(
    books: &mut Books,
    connection: ConnectionId,
    agent: Option<AgentId>,
    why: String,
    turn: &mut Turn<'_>,
) {
    turn.note(Note::AgentRefused { agent, why: why.clone() });
    turn.tell_agent(connection, ToAgent::Shutdown { why });
    books.links.remove(&connection);
    turn.close_agent(connection, CloseReason::Removed);
}
