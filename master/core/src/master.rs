//! The master: which input is handled where. No decision is made here.

use crate::agent_messages;
use crate::calls::{self, subscribe};
use crate::config::Config;
use crate::due;
use crate::explain::{Explaining, Progress, Unknown};
use crate::figures::{self, Figures};
use crate::io::{CloseReason, Input, Output, Refusal};
use crate::note::Note;
use crate::operator_calls;
use crate::records;
use crate::reign;
use crate::state::{Books, Turn};
use model::step::{Core, Now, Time};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The deciding half of a master, leading or standing by.
#[derive(Debug)]
pub struct Master {
    config: Config,
    /// Hosts that are offered; absent: all.
    whitelist: Option<BTreeSet<Arc<str>>>,
    /// The masters that have a vote, `host:port` each.
    masters: Vec<Arc<str>>,
    /// Present while it leads.
    books: Option<Box<Books>>,
}

impl Master {
    /// A master that stands by.
    pub fn new(config: Config) -> Self {
        Self { config, whitelist: None, masters: Vec::new(), books: None }
    }

    /// What it was told at its start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it leads.
    pub fn is_leading(&self) -> bool {
        self.books.is_some()
    }

    /// Finds out more of why a framework has the offers that it has, and no others, for a time that
    /// does not grow with the cluster. Of a master that does not lead nobody is known.
    pub fn explain(&self, explaining: Explaining, now: Now) -> Result<Progress, Unknown> {
        let books = self.books.as_ref().ok_or(Unknown::Framework)?;
        explaining.go_on(books, now.time)
    }

    /// How it stands, in numbers.
    pub fn figures(&self) -> Figures {
        self.books.as_deref().map(figures::of).unwrap_or_default()
    }
}

impl Core for Master {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let turn = &mut Turn { now, out };
        if let Input::SetWhitelist(hosts) = &input {
            self.whitelist.clone_from(hosts);
        }
        if let Input::SetMasters(masters) = &input {
            self.masters.clone_from(masters);
        }
        if matches!(input, Input::Lead { .. } | Input::Depose)
            && let Some(books) = self.books.take()
        {
            reign::end(*books, turn);
        }
        if let Input::Lead { term, reign, registry } = input {
            let mut books = reign::begin(&self.config, term, reign, *registry, turn);
            books.allocator.set_whitelist(self.whitelist.clone(), turn.now.time);
            books.set_masters(&self.masters, turn);
            books.settle_returns(turn);
            books.publish(turn);
            self.books = Some(Box::new(books));
        } else if let Some(books) = &mut self.books {
            lead(books, input, turn);
            books.settle_draining(turn);
            books.settle_recovery(turn);
            books.settle_returns(turn);
            books.publish(turn);
        } else {
            stand_by(&input, turn);
        }
    }

    fn wake(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(books) = &mut self.books else { return };
        let turn = &mut Turn { now, out };
        while let Some(due) = books.timers.pop(now.time) {
            due::apply(books, &due, turn);
        }
        if books.allocator.next_run().is_some_and(|at| at <= now.time) {
            let allocations = books.allocator.allocate(now.time);
            if let Some(waited) = books.allocator.take_run() {
                turn.note(Note::AllocationRan { waited, offers: allocations.len() });
            }
            books.make_offers(allocations, turn);
            books.make_inverse_offers(turn);
        }
        books.publish(turn);
    }

    fn next_deadline(&self) -> Option<Time> {
        let books = self.books.as_ref()?;
        [books.timers.next(), books.allocator.next_run()].into_iter().flatten().min()
    }
}

/// What happens to a leader.
fn lead(books: &mut Books, input: Input, turn: &mut Turn<'_>) {
    match input {
        Input::Applied(record) => records::applied(books, &record, turn),
        Input::ProposalFailed(lost) => {
            for record in &lost {
                records::failed(books, record, turn);
            }
        }
        Input::Subscribe { connection, request, call, principal } => {
            subscribe::apply(books, connection, request, call, principal, turn);
        }
        Input::Call { request, framework, stream, call, principal } => {
            let from = calls::From { request, framework, stream, principal };
            calls::apply(books, &from, call, turn);
        }
        Input::SchedulerGone { connection } => {
            subscribe::gone(books, connection, turn);
        }
        Input::AgentConnected { connection } => agent_messages::connected(books, connection),
        Input::FromAgent { connection, term_seen, message } => {
            agent_messages::apply(books, connection, term_seen, message, turn);
        }
        Input::AgentGone { connection } => agent_messages::gone::apply(books, connection, turn),
        Input::Operate { request, principal, call } => {
            operator_calls::apply(books, request, principal.as_ref(), call, turn);
        }
        Input::SetMasters(masters) => books.set_masters(&masters, turn),
        Input::SetWhitelist(hosts) => books.allocator.set_whitelist(hosts, turn.now.time),
        Input::Watch { request } => {
            books.publish(turn);
            turn.out.push(Output::OpenWatch { request });
        }
        // Handled before: by the time anything comes here, the reign is this one.
        Input::Lead { .. } | Input::Depose => {}
    }
}

/// What happens to a master that does not lead: nothing, and it says so.
fn stand_by(input: &Input, turn: &mut Turn<'_>) {
    match *input {
        Input::Subscribe { request, .. }
        | Input::Call { request, .. }
        | Input::Operate { request, .. }
        | Input::Watch { request } => turn.answer(request, Err(Refusal::NotLeading)),
        Input::AgentConnected { connection } => {
            turn.close_agent(connection, CloseReason::NotLeading);
        }
        Input::Lead { .. }
        | Input::Depose
        | Input::SetWhitelist(_)
        | Input::SetMasters(_)
        | Input::Applied(_)
        | Input::ProposalFailed(_)
        | Input::SchedulerGone { .. }
        | Input::FromAgent { .. }
        | Input::AgentGone { .. } => {}
    }
}
