//! What clients see of the API.

mod apps;
mod groups;
mod harness;
mod headers;
mod stream;
