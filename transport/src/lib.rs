//! One port, two protocols: serving and calling HTTP and gRPC.
//!
//! What every daemon needs in front of its handlers: a server that speaks HTTP/1.1, HTTP/2 and gRPC
//! on one port ([`server`]), the rules of the Mesos v1 HTTP API ([`http`], [`records`], [`paths`]),
//! their gRPC counterpart ([`grpc`]), the gate that asks who calls ([`auth`]), counters ([`metrics`]),
//! and the client side that follows a leader ([`client`]) and shows who it is ([`identity`]). Nothing
//! here knows what a call means.

pub mod auth;
pub mod backoff;
pub mod client;
pub mod files;
pub mod firewall;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod local;
pub mod logging;
pub mod metrics;
pub mod paths;
pub mod records;
pub mod rendering;
pub mod server;
pub mod tls;

/// Makes the process's TLS provider known. Done by whatever builds a client; repeats are harmless.
pub fn install_tls_provider() {
    // An error means that somebody was faster, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
