//! What a master is to existing clients: its calls, events, texts and tables, over real sockets, in JSON
//! and in protobuf.

#![allow(clippy::needless_pass_by_value, reason = "what goes into json! reads best by value")]

#[path = "../common/mod.rs"]
mod common;

mod absence;
mod accepting;
mod calls;
mod invalid_tasks;
mod operator_texts;
mod permissions;
mod states;
mod subscriptions;
mod words;
