//! What daemons count beside what Mesos has: the page of metrics names each of it.

use super::{Findings, Tree};
use std::path::Path;

/// Where they are written down.
const PAGE: &str = "docs/src/operators/metrics.md";

/// How a metric begins where it is counted. Those of tests are nobody's.
const MACROS: [&str; 3] = ["counter!(\"", "gauge!(\"", "histogram!(\""];
const OF_TESTS: &str = "agora_test_";

/// Adds metrics that the page does not name.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    let pages = tree.with_extension("md").find(|(path, _)| *path == Path::new(PAGE));
    let page = pages.map_or("", |(_, text)| text);
    for (path, text) in tree.with_extension("rs") {
        check_file(path, text, page, findings);
    }
}

fn check_file(path: &Path, text: &str, page: &str, findings: &mut Findings) {
    for (at, line) in text.lines().enumerate() {
        let counted = MACROS.iter().filter_map(|name| line.split_once(name));
        let names = counted.filter_map(|(_, rest)| rest.split('"').next());
        for name in names.filter(|name| !name.starts_with(OF_TESTS)) {
            if !page.contains(&format!("`{name}")) {
                let place = format!("{}:{}", path.display(), at + 1);
                findings.push(format!("{place}: {name} is not written down in {PAGE}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_is_not_written_down_is_found() {
        let text = "::metrics::counter!(\"agora_told\", \"why\" => why).increment(1);\n\
                    gauge!(\"agora_untold\");\nhistogram!(\"agora_test_only\");\n";
        let mut findings = Findings::new();
        check_file(Path::new("x.rs"), text, "| `agora_told{why}` | told |", &mut findings);
        assert_eq!(findings, [format!("x.rs:2: agora_untold is not written down in {PAGE}")]);
    }
}
