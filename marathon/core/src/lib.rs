//! The deciding half of Marathon: which tasks run where so that every app has what it wants.
//!
//! [`Marathon`] takes [`io::Input`] and gives [`io::Output`]; [`view::View`] is what reads are
//! answered from. Nothing here does IO or reads a clock.

pub mod app;
pub mod backoff;
mod balance;
pub mod clock;
pub mod environment;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod group;
pub mod health;
pub mod history;
pub mod ids;
pub mod instance;
mod instances;
pub mod io;
pub mod json_text;
pub mod launch_queue;
pub mod matcher;
mod outbox;
pub mod pace;
pub mod planner;
mod queue_json;
pub mod rendered;
pub mod reservation;
pub mod rollout;
pub mod scheduler;
pub mod secret;
pub mod service_ports;
pub mod spread;
mod stored;
pub mod view;

pub use scheduler::Marathon;
