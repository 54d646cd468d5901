//! The agora binary: the daemons and what operators type.

fn main() {}
