//! Runs a command a number of times on the cluster, says what becomes of each, and ends.
//!
//! `hello --master 127.0.0.1:5050 --tasks 10 --command 'echo hello' --protocol json`

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::time::Duration;

use framework_sdk::builders::{TaskBuilder, framework};
use framework_sdk::calls::launch;
use framework_sdk::matching::{Available, Needs};
use framework_sdk::{CallError, Client, ClientOptions, Handle, Protocol, SessionEvent};
use proto::mesos::v1::scheduler::event::Offers;
use proto::mesos::v1::{TaskState, TaskStatus};

const USAGE: &str = "usage: hello --master HOST:PORT[,HOST:PORT…] [--protocol json|protobuf|grpc] \
                     [--tasks N] [--command COMMAND]";

struct Arguments {
    options: ClientOptions,
    tasks: usize,
    command: String,
}

fn arguments() -> Option<Arguments> {
    let mut options = ClientOptions::new(Vec::new(), framework("hello", "root", Duration::ZERO));
    let (mut tasks, mut command) = (1, "true".to_owned());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (word, words.next()?),
        };
        match name.as_str() {
            "--master" => options.masters = value.split(',').map(str::to_owned).collect(),
            "--protocol" => {
                options.protocol = match value.as_str() {
                    "json" => Protocol::HttpJson,
                    "protobuf" => Protocol::HttpProtobuf,
                    "grpc" => Protocol::Grpc,
                    _ => return None,
                }
            }
            "--tasks" => tasks = value.parse().ok()?,
            "--command" => command = value,
            _ => return None,
        }
    }
    (!options.masters.is_empty()).then_some(Arguments { options, tasks, command })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Arguments { options, tasks, command }) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut waiting: VecDeque<String> = (0..tasks).map(|n| format!("task-{n}")).collect();
    let mut states = BTreeMap::new();
    let (handle, mut events) = Client::connect(options);
    while let Some(event) = events.next().await {
        match event {
            SessionEvent::Subscribed { framework, .. } => {
                eprintln!("framework {}", framework.value);
            }
            SessionEvent::Disconnected { why } => eprintln!("disconnected: {why}"),
            SessionEvent::Ended(end) => {
                eprintln!("{end}");
                return ExitCode::FAILURE;
            }
            SessionEvent::Event(event) => {
                if let Some(offers) = event.offers
                    && let Err(error) = answer(&handle, offers, &mut waiting, &command).await
                {
                    eprintln!("an offer could not be answered: {error}");
                }
                if let Some(update) = event.update {
                    note(&update.status, &mut states);
                }
            }
        }
        let ended = states.values().filter(|state| is_over(**state)).count();
        if ended == tasks {
            break;
        }
    }
    // Nothing runs any more: a teardown that goes wrong costs a name in a list.
    let _ = handle.teardown().await;
    let finished = states.values().filter(|state| **state == TaskState::TaskFinished).count();
    if finished == tasks { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Fits as many waiting tasks as there is room for into each offer.
async fn answer(
    handle: &Handle,
    offers: Offers,
    waiting: &mut VecDeque<String>,
    command: &str,
) -> Result<(), CallError> {
    for offer in offers.offers {
        let mut available = Available::of(&offer);
        let mut tasks = Vec::new();
        while let Some(id) = waiting.front()
            && let Some(taken) = available.take(&Needs::new(0.01, 16.0))
        {
            tasks.push(TaskBuilder::shell(id, command).build(&offer.agent_id, taken.resources));
            waiting.pop_front();
        }
        if tasks.is_empty() {
            let refuse_for = waiting.is_empty().then_some(Duration::from_secs(3_600));
            handle.decline([offer.id], refuse_for).await?;
        } else {
            handle.accept([offer.id], vec![launch(tasks)], Some(Duration::ZERO)).await?;
        }
    }
    Ok(())
}

fn note(update: &TaskStatus, states: &mut BTreeMap<String, TaskState>) {
    let state = update.state();
    println!("{} {}", update.task_id.value, state.as_str_name());
    states.insert(update.task_id.value.clone(), state);
}

fn is_over(state: TaskState) -> bool {
    let state = model::task::TaskState::from_number(state.into());
    state.is_some_and(model::task::TaskState::is_terminal)
}
