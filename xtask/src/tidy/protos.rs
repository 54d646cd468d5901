//! Wire files of our own: every field is explained, and no number is used twice.

use super::{Findings, Tree};
use std::collections::BTreeMap;
use std::path::Path;

/// Adds fields without a comment and numbers that are taken.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for (path, text) in tree.with_extension("proto") {
        if path.starts_with("proto/agora") {
            check_file(path, text, findings);
        }
    }
}

fn check_file(path: &Path, text: &str, findings: &mut Findings) {
    // One table of taken numbers for each open brace; a oneof counts in its message's.
    let mut open: Vec<(bool, BTreeMap<u32, usize>)> = Vec::new();
    let mut is_explained = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let place = format!("{}:{}", path.display(), at + 1);
        if line.starts_with("//") {
            is_explained = true;
            continue;
        }
        if let Some(number) = field_number(line) {
            if !is_explained {
                findings.push(format!("{place}: a field without a comment"));
            }
            let table = open.iter_mut().rev().find(|(is_oneof, _)| !is_oneof);
            if let Some((_, taken)) = table
                && let Some(before) = taken.insert(number, at + 1)
            {
                findings.push(format!("{place}: number {number} is taken by line {before}"));
            }
        }
        if line.ends_with('{') {
            open.push((line.starts_with("oneof "), BTreeMap::new()));
        }
        if line.ends_with('}') && !line.ends_with("{}") {
            open.pop();
        }
        is_explained = false;
    }
}

fn field_number(line: &str) -> Option<u32> {
    let (name, rest) = line.split_once('=')?;
    let is_field = name.split_whitespace().count() >= 2 && !line.starts_with("option ");
    let number = rest.split([';', '[']).next()?.trim();
    if is_field { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_field_and_a_number_used_twice_are_found() {
        let text = "message A {\n  // one\n  string a = 1;\n  oneof b {\n    // two\n    string c = 1;\n  }\n  string d = 3;\n}\n";
        let mut findings = Findings::new();
        check_file(Path::new("x.proto"), text, &mut findings);
        assert_eq!(
            findings,
            ["x.proto:6: number 1 is taken by line 3", "x.proto:8: a field without a comment"]
        );
    }
}
