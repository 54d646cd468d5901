//! What containers take of the disk, and what they may: by one isolator that counts it from time to time,
//! and by one that has the file system do so.

mod calls;
mod du;
mod limits;
mod pool;
mod projects;
mod xfs;

pub(super) use self::calls::{WRITE_ATTRIBUTES, WRITE_FLAGS};
pub(super) use self::du::Du;
pub use self::pool::{BadProjects, ProjectRange};
pub use self::xfs::XfsOptions;
pub(super) use self::xfs::{NAME as XFS, Xfs};
