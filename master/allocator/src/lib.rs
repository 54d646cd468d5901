//! Whom to offer what.
//!
//! The allocator knows which agents have what, which frameworks want offers in which roles, and what
//! is given to whom. Asked to allocate, it hands what is free on each agent to the framework that is
//! furthest behind its fair share and may have it. It has no clock and no randomness of its own.

mod settings;

pub use settings::{BadSetting, MinAllocatable, Settings, Weight};
