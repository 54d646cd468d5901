//! The acting half of Marathon: REST, events, store, and the way to the masters.
//!
//! [`start()`] runs one instance. Several instances with the same masters and framework name share
//! their state: one of them leads, by a lease in the masters' framework store, the others pass
//! requests on to it.

mod api;
mod clock;
mod driver;
mod election;
mod events;
mod masters;
mod options;
mod prober;
mod published;
mod start;
mod store;
mod task_info;
mod vault;

pub use options::{LEADER_LEASE_DEFAULT, Options};
pub use start::{Running, StartError, start};
pub use vault::KeyError;
