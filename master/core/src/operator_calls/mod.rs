//! What operators ask for: one file for each call.

pub(crate) mod mark_agent_gone;
pub(crate) mod teardown_framework;
