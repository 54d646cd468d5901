//! Connections to masters: in order, with delays, and sometimes cut or broken.

use crate::world::{Arrival, Event, Life, MASTERS, Node, World};
use model::call::Call;
use model::ids::ConnectionId;
use model::step::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a message takes at most when nothing is wrong.
const DELAY_MAX: Duration = Duration::from_millis(8);

/// How long a side may take to notice that its connection is broken.
const NOTICE_MAX: Duration = Duration::from_secs(3);

/// All connections, and where the network is cut.
#[derive(Default)]
pub(crate) struct Network {
    /// Whether calls are requests of their own, as over HTTP: one may overtake another, or get lost.
    /// Else they are on a stream, as over gRPC.
    pub(crate) calls_are_requests: bool,
    /// How many of a hundred such calls get lost.
    pub(crate) loses: u64,
    /// Calls that are to get lost, each once: whose, and which.
    pub(crate) dooms: Vec<(Node, String)>,
    pub(crate) wires: BTreeMap<ConnectionId, Wire>,
    /// Until when nothing gets through, by who sends and who is to hear it.
    pub(crate) cuts: BTreeMap<(Node, Node), Time>,
}

/// One connection of an agent or a Marathon to a master.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Who opened it.
    pub(crate) client: (Node, Life),
    /// To which master.
    pub(crate) master: (usize, Life),
    /// When the last message to the master arrives: later ones do not overtake it.
    to_master_by: Time,
    to_client_by: Time,
    /// Whether the client has given it up; what it sent before is still on its way.
    is_given_up: bool,
    /// Whether the client waits for the answer to a call that got lost, and sends no other before.
    waits_in_vain: bool,
}

/// How something travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// After all that was sent before.
    InOrder,
    /// By itself: it may overtake what was sent before.
    Apart,
    /// Not at all.
    Lost,
}

impl World {
    /// Opens a connection to the leading master, if there is one that can be reached. One that only
    /// believes that it leads says so as well.
    pub(crate) fn connect(&mut self, client: Node, life: Life) -> Option<ConnectionId> {
        let overstays = (0..MASTERS).find(|&at| self.masters[at].overstays);
        let master = match (self.raft.leader, overstays) {
            (Some(_), Some(old)) if self.delays.below(4) == 0 => old,
            (Some(leader), _) => leader,
            (None, old) => old?,
        };
        let is_cut = |from, to| self.network.cuts.get(&(from, to)).is_some_and(|at| *at > self.now);
        if is_cut(client, Node::Master(master)) || is_cut(Node::Master(master), client) {
            return None;
        }
        let connection = self.new_connection();
        let wire = Wire {
            client: (client, life),
            master: (master, self.masters[master].life),
            to_master_by: self.now,
            to_client_by: self.now,
            is_given_up: false,
            waits_in_vain: false,
        };
        self.network.wires.insert(connection, wire);
        Some(connection)
    }

    /// Sends over a connection, if it is still there. What is sent in a cut waits for its end.
    pub(crate) fn send(&mut self, connection: ConnectionId, arrival: Arrival, to_master: bool) {
        let delay = self.some_time(DELAY_MAX);
        let mut at = self.now + delay;
        let way = self.way_of(connection, &arrival);
        if way == Way::Lost {
            return;
        }
        let Some(wire) = self.network.wires.get_mut(&connection) else { return };
        if wire.is_given_up {
            return;
        }
        let (client, master) = (wire.client.0, Node::Master(wire.master.0));
        let ends = if to_master { (client, master) } else { (master, client) };
        if let Some(until) = self.network.cuts.get(&ends) {
            at = at.max(*until);
        }
        let last = if to_master { &mut wire.to_master_by } else { &mut wire.to_client_by };
        if way == Way::InOrder {
            at = at.max(*last);
        }
        *last = at.max(*last);
        self.at(at, Event::Arrive(connection, Box::new(arrival)));
    }

    /// How what is sent travels. Plain schedulers send their calls as they come, and hear nothing of it
    /// if one gets lost. Marathon sends one after the other, acknowledgements beside them, and ends its
    /// session when one of those in order gets lost, as the SDK does.
    fn way_of(&mut self, connection: ConnectionId, arrival: &Arrival) -> Way {
        let Arrival::AtMaster(master_core::Input::Call { call, .. }) = arrival else {
            return Way::InOrder;
        };
        let Some(wire) = self.network.wires.get_mut(&connection) else { return Way::Lost };
        let (client, name) = (wire.client.0, call_name(call));
        let is_doomed =
            self.network.dooms.iter().position(|(of, call)| *of == client && call == name);
        if let Some(at) = is_doomed {
            self.network.dooms.remove(at);
        }
        let is_doomed = is_doomed.is_some();
        let are_lost = self.network.loses > 0 || is_doomed;
        if !self.network.calls_are_requests || !are_lost {
            return Way::InOrder;
        }
        let is_lost = is_doomed || self.faults.chance(self.network.loses);
        let is_beside = matches!(call, Call::Acknowledge(_));
        if matches!(wire.client.0, Node::Scheduler(_)) || is_beside {
            return if is_lost { Way::Lost } else { Way::Apart };
        }
        if wire.waits_in_vain {
            return Way::Lost;
        }
        if is_lost {
            wire.waits_in_vain = true;
            let wait = self.some_time(NOTICE_MAX);
            self.after(wait, Event::CallIsLost(connection));
            // The call itself may have arrived, and only its answer not.
            if is_doomed || self.faults.chance(50) {
                return Way::Lost;
            }
        }
        Way::InOrder
    }

