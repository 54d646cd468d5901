//! What a leading master knows. Handlers decide; what is here keeps the books consistent.

pub(crate) mod agents;
pub(crate) mod frameworks;
mod inverse_offers;
pub(crate) mod offers;
pub(crate) mod operations;
pub(crate) mod publish;
pub(crate) mod recovery;
pub(crate) mod removals;
pub(crate) mod resources;
pub(crate) mod returns;
mod rules;
pub(crate) mod tasks;
pub(crate) mod timers;

use crate::config::Config;
use crate::io::{CloseReason, Done, Output, Refusal};
use crate::note::Note;
use crate::registry::{Members, Rules};
use crate::view::{TaskKey, ViewChange};
use agents::{Agent, Link};
use allocator::Allocator;
use frameworks::{Framework, Subscribing};
use inverse_offers::Answered;
use model::event::SchedulerEvent;
use model::ids::{
    AgentId, ConnectionId, FrameworkId, OfferId, OperationUuid, Reign, RequestId, TaskId, Term,
};
use model::link::ToAgent;
use model::offer::{InverseOffer, Offer};
use model::registry::Record;
use model::resources::Resources;
use model::rng::Rng;
use model::step::Now;
use operations::Operation;
use publish::Unpublished;
use recovery::Recovery;
use removals::Removals;
use returns::Returns;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use timers::Timers;

/// One turn of the core: when it is, and what comes of it.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Turn<'_> {
    pub(crate) fn propose(&mut self, records: Vec<Record>) {
        self.out.push(Output::Propose(records));
    }

    pub(crate) fn answer(&mut self, request: RequestId, result: Result<Done, Refusal>) {
        self.out.push(Output::Answer { request, result });
    }

    pub(crate) fn tell_scheduler(&mut self, connection: ConnectionId, event: SchedulerEvent) {
        self.out.push(Output::ToScheduler { connection, event });
    }

    pub(crate) fn tell_agent(&mut self, connection: ConnectionId, message: ToAgent) {
        self.out.push(Output::ToAgent { connection, message });
    }

    pub(crate) fn close_agent(&mut self, connection: ConnectionId, why: CloseReason) {
        self.out.push(Output::CloseAgent { connection, why });
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.out.push(Output::Note(note));
    }

    pub(crate) fn view(&mut self, change: ViewChange) {
        self.out.push(Output::View(change));
    }
}

/// An agent that waits for its record.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) connection: ConnectionId,
    pub(crate) brings: Brings,
}

/// What an agent brings that is to be let in.
#[derive(Debug)]
pub(crate) enum Brings {
    /// It is new, and has this.
    Total(Resources),
    /// It is back.
    Back(Box<model::link::Reregister>),
}

/// A framework that is over, as it is shown.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) framework: FrameworkId,
    pub(crate) tasks: VecDeque<TaskKey>,
}

