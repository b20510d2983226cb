//! Tests that use the crate from outside, in one binary.

mod births;
mod bodies;
mod deaths;
mod edge;
mod flood;
mod frozen;
mod golden;
mod joining;
mod leg_deaths;
mod no_allocation;
mod prack;
mod properties;
mod refer;
mod refresh;
mod requirements;
mod revive;
mod seeds;
mod session_timer;
mod sip_mutations;
mod sip_oracle;
mod sip_torture;
mod sip_torture_uas;
mod tidy;
mod uac;
mod uas;
mod world;
