//! Tables of the book that say which test shows what: each row has one, and each one named is there.

use super::{Findings, Tree};
use std::collections::BTreeSet;
use std::path::Path;

/// The directories with such tables, and the head of the column with the tests.
const COLUMNS: [(&str, &str); 2] = [("docs/src/authors", "test"), ("docs/src/owners", "seen by")];

/// Names shorter than this many words are those of something else.
const WORDS_MIN: usize = 3;

/// Adds rows without a test, and names that no function has.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    let functions: BTreeSet<&str> =
        tree.with_extension("rs").flat_map(|(_, text)| functions(text)).collect();
    for (path, text) in tree.with_extension("md") {
        if let Some((_, column)) = COLUMNS.iter().find(|(place, _)| path.starts_with(place)) {
            check_file(path, text, column, &functions, findings);
        }
    }
}

/// The names of the functions in a source file.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split(['(', '<']).next()?.trim())
    })
}

fn check_file(
    path: &Path,
    text: &str,
    column: &str,
    functions: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let mut is_in_table = false;
    for (at, line) in text.lines().enumerate() {
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            is_in_table = false;
            continue;
        };
        let last = cells.rsplit('|').next().unwrap_or_default().trim();
        if last == column {
            is_in_table = true;
            continue;
        }
        if !is_in_table || last.starts_with("---") {
            continue;
        }
        let place = format!("{}:{}", path.display(), at + 1);
        if last.is_empty() {
            findings.push(format!("{place}: a row without a test; '–' says that there is nothing"));
        }
        for name in last.split('`').skip(1).step_by(2) {
            // The file it is in may stand before it.
            let name = name.rsplit("::").next().unwrap_or_default();
            let is_name = name.split('_').count() >= WORDS_MIN
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_name && !functions.contains(name) {
                findings.push(format!("{place}: no test is called {name}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_test_and_a_name_of_none_are_found() {
        let source = "#[test]\nfn it_is_so() {}\nasync fn it_is_also_so<T>() {}\n";
        let functions = functions(source).collect();
        let text = "| what | test |\n|---|---|\n| a | `it_is_so`, `x::it_is_also_so` |\n| b | |\n\
                    | c | `it_was_so` |\n| d | – |\n\n| what | why |\n|---|---|\n| e | |\n";
        let mut findings = Findings::new();
        check_file(Path::new("x.md"), text, "test", &functions, &mut findings);
        assert_eq!(
            findings,
            [
                "x.md:4: a row without a test; '–' says that there is nothing",
                "x.md:5: no test is called it_was_so"
            ]
        );
    }
}