/// All that a leading master knows.
///
/// Invariants: `offers` holds exactly those that agents and frameworks name; a task is in exactly one
/// list of one framework, and named by its agent iff it is in the live one; what agents count as
/// used and offered is what the allocator has as given.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) config: Config,
    pub(crate) term: Term,
    pub(crate) reign: Reign,
    pub(crate) members: Members,
    /// What operators have decided, as far as the masters have agreed on it.
    pub(crate) rules: Rules,
    /// Operators who wait until a record is agreed on, first proposed first.
    pub(crate) agreeing: VecDeque<(Record, RequestId)>,
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    pub(crate) agents_by_address: BTreeMap<Arc<str>, AgentId>,
    /// Tasks that went out of contact with each agent. Some may be over by now.
    pub(crate) unreachable_on: BTreeMap<AgentId, BTreeSet<(FrameworkId, TaskId)>>,
    pub(crate) links: BTreeMap<ConnectionId, Link>,
    /// Agents whose record is under way, first proposed first.
    pub(crate) admissions: BTreeMap<AgentId, VecDeque<Admission>>,
    /// Operators who wait until an agent is marked gone.
    pub(crate) gone_requests: BTreeMap<AgentId, RequestId>,
    pub(crate) frameworks: BTreeMap<FrameworkId, Framework>,
    pub(crate) streams: BTreeMap<ConnectionId, FrameworkId>,
    /// Subscriptions whose record is under way, first proposed first.
    pub(crate) subscribing: BTreeMap<FrameworkId, VecDeque<Subscribing>>,
    /// Frameworks that are over, oldest first.
    pub(crate) completed: VecDeque<Completed>,
    pub(crate) offers: BTreeMap<OfferId, Arc<Offer>>,
    pub(crate) inverse_offers: BTreeMap<OfferId, InverseOffer>,
    /// The open inverse offer of an agent to a framework.
    pub(crate) inverse_offers_by_pair: BTreeMap<(AgentId, FrameworkId), OfferId>,
    /// What frameworks have answered that were asked to leave an agent.
    pub(crate) inverse_answers: BTreeMap<(AgentId, FrameworkId), Answered>,
    /// Operations that their agent has not reported, or whose framework has not kept the report.
    pub(crate) operations: BTreeMap<OperationUuid, Operation>,
    pub(crate) allocator: Allocator,
    pub(crate) recovery: Recovery,
    /// Agents out of contact that some frameworks do not know of yet.
    pub(crate) removals: Removals,
    pub(crate) returns: Returns,
    pub(crate) timers: Timers,
    pub(crate) unpublished: Unpublished,
    /// Draws stream ids.
    pub(crate) rng: Rng,
    pub(crate) frameworks_made: u64,
    pub(crate) agents_made: u64,
    pub(crate) offers_made: u64,
    pub(crate) tasks_seen: u64,
}

impl Books {
    pub(crate) fn new(
        config: &Config,
        term: Term,
        reign: Reign,
        members: Members,
        rules: Rules,
        now: Now,
    ) -> Self {
        // Each reign draws other numbers, also if one process leads twice.
        let mut rng = Rng::new(config.seed ^ term.0.rotate_left(32));
        let allocator = Allocator::new(config.allocator_settings(rng.next_u64()), now.time);
        Self {
            config: config.clone(),
            term,
            reign,
            members,
            rules,
            agreeing: VecDeque::new(),
            agents: BTreeMap::new(),
            agents_by_address: BTreeMap::new(),
            unreachable_on: BTreeMap::new(),
            links: BTreeMap::new(),
            admissions: BTreeMap::new(),
            gone_requests: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            streams: BTreeMap::new(),
            subscribing: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: BTreeMap::new(),
            inverse_offers: BTreeMap::new(),
            inverse_offers_by_pair: BTreeMap::new(),
            inverse_answers: BTreeMap::new(),
            operations: BTreeMap::new(),
            allocator,
            recovery: Recovery::default(),
            removals: Removals::default(),
            returns: Returns::default(),
            timers: Timers::default(),
            unpublished: Unpublished::default(),
            rng,
            frameworks_made: 0,
            agents_made: 0,
            offers_made: 0,
            tasks_seen: 0,
        }
    }

    /// Sends an event to a framework if it is connected.
    pub(crate) fn tell(
        &mut self,
        framework: &FrameworkId,
        event: SchedulerEvent,
        turn: &mut Turn<'_>,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework) else { return };
        if let Some(connection) = framework.connection() {
            framework.counts.event(&event);
            turn.tell_scheduler(connection, event);
        }
    }

    /// Sends a message to an agent if it is connected; says whether it was.
    pub(crate) fn send(&self, agent: &AgentId, message: ToAgent, turn: &mut Turn<'_>) -> bool {
        let connection = self.agents.get(agent).and_then(Agent::connection);
        if let Some(connection) = connection {
            turn.tell_agent(connection, message);
        }
        connection.is_some()
    }
}
