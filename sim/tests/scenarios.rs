//! Plays the stories in `sim/scenarios` and compares what is told. `UPDATE_EXPECT=1` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn every_scenario_is_told_as_it_stands() {
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<_> = fs::read_dir(dir)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are scenarios");
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let stands = fs::read_to_string(&path).expect("it is text");
        match sim::scenario::play(&stands) {
            Err(why) => wrong.push(format!("sim/scenarios/{name}, {why}")),
            Ok(told) if told == stands => {}
            Ok(told) if is_update => fs::write(&path, told).expect("it can be written"),
            Ok(told) => wrong.push(format!("sim/scenarios/{name} {}", difference(&stands, &told))),
        }
    }
    assert!(wrong.is_empty(), "{}\nIf that is right: UPDATE_EXPECT=1.", wrong.join("\n"));
}

/// The first line in which they differ.
fn difference(stands: &str, told: &str) -> String {
    let mut pairs = stands.lines().zip(told.lines()).enumerate();
    let at = pairs.find(|(_, (stands, told))| stands != told).map(|(at, _)| at);
    let at = at.unwrap_or_else(|| stands.lines().count().min(told.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("nothing").to_owned();
    format!("line {}: '{}' stands there, '{}' is told", at + 1, line(stands), line(told))
}
