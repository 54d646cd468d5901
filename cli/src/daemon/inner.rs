//! The mode in which an agent starts this binary again. It is not for people.

use std::process::ExitCode;

/// What the parents of containers are forked from, and with them the built-in executors.
pub(crate) const LAUNCHER: &str = "launch";

/// Runs this mode if it is asked for. Of an agent it only sets up its memory.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    match std::env::args_os().nth(1)?.to_str()? {
        LAUNCHER => agent::launcher::main(),
        "agent" => {
            agent::launcher::stay_small();
            None
        }
        _ => None,
    }
}
