//! A state as a number of 64 bits, the same in every run. Two states of one number are taken for
//! one: among two million states that happens once in ten million searches.

use std::hash::{BuildHasherDefault, Hash as _, Hasher};

use super::state::State;

/// Fingerprints seen. They are hashed already.
pub(crate) type Seen = std::collections::HashSet<u64, BuildHasherDefault<AsIs>>;

/// The number of a state.
pub(crate) fn of(state: &State) -> u64 {
    let mut mix = Mix(0x0123_4567);
    state.hash(&mut mix);
    mix.finish()
}

struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ hash >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_i8(&mut self, number: i8) {
        self.write_u64(u64::from(number as u8));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
}

/// A hasher of numbers that are hashes.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
