//! What fuzzing has found worth keeping is read by every run of the tests, under the laws that the
//! fuzz targets check. `cargo xtask fuzz` looks for more.

#[path = "../../fuzz/laws.rs"]
mod laws;

use std::path::Path;

/// Runs a law over the corpus of its target.
fn holds_for_the_corpus(target: &str, law: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&corpus).expect("each target has a corpus");
    let mut count = 0;
    for file in files {
        let path = file.expect("readable").path();
        let data = std::fs::read(&path).expect("readable");
        // The name of the file is what one needs to know when a law is broken.
        println!("{}", path.display());
        law(&data);
        count += 1;
    }
    assert!(count >= 5, "{} has {count} files", corpus.display());
}

#[test]
fn streams_of_records() {
    holds_for_the_corpus("recordio", laws::recordio);
}

#[test]
fn messages_in_both_forms() {
    holds_for_the_corpus("json", laws::json);
}

#[test]
fn resources_and_attributes_of_flags() {
    holds_for_the_corpus("resources", laws::resources);
}

#[test]
fn roles() {
    holds_for_the_corpus("roles", laws::roles);
}
