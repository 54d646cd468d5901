//! Masters that come and go, and leadership that is handed on.
//!
//! One change at a time, and each adds, promotes or removes one master: any majority before it shares a
//! master with any majority after it.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use proto::agora::v1::RaftMember;
use protobuf2::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, Entry, EntryType};
use raft::{ProgressState, StateRole};
use tokio::sync::oneshot;

use super::{Node, Output};
use crate::raft::error::{ChangeError, RaftError};
use crate::raft::members::is_address;
use crate::raft::membership::{MEMBERS_MAX, Membership};
use crate::raft::{RaftEvent, StateMachine};

/// Entries by which a learner may be behind what is agreed on when it becomes a voter. It has them a
/// moment later, and while much is written it would never be quite at the end.
const CAUGHT_UP_WITHIN: u64 = 100;

/// Elections' time for another master to lead, before whoever wanted that is told that none does.
const TAKEN_OVER_WITHIN: u32 = 5;

/// What somebody wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// One master more, as a learner.
    Add { raft_id: u64, address: String },
    /// One master less. By force: even if too few of the others can be reached.
    Remove { name: String, force: bool },
    /// Another leader: this one, or whichever is best prepared.
    Transfer { name: Option<String> },
}

/// The masters as this one sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) term: u64,
    pub(crate) committed: u64,
    pub(crate) members: Vec<Member>,
}

/// How one master stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) raft_id: u64,
    pub(crate) address: String,
    pub(crate) is_voter: bool,
    pub(crate) is_leading: bool,
    /// What it has on disk, where that is known.
    pub(crate) matched: Option<u64>,
    /// For how long it has been silent; absent if it was never heard.
    pub(crate) heard_ago: Option<Duration>,
}

/// Changes under way.
#[derive(Default)]
pub(super) struct Changes {
    waiting: Option<Waiting>,
    /// When each master was heard last.
    heard: BTreeMap<u64, Duration>,
    /// The last term in which leadership was handed on, or was to be. Whoever was told to take over may
    /// do so late and asks nobody whether the leader is alive, so there is no lease in it any more.
    handed_on_in: u64,
}

struct Waiting {
    change: Waited,
    term: u64,
    since: Duration,
    answer: oneshot::Sender<Result<u64, ChangeError>>,
}

#[derive(Clone, Copy)]
enum Waited {
    /// Until the entry of this index, about this master, is applied.
    Entry { index: u64, raft_id: u64 },
    /// Until another master leads.
    Leader,
}

impl Changes {
    pub(super) fn heard(&mut self, id: u64, now: Duration) {
        self.heard.insert(id, now);
    }

    pub(super) fn may_lease(&self, term: u64) -> bool {
        self.handed_on_in != term
    }
}

/// Takes up the own address where nobody else has to know it, and else checks that they do.
pub(super) fn settle_own_address(
    membership: &mut Membership,
    id: u64,
    own: &str,
) -> Result<(), RaftError> {
    match membership.address(id) {
        Some(known) if known != own => {
            if membership.addresses().len() > 1 {
                return Err(RaftError::Moved { known: known.clone(), own: own.to_owned() });
            }
            membership.add(id, own.to_owned());
        }
        Some(_) | None => {}
    }
    Ok(())
}

