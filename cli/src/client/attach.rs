//! `agora task attach`: what a task prints from now on, and what is typed for it.

use crate::say::complain;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::{AttachContainerOutput, Type};
use serde_json::Value;

use super::exec::asked_to_end;
use super::place::Place;
use super::process_io::{Left, Printed, Went, type_for};
use super::show::text;
use super::task::{find, is_live};
use super::terminal::{self, Raw, Typed};
use super::{Cluster, Failure, place};
use tokio::sync::mpsc;

/// How long a task may seem to run after its output has ended, or its agent may be away.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// How often it is looked again meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What to attach to.
#[derive(Args, Debug)]
pub(crate) struct Attach {
    /// The task's id, or the beginning of it
    #[arg(value_name = "TASK")]
    id: String,
    /// Only look on, and hand on nothing that is typed
    #[arg(long)]
    no_stdin: bool,
}

/// Prints what the task prints until it is over.
pub(crate) async fn run(attach: &Attach, cluster: &Cluster) -> Result<ExitCode, Failure> {
    let place = place::of(&attach.id, cluster).await?;
    // Others have no input that could be typed for.
    let has_input = !attach.no_stdin && place.task.pointer("/container/tty_info").is_some();
    let keys = has_input && terminal::is_typed();
    let mut printed = output(&place, cluster).await?;
    let raw = keys.then(Raw::enter).transpose();
    let raw =
        raw.map_err(|error| Failure::Local(format!("cannot take over this terminal: {error}")))?;
    if keys {
        // At its beginning, since it is not known where the task left the cursor.
        complain!("\r\nattached; Enter ~ . detaches\r");
    }
    let mut typed = has_input.then(|| terminal::typed(keys));
    let mut asked = std::pin::pin!(asked_to_end());
    loop {
        let went = tokio::select! {
            went = attended(&mut printed, &place, typed.as_mut(), keys, cluster) => went?,
            code = &mut asked => return Ok(code),
        };
        match went {
            How::Left => {
                drop(raw);
                complain!("detached; the task runs on");
                return Ok(ExitCode::SUCCESS);
            }
            How::Over => {}
        }
        match again(&place, cluster).await? {
            Now::Attached(output) => printed = output,
            Now::Over(task) => {
                drop(raw);
                return Ok(ended(&task));
            }
        }
    }
}

async fn output(place: &Place, cluster: &Cluster) -> Result<Printed, Failure> {
    let container_id = place.container.clone();
    let call = Call {
        r#type: Some(Type::AttachContainerOutput.into()),
        attach_container_output: Some(AttachContainerOutput { container_id }),
        ..Call::default()
    };
    Printed::of(&call, &place.address, cluster).await
}

enum How {
    Over,
    Left,
}

/// Prints and types until one of both ends.
async fn attended(
    printed: &mut Printed,
    place: &Place,
    typed: Option<&mut mpsc::Receiver<Typed>>,
    keys: bool,
    cluster: &Cluster,
) -> Result<How, Failure> {
    let id = place.container.clone();
    let typing = async {
        match typed {
            Some(typed) => type_for(&id, &place.address, typed, keys, cluster).await,
            None => std::future::pending().await,
        }
    };
    let mut typing = std::pin::pin!(typing);
    loop {
        tokio::select! {
            went = printed.print_next() => match went? {
                Went::On => {}
                Went::Over => return Ok(How::Over),
                Went::Unread => return Ok(How::Left),
            },
            left = &mut typing => return match left {
                Left::ByKeys => Ok(How::Left),
                Left::Refused(Failure::NotFound(_) | Failure::Unreachable { .. }) => Ok(How::Over),
                Left::Refused(failure) => Err(failure),
            },
        }
    }
}

enum Now {
    Attached(Printed),
    Over(Value),
}

/// After the output has ended: either the task is over, or its agent was away.
async fn again(place: &Place, cluster: &Cluster) -> Result<Now, Failure> {
    let until = tokio::time::Instant::now() + AWAY_MAX;
    loop {
        let task = find(&text(&place.task, "/id"), cluster).await?;
        if !is_live(&task) {
            return Ok(Now::Over(task));
        }
        let failure = match output(place, cluster).await {
            Ok(printed) => return Ok(Now::Attached(printed)),
            Err(failure) => failure,
        };
        if tokio::time::Instant::now() >= until {
            return Err(failure);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says how a task ended that did not finish, and gives the exit code for it.
fn ended(task: &Value) -> ExitCode {
    let state = text(task, "/state");
    if state == "TASK_FINISHED" {
        return ExitCode::SUCCESS;
    }
    complain!("task {} is {state}", text(task, "/id"));
    ExitCode::FAILURE
}
