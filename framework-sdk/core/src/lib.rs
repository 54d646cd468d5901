//! The deciding half of the framework SDK.
