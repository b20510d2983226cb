//! The `callring` binary: parse, build, run.
fn main() {}
