//! The acting half of the agent: links, containers, the built-in executor, files.

pub mod containerizer;
pub mod detect;
pub mod fetcher;
pub mod launcher;
pub mod sandbox;
