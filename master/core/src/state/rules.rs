//! What operators have decided, and what the books keep because of it.

use super::agents::{Agent, Reach};
use super::{Books, Turn};
use crate::io::{Done, Refusal};
use model::amount::Milli;
use model::ids::{AgentId, RequestId};
use model::link::{AgentDescription, ip_of};
use model::registry::Record;
use model::role::Role;
use model::rules::{Quota, Standing, Unavailability};

impl Books {
    /// Has a record agreed on that an operator asked for, who is answered then.
    pub(crate) fn propose_for(&mut self, request: RequestId, record: Record, turn: &mut Turn<'_>) {
        self.agreeing.push_back((record.clone(), request));
        turn.propose(vec![record]);
    }

    /// Answers the operator who waits for a record, if one does.
    pub(crate) fn answer_operator(
        &mut self,
        record: &Record,
        result: Result<Done, Refusal>,
        turn: &mut Turn<'_>,
    ) {
        // Records come back in the order in which they were proposed.
        let at = self.agreeing.iter().position(|(waiting, _)| waiting == record);
        if let Some((_, request)) = at.and_then(|at| self.agreeing.remove(at)) {
            turn.answer(request, result);
        }
    }

    /// When an agent is to be away, if that is planned.
    pub(crate) fn unavailability_of(&self, agent: &AgentDescription) -> Option<Unavailability> {
        self.rules.unavailability(&agent.hostname, ip_of(&agent.address))
    }

    /// How much of a scalar the agents in contact have.
    pub(crate) fn total(&self, name: &str) -> Milli {
        let firm =
            |agent: &Agent| agent.total.filtered(|key, _| !key.kind.is_revocable).scalar(name);
        self.agents.values().map(firm).fold(Milli::ZERO, |sum, amount| sum + amount)
    }

    /// Has the allocator keep a quota, or none if it is empty.
    pub(crate) fn set_quota(&mut self, role: &Role, quota: &Quota, turn: &Turn<'_>) {
        let checked = "whoever proposed it has checked it";
        let Quota { guarantees, limits } = quota.clone();
        let quota =
            (!quota.is_empty()).then(|| allocator::Quota::new(guarantees, limits).expect(checked));
        self.allocator.set_quota(role.clone(), quota, turn.now.time).expect(checked);
    }

    /// Has agents that were to be emptied, and are, marked as such.
    pub(crate) fn settle_draining(&mut self, turn: &mut Turn<'_>) {
        let is_draining = |standing: &Standing| matches!(standing, Standing::Draining { .. });
        let draining = self.rules.standings.iter().filter(|(_, standing)| is_draining(standing));
        let emptied: Vec<AgentId> = draining
            .filter(|(id, _)| self.agents.get(*id).is_some_and(is_emptied))
            .map(|(id, _)| id.clone())
            .collect();
        for id in emptied {
            let Standing::Draining { drain, since } = self.rules.standing(&id) else { continue };
            let agent = self.agents.get_mut(&id).expect("it was just found");
            agent.is_settling = true;
            let standing = Standing::Drained { drain, since };
            let mut records = vec![Record::SetStanding { agent: id.clone(), standing }];
            if drain.marks_gone {
                self.begin_leaving(&id, None, turn);
                records.push(Record::MarkGone { agent: id, at: turn.now.wall });
            }
            turn.propose(records);
        }
    }
}

/// Whether nothing of an agent that is in contact runs or waits to be acknowledged.
fn is_emptied(agent: &Agent) -> bool {
    let is_connected = matches!(agent.reach, Reach::Connected(_));
    let is_empty = agent.tasks.is_empty() && agent.operations.is_empty();
    is_connected && is_empty && !agent.is_settling && !agent.is_leaving
}
