//! What operators type: verbs that ask a running cluster over its HTTP APIs.

pub(crate) mod app;
pub(crate) mod attach;
pub(crate) mod deployment;
pub(crate) mod exec;
pub(crate) mod framework;
pub(crate) mod group;
mod http;
pub(crate) mod logs;
pub(crate) mod node;
pub(crate) mod operator;
mod place;
pub(crate) mod pod;
mod process_io;
pub(crate) mod reservation;
pub(crate) mod secret;
mod show;
pub(crate) mod status;
pub(crate) mod task;
mod terminal;
mod update;
mod version;
pub(crate) mod volume;

pub(crate) use http::{Cluster, ClusterArgs, Failure};
