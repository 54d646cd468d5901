//! The steps of launching and clearing away, told as they are reached.
//!
//! They are for whoever must know how far things have got: tests end the process at each of them in
//! turn, and what is left must be found and cleared away by the next one.

use std::fmt;
use std::sync::Arc;

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
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Steps(told)" } else { "Steps" })
    }
}
