//! The deciding half of the master.
