//! The character classes and scanners that every parser of this room shares. Each scan is one pass
//! over its input and allocates nothing.
//!
//! Must not know: which header it reads. RFC 3261 25.1 (grammar), 7.3.1 (lists).

use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};

/// Notes that `bytes` bytes were looked at: what the tests of this room hold against a message's
/// length, since time would say more about the machine.
#[cfg(test)]
pub(super) fn scanned(bytes: usize) {
    work::BYTES.with(|sum| sum.set(sum.get().saturating_add(bytes)));
}

/// Only tests count.
#[cfg(not(test))]
#[inline(always)]
pub(super) const fn scanned(_bytes: usize) {}

/// The count of bytes that were looked at.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    thread_local! {
        pub(in crate::sip) static BYTES: Cell<usize> = const { Cell::new(0) };
    }

    /// How many bytes `work` looks at.
    pub(in crate::sip) fn of<T>(work: impl FnOnce() -> T) -> (T, usize) {
        BYTES.with(|sum| sum.set(0));
        let done = work();
        (done, BYTES.with(Cell::get))
    }
}

/// What is wrong with a piece of a message, in words of ours: it never echoes what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SyntaxError {
    /// What was wrong.
    pub reason: &'static str,
}

impl SyntaxError {
    pub(super) const fn new(reason: &'static str) -> Self {
        Self { reason }
    }
}

/// Where something lies in a message's head. A message has at most 65,535 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

impl Span {
    #[inline]
    pub(super) fn new(range: Range<usize>) -> Self {
        let offset = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        Self {
            start: offset(range.start),
            end: offset(range.end),
        }
    }

    /// The span of `part`, a slice of `whole`.
    #[inline]
    pub(super) fn of(whole: &[u8], part: &str) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Self::new(start..start.saturating_add(part.len()))
    }

    #[inline]
    pub(super) const fn between(start: u16, end: u16) -> Self {
        Self { start, end }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        usize::from(self.end.saturating_sub(self.start))
    }

    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Where it lies in `whole`, which it is a part of.
    #[inline]
    pub(super) fn within(self, whole: Self) -> Range<usize> {
        let from = |at: u16| usize::from(at.saturating_sub(whole.start));
        from(self.start)..from(self.end)
    }

    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

/// A set of bytes, looked up in one step.
pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    pub(super) const fn new(set: [bool; 256]) -> Self {
        Self(set)
    }

    #[inline]
    pub(super) fn holds(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn holds_all(&self, text: &str) -> bool {
        scanned(text.len());
        // Without a way out in the middle, which would cost more than the rest of the text.
        let all = |all: bool, byte: u8| all & self.holds(byte);
        text.bytes().fold(true, all)
    }

    /// How many bytes at the start of `bytes` are of the set.
    #[inline]
    pub(super) fn span(&self, bytes: &[u8]) -> usize {
        let outside = |byte: &u8| !self.holds(*byte);
        let length = bytes.iter().position(outside).unwrap_or(bytes.len());
        scanned(length);
        length
    }
}

/// The set that `$holds` describes, computed at compile time.
macro_rules! byte_set {
    ($holds:path) => {{
        let mut set = [false; 256];
        let mut byte = 0_u8;
        let mut rest: &mut [bool] = &mut set;
        while let Some((first, after)) = rest.split_first_mut() {
            *first = $holds(byte);
            byte = byte.wrapping_add(1);
            rest = after;
        }
        $crate::sip::scan::ByteSet::new(set)
    }};
}
pub(super) use byte_set;

/// RFC 3261 25.1 `token`.
pub(super) const TOKEN: ByteSet = byte_set!(is_token_byte);

/// The digits.
pub(super) const DIGITS: ByteSet = byte_set!(is_digit);

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

/// Whether `text` is a non-empty `token`.
#[inline]
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && TOKEN.holds_all(text)
}

/// Without the white space around it.
#[inline]
pub(super) fn trim(text: &str) -> &str {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if is_text(first) && is_text(last) => text,
        _ => trimmed(text),
    }
}

pub(super) const fn is_text(byte: &u8) -> bool {
    !matches!(byte, b' ' | b'\t')
}

fn trimmed(text: &str) -> &str {
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(is_text) else {
        scanned(bytes.len());
        return "";
    };
    let last = bytes.iter().rposition(is_text).unwrap_or(first);
    scanned(bytes.len().saturating_add(first).saturating_sub(last));
    text.get(first..=last).unwrap_or_default()
}

/// Where the first `byte` is. The standard library's search by `char` costs several times as much
/// on texts as short as these.
#[inline]
pub(super) fn find(text: &str, byte: u8) -> Option<usize> {
    seen(text.as_bytes(), memchr(byte, text.as_bytes()))
}

