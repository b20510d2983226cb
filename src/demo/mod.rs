//! The demo: a cluster of real processes on loopback, a phone, a kill, and what became of the calls.

pub mod capture;
pub mod phone;
