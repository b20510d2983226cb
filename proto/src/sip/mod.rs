//! RFC 3261 and friends.
