//! What is shown, with its JSON.

use crate::app::{App, render};
use crate::instance::Instance;
use serde_json::Value;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A value that is shown, with its JSON once somebody has asked for that: however many read, it is
/// written out once for each change.
#[derive(Debug)]
pub struct Rendered<T> {
    value: Arc<T>,
    /// Absent within if there is nothing to show of the value.
    json: OnceLock<Option<Box<str>>>,
}

impl<T> Rendered<T> {
    pub(crate) fn new(value: Arc<T>) -> Arc<Self> {
        Arc::new(Self { value, json: OnceLock::new() })
    }

    /// The value itself.
    pub fn value(&self) -> &Arc<T> {
        &self.value
    }

    fn json(&self, render: impl FnOnce(&T) -> Option<Value>) -> Option<&str> {
        let make = || render(&self.value).map(|json| json.to_string().into());
        self.json.get_or_init(make).as_deref()
    }
}

impl Rendered<App> {
    /// The app as the API shows it, with nothing embedded.
    pub(crate) fn app(&self) -> &str {
        self.json(|app| Some(render::app(app))).unwrap_or_default()
    }
}

impl Rendered<Instance> {
    /// The task as the API shows it, if there is one. `role` is that of Marathon, which does not change.
    pub(crate) fn task(&self, role: &str) -> Option<&str> {
        self.json(|instance| render::task(instance, role, false))
    }
}

impl<T> Deref for Rendered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Whether the JSON has been made already is nobody's concern.
impl<T: PartialEq> PartialEq for Rendered<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
