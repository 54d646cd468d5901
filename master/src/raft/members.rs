//! Who the masters are: ids and names that all of them derive alike.

use std::collections::{BTreeMap, BTreeSet};

use super::error::RaftError;

/// Masters that found a cluster. More add nothing but writes to wait for.
const FOUNDERS_MAX: usize = 5;

/// The masters as the flags name them: sorted, without repeats, empty for a master alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Members(Vec<String>);

impl Members {
    /// Checks the flags.
    pub(crate) fn new(own: &str, peers: &[String]) -> Result<Self, RaftError> {
        let unique: BTreeSet<&String> = peers.iter().collect();
        let bad = |reason: String| Err(RaftError::BadPeers { reason });
        if unique.len() != peers.len() {
            return bad("an address is there twice".to_owned());
        }
        if !peers.is_empty() && !peers.iter().any(|peer| peer == own) {
            let (own, peers) = (own.to_owned(), peers.join(","));
            return Err(RaftError::NotAmongPeers { own, peers });
        }
        if peers.len() <= 1 {
            return Ok(Self(Vec::new()));
        }
        if peers.len() > FOUNDERS_MAX || peers.len().is_multiple_of(2) {
            return bad(format!("{} masters; 1, 3 or 5 are possible", peers.len()));
        }
        if let Some(peer) = peers.iter().find(|peer| !is_address(peer)) {
            return bad(format!("'{peer}' is not host:port"));
        }
        let members = Self(unique.into_iter().cloned().collect());
        if members.addresses().len() != members.0.len() {
            return bad("two addresses have the same hash; write one of them otherwise".to_owned());
        }
        Ok(members)
    }

    /// The list, joined by commas; empty for a master alone.
    pub(crate) fn text(&self) -> String {
        self.0.join(",")
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.0.is_empty()
    }

    /// Address by raft id.
    pub(crate) fn addresses(&self) -> BTreeMap<u64, String> {
        self.0.iter().map(|address| (raft_id(address), address.clone())).collect()
    }

    /// The cluster's name: the same wherever the list is the same.
    pub(crate) fn cluster_id(&self) -> String {
        format!("{:016x}", raft_id(&self.text()))
    }
}

/// Whether `text` is host:port.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// A number for `text`, never 0: FNV-1a, with a last mix that spreads short texts over all bits.
///
/// It is part of what is on disk and on the wire, so it must stay as it is.
pub(crate) fn raft_id(text: &str) -> u64 {
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(own: &str, peers: &[&str]) -> Result<Members, String> {
        let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
        Members::new(own, &peers).map_err(|error| error.to_string())
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let one = members("a:1", &["a:1", "b:1", "c:1"]).expect("valid");
        let other = members("c:1", &["c:1", "a:1", "b:1"]).expect("valid");
        assert_eq!(one, other);
        assert_eq!(one.cluster_id(), other.cluster_id());
        assert_eq!(one.addresses().len(), 3);
        assert!(members("a:1", &[]).expect("valid").is_alone());
        assert!(members("a:1", &["a:1"]).expect("valid").is_alone());
    }

    #[test]
    fn ids_are_for_ever() {
        assert_eq!(raft_id("10.0.0.1:5050"), 0x7838_dd00_63f7_4f7e);
        assert_ne!(raft_id("10.0.0.1:5050"), raft_id("10.0.0.2:5050"));
    }

    #[test]
    fn bad_lists_are_told() {
        for (own, peers, why) in [
            ("d:1", &["a:1", "b:1", "c:1"][..], "is not among the peers"),
            ("a:1", &["a:1", "b:1"], "2 masters; 1, 3 or 5 are possible"),
            ("a:1", &["a:1", "b:1", "b:1"], "twice"),
            ("a:1", &["a:1", "b", "c:1"], "'b' is not host:port"),
            ("a:1", &["a:1", "b:0", "c:1"], "'b:0' is not host:port"),
        ] {
            let error = members(own, peers).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
