//! How large files may be, and what each crate must say of itself.

use super::{Findings, Tree};
use crate::command::root;
use anyhow::Context;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Lines of code in a file, without tests, comments and blank lines. Past that its concern is two.
const CODE_LINES_MAX: usize = 500;

/// Files that were over the limit when it was last looked at: they may not grow.
const RATCHET: &str = "xtask/ratchet.txt";

/// Adds files that are too large, crates without a module doc and limits without a reason.
pub(super) fn check(tree: &Tree, update: bool, findings: &mut Findings) -> anyhow::Result<()> {
    let sizes: BTreeMap<&Path, usize> =
        tree.with_extension("rs").map(|(path, text)| (path, code_lines(text))).collect();
    if update {
        let mut text = String::new();
        for (path, lines) in sizes.iter().filter(|(_, lines)| **lines > CODE_LINES_MAX) {
            writeln!(text, "{} {lines}", path.display()).context("a string takes any write")?;
        }
        std::fs::write(root().join(RATCHET), text).context("cannot write the ratchet")?;
    }
    let ratchet = std::fs::read_to_string(root().join(RATCHET)).unwrap_or_default();
    let held: BTreeMap<&str, usize> = ratchet
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(path, lines)| Some((path, lines.parse().ok()?)))
        .collect();
    for (path, lines) in sizes {
        let shown = path.display().to_string();
        let max = held.get(shown.as_str()).copied().unwrap_or(CODE_LINES_MAX);
        if lines > max {
            findings.push(format!("{shown}: {lines} lines of code, at most {max}: split it"));
        }
    }
    for (path, text) in tree.with_extension("rs") {
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if is_root && !text.starts_with("//!") {
            findings.push(format!("{}: begin with //! what the crate is for", path.display()));
        }
        limits_have_reasons(path, text, findings);
    }
    Ok(())
}

fn code_lines(text: &str) -> usize {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

fn limits_have_reasons(path: &Path, text: &str, findings: &mut Findings) {
    let mut before = "";
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let name = line.split_once("const ").and_then(|(_, rest)| rest.split_once(':'));
        let is_limit = name.is_some_and(|(name, _)| name.ends_with("_MAX"));
        if is_limit && !before.starts_with("///") && !before.starts_with("#[") {
            findings.push(format!(
                "{}:{}: say above this limit why it is this number",
                path.display(),
                at + 1
            ));
        }
        before = line;
    }
}

#[cfg(test)]
mod tests {
    use super::code_lines;

    #[test]
    fn comments_blanks_and_tests_do_not_count() {
        let text =
            "//! doc\n\nfn a() {\n    // why\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n  x\n}\n";
        assert_eq!(code_lines(text), 3);
    }
}