    /// A client waits no longer for the answer to a call.
    pub(crate) fn call_is_lost(&mut self, connection: ConnectionId) {
        if let Some(wire) = self.network.wires.get(&connection).cloned() {
            self.hang_up(connection);
            self.client_notices(&wire, connection);
        }
    }

    /// What was sent arrives.
    pub(crate) fn arrive(&mut self, connection: ConnectionId, arrival: Arrival) {
        let Some(wire) = self.network.wires.get(&connection).cloned() else { return };
        match arrival {
            Arrival::AtMaster(input) => self.step_master(wire.master.0, wire.master.1, input),
            Arrival::Ended => {
                self.network.wires.remove(&connection);
            }
            // Nobody listens any more.
            _ if wire.is_given_up => {}
            Arrival::AtAgent(input) => {
                if let (Node::Agent(at), life) = wire.client {
                    self.agent_hears(at, life, input);
                }
            }
            Arrival::AtScheduler(event) => match wire.client {
                (Node::Marathon(at), life) => self.hear(at, life, connection, event),
                (Node::Scheduler(at), _) => self.scheduler_hears(at, connection, event),
                (Node::Master(_) | Node::Agent(_), _) => {}
            },
            Arrival::Opened(stream) => match wire.client {
                (Node::Scheduler(at), _) => self.scheduler_may_call(at, connection, stream),
                (Node::Marathon(at), _) => self.marathon_may_call(at, connection, stream),
                (Node::Master(_) | Node::Agent(_), _) => {}
            },
            Arrival::Closed => {
                self.network.wires.remove(&connection);
                self.client_notices(&wire, connection);
            }
        }
    }

    /// Breaks a connection: what is under way is lost, and both sides notice sooner or later.
    pub(crate) fn break_connection(&mut self, connection: ConnectionId) {
        let Some(wire) = self.network.wires.remove(&connection) else { return };
        if wire.is_given_up {
            return;
        }
        self.master_notices(&wire, connection);
        self.client_notices(&wire, connection);
    }

    /// Breaks all connections of a node that has crashed or is told to.
    pub(crate) fn break_all(&mut self, node: Node) {
        let is_its = |wire: &Wire| wire.client.0 == node || Node::Master(wire.master.0) == node;
        let its = self.network.wires.iter().filter(|(_, wire)| is_its(wire));
        let its: Vec<ConnectionId> = its.map(|(connection, _)| *connection).collect();
        for connection in its {
            self.break_connection(connection);
        }
    }

    /// The client ends a connection. What it sent before is lost or arrives: nobody knows.
    pub(crate) fn hang_up(&mut self, connection: ConnectionId) {
        if self.network.wires.get(&connection).is_none_or(|wire| wire.is_given_up) {
            return;
        }
        if self.delays.below(2) == 0 {
            let wire = self.network.wires.remove(&connection).expect("just looked at");
            return self.master_notices(&wire, connection);
        }
        let wire = self.network.wires.get_mut(&connection).expect("just looked at");
        wire.is_given_up = true;
        let (at, input) = (wire.to_master_by, gone(wire, connection));
        let wait = self.some_time(DELAY_MAX);
        let at = at.max(self.now + wait);
        self.at(at, Event::Arrive(connection, Box::new(Arrival::AtMaster(input))));
        self.at(at, Event::Arrive(connection, Box::new(Arrival::Ended)));
    }

    fn master_notices(&mut self, wire: &Wire, connection: ConnectionId) {
        let input = gone(wire, connection);
        let wait = self.some_time(NOTICE_MAX);
        let (master, life) = wire.master;
        self.after(wait, Event::ToMaster(master, life, Box::new(input)));
    }

    fn client_notices(&mut self, wire: &Wire, connection: ConnectionId) {
        let wait = self.some_time(NOTICE_MAX);
        match wire.client {
            (Node::Agent(at), life) => {
                let input = agent_core::Input::LinkDown { link: connection };
                self.after(wait, Event::ToAgent(at, life, Box::new(input)));
                let redial = self.some_time(Duration::from_millis(500)) + self.agents[at].turn();
                self.after(wait + redial, Event::AgentDials(at, life));
            }
            (Node::Marathon(at), life) => self.session_lost(at, life, connection, wait),
            (Node::Scheduler(at), _) => self.scheduler_lost(at, connection, wait),
            (Node::Master(_), _) => {}
        }
    }
}

/// What a master is told when a connection has ended.
fn gone(wire: &Wire, connection: ConnectionId) -> master_core::Input {
    match wire.client.0 {
        Node::Agent(_) => master_core::Input::AgentGone { connection },
        Node::Marathon(_) | Node::Scheduler(_) | Node::Master(_) => {
            master_core::Input::SchedulerGone { connection }
        }
    }
}

/// What a call is called on the wire.
pub(crate) fn call_name(call: &Call) -> &'static str {
    match call {
        Call::Accept(_) => "ACCEPT",
        Call::Decline(_) => "DECLINE",
        Call::AnswerInverseOffers(_) => "ACCEPT_INVERSE_OFFERS",
        Call::Revive(_) => "REVIVE",
        Call::Suppress(_) => "SUPPRESS",
        Call::Kill(_) => "KILL",
        Call::Shutdown(_) => "SHUTDOWN",
        Call::Acknowledge(_) => "ACKNOWLEDGE",
        Call::AcknowledgeOperation(_) => "ACKNOWLEDGE_OPERATION_STATUS",
        Call::Reconcile(_) => "RECONCILE",
        Call::ReconcileOperations(_) => "RECONCILE_OPERATIONS",
        Call::Message(_) => "MESSAGE",
        Call::UpdateFramework(_) => "UPDATE_FRAMEWORK",
        Call::Teardown => "TEARDOWN",
        Call::Request => "REQUEST",
    }
}
