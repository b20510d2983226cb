//! CSeq: the number and the method that order the requests of a dialog. RFC 3261 20.16, 8.1.1.5.

use crate::sip::method::Method;
use crate::sip::scan::{self, SyntaxError};

/// RFC 3261 8.1.1.5: a CSeq number is less than 2^31.
pub const CSEQ_MAX: u32 = 0x7fff_ffff;

/// A CSeq header field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number.
    pub number: u32,
    /// The request's method.
    pub method: Method,
}

impl CSeq {
    /// Reads `number LWS method`.
    ///
    /// # Errors
    /// If it is not that, or the number is 2^31 or more.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let bad = SyntaxError::new("CSeq is not a number and a method");
        let text = scan::trim(text);
        let digits = scan::DIGITS.span(text.as_bytes());
        let (number, method) = text.split_at_checked(digits).ok_or(bad)?;
        if !method.starts_with([' ', '\t']) {
            return Err(bad);
        }
        let number = scan::number(number).ok_or(bad)?;
        let method = Method::from_bytes(scan::trim(method).as_bytes()).ok_or(bad)?;
        match u32::try_from(number) {
            Ok(number) if number <= CSEQ_MAX => Ok(Self { number, method }),
            _ => Err(SyntaxError::new("CSeq number is too large")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_two_to_the_31() {
        let cseq = CSeq::parse("0009   INVITE").unwrap();
        assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
        assert_eq!(CSeq::parse("2147483647\tBYE").unwrap().number, CSEQ_MAX);
        for bad in [
            "2147483648 BYE",
            "36893488147419103232 BYE",
            "1",
            "BYE",
            "-1 BYE",
            "1 B Y",
            "",
        ] {
            assert!(CSeq::parse(bad).is_err(), "{bad}");
        }
    }
}
