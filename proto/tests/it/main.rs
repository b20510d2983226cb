//! Tests that use the crate from outside, in one binary.

mod births;
mod bodies;
mod deaths;
mod edge;
mod flood;
mod golden;
mod joining;
mod no_allocation;
mod prack;
mod properties;
mod refer;
mod refresh;
mod revive;
mod seeds;
mod session_timer;
mod sip_mutations;
mod sip_oracle;
mod sip_torture;
mod sip_torture_uas;
mod tidy;
mod uas;
mod world;
