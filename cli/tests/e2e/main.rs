//! Whole clusters of real processes and real containers, from the outside.
//!
//! Needs root, cgroups, and for the third-party clients the interpreter that `AGORA_TEST_PYTHON`
//! names (`cargo xtask ci` prepares it), and Debian's `prometheus`.

mod agents;
mod bad_input;
mod churn;
mod disks;
mod failover;
mod handing_on;
mod harness;
#[allow(dead_code, reason = "tests of agents use more of it")]
#[path = "../../../agent/tests/common/image.rs"]
mod image;
mod images;
mod kills;
mod local;
mod local_deployments;
mod maintenance;
mod membership;
mod memory;
mod operations;
mod operators;
mod pipes;
mod pods;
mod protocols;
mod quota;
mod residence;
mod rolling;
mod scheduler;
mod secrets;
mod security;
mod sessions;
mod startup;
mod succession;
mod third_party;
mod tls;
mod tls_rules;
mod upgrade;
mod volumes;
