//! The acting half of the agent: links, containers, the built-in executor, files.

mod api;
mod beneath;
pub mod containerizer;
pub mod containers;
mod description;
pub mod detect;
mod driver;
pub mod executor;
pub mod fetcher;
mod gc;
mod handle;
pub mod images;
pub mod launcher;
mod limits;
mod link;
mod mirror;
mod nested;
mod options;
mod persistent_volumes;
pub mod prober;
mod real;
mod running;
pub mod sandbox;
pub mod secrets;
mod simulated;
mod socket;
mod starting;
pub mod steps;
mod store;
mod wanted;
mod wire;

pub use link::Channels;
pub use options::{Authentication, ImageSettings, Options, Recover, StartError};
pub use running::{Running, StopMode, start, start_simulated};
pub use simulated::Imitation;
pub use store::StoreError;