impl<M: StateMachine> Node<M> {
    /// Begins what somebody wants, or says why not.
    pub(super) fn change(
        &mut self,
        change: Change,
        answer: oneshot::Sender<Result<u64, ChangeError>>,
    ) {
        let begun = self.begin_change(change);
        match begun {
            Ok(Begun::Waits(change)) => {
                let term = self.raw.raft.term;
                let since = self.now;
                self.changes.waiting = Some(Waiting { change, term, since, answer });
            }
            Ok(Begun::Done(raft_id)) => drop(answer.send(Ok(raft_id))),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn begin_change(&mut self, change: Change) -> Result<Begun, ChangeError> {
        if !self.leads() {
            return Err(ChangeError::NotLeader { leader: self.told_leader() });
        }
        let raft = &self.raw.raft;
        if raft.has_pending_conf()
            || raft.lead_transferee.is_some()
            || self.changes.waiting.is_some()
        {
            return Err(ChangeError::Busy);
        }
        match change {
            Change::Add { raft_id, address } => self.add(raft_id, address),
            Change::Remove { name, force } => self.remove(&name, force),
            Change::Transfer { name } => self.transfer(name.as_deref()),
        }
    }

    fn add(&mut self, raft_id: u64, address: String) -> Result<Begun, ChangeError> {
        let refused = |reason: String| Err(ChangeError::Refused(reason));
        if raft_id == 0 || !is_address(&address) {
            return refused(format!("'{address}' with raft id {raft_id} can be no master"));
        }
        if self.membership.is_removed(raft_id) {
            return refused(format!(
                "{address} was removed as raft id {raft_id}; \
                 let it join anew with an empty work directory"
            ));
        }
        match self.membership.address(raft_id) {
            Some(known) if *known == address => return Ok(Begun::Done(raft_id)),
            Some(known) => {
                return refused(format!("raft id {raft_id} is a master at {known} already"));
            }
            None => {}
        }
        if let Some(other) = self.membership.find(&address) {
            return refused(format!(
                "{address} is a master already, with raft id {other} and another work directory; \
                 remove that one first: agora operator raft remove {address}"
            ));
        }
        if self.membership.addresses().len() >= MEMBERS_MAX {
            return refused(format!("there are {MEMBERS_MAX} masters already; remove one first"));
        }
        let member = RaftMember { raft_id, address };
        self.propose_change(ConfChangeType::AddLearnerNode, raft_id, &member.encode_to_vec())
    }

    fn remove(&mut self, name: &str, force: bool) -> Result<Begun, ChangeError> {
        let raft_id = self.named(name)?;
        let mut voters = self.voters();
        let voted = voters.contains(&raft_id);
        voters.retain(|id| *id != raft_id);
        if voters.is_empty() {
            return Err(ChangeError::Refused("the last master cannot be removed".to_owned()));
        }
        if raft_id == self.raw.raft.id {
            return Err(ChangeError::Leads);
        }
        let reached = voters.iter().filter(|id| self.is_reached(**id)).count();
        let needed = voters.len() / 2 + 1;
        if voted && reached < needed && !force {
            return Err(ChangeError::Refused(format!(
                "of the {} voters that would be left only {reached} can be reached, and {needed} \
                 must be to agree on anything; start another one first, or use --force",
                voters.len()
            )));
        }
        self.propose_change(ConfChangeType::RemoveNode, raft_id, &[])
    }

    fn transfer(&mut self, name: Option<&str>) -> Result<Begun, ChangeError> {
        let target = match name {
            Some(name) => {
                let raft_id = self.named(name)?;
                if raft_id == self.raw.raft.id {
                    return Ok(Begun::Done(raft_id));
                }
                if !self.voters().contains(&raft_id) {
                    let reason = format!("{name} is still a learner; wait until it has caught up");
                    return Err(ChangeError::Refused(reason));
                }
                raft_id
            }
            None => self
                .best_prepared()
                .ok_or_else(|| ChangeError::Refused("no other voter can be reached".to_owned()))?,
        };
        self.hand_on(target);
        Ok(Begun::Waits(Waited::Leader))
    }

    /// Has `target` lead as soon as it has all entries.
    pub(super) fn hand_on(&mut self, target: u64) {
        self.changes.handed_on_in = self.raw.raft.term;
        self.withdraw_lease();
        self.raw.transfer_leader(target);
    }

    /// The other voter that has most of the log and was heard of shortly before.
    pub(super) fn best_prepared(&self) -> Option<u64> {
        let others = self.voters().into_iter().filter(|id| *id != self.raw.raft.id);
        let prepared = others.filter(|id| self.is_reached(*id));
        prepared.max_by_key(|id| self.raw.raft.prs().get(*id).map_or(0, |one| one.matched))
    }

    fn named(&self, name: &str) -> Result<u64, ChangeError> {
        let unknown = || ChangeError::Unknown { name: name.to_owned() };
        self.membership.find(name).ok_or_else(unknown)
    }

    fn voters(&self) -> Vec<u64> {
        self.raw.raft.prs().conf().to_conf_state().voters
    }

    /// Whether this master was heard of within the time in which silence calls for an election.
    fn is_reached(&self, id: u64) -> bool {
        let patience = self.options.tick * self.options.election_ticks;
        let heard = self.changes.heard.get(&id);
        id == self.raw.raft.id || heard.is_some_and(|heard| *heard + patience >= self.now)
    }

    fn propose_change(
        &mut self,
        kind: ConfChangeType,
        raft_id: u64,
        context: &[u8],
    ) -> Result<Begun, ChangeError> {
        let mut change = ConfChange::default();
        change.set_change_type(kind);
        change.node_id = raft_id;
        let proposed = self.raw.propose_conf_change(context.to_vec(), change);
        proposed.map_err(|_| ChangeError::Busy)?;
        let index = self.raw.raft.raft_log.last_index();
        Ok(Begun::Waits(Waited::Entry { index, raft_id }))
    }

    /// Makes a learner a voter that has caught up.
    pub(super) fn promote(&mut self) {
        let raft = &self.raw.raft;
        if raft.has_pending_conf() || raft.lead_transferee.is_some() {
            return;
        }
        let committed = raft.raft_log.committed;
        // One that has answered a snapshot before its sender knew that it had arrived is probed until
        // there is something to write, which may be never: what it has acknowledged is what counts.
        let is_ready = |id: &u64| {
            raft.prs().get(*id).is_some_and(|one| {
                one.state != ProgressState::Snapshot
                    && one.matched > 0
                    && one.matched + CAUGHT_UP_WITHIN >= committed
                    && self.is_reached(*id)
            })
        };
        let learners = raft.prs().conf().to_conf_state().learners;
        if let Some(ready) = learners.into_iter().find(is_ready) {
            // Should it be refused, the next tick tries again.
            let _ = self.propose_change(ConfChangeType::AddNode, ready, &[]);
        }
    }

    /// Applies a change that was agreed on.
    pub(super) fn apply_change(&mut self, entry: &Entry) -> Result<(), RaftError> {
        let protocol = |source| RaftError::Protocol { source: Box::new(source) };
        let mut change = ConfChange::default();
        if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
            let several = "a change of several masters at once, which no master proposes";
            return Err(protocol(raft::Error::ConfChangeError(several.to_owned())));
        }
        change.merge_from_bytes(&entry.data).map_err(|error| protocol(error.into()))?;
        self.raw.apply_conf_change(&change).map_err(protocol)?;
        let id = change.node_id;
        match change.get_change_type() {
            ConfChangeType::AddLearnerNode => {
                let member = RaftMember::decode(&entry.context[..]).map_err(|error| {
                    RaftError::Restore { index: entry.index, reason: error.to_string() }
                })?;
                tracing::info!(master = member.address, id, "a master was added, as a learner");
                self.membership.add(id, member.address);
            }
            ConfChangeType::AddNode => {
                let master = self.membership.address(id).map(String::as_str);
                tracing::info!(master, id, "a master has caught up, and votes");
            }
            ConfChangeType::RemoveNode => {
                let master = self.membership.address(id).map(String::as_str);
                tracing::info!(master, id, "a master was removed");
                self.membership.remove(id);
                self.changes.heard.remove(&id);
            }
        }
        self.membership_news = Some(self.membership.clone());
        if self.membership.is_removed(self.raw.raft.id) {
            return Err(RaftError::Removed);
        }
        Ok(())
    }

    /// Answers who wanted a change that is made by now, or will not be.
    pub(super) fn answer_changes(&mut self) {
        let Some(Waiting { change, term, since, .. }) = &self.changes.waiting else { return };
        let raft = &self.raw.raft;
        let reigns = raft.state == StateRole::Leader && raft.term == *term;
        let outcome = match change {
            Waited::Entry { index, raft_id } if reigns => {
                (self.applied >= *index).then_some(Ok(*raft_id))
            }
            Waited::Entry { .. } => Some(Err(ChangeError::Lost)),
            Waited::Leader if reigns => raft.lead_transferee.is_none().then(|| {
                let reason = "the other master did not take over in time; this one leads on";
                Err(ChangeError::Refused(reason.to_owned()))
            }),
            Waited::Leader => {
                let next = self.leader().map(|leader| Ok(leader.raft_id));
                let election = self.options.tick * self.options.election_ticks;
                next.or_else(|| {
                    let reason = "this master leads no more, and no other has taken over yet";
                    let is_late = self.now > *since + election * TAKEN_OVER_WITHIN;
                    is_late.then(|| Err(ChangeError::Refused(reason.to_owned())))
                })
            }
        };
        if let Some(outcome) = outcome
            && let Some(waiting) = self.changes.waiting.take()
        {
            let _ = waiting.answer.send(outcome);
        }
    }

    /// Has others know who the masters are, if that has changed.
    pub(super) fn tell_members(&mut self, out: &mut Vec<Output>) {
        let Some(members) = self.membership_news.take() else { return };
        let voters = self.voters();
        let addresses = voters.iter().filter_map(|id| members.address(*id)).cloned().collect();
        (self.events)(RaftEvent::Voters { addresses });
        out.push(Output::Members(members));
    }

    /// The masters as this one sees them.
    pub(super) fn list(&self) -> Listing {
        let raft = &self.raw.raft;
        let voters = self.voters();
        let leader = self.told_leader().map_or(0, |leader| leader.raft_id);
        let members = self.membership.addresses().iter().map(|(&raft_id, address)| {
            let is_own = raft_id == raft.id;
            let matched = if is_own {
                Some(raft.raft_log.persisted)
            } else if self.leads() {
                raft.prs().get(raft_id).map(|one| one.matched)
            } else {
                None
            };
            let heard =
                self.changes.heard.get(&raft_id).map(|heard| self.now.saturating_sub(*heard));
            Member {
                raft_id,
                address: address.clone(),
                is_voter: voters.contains(&raft_id),
                is_leading: raft_id == leader,
                matched,
                heard_ago: if is_own { Some(Duration::ZERO) } else { heard },
            }
        });
        let (term, committed) = (raft.term, raft.raft_log.committed);
        Listing { term, committed, members: members.collect() }
    }
}

enum Begun {
    Done(u64),
    Waits(Waited),
}
