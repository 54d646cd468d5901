//! The acting half of the agent: links, containers, the built-in executor, files.
