//! Chance. All of it flows from one 256-bit seed per node: the OS's in production, the run's number
//! in the simulator. ChaCha, because tags and nonces must be unguessable (SIP.md S2).

use rand::SeedableRng as _;
use rand_chacha::ChaCha12Rng;

/// A node's seed. Never reused: a second run with it would repeat its tags.
pub type Seed = [u8; 32];

/// The generator of every room.
pub type Rng = ChaCha12Rng;

/// The generator that a seed starts.
#[must_use]
pub fn from_seed(seed: Seed) -> Rng {
    Rng::from_seed(seed)
}

/// A generator for a child machine, so that its draws don't disturb its parent's order.
pub fn fork(parent: &mut Rng) -> Rng {
    Rng::from_rng(parent)
}
