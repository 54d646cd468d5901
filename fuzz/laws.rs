//! What must hold of every input, whatever it is.
//!
//! The fuzz targets feed these with what libFuzzer makes up. A test of `proto` feeds them with the
//! committed corpus, so that they hold in every build and none of them is forgotten.

#![allow(dead_code, reason = "each target uses one of them")]

use model::resources::{Attributes, Resources};
use model::role::Role;
use proto::convert::resources as wire_resources;
use proto::recordio::{Decoder, RecordError, encode};
use proto::schema::{self, Message};
use proto::{json as mapping, wire};

/// The first byte says how the stream is cut; the rest is the stream.
pub(crate) fn recordio(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    // Small, so that records that are too long are easily made.
    let length_max = 4_096;
    let read = |cut: usize| {
        let mut decoder = Decoder::new(length_max);
        let mut records = Vec::new();
        let mut end = Ok(());
        for piece in stream.chunks(cut.max(1)) {
            decoder.push(piece);
            while end.is_ok() {
                match decoder.next() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(error) => end = Err(error),
                }
            }
        }
        (records, end, decoder.is_between_records())
    };
    let whole = read(stream.len());
    assert_eq!(whole, read(usize::from(cut)), "where a stream is cut means nothing");

    let (records, end, is_between) = whole;
    assert!(records.iter().all(|record| record.len() <= length_max));
    if let Err(RecordError::TooLong { length, .. }) = end {
        assert!(length > length_max as u64);
    }
    let again: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
    if end.is_ok() && is_between {
        assert!(again.len() <= stream.len(), "only zeros before a length may be gone");
    }
    let mut decoder = Decoder::new(length_max);
    decoder.push(&again);
    for record in &records {
        assert_eq!(decoder.next(), Ok(Some(record.clone())));
    }
    assert!(decoder.is_between_records());
}

/// The first two bytes say which message and which form, the rest is the message.
pub(crate) fn json(data: &[u8]) {
    let [low, high, message @ ..] = data else { return };
    let count = schema::messages().count();
    let chosen = usize::from(u16::from_le_bytes([*low, *high & 0x7F])) % count;
    let schema = schema::messages().nth(chosen).expect("one of those counted");
    if high & 0x80 == 0 {
        let Ok(bytes) = mapping::read(schema, message) else { return };
        shown_and_read_again(schema, &bytes);
    } else if wire::missing_required(schema, message).is_ok_and(|missing| missing.is_empty()) {
        shown_and_read_again(schema, message);
    } else {
        // What is not whole may be shown or not, but nothing worse.
        let _ = mapping::write(schema, message);
    }
}

/// What was taken in can be shown, and what is shown is taken in again and shows the same.
fn shown_and_read_again(schema: &'static Message, bytes: &[u8]) {
    let name = schema.name;
    let Ok(text) = mapping::write(schema, bytes) else { return };
    assert!(text.is_ascii(), "{name}");
    let again = match mapping::read(schema, &text) {
        Ok(again) => again,
        Err(error) => {
            // JSON has no word for these, and Mesos writes them all the same.
            let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
            assert!(has(b"Inf") || has(b"NaN"), "{name}: {error}");
            return;
        }
    };
    let shown = mapping::write(schema, &again).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&text), "{name}");
}

/// The first line is the default role, the rest resources, and attributes as well.
pub(crate) fn resources(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (role, text) = text.split_once('\n').unwrap_or(("*", text));
    if let Ok(attributes) = Attributes::parse(text) {
        let wire = wire_resources::attributes_to_wire(&attributes);
        let back = wire_resources::attributes_from_wire(&wire).map(|all| all.0.len());
        assert_eq!(back, Ok(attributes.0.len()));
    }
    let Ok(role) = Role::new(role) else { return };
    let Ok(all) = Resources::parse(text, &role) else { return };
    // Not every role can be written in brackets.
    let in_brackets = Resources::parse(&format!("x({role}):1"), &Role::any());
    if in_brackets.is_ok_and(|read| read == Resources::parse("x:1", &role).expect("as above")) {
        let shown = all.to_string();
        assert_eq!(Resources::parse(&shown, &Role::any()), Ok(all.clone()), "{shown}");
    }
    // An amount that the wire refuses is too large for it, which the flags' reader says elsewhere.
    for form in [wire_resources::Form::Old, wire_resources::Form::Stack] {
        if let Ok(back) = wire_resources::from_wire(&wire_resources::to_wire(&all, form, None)) {
            assert_eq!(back, all);
        }
    }
    let twice = all.plus(&all);
    assert!(twice.contains(&all), "{twice}");
    let mut free = twice.clone();
    free.take(&all).expect("it is in it");
    assert!(all.minus(&all).is_empty());
}

/// The data is a role.
pub(crate) fn roles(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let is_blank = |c: char| matches!(c, '\x08'..='\x0D' | ' ' | '\x7F');
    let is_part = |part: &str| {
        !matches!(part, "" | "." | ".." | "*") && !part.starts_with('-') && !part.contains(is_blank)
    };
    let is_good = text == "*" || text.split('/').all(is_part);
    let role = match Role::new(text) {
        Ok(role) => role,
        Err(error) => return assert!(!is_good, "{text:?}: {error}"),
    };
    assert!(is_good, "{text:?}");
    assert_eq!(role.as_str(), text);
    assert_eq!(role.components().collect::<Vec<_>>().join("/"), text);
    assert!(!role.is_below(&role));
    for (at, _) in text.match_indices('/') {
        let parent = Role::new(&text[..at]).expect("what stands before a slash is a role");
        assert!(role.is_below(&parent) && !parent.is_below(&role), "{text:?}");
    }
}
