//! How the master was asked, for who looks at paces.

use std::collections::BTreeSet;
use std::time::Duration;

/// What was asked of the master.
#[derive(Default)]
pub(crate) struct Asked {
    /// Of each offer that was used, by how many, and for how long the rest is not wanted.
    pub(crate) accepted: Vec<(usize, Duration)>,
    /// For how long offers that were not used are not wanted.
    pub(crate) refused_for: BTreeSet<Duration>,
    /// When it was asked about tasks, and about how many; 0 means all.
    pub(crate) reconciled: Vec<(Duration, usize)>,
    /// Whether it leaves such questions unanswered.
    pub(crate) is_silent: bool,
}
