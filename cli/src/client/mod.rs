//! What operators type: verbs that ask a running cluster over its HTTP APIs.

pub(crate) mod app;
pub(crate) mod deployment;
pub(crate) mod framework;
pub(crate) mod group;
mod http;
pub(crate) mod logs;
pub(crate) mod node;
pub(crate) mod operator;
pub(crate) mod pod;
pub(crate) mod secret;
mod show;
pub(crate) mod status;
pub(crate) mod task;

pub(crate) use http::{Cluster, ClusterArgs, Failure};
