//! RFC 3261 and friends.

pub mod locator;
pub mod transaction;
