//! The deciding half of Marathon.
