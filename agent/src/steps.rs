//! The steps of launching, clearing away and writing down, told as they are reached.
//!
//! They are for whoever must know how far things have got: tests end the process at each of them in
//! turn, and what is left must be found and cleared away by the next one.

use std::fmt;
use std::sync::Arc;

use agent_core::record::Key;
use agent_core::{Output, Record};

/// Hears a step's name.
type Hear = dyn Fn(&str) + Send + Sync;

/// Is told each step that has been reached, by name. The default does nothing.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Hear>>);

impl Steps {
    /// Tells `hear`.
    pub fn told_to(hear: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    pub(crate) fn reached(&self, step: &str) {
        if let Some(hear) = &self.0 {
            hear(step);
        }
    }

    pub(crate) fn reached_by(&self, step: &str, who: &str) {
        if let Some(hear) = &self.0 {
            hear(&format!("{step} {who}"));
        }
    }

    /// A write of `records` has got so far.
    pub(crate) fn reached_with(&self, step: &str, records: &[Record]) {
        if let Some(hear) = &self.0 {
            let kinds: Vec<_> = records.iter().map(kind).collect();
            hear(&format!("{step} {}", kinds.join("+")));
        }
    }

    /// `output` is about to be performed.
    pub(crate) fn reached_output(&self, output: &Output) {
        if let (Some(hear), Some(step)) = (&self.0, performing(output)) {
            hear(step);
        }
    }
}

/// What a record is about.
fn kind(record: &Record) -> &'static str {
    match record {
        Record::Identity(_) => "identity",
        Record::Described(_) => "description",
        Record::Framework(_) => "framework",
        Record::Executor(_) => "executor",
        Record::Task(_) => "task",
        Record::Updates(_) => "updates",
        Record::Masters(_) => "masters",
        Record::Drain(_) => "drain",
        Record::Made(_) => "made",
        Record::Operation(_) => "operation",
        Record::Doomed(_) => "doomed",
        Record::Forget(Key::Framework(_)) => "forget framework",
        Record::Forget(Key::Executor(..)) => "forget executor",
        Record::Forget(Key::Task(..)) => "forget task",
        Record::Forget(Key::Updates(..)) => "forget updates",
        Record::Forget(_) => "forget",
    }
}

/// What performing an output means, for those that somebody outside notices.
fn performing(output: &Output) -> Option<&'static str> {
    match output {
        Output::ToMaster(_) => Some("to tell the master"),
        Output::AnswerExecutor { .. } => Some("to answer an executor"),
        Output::ToExecutor { .. } => Some("to tell an executor"),
        Output::LaunchContainer(_) => Some("to launch"),
        Output::UpdateContainer(_) => Some("to update"),
        Output::ShowVolumes { .. } => Some("to show volumes"),
        Output::DestroyContainer { .. } => Some("to destroy"),
        Output::MakeVolumes(_) => Some("to make volumes"),
        Output::RemoveVolumes { .. } => Some("to remove volumes"),
        Output::PurgeVolumes { .. } => Some("to purge volumes"),
        Output::Append(_)
        | Output::AppendTogether(_)
        | Output::AppendLazily(_)
        | Output::Connect
        | Output::Reconnect
        | Output::Remember(_)
        | Output::Learn(_)
        | Output::CloseExecutor { .. }
        | Output::Note(_)
        | Output::View(_)
        | Output::Exit { .. } => None,
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Steps(told)" } else { "Steps" })
    }
}
