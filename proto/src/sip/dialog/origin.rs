//! The `o=` line of session descriptions: its version rises by one when the description changes,
//! and only then. RFC 3264 8, RFC 8866 5.2.
//!
//! Descriptions are otherwise opaque to this room; a body without a readable `o=` line is left
//! alone.

use bytes::Bytes;

/// A description around its `o=` line.
struct Parts<'a> {
    before: &'a [u8],
    /// `o=` to before the version.
    head: &'a [u8],
    version: u64,
    /// From after the version to the end of the line, line end excluded.
    tail: &'a [u8],
    after: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8]) -> Option<Self> {
        let start = if body.starts_with(b"o=") {
            0
        } else {
            let found = body.windows(3).position(|window| window == b"\no=")?;
            found.checked_add(1)?
        };
        let (before, rest) = body.split_at_checked(start)?;
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        // o=<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>
        let mut spaces = line.iter().enumerate().filter(|(_, byte)| **byte == b' ');
        let (second, _) = spaces.by_ref().nth(1)?;
        let (third, _) = spaces.next()?;
        let head = line.get(..=second)?;
        let number = line.get(second.checked_add(1)?..third)?;
        let digits = number.iter().all(u8::is_ascii_digit) && !number.is_empty();
        let version = std::str::from_utf8(number).ok().filter(|_| digits)?;
        Some(Self {
            before,
            head,
            version: version.parse().ok()?,
            tail: line.get(third..)?,
            after,
        })
    }

    fn says_the_same(&self, other: &Self) -> bool {
        (self.before, self.after) == (other.before, other.after)
    }
}

/// The version in a description's `o=` line.
#[must_use]
pub fn version(description: &[u8]) -> Option<u64> {
    Parts::of(description).map(|parts| parts.version)
}

/// `description` as it may follow `last`, the description that was sent before it: the same `o=`
/// line, and a version that is the same if all else is the same and one more if it is not.
#[must_use]
pub fn following(last: &[u8], description: &[u8]) -> Bytes {
    let whole = || Bytes::copy_from_slice(description);
    let (Some(old), Some(new)) = (Parts::of(last), Parts::of(description)) else {
        return whole();
    };
    if old.says_the_same(&new) {
        return Bytes::copy_from_slice(last);
    }
    let version = old.version.saturating_add(1);
    if (old.head, version, old.tail) == (new.head, new.version, new.tail) {
        return whole();
    }
    let version = version.to_string();
    let parts: [&[u8]; 5] = [
        new.before,
        old.head,
        version.as_bytes(),
        old.tail,
        new.after,
    ];
    Bytes::from(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(last: &str, new: &str, expected: &str) {
        let text = |text: &str| text.replace('|', "\r\n");
        let made = following(text(last).as_bytes(), text(new).as_bytes());
        assert_eq!(made, text(expected).as_bytes(), "{new} after {last}");
    }

    // Goal: D18. Method: what was said last, what is to be said, what is said.
    #[test]
    fn d18_the_version_rises_by_one_with_a_change_and_only_then() {
        let last = "v=0|o=- 7 3 IN IP4 h|s=-|m=audio 9|";
        check(last, last, last);
        // Not raised without a change, not lowered, not skipped.
        check(last, "v=0|o=- 7 4 IN IP4 h|s=-|m=audio 9|", last);
        check(last, "v=0|o=- 7 1 IN IP4 h|s=-|m=audio 9|", last);
        let held = "v=0|o=- 7 4 IN IP4 h|s=-|m=audio 9|a=sendonly|";
        check(last, held, held);
        for other in ["3", "1", "9", "99999999999999999999"] {
            let said = format!("v=0|o=- 7 {other} IN IP4 h|s=-|m=audio 9|a=sendonly|");
            if other.len() < 20 {
                check(last, &said, held);
            } else {
                check(last, &said, &said); // no number of ours to go on from
            }
        }
        // Another origin in the middle of a session stays the first one.
        check(last, "v=0|o=x 8 1 IN IP6 g|s=-|m=audio 9|a=sendonly|", held);
    }

    #[test]
    fn what_has_no_origin_is_left_alone() {
        check("", "v=0|o=- 7 1 IN IP4 h|", "v=0|o=- 7 1 IN IP4 h|");
        check("v=0|", "v=0|s=-|", "v=0|s=-|");
        check("v=0|o=- 7 1 IN IP4 h|", "v=0|s=-|", "v=0|s=-|");
        check("o=- 7 1 IN IP4 h", "o=- 7", "o=- 7");
        assert_eq!(version(b"v=0\no=- 7 12 IN IP4 h\n"), Some(12));
        assert_eq!(version(b"v=0\no=- 7  12 IN IP4 h\n"), None);
    }
}
