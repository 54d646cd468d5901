//! The modes in which an agent starts this binary again. They are not for people.

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
        EXECUTOR => Some(agent::executor::main()),
        _ => None,
    }
}
