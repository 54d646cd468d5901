//! A store that cannot be written: a full disk, or one that fails.
//!
//! Nothing can be acknowledged or promised then, so this master hands leadership on if it has it, and from
//! there on hears nothing, says nothing and lets no time pass. It is to the others as if it were
//! paused, and takes part again when a write succeeds.

use raft::StateRole;

use super::{Input, Node};
use crate::raft::StateMachine;
use crate::raft::error::{ChangeError, ProposeError};

impl<M: StateMachine> Node<M> {
    /// Takes note of what the store says before anything else that came in, and lets go of what cannot
    /// wait for it.
    pub(super) fn note_store(&mut self) {
        for at in 0..self.backlog.len() {
            match &self.backlog[at] {
                Input::StoreFailed => self.store_failed(),
                Input::StoreWorks => self.store_works(),
                Input::Messages { .. }
                | Input::Propose(_)
                | Input::Read(_)
                | Input::Persisted(_)
                | Input::Unreachable(_)
                | Input::SnapshotSent { .. }
                | Input::Met { .. }
                | Input::Change { .. }
                | Input::List(_)
                | Input::Removed => {}
            }
        }
        if self.is_frozen() {
            let inputs = std::mem::take(&mut self.backlog);
            self.backlog = inputs.into_iter().filter_map(|input| self.let_go(input)).collect();
        }
    }

    fn store_failed(&mut self) {
        if self.failing {
            return;
        }
        self.failing = true;
        self.meters.store_failing.set(1.0);
        self.withdraw_lease();
        if self.raw.raft.state == StateRole::Leader
            && let Some(next) = self.best_prepared()
        {
            self.hand_on(next);
        }
    }

    fn store_works(&mut self) {
        if self.raw.raft.state == StateRole::Leader {
            // Its reign is over, as was told. The next one has another number.
            self.raw.raft.become_follower(self.raw.raft.term, raft::INVALID_ID);
        }
        self.failing = false;
        self.meters.store_failing.set(0.0);
        // The time in between was no silence of the others.
        self.next_tick = self.now + self.options.tick;
    }

    /// Whether nothing is heard or said. A leader goes on until another one has taken over, or does not.
    pub(super) fn is_frozen(&self) -> bool {
        self.failing && self.raw.raft.state != StateRole::Leader
    }

    /// Ceases to lead, or to want to, unless somebody is just taking over.
    pub(super) fn give_up(&mut self) {
        let raft = &mut self.raw.raft;
        if self.failing
            && raft.state != StateRole::Follower
            && (raft.state != StateRole::Leader || raft.lead_transferee.is_none())
        {
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// Refuses what others wait for, drops what they send again, and returns the rest.
    fn let_go(&mut self, input: Input) -> Option<Input> {
        match input {
            Input::Messages { .. } | Input::StoreFailed | Input::StoreWorks => None,
            Input::Propose(proposed) => {
                self.propose(proposed);
                None
            }
            Input::Read(asked) => {
                let _ = asked.answer.send(Err(ProposeError::NotLeader { leader: None }));
                None
            }
            Input::Change { answer, .. } => {
                let _ = answer.send(Err(ChangeError::NotLeader { leader: None }));
                None
            }
            rest @ (Input::Persisted(_)
            | Input::Unreachable(_)
            | Input::SnapshotSent { .. }
            | Input::Met { .. }
            | Input::List(_)
            | Input::Removed) => Some(rest),
        }
    }
}
