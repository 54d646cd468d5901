//! Project chores: ci, tidy, sim, bench.

fn main() {}
