//! Whoever launches or clears away may die at any step, as by `kill -9`; the next one finds all that
//! is left.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Instant;

use agent::containerizer::{Containerizer, ContainerizerOptions, LaunchError, Recovered};
use tokio::process::Command;

use crate::host::{Host, PATIENCE, id, is_v2};

const HELPER: &str = env!("CARGO_BIN_EXE_agent-test-helper");

/// More steps than any launch has.
const STEPS_MAX: u64 = 200;

/// Runs a containerizer that dies at a step. Gives whether it did.
async fn dies_at(step: u64, host: &Host) -> bool {
    let mut helper = Command::new(HELPER);
    helper.arg("dying-containerizer").arg(step.to_string()).arg(host.dir.path()).arg(&host.root);
    let status = tokio::time::timeout(PATIENCE, helper.status()).await.expect("it ends");
    let status = status.expect("the helper is there");
    assert!(status.success() || status.signal() == Some(libc::SIGKILL), "{status}");
    !status.success()
}

/// Whether the next containerizer has to know of the container already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Known {
    /// The agent had written it down.
    Yes,
    /// It had not, or has forgotten it: whatever there is, is an orphan.
    No,
}

/// The next containerizer takes over and says what it found. In the end nothing is left.
async fn taken_over(host: &Host, known: Known) -> Recovered {
    let container = id("c1");
    let list = if known == Known::Yes { vec![container.clone()] } else { Vec::new() };
    let containerizer = host.containerizer();
    let recovered = containerizer.recover(&list).await.expect("the directory can be read");
    if recovered.running == [container.clone()] {
        // Its launcher may still be at it.
        let until = Instant::now() + PATIENCE;
        while containerizer.usage(&container).await.pids.is_none_or(|pids| pids < 2) {
            assert!(Instant::now() < until, "it does not run on");
        }
        let ended = containerizer.destroy(&container).await;
        assert!(ended.destroyed, "{ended:?}");
        assert_eq!(ended.leftovers, "");
    }
    assert_eq!(containerizer.wait(&container).await.leftovers, "");
    host.assert_nothing_left("c1");
    containerizer.forget(&container).await;
    let record = host.dir.path().join("run/containers/c1");
    assert!(!record.exists(), "the record is left");
    recovered
}

#[tokio::test]
async fn an_agent_that_dies_at_any_step_leaves_nothing_that_the_next_one_does_not_find() {
    for known in [Known::Yes, Known::No] {
        let (mut running, mut over, mut steps) = (0, 0, 0);
        let host = Host::new();
        // Makes the sandbox.
        host.spec("c1", "");
        while steps < STEPS_MAX && dies_at(steps + 1, &host).await {
            steps += 1;
            let found = taken_over(&host, known).await;
            let seen = [&found.running, &found.ended, &found.missing, &found.orphans];
            let count: usize = seen.iter().map(|list| list.len()).sum();
            match known {
                Known::Yes => {
                    assert!(found.orphans.is_empty(), "step {steps}: {found:?}");
                    assert_eq!(count, 1, "step {steps}: it is one of the three: {found:?}");
                }
                // From the last step on there is no record any more.
                Known::No => assert_eq!(found.orphans.len(), count, "step {steps}: {found:?}"),
            }
            running += found.running.len();
            over += found.ended.len() + found.missing.len() + found.orphans.len();
        }
        // All isolators prepare, and clear away; some steps are between.
        assert!((30..STEPS_MAX).contains(&steps), "{steps} steps");
        if known == Known::Yes {
            assert!(running >= 2, "it runs once it is launched, and until it is told to end");
        }
        assert!(over >= 25, "{over}");
        host.assert_nothing_left("c1");
    }
}

#[tokio::test]
async fn a_launcher_that_dies_at_any_step_takes_its_container_with_it() {
    let mut last = None;
    for step in 1..STEPS_MAX {
        let host = Host::new();
        let launcher = (
            PathBuf::from(HELPER),
            vec![OsString::from("dying-launcher"), OsString::from(step.to_string())],
        );
        let options = ContainerizerOptions { launcher, ..host.options() };
        let containerizer = Containerizer::new(options).expect("these tests run as root");
        // Ends by itself, so that the steps after that are reached.
        let answer = containerizer.launch(host.spec("c1", "exit 9")).await;
        let ended = match answer {
            Ok(_) => {
                let ended = tokio::time::timeout(PATIENCE, containerizer.wait(&id("c1"))).await;
                ended.expect("it ends")
            }
            Err(LaunchError::Refused { reason }) => {
                assert_eq!(reason, "the launcher died");
                containerizer.wait(&id("c1")).await
            }
            Err(error) => panic!("step {step}: {error}"),
        };
        assert_eq!(ended.leftovers, "", "step {step}");
        host.assert_nothing_left("c1");
        if ended.status.is_some() {
            last = Some(step);
            break;
        }
    }
    // Where groups are entered by the clone itself there are fewer.
    let few = if is_v2() { 6 } else { 8 };
    assert!(last.is_some_and(|step| step > few), "{last:?}");
}
