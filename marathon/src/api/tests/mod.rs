//! What clients see of the API.

mod access;
mod agora;
mod apps;
mod groups;
mod harness;
mod headers;
mod pods;
mod secrets;
mod standby;
mod stream;
mod unknown;
