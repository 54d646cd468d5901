//! What breaks: each seed has its own mix of faults.

use crate::containers::ContainerEvent;
use crate::world::{Event, MASTERS, Node, World};
use model::ids::ConnectionId;
use model::step::Time;
use std::time::Duration;

/// Something that breaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A master ends at once, and comes back.
    CrashMaster,
    /// The leading master ends at once, and comes back.
    CrashLeader,
    /// The leader leads no more, though it lives.
    DeposeMaster,
    /// The leader is cut off from the other masters and goes on for a while as if it led.
    IsolateLeader,
    /// An agent ends at once, and comes back.
    CrashAgent,
    /// An agent ends in the middle of what it does next.
    CrashAgentInStep,
    /// A whole machine goes down with all that runs on it, and comes back.
    RebootMachine,
    /// A Marathon ends at once, and comes back.
    CrashMarathon,
    /// The leading Marathon loses its lease, though it lives.
    DeposeMarathon,
    /// The leading Marathon stands still for so long that its lease ends, and does not know at first.
    PauseMarathon,
    /// A connection breaks.
    BreakConnection,
    /// Nothing gets through between a node and a master for a while, one way or both.
    Partition,
    /// An executor ends badly.
    KillExecutor,
}

const ALL: [Fault; 13] = [
    Fault::CrashMaster,
    Fault::CrashLeader,
    Fault::DeposeMaster,
    Fault::IsolateLeader,
    Fault::CrashAgent,
    Fault::CrashAgentInStep,
    Fault::RebootMachine,
    Fault::CrashMarathon,
    Fault::DeposeMarathon,
    Fault::PauseMarathon,
    Fault::BreakConnection,
    Fault::Partition,
    Fault::KillExecutor,
];

impl World {
    pub(crate) fn plan_next_fault(&mut self) {
        // The seed says how rough the run is: from a fault a second to one a minute.
        let pace = 1 + self.settings.seed % 7 * 8;
        let wait = Duration::from_secs(3) + self.faults.up_to(Duration::from_secs(pace));
        let kind = usize::try_from(self.faults.below(ALL.len() as u64)).unwrap_or(0);
        self.after(wait, Event::Fault(ALL[kind]));
    }

    pub(crate) fn break_something(&mut self, fault: Fault) {
        if !self.is_chaos {
            return;
        }
        self.summary.faults += 1;
        let agents = self.agents.len() as u64;
        match fault {
            Fault::CrashMaster => {
                let at = self.pick(MASTERS as u64);
                self.crash_master(at);
                self.back_after(Node::Master(at), Duration::from_secs(20));
            }
            Fault::CrashLeader => {
                if let Some(at) = self.raft.leader {
                    self.crash_master(at);
                    self.back_after(Node::Master(at), Duration::from_secs(20));
                }
            }
            Fault::DeposeMaster => self.depose(),
            Fault::IsolateLeader => self.isolate_leader(),
            Fault::CrashAgent => {
                let at = self.pick(agents);
                self.crash_agent(at);
                self.back_after(Node::Agent(at), Duration::from_secs(60));
            }
            Fault::CrashAgentInStep => {
                let at = self.pick(agents);
                self.agents[at].is_doomed = true;
            }
            Fault::RebootMachine => {
                let at = self.pick(agents);
                self.machine_goes_down(at);
                self.back_after(Node::Agent(at), Duration::from_secs(60));
            }
            Fault::CrashMarathon => {
                let at = self.pick(self.marathons.len() as u64);
                self.crash_marathon(at);
                self.back_after(Node::Marathon(at), Duration::from_secs(20));
            }
            Fault::DeposeMarathon => self.depose_marathon(),
            Fault::PauseMarathon => self.pause_marathon(),
            Fault::BreakConnection => {
                let wires: Vec<ConnectionId> = self.network.wires.keys().copied().collect();
                if !wires.is_empty() {
                    let at = self.pick(wires.len() as u64);
                    self.break_connection(wires[at]);
                }
            }
            Fault::Partition => self.partition(),
            Fault::KillExecutor => self.kill_executor(),
        }
        self.plan_next_fault();
    }

    fn pick(&mut self, of: u64) -> usize {
        usize::try_from(self.faults.below(of)).unwrap_or(0)
    }

    pub(crate) fn back_after(&mut self, node: Node, max: Duration) {
        let wait = Duration::from_millis(100) + self.faults.up_to(max);
        self.after(wait, Event::Start(node));
    }

    fn partition(&mut self) {
        let client = match self.faults.below(5) {
            0 => Node::Marathon(self.pick(self.marathons.len() as u64)),
            1 if !self.schedulers.is_empty() => {
                Node::Scheduler(self.pick(self.schedulers.len() as u64))
            }
            _ => Node::Agent(self.pick(self.agents.len() as u64)),
        };
        let until = self.now + Duration::from_secs(1) + self.faults.up_to(Duration::from_secs(60));
        let ways = self.faults.below(3);
        self.cut(client, ways != 0, ways != 1, until);
    }

    /// Nothing gets through between a client and all masters until then, one way or both.
    pub(crate) fn cut(&mut self, client: Node, to_masters: bool, from_masters: bool, until: Time) {
        for master in (0..MASTERS).map(Node::Master) {
            if to_masters {
                self.network.cuts.insert((client, master), until);
            }
            if from_masters {
                self.network.cuts.insert((master, client), until);
            }
        }
    }

    /// A machine goes down with all that runs on it.
    pub(crate) fn machine_goes_down(&mut self, at: usize) {
        self.crash_agent(at);
        let lost = std::mem::take(&mut self.agents[at].containers);
        self.laws.went_down.extend(lost.into_values().flat_map(|one| one.tasks.into_keys()));
        self.agents[at].is_rebooting = true;
    }

    fn kill_executor(&mut self) {
        let at = self.pick(self.agents.len() as u64);
        let ids: Vec<_> = self.agents[at].containers.keys().cloned().collect();
        if !ids.is_empty() {
            let id = &ids[self.pick(ids.len() as u64)];
            let status = if self.faults.chance(50) { 9 } else { 256 };
            self.container(at, id, ContainerEvent::Exits(status));
        }
    }

    /// Ends all faults; whoever is down comes back.
    pub(crate) fn heal(&mut self) {
        self.is_chaos = false;
        self.network.cuts.clear();
        self.network.loses = 0;
        for agent in &mut self.agents {
            agent.is_doomed = false;
        }
        for at in 0..MASTERS {
            if self.masters[at].overstays {
                self.finds_out(at);
            }
        }
        let masters = (0..MASTERS).map(Node::Master);
        let agents = (0..self.agents.len()).map(Node::Agent);
        for at in 0..self.marathons.len() {
            self.marathon_finds_out(at, self.marathons[at].life);
        }
        let schedulers = (0..self.schedulers.len()).map(Node::Scheduler);
        let marathons = (0..self.marathons.len()).map(Node::Marathon);
        for node in masters.chain(agents).chain(marathons).chain(schedulers) {
            self.after(Duration::from_millis(10), Event::Start(node));
        }
        self.after(Duration::from_secs(2), Event::Elect);
        self.after(Duration::from_secs(6), Event::TakeLease);
    }
}
