//! The page about metrics, as tests of daemons read it: what it names is there, and what is there it names.

use std::collections::BTreeSet;

use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/src/operators/metrics.md");

/// The names of each row of the table below a heading, with their braces resolved.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let mut lines = PAGE.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the page has no '{heading}'");
    let table = lines.take_while(|line| !line.starts_with('#'));
    let cells = table.filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = |cell: &str| {
        let quoted = cell.split('`').filter(|part| !matches!(*part, "" | ", "));
        quoted.flat_map(resolved).collect::<Vec<_>>()
    };
    let rows: Vec<_> = cells.map(names).collect();
    assert!(!rows.is_empty(), "there is no table below '{heading}'");
    rows
}

/// `a{b,c}` is `ab` and `ac`.
fn resolved(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else { return vec![name.to_owned()] };
    let (choices, after) = rest.split_once('}').expect("braces come in pairs");
    let each = choices.split(',').map(|choice| format!("{before}{choice}{after}"));
    each.flat_map(|name| resolved(&name)).collect()
}

/// Whether a name is one of those that `pattern` stands for. A variable part is one step or more: roles have
/// slashes.
fn is_one_of(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([first, rest @ ..], [_, others @ ..]) if first.starts_with('<') => {
                matches(rest, others) || matches(pattern, others)
            }
            ([first, rest @ ..], [step, others @ ..]) => first == step && matches(rest, others),
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }
    let steps = |name| str::split(name, '/').collect::<Vec<_>>();
    matches(&steps(pattern), &steps(name))
}

/// What Prometheus calls it.
fn family(pattern: &str) -> String {
    let mut steps: Vec<&str> = pattern.split('/').collect();
    let by = steps.pop_if(|last| last.starts_with('<'));
    steps.retain(|step| !step.starts_with('<'));
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = steps.join("/").chars().map(legal).collect();
    match by {
        Some(label) => format!("agora_{name}_by_{}", label.trim_matches(['<', '>'])),
        None => format!("agora_{name}"),
    }
}

/// Compares the tables with what a daemon tells that has done something of everything: all it tells is
/// below `there`, of each row there something is told, and nothing that is below `absent` is. What has
/// no labels in Prometheus, though its name has variable parts, is in `without_labels`.
pub(crate) fn check(
    there: &str,
    absent: &str,
    without_labels: &[&str],
    snapshot: &Value,
    prometheus: &str,
) {
    let (there, absent) = (rows(there), rows(absent));
    let told: BTreeSet<&str> =
        snapshot.as_object().expect("an object").keys().map(String::as_str).collect();
    let families: BTreeSet<&str> = prometheus
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    for name in &told {
        let is_named = there.iter().flatten().any(|pattern| is_one_of(pattern, name));
        assert!(is_named, "{name} is told and not written down");
        let is_denied = absent.iter().flatten().any(|pattern| is_one_of(pattern, name));
        assert!(!is_denied, "{name} is told and said not to be there");
    }
    for row in &there {
        let is_told = |pattern: &String| told.iter().any(|name| is_one_of(pattern, name));
        if row[0].contains('<') {
            assert!(row.iter().any(is_told), "nothing is told of {row:?}");
        } else {
            for name in row {
                assert!(is_told(name), "{name} is written down and not told");
            }
        }
        let has_labels = !without_labels.iter().any(|start| row[0].starts_with(start));
        for pattern in row.iter().filter(|pattern| has_labels && is_told(pattern)) {
            let family = family(pattern);
            assert!(families.contains(&*family), "{pattern} is no {family} for Prometheus");
        }
    }
}
