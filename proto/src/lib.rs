//! callring-proto: the whole of callring's logic as a function of bytes, time and a seed.
//!
//! Nothing in this crate waits, spawns, locks, opens or asks the clock. A shell (the `callring`
//! crate, or the simulator) feeds [`io::Input`]s, drains [`io::Output`]s and asks for the next
//! deadline; see [`shard`] for the loop.
//!
//! Rooms, and who may know whom (`tests/tidy.rs` holds the arrows):
//!
//! | room | knows |
//! |---|---|
//! | [`base`] | nothing |
//! | [`wire`] | base |
//! | [`sip`] | base |
//! | [`cluster`] | base, wire |
//! | [`app`] | base, sip |
//! | [`io`] | base, cluster's view |
//! | [`shard`] | all of them: the switchboard |

pub mod app;
pub mod base;
pub mod cluster;
pub mod io;
pub mod shard;
pub mod sip;
pub mod wire;
