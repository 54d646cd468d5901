//! The acting half of Marathon: REST, events, store.
