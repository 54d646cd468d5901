//! The deciding half of the agent.
//!
//! [`Agent`] takes in what the master says, what executors call and what becomes of containers, and
//! says what is to be recorded, sent, launched and destroyed. It does nothing of that itself.

mod agent;
mod due;
mod executor_calls;
mod executors;
pub mod input;
mod master_messages;
mod operations;
pub mod output;
mod reconfiguration;
pub mod record;
mod recovery;
mod runtime_events;
mod state;
mod updates;

pub use agent::{Agent, Config};
pub use input::Input;
pub use output::Output;
pub use reconfiguration::{ReconfigurationPolicy, Reconfigured, begun_anew, check_reconfigured};
pub use record::Record;
pub use recovery::check_made;

#[cfg(test)]
mod tests;
