//! Are you there?

use crate::agent::{Agent, Link};
use crate::master_messages::{ask, lost};
use crate::output::Output;
use model::link::FromAgent;
use model::step::Now;

pub(crate) fn apply(agent: &mut Agent, connected: bool, now: Now, out: &mut Vec<Output>) {
    out.push(Output::ToMaster(FromAgent::Pong));
    match agent.link {
        Link::Registered { link, .. } if !connected => {
            lost(out);
            ask(agent, link, now, out);
        }
        Link::Registered { link, ping_timeout, .. } => {
            agent.link = Link::Registered { link, ping_timeout, ping_by: now.time + ping_timeout };
        }
        Link::Down | Link::Asking { .. } => {}
    }
}
