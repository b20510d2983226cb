//! Simulator, invariants, real-process tests and the referee.

pub mod arena;
pub mod binary;
pub mod hand;
pub mod namespace;
pub mod referee;
pub mod sim;
pub mod sipp;
pub mod swim;
pub mod troupe;
