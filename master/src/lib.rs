//! The acting half of the master: Raft, links, APIs.
//!
//! [`start()`] runs one master: it binds its port, takes part in the log, drives the core while it
//! leads, and serves the world. Several may run in one process.

mod api;
mod connections;
mod driver;
mod facts;
mod gate;
mod leadership;
mod links;
mod meters;
mod options;
pub mod raft;
mod registry;
mod snapshot;
mod start;
mod turns;
mod view;
mod whitelist;

pub use leadership::{Leadership, Leading};
pub use master_core::{MinAllocatable, RemovalRate, Sorter};
pub use options::{Authentication, Options};
pub use start::{Running, StartError, start};
