//! Whom to offer what.
