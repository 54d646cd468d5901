//! Who may depend on whom.

use super::Findings;
use crate::command::root;
use anyhow::Context;
use serde_json::Value;
use std::process::Command;

/// Each of our crates with those of ours it may depend on. What is not listed may not be.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("allocator", &["model"]),
    ("master-core", &["model", "allocator"]),
    ("agent-core", &["model"]),
    ("framework-core", &["model"]),
    ("marathon-core", &["model"]),
    ("proto", &["model"]),
    ("transport", &["model", "proto"]),
    ("master", &["model", "proto", "transport", "master-core"]),
    ("agent", &["model", "proto", "transport", "agent-core"]),
    ("framework-sdk", &["model", "proto", "transport", "framework-core"]),
    ("marathon", &["model", "proto", "transport", "framework-sdk", "marathon-core"]),
    (
        "sim",
        &["model", "allocator", "master-core", "agent-core", "framework-core", "marathon-core"],
    ),
    (
        "bench",
        &[
            "model",
            "allocator",
            "proto",
            "transport",
            "master",
            "agent",
            "agent-core",
            "framework-sdk",
        ],
    ),
    ("cli", &["model", "proto", "transport", "master", "agent", "framework-sdk", "marathon"]),
    ("xtask", &[]),
];

/// Crates that decide: no sockets, files, clocks, threads or chance come in by a dependency.
const CORES: &[&str] =
    &["model", "allocator", "master-core", "agent-core", "framework-core", "marathon-core", "sim"];

/// What cores may use of others: plain data and text.
const CORE_MAY_USE: &[&str] = &["thiserror", "serde", "serde_json", "regex", "imbl"];

/// Adds every edge that may not be.
pub(super) fn check(findings: &mut Findings) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(root())
        .output()
        .context("cannot start cargo metadata")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            findings.push(format!("{name}: a crate that tidy does not know; add it to its table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let is_for_tests = dependency["kind"] == "dev";
            let is_ours = ALLOWED.iter().any(|(known, _)| *known == on);
            if is_ours && !is_for_tests && !allowed.contains(&on) {
                findings.push(format!("{name} may not depend on {on}: that crosses a border"));
            }
            let is_core = CORES.contains(&name);
            if is_core && !is_ours && !is_for_tests && !CORE_MAY_USE.contains(&on) {
                findings.push(format!("{name} is a core and may not use {on}: cores do no IO"));
            }
        }
    }
    Ok(())
}
