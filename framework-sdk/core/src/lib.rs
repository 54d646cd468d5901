//! The deciding half of the framework SDK.
//!
//! [`session`] says which master to talk to and when to give up on it, [`tasks`] keeps what is known
//! of the framework's tasks and asks for the truth where it is not, [`offers`] keeps the offers that
//! are not answered yet. None of them knows how the calls travel.

pub mod offers;
pub mod session;
pub mod tasks;
