//! The cluster: who is a member, where a position lies, who proposes to hold what.
//!
//! May use: base and wire. Never: SIP. Addresses of SIP listeners pass through here as opaque
//! strings, records as opaque bytes.

mod adopt;
mod ask;
mod balance;
mod batch;
mod births;
mod claim;
mod digest;
pub mod effect;
mod ends;
mod engine;
mod entry;
mod find;
pub mod gate;
mod handoff;
pub mod lane;
mod lease;
pub mod liveness;
mod look;
mod lookup;
pub mod membership;
mod need;
mod own;
mod place;
pub mod policy;
mod rebalance;
mod register;
mod release;
mod renamed;
mod repair;
mod replica;
pub mod ring;
mod sabotage;
mod seek;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod view;
mod vouch;

pub use engine::Cluster;
pub use look::{Gauges, Holding, Kept};
pub use sabotage::{Break, Sabotage};
