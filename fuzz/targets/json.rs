//! Any bytes as JSON, and as protobuf, of any message.
#![no_main]

#[path = "../laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::json(data));
