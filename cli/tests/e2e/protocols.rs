//! One framework, three protocols, one story.

use crate::harness::{World, until_async};
use std::path::Path;
use std::process::Command;

/// The example framework, built beside the binary.
fn example() -> std::path::PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_agora"));
    binary.parent().expect("a directory").join("examples/hello")
}

#[tokio::test]
async fn a_hundred_tasks_tell_the_same_story_over_all_protocols() {
    let world = World::new();
    let local = world.start_local().await;
    until_async("the agent is registered", crate::harness::PATIENCE, async || {
        let state = world.json(&local.master, "/state").await?;
        (state["activated_slaves"] == 1.0).then_some(())
    })
    .await;
    let mut stories = Vec::new();
    for protocol in ["json", "protobuf", "grpc"] {
        let output = Command::new(example())
            .args(["--master", &local.master, "--protocol", protocol])
            .args(["--tasks", "100", "--command", "true"])
            .output()
            .expect("the example is built with the tests");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{protocol}: {text}{errors}");
        // Tasks run at once; each has its own order, and there is none between them.
        let mut events: Vec<_> = text.lines().filter(|line| line.starts_with("task-")).collect();
        events.sort_by_key(|line| line.split_whitespace().next().unwrap_or_default().to_owned());
        assert_eq!(events.iter().filter(|line| line.ends_with("TASK_FINISHED")).count(), 100);
        stories.push((protocol, events.join("\n")));
    }
    for (protocol, story) in &stories[1..] {
        assert_eq!(story, &stories[0].1, "{protocol} tells another story than json");
    }
}
