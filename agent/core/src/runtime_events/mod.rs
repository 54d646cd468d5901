//! What becomes of containers, one file per event.

pub(crate) mod exited;
pub(crate) mod launch_failed;
pub(crate) mod launched;
pub(crate) mod volumes_not_shown;
pub(crate) mod volumes_removed;
