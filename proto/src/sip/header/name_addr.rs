//! name-addr and addr-spec: the values of From, To, Contact, Route and their kin.
//! RFC 3261 20.10, 20.20, 25.1.

use std::borrow::Cow;

use super::params::unescape;
use crate::sip::header::Params;
use crate::sip::scan::{self, SyntaxError};
use crate::sip::uri::Uri;

/// One value of From, To, Contact, Route, Record-Route, Refer-To and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as received, without its quotes (escapes stay); none if there is none.
    pub display: Option<&'a str>,
    /// The URI.
    pub uri: Uri<'a>,
    /// The header's parameters; without angle brackets every parameter is the header's.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value (not a list).
    ///
    /// # Errors
    /// If quotes or brackets do not close, the URI is none, or a parameter is torn.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        Self::read(text).map(|(address, _)| address)
    }

    /// The value and its tag: one look at each parameter.
    pub(in crate::sip) fn read(text: &'a str) -> Result<(Self, Option<&'a str>), SyntaxError> {
        let text = scan::trim(text);
        if text.starts_with('"') {
            let bad = SyntaxError::new("a display name's quotes do not close");
            let (display, rest) = scan::quoted_string(text).ok_or(bad)?;
            return Self::bracketed(Some(display), scan::trim(rest));
        }
        match scan::find(text, b'<') {
            Some(0) => Self::bracketed(None, text),
            Some(at) => {
                let bad = SyntaxError::new("an address has no display name before its brackets");
                let (display, rest) = text.split_at_checked(at).ok_or(bad)?;
                let display = scan::trim(display);
                // Liberal: real phones put parentheses and UTF-8 into unquoted names. A comma or a
                // semicolon would make the value ambiguous.
                if display.contains([',', ';', '"', '>']) {
                    return Err(SyntaxError::new("a display name needs quotes"));
                }
                Self::bracketed((!display.is_empty()).then_some(display), rest)
            }
            None => Self::bare(text),
        }
    }

    fn bracketed(
        display: Option<&'a str>,
        rest: &'a str,
    ) -> Result<(Self, Option<&'a str>), SyntaxError> {
        let bad = SyntaxError::new("an address's angle brackets do not close");
        let (uri, params) = rest
            .strip_prefix('<')
            .and_then(|rest| scan::cut(rest, b'>'))
            .ok_or(bad)?;
        Self {
            display,
            uri: Uri::parse(uri)?,
            params: Params::new(params),
        }
        .checked()
    }

    fn bare(text: &'a str) -> Result<(Self, Option<&'a str>), SyntaxError> {
        // RFC 3261 20.10: without brackets, what follows a semicolon is the header's, and a URI
        // with a comma or a question mark must have them.
        let (uri, params) = scan::cut_before(text, b';');
        let uri = Uri::parse(scan::trim(uri))?;
        if uri.as_str().contains(['?', ',']) {
            return Err(SyntaxError::new(
                "a URI with a comma or question mark needs brackets",
            ));
        }
        Self {
            display: None,
            uri,
            params: Params::new(params),
        }
        .checked()
    }

    fn checked(self) -> Result<(Self, Option<&'a str>), SyntaxError> {
        let mut tag = None;
        let mut well_formed = self.params.starts_well();
        for (param, good) in self.params.walk() {
            well_formed &= good;
            if param.name.len() == 3 && param.is("tag") {
                tag = tag.or(Some(param.value.unwrap_or_default()));
            }
        }
        if well_formed {
            Ok((self, tag))
        } else {
            Err(SyntaxError::new("an address's parameters are torn"))
        }
    }

    /// The `tag` parameter.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag")
    }

    /// The display name without its escapes.
    #[must_use]
    pub fn display_text(&self) -> Option<Cow<'a, str>> {
        self.display.map(unescape)
    }
}

/// A From or To value without its tag, otherwise byte for byte.
#[must_use]
pub fn without_tag(value: &str) -> Cow<'_, str> {
    let Ok(address) = NameAddr::parse(value) else {
        return Cow::Borrowed(value);
    };
    if address.tag().is_none() {
        return Cow::Borrowed(value);
    }
    let params = address.params.as_str();
    let value = value.trim_end_matches([' ', '\t']);
    let kept = value.len().saturating_sub(params.len());
    let mut text = String::from(
        value
            .get(..kept)
            .unwrap_or(value)
            .trim_end_matches([' ', '\t']),
    );
    for param in address.params.iter().filter(|param| !param.is("tag")) {
        text.push(';');
        text.push_str(param.raw);
    }
    Cow::Owned(text)
}

/// A From or To value with `tag`, in place of the one it may have.
#[must_use]
pub fn with_tag(value: &str, tag: &str) -> String {
    let mut text = without_tag(value).into_owned();
    text.push_str(";tag=");
    text.push_str(tag);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, display: Option<&str>, uri: &str, tag: Option<&str>) {
        let address = NameAddr::parse(text).unwrap();
        let display_text = address.display_text();
        assert_eq!(display_text.as_deref(), display, "{text}");
        assert_eq!((address.uri.as_str(), address.tag()), (uri, tag), "{text}");
    }

    #[test]
    fn every_form_is_read() {
        check("sip:a@h;tag=1;x=2", None, "sip:a@h", Some("1"));
        check("<sip:a@h;tag=1>", None, "sip:a@h;tag=1", None);
        check(
            "<tel:+123;phone-context=x>;tag=1",
            None,
            "tel:+123;phone-context=x",
            Some("1"),
        );
        check(
            "caller<sip:c@h>; tag = 3",
            Some("caller"),
            "sip:c@h",
            Some("3"),
        );
        check(
            r#""J \\\"" <sip:j@h> ;  tag = 9"#,
            Some(r#"J \""#),
            "sip:j@h",
            Some("9"),
        );
        check(r#""a <b>, c" <sip:a@h>"#, Some("a <b>, c"), "sip:a@h", None);
        check(
            "A. Bell <sip:a.g.bell@h>;tag=q",
            Some("A. Bell"),
            "sip:a.g.bell@h",
            Some("q"),
        );
        check(
            "<http://www.example.com>;tag=3",
            None,
            "http://www.example.com",
            Some("3"),
        );
    }

    #[test]
    fn torn_values_are_refused() {
        for bad in [
            "",
            "alan@h",
            r#""Mr. J <sip:j@h>"#,
            "Watson, Thomas <sip:t@h>",
            "< sip:t@h >",
            "<sip:t@h",
            "<sip:t@h>;;;;",
            "<sip:t@h>, <sip:u@h>",
            "sip:t@h?Route=%3Csip:x%3E",
            "<>",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_come_and_go_and_the_rest_stays() {
        let with = r#""B, \"x" <sip:b@h;tag=no> ; a=1 ;tag=77;z"#;
        assert_eq!(without_tag(with), r#""B, \"x" <sip:b@h;tag=no>;a=1;z"#);
        assert_eq!(with_tag("sip:b@h", "9"), "sip:b@h;tag=9");
        assert_eq!(with_tag("<sip:b@h>;tag=1", "9"), "<sip:b@h>;tag=9");
        assert!(matches!(
            without_tag("<sip:b@h> ; x"),
            Cow::Borrowed("<sip:b@h> ; x")
        ));
    }
}
