//! Hash tables of the core: keyed, so that nobody can aim at a bucket, and keyed from the node's
//! seed, so that the same run iterates in the same order.

use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// A hash map whose order is a function of the node's seed.
pub type Map<K, V> = hashbrown::HashMap<K, V, KeyedState>;
/// A hash set whose order is a function of the node's seed.
pub type Set<K> = hashbrown::HashSet<K, KeyedState>;

/// The key of a table's hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyedState {
    keys: (u64, u64),
}

impl KeyedState {
    /// A state with the given key.
    #[must_use]
    pub const fn new(first: u64, second: u64) -> Self {
        Self { keys: (first, second) }
    }
}

impl BuildHasher for KeyedState {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}
