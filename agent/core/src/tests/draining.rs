//! An agent is emptied.

use super::*;
use crate::record::Key;
use model::rules::Drain;

fn drain(marks_gone: bool) -> ToAgent {
    ToAgent::Drain(Drain { grace_max: Some(Duration::from_secs(1)), marks_gone })
}

fn running() -> Story {
    let mut story = Story::registered();
    story.hear(command(task("t", 1_000)));
    story.subscribed("t");
    story.step(update("t", "t", TaskState::Running, 1));
    story
}

#[test]
fn all_that_runs_is_killed_within_the_grace_and_nothing_new_is_taken() {
    let mut story = running();
    assert_eq!(short(&story.hear(drain(false))), ["append Drain", "event Kill"]);
    // Told again it kills again: whoever tells does not know what was done.
    assert_eq!(short(&story.hear(drain(false))), ["event Kill"]);
    assert_eq!(
        short(&story.hear(command(task("late", 1_000)))),
        ["append Updates(f, late)", "update late Dropped REASON_AGENT_DRAINING, latest Dropped"]
    );
    let out = story.step(update("t", "t", TaskState::Killed, 2));
    assert_eq!(short(&out)[1], "append Updates(f, t)");
    let statuses = story.store.iter().find_map(|record| match record {
        Record::Updates(updates) if updates.task == tid("t") => Some(updates.statuses.clone()),
        _ => None,
    });
    let last = statuses.expect("it was kept").pop().expect("some");
    assert_eq!(last.reason, Some(model::task::Reason::AgentDraining));

    // Its executor is still there, and may be for ever if it waits for more.
    assert!(out.contains(&Output::Append(Record::Forget(Key::Drain))), "it is empty: {out:?}");
    story.hear(command(task("next", 1_000)));
    assert_eq!(story.agent.live_tasks().count(), 1, "an empty agent may be used again");
}

#[test]
fn tasks_of_an_agent_that_is_to_be_gone_are_gone_by_an_operators_word() {
    let mut story = running();
    story.hear(drain(true));
    story.step(update("t", "t", TaskState::Killed, 2));
    let acknowledge =
        ToAgent::Acknowledge { framework: fid(), task: tid("t"), uuid: UpdateId([1; 16]) };
    let out = story.hear(acknowledge);
    assert_eq!(told(&out), [("t".to_owned(), TaskState::GoneByOperator)]);
}

#[test]
fn an_agent_that_restarts_while_it_is_emptied_still_takes_nothing() {
    let mut story = running();
    story.hear(drain(false));
    let alive = vec![story.container()];
    let records = story.store.clone();
    let was = Recovered { alive, ..Recovered::default() };
    let mut story = Story::restarted(records, was, 2);
    story.subscribed("t");
    story.step(Input::LinkUp { link: LINK });
    story.wait(2);
    story.hear(ToAgent::Reregistered {
        agent: aid(),
        ping_timeout: Duration::from_secs(75_000),
        expected: vec![(fid(), tid("t"))],
        completed: Vec::new(),
        operations: Vec::new(),
    });
    let out = story.hear(command(task("late", 1_000)));
    assert_eq!(told(&out), [("late".to_owned(), TaskState::Dropped)]);
}

#[test]
fn an_empty_agent_has_nothing_to_drain() {
    let mut story = Story::registered();
    assert_eq!(story.hear(drain(false)), []);
    story.hear(command(task("t", 1_000)));
    assert_eq!(story.agent.live_tasks().count(), 1);
}
