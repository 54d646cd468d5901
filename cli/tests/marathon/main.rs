//! Marathon from the outside: what its users can ask of it, over sockets, on a cluster of one master,
//! three agents and one Marathon, each a process of its own.
//!
//! Needs root and cgroups, as agents do.

mod cluster;
mod deployments;
mod deployments_agents;
mod deployments_groups;
mod deployments_paces;
mod deployments_pods;
mod endpoints;
mod endpoints_agora;
mod endpoints_apps;
mod endpoints_deployments;
mod endpoints_groups;
mod endpoints_node;
mod endpoints_pods;
mod endpoints_tasks;
mod events;
mod fields;
#[allow(dead_code, reason = "other end-to-end tests use more of it")]
#[path = "../e2e/harness.rs"]
mod harness;
mod health;
mod placement;
mod placement_gpus;
mod placement_moves;
mod placement_ports;
mod seen;
