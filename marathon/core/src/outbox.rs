//! Durable before visible: outputs wait until what they follow from is in the store.
//!
//! At most one write is under way. What comes up meanwhile gathers into the next one, so a slow store
//! makes writes larger and not more numerous, and outputs never overtake each other.

use crate::ids::WriteId;
use crate::io::{Key, Output, Refusal};
use serde_json::json;
use std::collections::BTreeMap;

/// What waits to be stored and what waits for that.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    writes: u64,
    under_way: Option<(WriteId, Vec<Output>)>,
    puts: BTreeMap<Key, Option<Vec<u8>>>,
    held: Vec<Output>,
}

impl Outbox {
    /// Has `key` written with the next write; absent `value` removes it.
    pub(crate) fn put(&mut self, key: Key, value: Option<Vec<u8>>) {
        self.puts.insert(key, value);
    }

    /// Has `output` done once everything put so far is safe.
    pub(crate) fn push(&mut self, output: Output) {
        self.held.push(output);
    }

    /// Hands on what may be done now.
    pub(crate) fn flush(&mut self, out: &mut Vec<Output>) {
        if self.under_way.is_some() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        if self.puts.is_empty() {
            out.extend(held);
            return;
        }
        self.writes += 1;
        let write = WriteId(self.writes);
        let puts = std::mem::take(&mut self.puts).into_iter().collect();
        self.under_way = Some((write, held));
        out.push(Output::Store { write, puts });
    }

    /// Hands on what waited for `write`. A write of an earlier reign is nobody's.
    pub(crate) fn committed(&mut self, write: WriteId, out: &mut Vec<Output>) {
        if self.is_under_way(write)
            && let Some((_, held)) = self.under_way.take()
        {
            out.extend(held);
        }
    }

    /// Whether `write` is the one that is waited for.
    pub(crate) fn is_under_way(&self, write: WriteId) -> bool {
        self.under_way.as_ref().is_some_and(|(waited_for, _)| *waited_for == write)
    }

    /// Drops everything. Who waits for an answer is told that it may or may not have been done.
    pub(crate) fn abandon(&mut self, out: &mut Vec<Output>) {
        let under_way = self.under_way.take().into_iter().flat_map(|(_, held)| held);
        for output in under_way.chain(std::mem::take(&mut self.held)) {
            if let Output::Answer { request, .. } = output {
                out.push(Output::Answer { request, answer: Err(not_leading()) });
            }
        }
        self.puts.clear();
    }
}

/// The answer of a Marathon that does not lead.
pub(crate) fn not_leading() -> Refusal {
    let message = "This Marathon does not lead any more; ask the leader whether it was done";
    Refusal { status: 503, body: json!({"message": message}) }
}
