//! Connections to masters: in order, with delays, and sometimes cut or broken.

use crate::world::{Arrival, Event, Life, MASTERS, Node, World};
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
    /// Whether the calls of short tasks' schedulers are requests of their own, as over HTTP: one may
    /// overtake another, or get lost. Marathon's are on its gRPC stream.
    pub(crate) calls_are_requests: bool,
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
        };
        self.network.wires.insert(connection, wire);
        Some(connection)
    }

    /// Sends over a connection, if it is still there. What is sent in a cut waits for its end.
    pub(crate) fn send(&mut self, connection: ConnectionId, arrival: Arrival, to_master: bool) {
        let delay = self.some_time(DELAY_MAX);
        let mut at = self.now + delay;
        let is_call = matches!(&arrival, Arrival::AtMaster(master_core::Input::Call { .. }));
        let is_of_batch = |wire: &Wire| matches!(wire.client.0, Node::Batch(_));
        let is_apart = is_call
            && self.network.calls_are_requests
            && self.is_chaos
            && self.network.wires.get(&connection).is_some_and(is_of_batch);
        if is_apart && self.faults.chance(1) {
            return;
        }
        let Some(wire) = self.network.wires.get_mut(&connection) else { return };
        if wire.is_given_up {
            return;
        }
        let (client, master) = (wire.client.0, Node::Master(wire.master.0));
        let way = if to_master { (client, master) } else { (master, client) };
        if let Some(until) = self.network.cuts.get(&way) {
            at = at.max(*until);
        }
        let last = if to_master { &mut wire.to_master_by } else { &mut wire.to_client_by };
        if !is_apart {
            at = at.max(*last);
        }
        *last = at.max(*last);
        self.at(at, Event::Arrive(connection, Box::new(arrival)));
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
                (Node::Batch(at), _) => self.batch_hears(at, connection, event),
                (Node::Master(_) | Node::Agent(_), _) => {}
            },
            Arrival::Opened(stream) => {
                if let (Node::Batch(at), _) = wire.client {
                    self.batch_may_call(at, connection, stream);
                }
            }
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
                let redial = self.some_time(Duration::from_millis(500));
                self.after(wait + redial, Event::AgentDials(at, life));
            }
            (Node::Marathon(at), life) => self.session_lost(at, life, connection, wait),
            (Node::Batch(at), _) => self.batch_lost(at, connection, wait),
            (Node::Master(_), _) => {}
        }
    }
}

/// What a master is told when a connection has ended.
fn gone(wire: &Wire, connection: ConnectionId) -> master_core::Input {
    match wire.client.0 {
        Node::Agent(_) => master_core::Input::AgentGone { connection },
        Node::Marathon(_) | Node::Batch(_) | Node::Master(_) => {
            master_core::Input::SchedulerGone { connection }
        }
    }
}
