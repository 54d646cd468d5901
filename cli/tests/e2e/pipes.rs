//! Verbs whose output somebody stops reading, as `| head` does.

use crate::harness::{Local, World, web_app};
use std::fs::File;
use std::process::{Command, Output, Stdio};

/// A pipe's writing end that nobody reads from.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Runs a verb that prints to `stdout`.
fn run(local: &Local, args: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agora"))
        .args(args)
        .arg(format!("--master={}", local.master))
        .arg(format!("--marathon={}", local.marathon))
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("the binary is built")
}

#[tokio::test]
async fn verbs_end_quietly_when_nobody_reads_what_they_print() {
    let world = World::new();
    let local = world.start_local().await;
    world.deploy(&local.marathon, &web_app("/shop/web", 1)).await;
    let tasks = world.tasks(&local.marathon, "shop/web").await;
    let task = tasks[0]["id"].as_str().expect("an id");
    world.answering(&local.marathon, "shop/web", 1, crate::harness::PATIENCE).await;
    let verbs: [&[&str]; 19] = [
        &["status"],
        &["status", "--json"],
        &["app", "list"],
        &["app", "show", "/shop/web"],
        &["app", "explain", "/shop/web"],
        &["group", "list"],
        &["group", "show", "/shop"],
        &["pod", "list"],
        &["deployment", "list", "--all"],
        &["secret", "list"],
        &["task", "list"],
        // The server says on stderr whom it has answered.
        &["task", "logs", "--stderr", "--follow", task],
        &["node", "list"],
        &["framework", "list"],
        &["framework", "explain", "marathon"],
        &["operator", "raft", "list"],
        // And those that change something have changed it.
        &["app", "scale", "/shop/web", "2", "--detach"],
        &["app", "scale", "/shop/web", "0", "--force"],
        &["app", "delete", "/shop/web", "--force"],
    ];
    for verb in verbs {
        let output = run(&local, verb, unread(), Stdio::piped());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(141), ""), "{verb:?}");
    }
    let (status, _) = world.get(&local.marathon, "/v2/apps//shop/web").await.expect("an answer");
    assert_eq!(status, 404, "the app is deleted");

    // Whoever does not hear an error is told by the exit code still.
    let nothing: &[&str] = &["app", "show", "/no/such"];
    assert_eq!(run(&local, nothing, unread(), unread()).status.code(), Some(4));
    // A full disk is an error, and not a quiet end.
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = run(&local, &["status"], full.into(), Stdio::piped());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to stdout: No space left"), "{said}");
}
