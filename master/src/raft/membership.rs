//! Who the masters are at one place of the log: agreed on like everything else, and in every snapshot.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use proto::agora::v1::{RaftMember, RaftSnapshot};

/// Masters at the same time, learners among them: five, and two that take the places of others.
pub(crate) const MEMBERS_MAX: usize = 7;

/// Raft ids kept of those that were removed, so that they can be told. One that was away while so
/// many others were removed is a stranger when it is back, and waits in vain.
const REMOVED_MAX: usize = 64;

/// The masters and those that were removed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Membership {
    addresses: BTreeMap<u64, String>,
    removed: VecDeque<u64>,
}

impl Membership {
    /// Those of the beginning.
    pub(crate) fn founded(addresses: BTreeMap<u64, String>) -> Self {
        Self { addresses, removed: VecDeque::new() }
    }

    /// Reads what [`Membership::around`] has written: the masters, and the state.
    pub(crate) fn split(data: &Bytes) -> Result<(Self, Bytes), String> {
        let wire = RaftSnapshot::decode(data.clone()).map_err(|error| error.to_string())?;
        let addresses = wire.members.into_iter().map(|one| (one.raft_id, one.address)).collect();
        Ok((Self { addresses, removed: wire.removed.into() }, wire.state))
    }

    /// The data of a snapshot: these masters and `state`.
    pub(crate) fn around(&self, state: Vec<u8>) -> Vec<u8> {
        let members = self
            .addresses
            .iter()
            .map(|(&raft_id, address)| RaftMember { raft_id, address: address.clone() })
            .collect();
        let removed = self.removed.iter().copied().collect();
        RaftSnapshot { members, removed, state: state.into() }.encode_to_vec()
    }

    /// Where the master `id` is reached.
    pub(crate) fn address(&self, id: u64) -> Option<&String> {
        self.addresses.get(&id)
    }

    /// All of them, by raft id.
    pub(crate) fn addresses(&self) -> &BTreeMap<u64, String> {
        &self.addresses
    }

    /// Whether `id` was removed.
    pub(crate) fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Adds a master, or notes its new address.
    pub(crate) fn add(&mut self, id: u64, address: String) {
        self.addresses.insert(id, address);
    }

    /// Removes a master for good.
    pub(crate) fn remove(&mut self, id: u64) {
        if self.addresses.remove(&id).is_some() {
            self.removed.push_back(id);
        }
        if self.removed.len() > REMOVED_MAX {
            self.removed.pop_front();
        }
    }

    /// The master that a person calls `name`: by address, or by raft id.
    pub(crate) fn find(&self, name: &str) -> Option<u64> {
        let by_address = self.addresses.iter().find(|(_, address)| *address == name);
        let by_id = || name.parse().ok().filter(|id| self.addresses.contains_key(id));
        by_address.map(|(id, _)| *id).or_else(by_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_brings_the_masters_and_the_state_along() {
        let mut members = Membership::founded([(1, "a:1".to_owned())].into());
        members.add(2, "b:1".to_owned());
        members.add(3, "c:1".to_owned());
        members.remove(2);
        let data = members.around(b"state".to_vec());
        let (read, state) = Membership::split(&data.into()).expect("just written");
        assert_eq!((&read, &state[..]), (&members, &b"state"[..]));
        assert!(read.is_removed(2) && !read.is_removed(3));
        assert_eq!((read.find("c:1"), read.find("3"), read.find("2")), (Some(3), Some(3), None));
    }

    #[test]
    fn only_the_last_of_the_removed_are_remembered() {
        let mut members = Membership::default();
        let many = REMOVED_MAX as u64 + 1;
        for id in 0..many {
            members.add(id, "a:1".to_owned());
            members.remove(id);
        }
        assert!(!members.is_removed(0) && members.is_removed(1) && members.is_removed(many - 1));
    }
}
