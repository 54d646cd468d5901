//! The modes in which an agent starts this binary again. They are not for people.

use crate::say::complain;
use std::process::ExitCode;

/// The built-in executor, in a container.
pub(crate) const EXECUTOR: &str = "executor";

/// The parent of a container, outside of it.
pub(crate) const LAUNCHER: &str = "launch";

/// Runs one of these modes if it is asked for.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next()?.to_str()? {
        LAUNCHER => agent::launcher::main(arguments),
        EXECUTOR => Some(executor()),
        _ => None,
    }
}

fn executor() -> ExitCode {
    let options = match agent::executor::ExecutorOptions::from_env() {
        Ok(options) => options,
        Err(error) => {
            complain!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match u8::try_from(agent::executor::main(&options)) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}
