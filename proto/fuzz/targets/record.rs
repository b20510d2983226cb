//! Fuzz target: the state in a record. The body and what must hold:
//! `proto/tests/it/bodies/`.
#![no_main]
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods)]

#[path = "../../tests/it/bodies/mod.rs"]
mod bodies;
#[path = "../../tests/it/uas.rs"]
mod uas;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::record(data));
