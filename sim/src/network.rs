//! Connections to masters: in order, with delays, and sometimes cut or broken.

use crate::world::{Arrival, Event, Life, Node, World};
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
}

impl World {
    /// Opens a connection to the leading master, if there is one that can be reached.
    pub(crate) fn connect(&mut self, client: Node, life: Life) -> Option<ConnectionId> {
        let master = self.raft.leader?;
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
        };
        self.network.wires.insert(connection, wire);
        Some(connection)
    }

    /// Sends over a connection, if it is still there. What is sent in a cut waits for its end.
    pub(crate) fn send(&mut self, connection: ConnectionId, arrival: Arrival, to_master: bool) {
        let delay = self.some_time(DELAY_MAX);
        let mut at = self.now + delay;
        let Some(wire) = self.network.wires.get_mut(&connection) else { return };
        let (client, master) = (wire.client.0, Node::Master(wire.master.0));
        let way = if to_master { (client, master) } else { (master, client) };
        if let Some(until) = self.network.cuts.get(&way) {
            at = at.max(*until);
        }
        let last = if to_master { &mut wire.to_master_by } else { &mut wire.to_client_by };
        at = at.max(*last);
        *last = at;
        self.at(at, Event::Arrive(connection, Box::new(arrival)));
    }

    /// What was sent arrives.
    pub(crate) fn arrive(&mut self, connection: ConnectionId, arrival: Arrival) {
        let Some(wire) = self.network.wires.get(&connection).cloned() else { return };
        match arrival {
            Arrival::AtMaster(input) => self.step_master(wire.master.0, wire.master.1, input),
            Arrival::AtAgent(input) => {
                if let (Node::Agent(at), life) = wire.client {
                    self.step_agent(at, life, input);
                }
            }
            Arrival::AtMarathon(event) => {
                if let (Node::Marathon(at), life) = wire.client {
                    self.hear(at, life, connection, event);
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

    /// The client ends a connection.
    pub(crate) fn hang_up(&mut self, connection: ConnectionId) {
        if let Some(wire) = self.network.wires.remove(&connection) {
            self.master_notices(&wire, connection);
        }
    }

    fn master_notices(&mut self, wire: &Wire, connection: ConnectionId) {
        let input = match wire.client.0 {
            Node::Agent(_) => master_core::Input::AgentGone { connection },
            Node::Marathon(_) | Node::Master(_) => master_core::Input::SchedulerGone { connection },
        };
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
            (Node::Master(_), _) => {}
        }
    }
}
