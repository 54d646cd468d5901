//! Whom to offer what.
//!
//! The allocator knows which agents have what, which frameworks want offers in which roles, and what
//! is given to whom. Asked to allocate, it hands what is free on each agent to the framework that is
//! furthest behind its fair share and may have it. It has no clock, and its only randomness is the
//! order in which agents are handed out, and lots where they are drawn, which its seed decides.
//!
//! Where to look: `pass` goes over the agents; `gates` says whether a framework may have something
//! and why not; `sorter` says whose turn it is, and who has stepped back; `quota` says how much;
//! `books` keeps all of them told of what is given and given back.

mod agent;
mod allocator;
mod amounts;
mod books;
mod constraints;
mod convert;
mod facts;
pub mod figures;
mod filters;
mod framework;
mod gates;
mod pass;
mod quota;
mod settings;
mod slab;
mod sorter;
#[cfg(test)]
mod tests;

pub use allocator::{Allocation, Allocator};
pub use constraints::{
    AttributeConstraint, BadConstraints, CONSTRAINTS_MAX, OfferConstraints, PATTERN_BYTES_DEFAULT,
    PATTERN_BYTES_MAX, Pattern,
};
pub use facts::AgentFacts;
pub use filters::Decline;
pub use framework::FrameworkWish;
pub use gates::Why;
pub use quota::{BadQuota, Quota};
pub use settings::{BadSetting, MinAllocatable, Settings, Sorter};
