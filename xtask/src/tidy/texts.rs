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
    (concat!("thread::", "sleep("), "wait for the condition, not for time"),
];

/// Where one leftover may stand, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Polls of a condition outside, with a bound, need a pause between two looks.
    ("cli/tests/", concat!("thread::", "sleep(")),
    ("bench/src/", concat!("thread::", "sleep(")),
];

/// Documents whose code words name paths of the tree.
const MAPS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// Adds leftovers and dead paths.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for (path, text) in tree.with_extension("rs") {
        for (leftover, instead) in LEFTOVERS {
            let is_allowed =
                EXCEPTIONS.iter().any(|(place, what)| path.starts_with(place) && what == leftover);
            if is_allowed {
                continue;
            }
            for (at, _) in text.lines().enumerate().filter(|(_, line)| line.contains(leftover)) {
                findings.push(format!("{}:{}: {leftover}: {instead}", path.display(), at + 1));
            }
        }
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
