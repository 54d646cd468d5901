//! The master has admitted this agent.

use crate::agent::{Agent, Link};
use crate::operations;
use crate::output::{Change, Event, Output};
use crate::record::{Identity, Record};
use crate::updates;
use model::ids::AgentId;
use model::step::Now;
use std::time::Duration;

pub(crate) fn apply(
    agent: &mut Agent,
    id: AgentId,
    ping_timeout: Duration,
    now: Now,
    out: &mut Vec<Output>,
) {
    // A late answer to a repeated question. Under another id than the present one nothing here
    // would make sense.
    if agent.id.as_ref().is_some_and(|known| *known != id) {
        return;
    }
    let is_repeat = agent.is_registered();
    if agent.id.is_none() {
        let identity = Identity { agent: id.clone(), term: agent.term };
        out.push(Output::Append(Record::Identity(identity)));
        out.push(Output::View(Change::Identity { agent: id.clone() }));
        agent.id = Some(id.clone());
    }
    connected(agent, ping_timeout, now);
    if !is_repeat {
        out.push(Output::Note(Event::Registered { agent: id, term: agent.term }));
        out.push(Output::View(Change::Connected(true)));
        updates::resume(agent, now, out);
        operations::resume(agent, now, out);
    }
}

/// The link is in use from now on, until pings stay away.
pub(crate) fn connected(agent: &mut Agent, ping_timeout: Duration, now: Now) {
    if let Some(link) = agent.link.id() {
        agent.link = Link::Registered { link, ping_timeout, ping_by: now.time + ping_timeout };
    }
}
