//! Reading apps.
