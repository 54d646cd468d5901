//! What frameworks are written on.
//!
//! [`client`] keeps a framework subscribed, over HTTP or gRPC, wherever the leading master is.
//! [`calls`], [`builders`], [`operations`] and [`matching`] make what it sends. [`store`] is for
//! frameworks that keep their state with the masters, [`masters_file`] for those that run for long.
//! `examples/hello.rs` shows all of it but these two.

pub mod builders;
pub mod calls;
pub mod client;
pub mod masters_file;
pub mod matching;
pub mod operations;
pub mod store;

pub use framework_core::session::End;
pub use transport::auth::{Credential, CredentialError};
pub use transport::identity::Identity;
pub use transport::tls;

pub use client::{CallError, Client, ClientOptions, EventStream, Handle, Protocol, SessionEvent};
