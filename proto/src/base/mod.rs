//! What every room may use: time, identities, limits, chance, counters.
//!
//! Never: SIP, ownership, frames. This room knows no other room.

pub mod flow;
pub mod ids;
pub mod limits;
pub mod map;
pub mod rng;
pub mod task;
pub mod time;
