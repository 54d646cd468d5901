//! Taking fields out of JSON objects and collecting what is wrong with them, all of it.

use super::Invalid;
use super::shape::Shape;
use crate::app::Millionths;
use model::amount::Milli;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Errors(RefCell<Invalid>);

impl Errors {
    /// All of it.
    pub(super) fn found(self) -> Invalid {
        self.0.into_inner()
    }
}

/// One object, where it stands, which fields there are, and where errors go.
pub(super) struct Reader<'a> {
    fields: &'a Map<String, Value>,
    shape: &'static Shape,
    path: String,
    errors: &'a Errors,
}

impl<'a> Reader<'a> {
    /// Reads a whole body.
    pub(super) fn new(
        fields: &'a Map<String, Value>,
        shape: &'static Shape,
        errors: &'a Errors,
    ) -> Self {
        Self { fields, shape, path: String::new(), errors }
    }

    fn part(&self, name: &str, fields: &'a Map<String, Value>, at: &str) -> Self {
        let shape = self.shape.field(name).unwrap_or(&Shape::Any);
        Self { fields, shape, path: self.at(at), errors: self.errors }
    }

    /// A field of the right type has a value that cannot be.
    pub(super) fn wrong(&self, name: &str, error: impl Into<String>) {
        let mut errors = self.errors.0.borrow_mut();
        errors.invalid.entry(self.at(name)).or_default().push(error.into());
    }

    /// A field has the wrong type.
    pub(super) fn malformed(&self, name: &str, error: &str) {
        let mut errors = self.errors.0.borrow_mut();
        errors.malformed.entry(self.at(name)).or_default().push(error.to_owned());
    }

    fn at(&self, name: &str) -> String {
        if name.is_empty() { self.path.clone() } else { format!("{}/{name}", self.path) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        // Else clients would be told that it is unknown, though it has an effect.
        debug_assert!(self.shape.field(name).is_some(), "{} is in no shape", self.at(name));
        self.fields.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.fields.iter()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let Value::String(text) = self.get(name)? else {
            self.malformed(name, "error.expected.jsstring");
            return None;
        };
        Some(text.clone())
    }

    pub(super) fn required_text(&self, name: &str) -> String {
        match self.get(name) {
            None => self.wrong(name, "error.path.missing"),
            Some(Value::String(text)) if text.is_empty() => {
                self.wrong(name, "must not be empty");
            }
            Some(_) => {}
        }
        self.text(name).unwrap_or_default()
    }

    /// A text that is not empty, if it is there.
    pub(super) fn full_text(&self, name: &str) -> Option<String> {
        self.get(name).map(|_| self.required_text(name))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let Value::Bool(flag) = self.get(name)? else {
            self.malformed(name, "error.expected.jsboolean");
            return None;
        };
        Some(*flag)
    }

    /// A number that is not negative; `2.0` is as good as `2`.
    pub(super) fn whole(&self, name: &str) -> Option<u64> {
        let Value::Number(number) = self.get(name)? else {
            self.malformed(name, "error.expected.jsnumber");
            return None;
        };
        let amount = number.as_f64().and_then(Milli::from_f64);
        let Some(amount) = amount.filter(|amount| amount.0 % 1_000 == 0) else {
            self.malformed(name, "error.expected.int");
            return None;
        };
        let Ok(whole) = u64::try_from(amount.0 / 1_000) else {
            self.wrong(name, format!("got {amount}, expected 0 or more"));
            return None;
        };
        Some(whole)
    }

    pub(super) fn count(&self, name: &str) -> Option<u32> {
        let whole = self.whole(name)?;
        let count = i32::try_from(whole).ok().and_then(|count| u32::try_from(count).ok());
        if count.is_none() {
            self.wrong(name, format!("got {whole}, expected {} or less", i32::MAX));
        }
        count
    }

    pub(super) fn port(&self, name: &str) -> Option<u16> {
        let whole = self.whole(name)?;
        let port = u16::try_from(whole).ok();
        if port.is_none() {
            self.wrong(name, format!("got {whole}, expected 65535 or less"));
        }
        port
    }

    pub(super) fn amount(&self, name: &str) -> Option<Milli> {
        let Value::Number(number) = self.get(name)? else {
            self.malformed(name, "error.expected.jsnumber");
            return None;
        };
        let amount = number.as_f64().and_then(Milli::from_f64).filter(|amount| amount.0 >= 0);
        if amount.is_none() {
            self.wrong(name, format!("got {number}, expected 0.0 or more"));
        }
        amount
    }

    /// A number kept to six digits, within bounds.
    pub(super) fn millionths(&self, name: &str, min: u64, max: u64) -> Option<Millionths> {
        let Value::Number(number) = self.get(name)? else {
            self.malformed(name, "error.expected.jsnumber");
            return None;
        };
        let scaled = number.as_f64().map(|number| number * 1_000.0).and_then(Milli::from_f64);
        let scaled = scaled.and_then(|scaled| u64::try_from(scaled.0).ok());
        match scaled {
            Some(scaled) if (min..=max).contains(&scaled) => Some(Millionths(scaled)),
            Some(_) | None => {
                let (low, high) = (Milli(signed(min / 1_000)), Milli(signed(max / 1_000)));
                let bound = if max == u64::MAX {
                    format!("{low} or more")
                } else {
                    format!("between {low} and {high}")
                };
                self.wrong(name, format!("got {number}, expected {bound}"));
                None
            }
        }
    }

    pub(super) fn protocol(&self, name: &str) -> String {
        let protocol = self.text(name).unwrap_or_else(|| "tcp".to_owned());
        if !matches!(&*protocol, "tcp" | "udp" | "udp,tcp") {
            self.wrong(name, "must be one of tcp, udp, udp,tcp");
        }
        protocol
    }

    pub(super) fn list(&self, name: &str) -> &'a [Value] {
        match self.get(name) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_),
            ) => {
                self.malformed(name, "error.expected.jsarray");
                &[]
            }
        }
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (index, item) in self.list(name).iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.malformed(&format!("{name}({index})"), "error.expected.jsstring"),
            }
        }
        texts
    }

    pub(super) fn object(&self, name: &str) -> Option<Reader<'a>> {
        let value = self.get(name)?;
        let Value::Object(fields) = value else {
            self.malformed(name, "error.expected.jsobject");
            return None;
        };
        Some(self.part(name, fields, name))
    }

    pub(super) fn objects(&self, name: &str) -> Vec<Reader<'a>> {
        let mut objects = Vec::new();
        for (index, item) in self.list(name).iter().enumerate() {
            let at = format!("{name}({index})");
            match item {
                Value::Object(fields) => {
                    objects.push(self.part(name, fields, &at));
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => self.malformed(&at, "error.expected.jsobject"),
            }
        }
        objects
    }

    pub(super) fn labels(&self, name: &str) -> BTreeMap<String, String> {
        let Some(reader) = self.object(name) else { return BTreeMap::new() };
        let mut labels = BTreeMap::new();
        for (name, value) in reader.members() {
            match value.as_str() {
                Some(value) => {
                    labels.insert(name.clone(), value.to_owned());
                }
                None => reader.malformed(name, "error.expected.jsstring"),
            }
        }
        labels
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
