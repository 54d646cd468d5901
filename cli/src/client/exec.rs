//! `agora task exec`: a command beside a task, in its container.

use crate::say::{UNREAD, complain};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use clap::Args;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::{LaunchNestedContainerSession, Type};
use proto::mesos::v1::environment::Variable;
use proto::mesos::v1::{CommandInfo, ContainerId, ContainerInfo, Environment, container_info};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::process_io::{Left, Printed, Went, container, tty, type_for};
use super::terminal::{self, Raw};
use super::{Cluster, Failure, place};

/// What to execute.
#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// Hand on what is typed here, or comes from a pipe or file, as the command's input
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal, of the size of this one
    #[arg(long, short)]
    tty: bool,
    /// Run it as this user of the agent's machine, instead of as the task
    #[arg(long, short)]
    user: Option<String>,
    /// The task's id, or the beginning of it
    #[arg(value_name = "TASK")]
    id: String,
    /// The program and its arguments; for a line of a shell: sh -c 'LINE'
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Executes it, and gives its exit code.
pub(crate) async fn run(exec: Exec, cluster: &Cluster) -> Result<ExitCode, Failure> {
    let command = as_typed(exec.command, std::env::args().collect());
    let input = match (exec.interactive, exec.tty) {
        (true, true) => Input::Keys,
        (true, false) => Input::Piped,
        (false, false) => Input::Ended,
        (false, true) => Input::None,
    };
    if input == Input::Keys && !terminal::is_typed() {
        return Err(Failure::Local(
            "-t needs somebody at a terminal; leave it out where input comes from a pipe or file"
                .to_owned(),
        ));
    }
    let place = place::of(&exec.id, cluster).await?;
    let around = place.container.clone();
    let session = container(&uuid::Uuid::new_v4().to_string(), Some(around));
    let info = exec.tty.then(|| ContainerInfo {
        r#type: container_info::Type::Mesos.into(),
        tty_info: Some(tty(terminal::size())),
        ..ContainerInfo::default()
    });
    let launch = LaunchNestedContainerSession {
        container_id: session.clone(),
        command: Some(CommandInfo {
            shell: Some(false),
            value: command.first().cloned(),
            arguments: command,
            user: exec.user,
            environment: exec.tty.then(kind_of_terminal),
            ..CommandInfo::default()
        }),
        container: info,
    };
    let call = Call {
        r#type: Some(Type::LaunchNestedContainerSession.into()),
        launch_nested_container_session: Some(launch),
        ..Call::default()
    };
    let printed = Printed::of(&call, &place.address, cluster).await?;
    let went = {
        // Given back before anything else is said.
        let _raw = (input == Input::Keys)
            .then(Raw::enter)
            .transpose()
            .map_err(|error| Failure::Local(format!("cannot take over this terminal: {error}")))?;
        attended(printed, &session, input, &place.address, cluster).await?
    };
    match went {
        How::Over => over(&session, &place.address, cluster).await,
        How::Left(code) => Ok(code),
    }
}

/// What programs draw by.
fn kind_of_terminal() -> Environment {
    let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
    let variable = Variable { name: "TERM".to_owned(), value: Some(kind), ..Variable::default() };
    Environment { variables: vec![variable] }
}

/// What the command gets from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Input {
    /// Every key that is typed.
    Keys,
    /// What comes from a file or a program, or line by line.
    Piped,
    /// The end of its input, at once.
    Ended,
    /// Nothing, not even an end: it sits at a terminal that nobody types on.
    None,
}

/// How a session came to its end here.
enum How {
    /// By itself, it seems.
    Over,
    /// It is given up; with this exit code.
    Left(ExitCode),
}

/// Prints what the session prints and types what is typed, until it ends.
async fn attended(
    mut printed: Printed,
    session: &ContainerId,
    input: Input,
    address: &str,
    cluster: &Cluster,
) -> Result<How, Failure> {
    let keys = input == Input::Keys;
    let typing = async {
        let mut typed = match input {
            Input::Keys | Input::Piped => terminal::typed(keys),
            Input::Ended => terminal::nothing(),
            Input::None => return std::future::pending().await,
        };
        match type_for(session, address, &mut typed, keys, cluster).await {
            // The output tells whether that was the end of it all.
            Left::Refused(Failure::Unreachable { .. }) => std::future::pending().await,
            left @ (Left::ByKeys | Left::Refused(_)) => left,
        }
    };
    let mut typing = std::pin::pin!(typing);
    let mut asked = std::pin::pin!(asked_to_end());
    loop {
        tokio::select! {
            went = printed.print_next() => match went? {
                Went::On => {}
                Went::Over => return Ok(How::Over),
                Went::Unread => return Ok(How::Left(ExitCode::from(UNREAD))),
            },
            left = &mut typing => return match left {
                Left::ByKeys => Ok(How::Left(ExitCode::SUCCESS)),
                // It may have ended before it could be typed for.
                Left::Refused(Failure::NotFound(_)) => Ok(How::Over),
                Left::Refused(failure) => Err(failure),
            },
            code = &mut asked => return Ok(How::Left(code)),
        }
    }
}

/// Waits for a signal to end, and gives the exit code that goes with it.
pub(super) async fn asked_to_end() -> ExitCode {
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let waits = kinds.into_iter().map(|kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut signals) => drop(signals.recv().await),
                Err(_) => std::future::pending().await,
            }
            ExitCode::from(128 + u8::try_from(kind.as_raw_value()).unwrap_or(0))
        })
    });
    futures::future::select_all(waits).await.0
}

/// Asks how a session ended, and clears it away.
async fn over(
    session: &ContainerId,
    address: &str,
    cluster: &Cluster,
) -> Result<ExitCode, Failure> {
    let id = proto::json::to_value(session);
    let wait =
        json!({"type": "WAIT_NESTED_CONTAINER", "wait_nested_container": {"container_id": id}});
    let answer = match cluster.operate_agent(address, &wait).await {
        Err(Failure::NotFound(_)) => {
            let why = "the session has ended with its agent or its task; how is not known";
            return Err(Failure::Refused(why.to_owned()));
        }
        answer => answer?,
    };
    let remove = json!({
        "type": "REMOVE_NESTED_CONTAINER", "remove_nested_container": {"container_id": id},
    });
    // What is left of it goes with the task at the latest.
    let _ = cluster.operate_agent(address, &remove).await;
    let over = &answer["wait_nested_container"];
    if let Some(message) = over["message"].as_str() {
        complain!("{message}");
    }
    let status = over["exit_status"].as_i64().and_then(|status| i32::try_from(status).ok());
    let why = || Failure::Refused("the command was ended, and nobody knows how".to_owned());
    status.map(|status| ExitCode::from(exit_code(status))).ok_or_else(why)
}

/// What a shell would exit with after a command with this wait status.
fn exit_code(status: i32) -> u8 {
    let status = ExitStatus::from_raw(status);
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The command as it was typed. It is the last of all arguments, and flags in it are not this program's:
/// they are not to be read in its spelling.
fn as_typed(command: Vec<String>, mut all: Vec<String>) -> Vec<String> {
    match all.len().checked_sub(command.len()) {
        Some(at) => all.split_off(at),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (status, code) in [(0, 0), (3 << 8, 3), (9, 137), (15, 143)] {
            assert_eq!(exit_code(status), code, "{status}");
        }
    }

    #[test]
    fn flags_of_the_command_stay_as_they_are_typed() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let all = words("agora task exec -i t1 tool --my_flag=a_b -x");
        assert_eq!(as_typed(words("tool --my-flag=a_b -x"), all), words("tool --my_flag=a_b -x"));
    }
}
