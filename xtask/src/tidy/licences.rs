//! What comes in from others: from where, under which licence, and what may not come at all.

use super::Findings;
use crate::command::root;
use anyhow::Context;
use serde_json::Value;
use std::process::Command;

/// Licences under which code may be linked into the binary.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MPL-2.0+", // or any later one
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates that may not be linked, and why.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "rustls runs on ring; two providers make it panic"),
    ("openssl-sys", "rustls is the TLS here, and the system's library is not needed"),
    ("serde_yaml", "it is archived"),
];

/// The one place that crates come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Adds every crate that may not come in.
pub(super) fn check(findings: &mut Findings) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
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
        if let Some(source) = package["source"].as_str()
            && source != REGISTRY
        {
            findings.push(format!("{name} comes from {source}, not from crates.io"));
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            findings.push(format!("{name} may not be linked: {why}"));
        }
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !is_allowed(licence) {
            findings.push(format!("{name}: its licence, {licence}, is not among those allowed"));
        }
    }
    Ok(())
}

/// Whether an expression such as `MIT OR (Apache-2.0 AND ISC)` can be met: of each choice one part is
/// enough, of each sum all are needed. Exceptions only widen what is allowed.
fn is_allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" AND ").all(|sum| {
        sum.split(" OR ").any(|one| {
            let name = one.split(" WITH ").next().unwrap_or_default().trim();
            ALLOWED.contains(&name)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn one_of_a_choice_and_all_of_a_sum() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none stated"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }
}
