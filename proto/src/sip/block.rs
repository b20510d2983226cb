//! Many bytes looked at together: where the ends of lines are among them.
//!
//! Must not know: what a line is.

use wide::u8x16;

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 64;

/// Where some bytes stand in a block, the first byte's bit the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// CR.
    pub(super) returns: u64,
    /// LF.
    pub(super) feeds: u64,
    /// NUL.
    pub(super) nuls: u64,
}

impl Marks {
    /// Those of `block`.
    #[inline(always)]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        let words = words(block);
        Self {
            returns: equal(words, b'\r'),
            feeds: equal(words, b'\n'),
            nuls: equal(words, 0),
        }
    }
}

#[inline(always)]
fn words(block: &[u8; BLOCK]) -> [u8x16; 4] {
    let mut words = [u8x16::ZERO; 4];
    let (parts, _) = block.as_chunks::<16>();
    for (word, bytes) in words.iter_mut().zip(parts) {
        *word = u8x16::new(*bytes);
    }
    words
}

/// Where `byte` stands.
#[inline(always)]
fn equal(words: [u8x16; 4], byte: u8) -> u64 {
    let byte = u8x16::splat(byte);
    let [a, b, c, d] = words.map(|word| u64::from(word.simd_eq(byte).to_bitmask()));
    a | b << 16 | c << 32 | d << 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_marked_where_they_stand() {
        for at in 0..BLOCK {
            for (byte, want) in [(b'\r', [1, 0, 0]), (b'\n', [0, 1, 0]), (0, [0, 0, 1])] {
                let mut block = [u8::MAX; BLOCK];
                block[at] = byte;
                let marks = Marks::of(&block);
                assert_eq!(
                    [marks.returns, marks.feeds, marks.nuls],
                    want.map(|bit| bit << at)
                );
            }
        }
    }
}
