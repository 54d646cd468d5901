//! Words that may not stand in the tree, and places that documents name but that are not there.

use super::{Findings, Tree};
use crate::command::root;
use std::path::Path;

/// What is left behind by mistake, with what to do instead. Split, so that this file passes.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("todo", "!("), "do it, or leave it out"),
    (concat!("unimplemented", "!("), "do it, or leave it out"),
    (concat!("dbg", "!("), "use tracing, or take it out"),
    (concat!("FIX", "ME"), "mend it"),
    (concat!("#[ign", "ore"), "a test that does not run tests nothing"),
    (concat!("#[should_", "panic"), "compare a value instead"),
];

/// How a test may pause: only between two looks at the condition it waits for, in a function
/// whose name says so.
const PAUSES: [&str; 2] = [concat!("thread::", "sleep("), concat!("time::", "sleep(")];

/// Documents whose code words name paths of the tree.
const MAPS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// Adds leftovers and dead paths.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for (path, text) in tree.with_extension("rs") {
        for (leftover, instead) in LEFTOVERS {
            for (at, _) in text.lines().enumerate().filter(|(_, line)| line.contains(leftover)) {
                findings.push(format!("{}:{}: {leftover}: {instead}", path.display(), at + 1));
            }
        }
        sleeping_tests(path, text, findings);
    }
    for (path, text) in tree.with_extension("md") {
        let is_map = MAPS.iter().any(|map| path == Path::new(map))
            || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("life-of-"));
        if is_map {
            dead_paths(path, text, findings);
        }
    }
    for (path, text) in tree.with_extension("txt") {
        if path.starts_with("sim/scenarios") && !text.starts_with("# ") {
            findings.push(format!("{}: say in a first line '# …' what it shows", path.display()));
        }
    }
}

/// A test that waits for time passes on a quick machine and fails on a busy one.
fn sleeping_tests(path: &Path, text: &str, findings: &mut Findings) {
    let mut is_test = path.components().any(|part| part.as_os_str() == "tests");
    let mut function = "";
    for (at, line) in text.lines().enumerate() {
        is_test |= line.starts_with("#[cfg(test)]");
        if let Some((_, rest)) = line.split_once("fn ") {
            function = rest;
        }
        let waits_for_condition = function.contains("until") || function.contains("eventually");
        if is_test && !waits_for_condition && PAUSES.iter().any(|pause| line.contains(pause)) {
            findings.push(format!(
                "{}:{}: a test that sleeps: poll the condition in a function named …until…",
                path.display(),
                at + 1
            ));
        }
    }
}

/// Code words that look like files or directories must exist.
fn dead_paths(path: &Path, text: &str, findings: &mut Findings) {
    for (at, line) in text.lines().enumerate() {
        for word in line.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/')
                && !word.starts_with(['/', '-', '<'])
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path && !root().join(word).exists() {
                findings.push(format!("{}:{}: {word} does not exist", path.display(), at + 1));
            }
        }
    }
}
