//! What a master is to existing clients: its calls, events, texts and tables, over real sockets, in JSON
//! and in protobuf.

#![allow(clippy::needless_pass_by_value, reason = "what goes into json! reads best by value")]

#[path = "../common/mod.rs"]
mod common;

mod absence;
mod accepting;
mod arrivals;
mod calls;
mod capabilities;
mod doors;
mod draining;
mod endpoints;
mod failover;
mod filters;
mod flags;
mod heartbeats;
mod ids;
mod invalid_tasks;
mod inverse_offers;
mod logging;
mod members;
mod offers;
mod operation_questions;
mod operator_events;
mod operator_texts;
mod permissions;
mod protocol;
mod questions;
mod reigns;
mod rescinding;
mod resources;
mod roles;
mod shapes;
mod states;
mod subscriptions;
mod volumes;
mod words;
