//! Benchmarks over real sockets.

fn main() {}
