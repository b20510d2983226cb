//! Parameters of a header field: `;name=value`, where white space and quoted strings are allowed.
//! A URI's own parameters are in `uri`. RFC 3261 7.3.1, 25.1 `generic-param`.

use std::borrow::Cow;

use crate::sip::scan::{self, ByteSet, byte_set};

/// The parameters after a header field's value, unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    text: &'a str,
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, as received.
    pub name: &'a str,
    /// What follows the `=`, a quoted string with its quotes; none if there is no `=`.
    pub value: Option<&'a str>,
    /// All of it, from the name to the value's end.
    pub raw: &'a str,
}

/// What may stand in a value without quotes; liberal, since real ones have more than the grammar.
const VALUE: ByteSet = byte_set!(is_value_byte);

/// The same without what ends a parameter.
const PLAIN: ByteSet = byte_set!(is_plain_byte);

pub(in crate::sip) const fn is_plain_byte(byte: u8) -> bool {
    is_value_byte(byte) && byte != b';'
}

const fn is_value_byte(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\t' | b'"' | b'<' | b'>')
}

impl<'a> Param<'a> {
    fn read(raw: &'a str) -> Self {
        match scan::cut(raw, b'=') {
            Some((name, value)) => Self {
                name: scan::trim(name),
                value: Some(scan::trim(value)),
                raw,
            },
            None => Self {
                name: raw,
                value: None,
                raw,
            },
        }
    }

    /// Whether this parameter is called `name`, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value without quotes and escapes; empty if there is none.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        let value = self.value.unwrap_or_default();
        match scan::quoted_string(value) {
            Some((content, "")) => unescape(content),
            _ => Cow::Borrowed(value),
        }
    }

    fn is_well_formed(&self) -> bool {
        let value = match self.value {
            None => true,
            Some(value) if value.starts_with('"') => {
                matches!(scan::quoted_string(value), Some((_, "")))
            }
            Some(value) => VALUE.holds_all(value),
        };
        scan::is_token(self.name) && value
    }
}

impl<'a> Params<'a> {
    pub(in crate::sip) const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The parameters in order; empty ones are skipped.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + Clone + use<'a> {
        self.walk()
            .map(|(param, _)| param)
            .filter(|param| !param.raw.is_empty())
    }

    /// The first parameter called `name`, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Param<'a>> {
        self.iter().find(|param| param.is(name))
    }

    /// The value of the first parameter called `name`, as received; empty if it has none.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.get(name).map(|param| param.value.unwrap_or_default())
    }

    /// The parameters as received, with their leading `;`.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// Whether each parameter follows the grammar and none is empty.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.starts_well() && self.walk().all(|(_, well_formed)| well_formed)
    }

    /// Whether there is nothing, or something that begins with a semicolon.
    pub(super) fn starts_well(&self) -> bool {
        let text = self.text.trim_start_matches([' ', '\t']);
        text.is_empty() || text.starts_with(';')
    }

    /// Every parameter, empty ones too, and whether it follows the grammar.
    pub(super) fn walk(&self) -> impl Iterator<Item = (Param<'a>, bool)> + Clone + use<'a> {
        let text = scan::trim(self.text);
        let mut rest = text
            .strip_prefix(';')
            .or(if text.is_empty() { None } else { Some(text) });
        std::iter::from_fn(move || {
            let text = rest?;
            if let Some((param, after)) = plain(text) {
                rest = after;
                return Some((param, true));
            }
            let (piece, after) = scan::split_outside::<false>(text, b';');
            rest = after;
            let param = Param::read(scan::trim(piece));
            Some((param, param.is_well_formed()))
        })
    }
}

/// A parameter without quotes or white space at the start of `text`, and what follows its `;`.
fn plain(text: &str) -> Option<(Param<'_>, Option<&str>)> {
    let bytes = text.as_bytes();
    let name = scan::TOKEN.span(bytes);
    let (end, value) = match bytes.get(name) {
        None | Some(b';') => (name, None),
        Some(b'=') => {
            let at = name.saturating_add(1);
            let length = PLAIN.span(bytes.get(at..)?);
            let end = at.saturating_add(length);
            (end, Some(text.get(at..end)?))
        }
        Some(_) => return None,
    };
    let after = match bytes.get(end) {
        None => None,
        Some(b';') => Some(text.get(end.saturating_add(1)..)?),
        Some(_) => return None,
    };
    let param = Param {
        name: text.get(..name).filter(|name| !name.is_empty())?,
        value,
        raw: text.get(..end)?,
    };
    Some((param, after))
}

/// A quoted string's content without its backslashes.
pub(super) fn unescape(content: &str) -> Cow<'_, str> {
    if !content.contains('\\') {
        return Cow::Borrowed(content);
    }
    let mut text = String::with_capacity(content.len());
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        let plain = if character == '\\' {
            characters.next()
        } else {
            Some(character)
        };
        text.extend(plain);
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_any_case_and_spacing() {
        let params = Params::new(r#" ; Tag = 98asjd8 ;q="a;\"b" ; lr;x= "#);
        assert!(params.is_well_formed());
        assert_eq!(params.value("tag"), Some("98asjd8"));
        assert_eq!(params.get("q").unwrap().text(), "a;\"b");
        assert_eq!(params.get("LR").unwrap().value, None);
        assert_eq!(params.value("lr"), Some(""));
        assert_eq!(params.value("none"), None);
        assert_eq!(params.iter().count(), 4);
    }

    #[test]
    fn empty_and_torn_parameters_are_not_well_formed() {
        for bad in [
            ";",
            ";;",
            ";a;;b",
            ";a=\"open",
            ";a b",
            ";=1",
            "x;a",
            ";a=b c",
            ";a=\"b\"c",
        ] {
            assert!(!Params::new(bad).is_well_formed(), "{bad}");
        }
        for good in [
            "",
            " ",
            ";a",
            ";a=[::1]",
            ";a=::1",
            ";a=b=c",
            ";%~'=\"\u{fc}\"",
        ] {
            assert!(Params::new(good).is_well_formed(), "{good}");
        }
    }
}
