//! Plain domain types that every other crate speaks in.
//!
//! Nothing here does IO, reads a clock or knows of a wire format. A value of one of these types is
//! well formed: what cannot be is refused when it is made, so nobody has to check again.

pub mod acl;
pub mod amount;
pub mod call;
pub mod capability;
pub mod constraints;
pub mod container_id;
pub mod disk;
pub mod event;
pub mod framework;
pub mod ids;
pub mod link;
pub mod offer;
pub mod operation;
pub mod operator;
pub mod payload;
pub mod rate_limits;
pub mod registry;
pub mod resources;
pub mod rng;
pub mod role;
pub mod rules;
pub mod search;
pub mod step;
pub mod task;
pub mod units;
pub mod version;
