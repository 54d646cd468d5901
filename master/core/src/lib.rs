//! The deciding half of the master.
//!
//! [`Master`] takes inputs and says what is to be done. It decides who is a member of the cluster, who
//! is offered what, what may be launched, and what frameworks are told. It does not talk to anybody:
//! its driver does. [`registry::Registry`] is what masters agree on; a leader acts on a change of it
//! only when the change has come back as applied.

mod agent_messages;
mod authorize;
mod calls;
pub mod config;
mod conversions;
mod due;
pub mod explain;
pub mod figures;
pub mod io;
mod master;
pub mod note;
mod operator_calls;
mod records;
pub mod registry;
mod reign;
mod state;
pub mod view;

pub use allocator::{BadSetting, MinAllocatable, PATTERN_BYTES_DEFAULT, Sorter};
pub use calls::check_principal;
pub use config::{Config, RemovalRate};
pub use io::{CloseReason, Done, Input, Output, Refusal, StreamClaim};
pub use master::Master;
pub use note::Note;
pub use registry::Registry;
