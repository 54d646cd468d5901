//! The acting half of the master: Raft, links, APIs.

pub mod raft;