/// The bytes of `word` before the first `byte`, the lowest being the first, and how many they are.
#[inline]
pub(super) fn before(word: u64, byte: u8) -> Option<(u64, u16)> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES.wrapping_mul(0x80);
    let other = word ^ ONES.wrapping_mul(u64::from(byte));
    // A borrow can only mark bytes above the first that is zero.
    let zeros = other.wrapping_sub(ONES) & !other & HIGHS;
    if zeros == 0 {
        return None;
    }
    let first = zeros & zeros.wrapping_neg();
    let text = word & (first >> 7).wrapping_sub(1);
    Some((text, u16::try_from(zeros.trailing_zeros() / 8).ok()?))
}

/// Counts a search that ended at `found`, or at the end.
#[inline]
fn seen(bytes: &[u8], found: Option<usize>) -> Option<usize> {
    scanned(found.map_or(bytes.len(), |at| at.saturating_add(1)));
    found
}

/// What stands before and after the first `byte`, which must be ASCII.
#[inline]
pub(super) fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    let (before, rest) = text.split_at_checked(find(text, byte)?)?;
    Some((before, rest.get(1..)?))
}

/// What stands before the first `byte`, and the rest, that byte included.
#[inline]
pub(super) fn cut_before(text: &str, byte: u8) -> (&str, &str) {
    find(text, byte)
        .and_then(|at| text.split_at_checked(at))
        .unwrap_or((text, ""))
}

/// What follows `part` in `whole`, of which it is a slice.
pub(super) fn after<'a>(whole: &'a [u8], part: &str) -> &'a [u8] {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    whole
        .get(start.saturating_add(part.len())..)
        .unwrap_or_default()
}

/// A decimal number; none if there is anything but digits. Too large a number saturates.
#[inline]
pub(super) fn number(text: &str) -> Option<u64> {
    scanned(text.len());
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let step = |sum: u64, byte: u8| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(byte.saturating_sub(b'0')))
    };
    Some(text.bytes().fold(0, step))
}

/// Splits at the first `separator` outside quoted strings (and, if `ANGLES`, outside `<...>`).
pub(super) fn split_outside<const ANGLES: bool>(text: &str, separator: u8) -> (&str, Option<&str>) {
    let open = if ANGLES { b'<' } else { b'"' };
    let bytes = text.as_bytes();
    let mut at = 0_usize;
    while let Some(found) = find_from(bytes, at, |rest| memchr3(separator, b'"', open, rest)) {
        let next = found.saturating_add(1);
        let closed = match bytes.get(found) {
            Some(b'"') => quote_end(bytes, next),
            Some(b'<') => find_from(bytes, next, |rest| memchr(b'>', rest)),
            _ => {
                return text
                    .split_at_checked(found)
                    .map_or((text, None), |(before, rest)| (before, rest.get(1..)));
            }
        };
        let Some(closed) = closed else { break };
        at = closed.saturating_add(1);
    }
    (text, None)
}

fn find_from(bytes: &[u8], from: usize, find: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let found = seen(rest, find(rest));
    found.map(|at| from.saturating_add(at))
}

/// Where the quoted string ends whose content begins at `from`.
fn quote_end(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = find_from(bytes, from, |rest| memchr2(b'"', b'\\', rest))?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        from = at.saturating_add(2);
    }
}

/// The values of a comma-separated header field, trimmed, in order. Empty ones are skipped.
#[derive(Clone, Debug)]
pub(super) struct ListValues<'a> {
    rest: Option<&'a str>,
}

impl<'a> ListValues<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'a> Iterator for ListValues<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        while let Some(rest) = self.rest {
            let (value, after) = split_outside::<true>(rest, b',');
            self.rest = after;
            let value = trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    }
}

/// Reads a quoted string at the start of `text`: what stands between the quotes (escapes as they
/// are) and what follows.
pub(super) fn quoted_string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let (content, rest) = inner.split_at_checked(quote_end(inner.as_bytes(), 0)?)?;
    Some((content, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_and_angle_brackets() {
        let check = |text: &str, want: &[&str]| {
            assert_eq!(ListValues::new(text).collect::<Vec<_>>(), want, "{text}");
        };
        check("", &[]);
        check("a, b ,c", &["a", "b", "c"]);
        check(",,a,,", &["a"]);
        check(r#""a, \" b" <sip:x>, c"#, &[r#""a, \" b" <sip:x>"#, "c"]);
        check(
            "<sip:a,b@h;x=1,2>;q=1,<sip:c>",
            &["<sip:a,b@h;x=1,2>;q=1", "<sip:c>"],
        );
        check(r#""open, and so on"#, &[r#""open, and so on"#]);
    }

    #[test]
    fn numbers_saturate_and_refuse_signs() {
        assert_eq!(number("0068"), Some(68));
        assert_eq!(number("99999999999999999999999"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "1 ", "five"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
