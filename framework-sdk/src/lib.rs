//! What frameworks are written on.
