//! The protocol library's own log lines, passed on to ours.
//!
//! Most of what it calls information is of use only to who debugs elections, so each level becomes
//! one less here. What operators need to know is logged where our events are.

use std::fmt::{self, Write as _};

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// A logger for the library.
pub(crate) fn logger() -> Logger {
    Logger::root(Forward, slog::o!())
}

struct Forward;

impl Drain for Forward {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        macro_rules! pass {
            ($level:ident) => {
                if tracing::enabled!(target: "raft", tracing::Level::$level) {
                    let text = text(record, values);
                    tracing::event!(target: "raft", tracing::Level::$level, "{text}");
                }
            };
        }
        match record.level() {
            Level::Critical | Level::Error => pass!(ERROR),
            Level::Warning => pass!(WARN),
            Level::Info => pass!(DEBUG),
            Level::Debug | Level::Trace => pass!(TRACE),
        }
        Ok(())
    }
}

fn text(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut fields = Fields(record.msg().to_string());
    // Writing to a string cannot fail.
    let _ = record.kv().serialize(record, &mut fields);
    let _ = values.serialize(record, &mut fields);
    fields.0
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}
