//! Whom to offer what.
//!
//! The allocator knows which agents have what, which frameworks want offers in which roles, and what
//! is given to whom. Asked to allocate, it hands what is free on each agent to the framework that is
//! furthest behind its fair share and may have it. It has no clock, and its only randomness is the
//! order in which agents are handed out, which its seed decides.

mod agent;
mod allocator;
mod amounts;
mod books;
mod constraints;
mod facts;
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
    AttributeConstraint, BadConstraints, CONSTRAINTS_MAX, OfferConstraints, PATTERN_BYTES_MAX,
    Pattern, Predicate, Selector,
};
pub use facts::{AgentFacts, FaultDomain};
pub use framework::FrameworkWish;
pub use gates::Why;
pub use quota::{BadQuota, Quota};
pub use settings::{BadSetting, MinAllocatable, Settings, Sorter, Weight};
