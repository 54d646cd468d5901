//! What launches become on the wire.
