//! JSON as text, put together from parts that are text already: what has not changed is not written
//! out again for each reader.

use serde_json::Value;

/// The array of these values.
pub fn array(values: impl IntoIterator<Item: AsRef<str>>) -> String {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(value.as_ref());
    }
    text.push(']');
    text
}

/// An object that is being written.
#[derive(Debug, Default)]
pub struct ObjectText {
    /// Its members, without the braces.
    members: String,
}

impl ObjectText {
    /// The object `text`, to which more is to be added.
    pub fn of(text: &str) -> Self {
        let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        Self { members: members.unwrap_or_default().to_owned() }
    }

    /// Adds a member whose value is text already.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if !self.members.is_empty() {
            self.members.push(',');
        }
        // A name is written like any text.
        self.members.push_str(&Value::from(name).to_string());
        self.members.push(':');
        self.members.push_str(value.as_ref());
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with_value(self, name: &str, value: impl Into<Value>) -> Self {
        self.with(name, value.into().to_string())
    }

    /// The whole.
    pub fn end(self) -> String {
        format!("{{{}}}", self.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_make_the_json_that_the_whole_would_have() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let none: [&str; 0] = [];
        assert_eq!(array(none), "[]");
        assert_eq!(parse(&array(["1", "{}", "\"a\""])), json!([1, {}, "a"]));
        assert_eq!(ObjectText::of("{}").end(), "{}");
        let object = ObjectText::of("{\"a\":1}").with("b\"\n", "[2]").with_value("c", "three");
        assert_eq!(parse(&object.end()), json!({"a": 1, "b\"\n": [2], "c": "three"}));
        let object = ObjectText::default().with_value("only", Value::Null);
        assert_eq!(parse(&object.end()), json!({"only": null}));
    }
}
