//! Simulator, invariants, real-process tests and the referee.

pub mod arena;
pub mod baresip;
pub mod binary;
pub mod fire;
pub mod fleet;
pub mod hand;
pub mod load;
pub mod namespace;
pub mod ports;
pub mod referee;
pub mod relay;
pub mod sim;
pub mod sipp;
pub mod swim;
pub mod troupe;
