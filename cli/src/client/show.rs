//! Tables for people: no frames, as wide as the terminal, one line a thing.

use crate::say::say;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::Value;

/// A table under these headings.
pub(super) fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings);
    table
}

/// Prints `table`, without blanks at the ends of lines.
pub(super) fn print(table: &Table) {
    for line in table.to_string().lines() {
        say!("{}", line.trim_end());
    }
}

/// Prints `value` as JSON.
pub(super) fn print_json(value: &Value) {
    say!("{value:#}");
}

/// The text at `pointer`, or `-`.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => (if *flag { "yes" } else { "no" }).to_owned(),
        Some(Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_)) | None => {
            "-".to_owned()
        }
    }
}

/// The number at `pointer`, or zero.
pub(super) fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

/// The items at `pointer`; none where there is no array.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// An amount without needless decimals.
pub(super) fn amount(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
