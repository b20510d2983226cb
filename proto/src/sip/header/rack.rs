//! RAck and RSeq: which reliable provisional a PRACK acknowledges. RFC 3262 7.

use super::CSeq;
use crate::sip::scan::{self, SyntaxError};

/// A RAck header field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RAck {
    /// The provisional's RSeq.
    pub rseq: u32,
    /// The CSeq of the request that it answers.
    pub cseq: CSeq,
}

impl RAck {
    /// Reads `number LWS number LWS method` (RFC 3262 7.2).
    ///
    /// # Errors
    /// If it is not that, or a number is out of bounds.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let bad = SyntaxError::new("RAck is not two numbers and a method");
        let text = scan::trim(text);
        let digits = scan::DIGITS.span(text.as_bytes());
        let (number, rest) = text.split_at_checked(digits).ok_or(bad)?;
        if !rest.starts_with([' ', '\t']) {
            return Err(bad);
        }
        let rseq = rseq(number).ok_or(bad)?;
        let cseq = CSeq::parse(rest)?;
        Ok(Self { rseq, cseq })
    }
}

/// An RSeq header field's value: 1 to 2^32-1 (RFC 3262 7.1).
#[must_use]
pub fn rseq(text: &str) -> Option<u32> {
    let number = scan::number(scan::trim(text))?;
    u32::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::method::Method;

    #[test]
    fn a_rack_is_two_numbers_and_a_method() {
        let rack = RAck::parse(" 776656\t 1 INVITE ").unwrap();
        assert_eq!((rack.rseq, rack.cseq.number), (776_656, 1));
        assert_eq!(rack.cseq.method, Method::Invite);
        assert_eq!(RAck::parse("4294967295 1 FOO").unwrap().rseq, u32::MAX);
        for bad in [
            "",
            "1",
            "1 2",
            "0 1 INVITE",
            "4294967296 1 INVITE",
            "1 2147483648 INVITE",
            "-1 1 INVITE",
            "1,1 INVITE",
            "INVITE 1 1",
        ] {
            assert!(RAck::parse(bad).is_err(), "{bad}");
        }
    }
}
