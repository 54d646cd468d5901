//! The states of tasks: what may follow what, and who is told which.

use model::ids::{FrameworkId, TaskId};
use model::link::FromAgent;
use model::task::{Status, TaskState};
use serde_json::{Value, json};

use crate::common::{Alone, FakeAgent, Scheduler, update_id};
use crate::words::{BOTH, able, amount, launch, task, with};

/// Each state, whether it is the end of a task, and what those are told who do not know PARTITION_AWARE.
const STATES: [(TaskState, bool, &str); 13] = [
    (TaskState::Staging, false, "TASK_STAGING"),
    (TaskState::Starting, false, "TASK_STARTING"),
    (TaskState::Running, false, "TASK_RUNNING"),
    (TaskState::Killing, false, "TASK_KILLING"),
    (TaskState::Unreachable, false, "TASK_LOST"),
    (TaskState::Finished, true, "TASK_FINISHED"),
    (TaskState::Failed, true, "TASK_FAILED"),
    (TaskState::Killed, true, "TASK_KILLED"),
    (TaskState::Error, true, "TASK_ERROR"),
    (TaskState::Lost, true, "TASK_LOST"),
    (TaskState::Dropped, true, "TASK_LOST"),
    (TaskState::Gone, true, "TASK_LOST"),
    (TaskState::GoneByOperator, true, "TASK_LOST"),
];

/// Where a task is after an agent has reported `next` of one that was in `state`: what has ended stays
/// so, and nothing is staged again.
fn after(state: TaskState, is_end: bool, next: TaskState) -> TaskState {
    if is_end || next == TaskState::Staging { state } else { next }
}

/// Reports a state of a task.
async fn report(agent: &FakeAgent, framework: &FrameworkId, task: &str, state: TaskState, n: u8) {
    let task = TaskId::new(task).expect("an id");
    let status = Status { uuid: Some(update_id(n)), ..agent.status(&task, state) };
    let framework = framework.clone();
    agent.say(&FromAgent::StatusUpdate { framework, status, latest: state }).await;
}

#[tokio::test]
async fn every_state_follows_every_other_as_the_table_says() {
    let master = Alone::started().await;
    let mut agent = FakeAgent::registered(master.address()).await;
    // What an agent says of a task; that it is out of contact only a master can say.
    let said = STATES.iter().filter(|(state, _, _)| *state != TaskState::Unreachable);
    let pairs: Vec<_> = said.clone().flat_map(|a| said.clone().map(move |b| (a, b))).collect();
    for (encoding, is_aware) in
        [(BOTH[0], true), (BOTH[0], false), (BOTH[1], true), (BOTH[1], false)]
    {
        let info = if is_aware { able(&["PARTITION_AWARE"]) } else { able(&[]) };
        let mut scheduler = Scheduler::subscribed(&master, encoding, &info, None).await;
        let id = scheduler.framework();
        let offer = scheduler.offer_of(&agent.id).await;
        let names: Vec<String> = pairs
            .iter()
            .map(|((from, ..), (to, ..))| format!("{}-{}", from.name(), to.name()))
            .collect();
        let small = |name: &String| {
            with(task(name, &agent.id), "resources", json!([amount("cpus", 0.001)]))
        };
        let tasks: Vec<Value> = names.iter().map(small).collect();
        scheduler.accept(&[offer], launch(&tasks)).await;
        for name in &names {
            assert_eq!(agent.launched().await.tasks[0].id.as_str(), name);
        }
        for (name, ((from, _, plain), (to, _, plain_next))) in names.iter().zip(&pairs) {
            for (n, state, plain) in [(1, from, plain), (2, to, plain_next)] {
                report(&agent, &id, name, *state, n).await;
                let status = scheduler.update().await;
                assert_eq!(status["task_id"]["value"], *name);
                let told = if is_aware { state.name() } else { plain };
                assert_eq!(status["state"], told, "{name}");
                assert!(!status["uuid"].is_null(), "it must be acknowledged: {status}");
            }
        }
        let shown = master.get(&format!("/tasks?framework_id={id}&limit=1000")).await;
        let shown = shown["tasks"].as_array().expect("a list");
        assert_eq!(shown.len(), pairs.len());
        for ((from, is_end, _), (to, ..)) in &pairs {
            let name = format!("{}-{}", from.name(), to.name());
            let task = shown.iter().find(|task| task["id"] == name).expect("it is shown");
            assert_eq!(task["state"], after(*from, *is_end, *to).name(), "{name}");
        }
        scheduler.call(json!({"type": "TEARDOWN"})).await;
        agent.hear().await.expect("it is told");
    }
}
