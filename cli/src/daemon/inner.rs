//! What is done before anything else: the mode in which an agent starts this binary again, which is not for
//! people, and how daemons take memory.

use std::process::ExitCode;

use super::memory::{self, EITHER};

/// What the parents of containers are forked from, and with them the built-in executors.
pub(crate) const LAUNCHER: &str = "launch";

/// Runs this mode if it is asked for. Of daemons it only sets up their memory.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    match std::env::args_os().nth(1)?.to_str()? {
        LAUNCHER => agent::launcher::main(),
        "agent" => {
            agent::launcher::stay_small();
            None
        }
        name if EITHER.contains(&name) => {
            memory::begin_small();
            None
        }
        _ => None,
    }
}
