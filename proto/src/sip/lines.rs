//! The lines of a head: where they end, and how a head that is not plain is made so. One pass each,
//! linear in the input's length whatever it holds.
//!
//! Must not know: what a line says. RFC 3261 7.3.1 (folds), 25.1.

use bytes::Bytes;
use memchr::{memchr, memchr3_iter};
use smallvec::SmallVec;

use super::block::{BLOCK, Marks};
use super::parse::{Fault, bad, head_len};
use super::scan;
use crate::base::limits;

/// Where the lines of a head end, each at its CR, and how long it is with its empty line.
pub(super) struct Lines {
    pub(super) ends: SmallVec<[u16; 32]>,
    pub(super) head_len: usize,
}

/// Lines beyond these are not looked at: there are too many header fields.
const LINES_MAX: usize = limits::SIP_HEADERS_MAX.saturating_add(2);

impl Lines {
    /// The lines of a plain head: it ends, no line is folded, and it has no CR, LF or NUL but at
    /// the ends of its lines.
    pub(super) fn find(scope: &[u8]) -> Option<Self> {
        let mut lines = Self {
            ends: SmallVec::new(),
            head_len: 0,
        };
        let (blocks, rest) = scope.as_chunks::<BLOCK>();
        let mut before = Before::default();
        let mut from = 0_usize;
        for bytes in blocks {
            scan::scanned(BLOCK);
            if lines.take(scope, from, Marks::of(bytes), &mut before)? {
                return Some(lines);
            }
            from = from.wrapping_add(BLOCK);
        }
        let mut last = [u8::MAX; BLOCK];
        last.get_mut(..rest.len())?.copy_from_slice(rest);
        scan::scanned(rest.len());
        lines
            .take(scope, from, Marks::of(&last), &mut before)?
            .then_some(lines)
    }

    /// Takes the line ends of the block at `from`: whether the head ends there, or nothing if it
    /// is not plain.
    #[inline(always)]
    fn take(
        &mut self,
        scope: &[u8],
        from: usize,
        marks: Marks,
        before: &mut Before,
    ) -> Option<bool> {
        // Where an LF has to stand, and where the CR of the empty line does.
        let feeds = marks.returns << 1 | before.returned;
        let empty = marks.returns & (feeds << 1 | before.fed);
        // Beyond that anything may stand.
        let head = empty ^ empty.wrapping_sub(1);
        if (feeds ^ marks.feeds | marks.nuls) & head != 0 {
            return None;
        }
        let mut ends = marks.returns & head & !empty;
        while ends != 0 {
            let at = from.wrapping_add(ends.trailing_zeros() as usize);
            ends &= ends.wrapping_sub(1);
            // RFC 3261 7.3.1: a line that begins with white space continues the one before.
            if !scope.get(at.wrapping_add(2)).is_some_and(scan::is_text) {
                return None;
            }
            if self.ends.len() < LINES_MAX {
                self.ends.push(u16::try_from(at).ok()?);
            }
        }
        *before = Before {
            returned: marks.returns >> 63,
            fed: feeds >> 63,
        };
        if empty == 0 {
            return Some(false);
        }
        let end = from.wrapping_add(empty.trailing_zeros() as usize);
        self.head_len = end.wrapping_add(2);
        (scope.get(end.wrapping_add(1)) == Some(&b'\n')).then_some(true)
    }

    /// The lines of a head that [`normalise`] has made plain.
    fn of_plain(head: &[u8]) -> Self {
        let mut ends = SmallVec::new();
        let mut from = 0_usize;
        while from < head.len() && ends.len() < LINES_MAX {
            let end = line_end(head, from);
            if end == from {
                break;
            }
            ends.push(u16::try_from(end).unwrap_or(u16::MAX));
            from = end.saturating_add(2);
        }
        Self {
            ends,
            head_len: head.len(),
        }
    }
}

/// What the block before ended with: 1 if a CR, 1 if the LF of a line end.
#[derive(Default)]
struct Before {
    returned: u64,
    fed: u64,
}

/// The long way, for heads that are not plain.
pub(super) fn straightened(bytes: Bytes) -> (Bytes, Lines, Option<Fault>) {
    let scope = bytes.get(..limits::SIP_MESSAGE_BYTES_MAX).unwrap_or(&bytes);
    let (head_len, fault) = match head_len(scope) {
        Some(len) => (len, None),
        None => (scope.len(), Some(bad("the head does not end"))),
    };
    scan::scanned(head_len);
    let (bytes, control) = normalise(bytes, head_len);
    let lines = Lines::of_plain(bytes.get(..head_len).unwrap_or_default());
    (bytes, lines, fault.or(control))
}

/// Makes every line of the head one run without line ends, without moving anything: folds become
/// spaces, stray control characters spaces (and a fault).
fn normalise(bytes: Bytes, head_len: usize) -> (Bytes, Option<Fault>) {
    let head = bytes.get(..head_len).unwrap_or_default();
    scan::scanned(head.len());
    let mut fault = None;
    let mut blanks: SmallVec<[usize; 8]> = SmallVec::new();
    for at in memchr3_iter(b'\r', b'\n', 0, head) {
        let byte_at = |index: Option<usize>| index.and_then(|index| head.get(index)).copied();
        let (before, after) = (byte_at(at.checked_sub(1)), byte_at(at.checked_add(1)));
        let paired = match byte_at(Some(at)) {
            Some(b'\r') => after == Some(b'\n'),
            Some(b'\n') => before == Some(b'\r'),
            // RFC 3261 25.1: a NUL is allowed as a quoted pair, and nowhere else.
            _ => before == Some(b'\\'),
        };
        if !paired {
            fault = Some(bad("a control character stands outside a quoted pair"));
            blanks.push(at);
        } else if before == Some(b'\r') && matches!(after, Some(b' ' | b'\t')) {
            // RFC 3261 7.3.1: a line that begins with white space continues the one before.
            blanks.extend([at.saturating_sub(1), at]);
        }
    }
    if blanks.is_empty() {
        return (bytes, fault);
    }
    let mut copy = bytes.to_vec();
    for at in blanks {
        if let Some(byte) = copy.get_mut(at) {
            *byte = b' ';
        }
    }
    (Bytes::from(copy), fault)
}

/// Where the line that begins at `from` ends: at its CR, or with the head. A CR is always half of a
/// line end here.
fn line_end(head: &[u8], from: usize) -> usize {
    let rest = head.get(from..).unwrap_or_default();
    memchr(b'\r', rest).map_or(head.len(), |at| from.saturating_add(at))
}
