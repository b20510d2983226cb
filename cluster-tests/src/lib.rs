//! Simulator, invariants, real-process tests and the referee.

pub mod referee;
