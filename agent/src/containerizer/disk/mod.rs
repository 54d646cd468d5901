//! What containers take of the disk, and what they may.

mod du;
mod limits;

pub(super) use self::du::Du;
