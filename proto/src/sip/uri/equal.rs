//! When two URIs mean the same. RFC 3261 19.1.4. The relation is not transitive, so it is neither
//! `==` nor the key of a table.

use std::iter;

use super::{Scheme, Uri, escaped_byte};

/// A URI with more parameters or headers equals none: the comparison stays linear.
const PARTS_MAX: usize = 32;

/// RFC 3261 19.1.4: these never match if only one URI has them.
const NEVER_ONE_SIDED: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

impl Uri<'_> {
    /// Whether `other` means the same by RFC 3261 19.1.4, RFC 3966 4 for `tel:`. `==` compares the
    /// text.
    #[must_use]
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {
                same_part(self.user, other.user)
                    && same_part(self.password, other.password)
                    && self.host == other.host
                    && self.port == other.port
                    && same_params(self, other)
                    && same_headers(self, other)
            }
            // RFC 3966 4: the numbers match without their visual separators.
            (Scheme::Tel, Scheme::Tel) => {
                digits(self.opaque).eq(digits(other.opaque)) && same_params(self, other)
            }
            (Scheme::Urn, Scheme::Urn) => self.opaque == other.opaque,
            (Scheme::Other(mine), Scheme::Other(theirs)) => {
                mine.eq_ignore_ascii_case(theirs) && self.opaque == other.opaque
            }
            _ => false,
        }
    }
}

fn digits(number: &str) -> impl Iterator<Item = u8> {
    let separator = |byte: &u8| !matches!(byte, b'-' | b'.' | b'(' | b')');
    number
        .bytes()
        .filter(separator)
        .map(|byte| byte.to_ascii_lowercase())
}

fn same_part(mine: Option<&str>, theirs: Option<&str>) -> bool {
    match (mine, theirs) {
        (None, None) => true,
        (Some(mine), Some(theirs)) => canonical(mine).eq(canonical(theirs)),
        _ => false,
    }
}

/// The bytes of `text`, each with whether an escape must stay one: a reserved character is not the
/// same as its escape, any other is.
fn canonical(text: &str) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = text.as_bytes();
    iter::from_fn(move || {
        if let Some((byte, after)) = escaped_byte(rest) {
            rest = after;
            return Some((byte, is_reserved(byte)));
        }
        let (&byte, after) = rest.split_first()?;
        rest = after;
        Some((byte, false))
    })
}

/// RFC 3261 25.1 `reserved`.
const fn is_reserved(byte: u8) -> bool {
    matches!(
        byte,
        b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b','
    )
}

fn same_text(mine: &str, theirs: &str) -> bool {
    let fold = |(byte, escaped): (u8, bool)| (byte.to_ascii_lowercase(), escaped);
    canonical(mine).map(fold).eq(canonical(theirs).map(fold))
}

fn same_params(mine: &Uri<'_>, theirs: &Uri<'_>) -> bool {
    if mine.params().nth(PARTS_MAX).is_some() || theirs.params().nth(PARTS_MAX).is_some() {
        return false;
    }
    agrees(mine, theirs) && agrees(theirs, mine)
}

fn agrees(one: &Uri<'_>, other: &Uri<'_>) -> bool {
    one.params().all(|(name, value)| {
        let value = value.unwrap_or_default();
        match other.params().find(|(found, _)| same_text(found, name)) {
            Some((_, found)) => same_text(found.unwrap_or_default(), value),
            None => !NEVER_ONE_SIDED.iter().any(|never| same_text(name, never)),
        }
    })
}

fn same_headers(mine: &Uri<'_>, theirs: &Uri<'_>) -> bool {
    let count = mine.headers().take(PARTS_MAX).count();
    if count != theirs.headers().take(PARTS_MAX).count() || count == PARTS_MAX {
        return false;
    }
    let has = |uri: &Uri<'_>, (name, value): (&str, &str)| {
        let same = |(n, v): (&str, &str)| same_text(n, name) && canonical(v).eq(canonical(value));
        uri.headers().any(same)
    };
    mine.headers().all(|header| has(theirs, header))
        && theirs.headers().all(|header| has(mine, header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mine: &str, theirs: &str, same: bool) {
        let (mine, theirs) = (Uri::parse(mine).unwrap(), Uri::parse(theirs).unwrap());
        assert_eq!(mine.is_equivalent(&theirs), same, "{mine} {theirs}");
        assert_eq!(theirs.is_equivalent(&mine), same, "{theirs} {mine}");
    }

    #[test]
    fn the_examples_of_rfc_3261_hold() {
        check(
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtlanTa.CoM;Transport=tcp",
            true,
        );
        check(
            "sip:carol@chicago.com",
            "sip:carol@chicago.com;newparam=5",
            true,
        );
        check(
            "sip:carol@chicago.com;newparam=5",
            "sip:carol@chicago.com;security=on",
            true,
        );
        check(
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            true,
        );
        check(
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            true,
        );
        check(
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
            false,
        );
        check("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false);
        check(
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com;transport=udp",
            false,
        );
        check(
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com:6000;transport=tcp",
            false,
        );
        check(
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
            false,
        );
        check("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false);
        check(
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
            false,
        );
    }

    #[test]
    fn escapes_of_reserved_characters_and_schemes_differ() {
        check("sip:a%2Cb@h", "sip:a,b@h", false);
        check("sip:a@h", "sips:a@h", false);
        check("sip:a@h", "sip:h", false);
        check("tel:+1-201-555", "tel:+1201555", true);
        check("sip:[2001:db8::1]", "sip:[2001:DB8:0::1]", true);
        check("isbn:29", "ISBN:29", true);
    }
}
