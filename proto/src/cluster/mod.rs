//! The cluster: who is a member, where a position lies, who proposes to hold what.
//!
//! May use: base and wire. Never: SIP. Addresses of SIP listeners pass through here as opaque
//! strings, records as opaque bytes.

pub mod membership;
pub mod ring;
pub mod view;
