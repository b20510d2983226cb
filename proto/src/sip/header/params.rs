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
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The parameters in order; empty ones are skipped.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + Clone + use<'a> {
        self.pieces()
            .map(scan::trim)
            .filter(|piece| !piece.is_empty())
            .map(Param::read)
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
        let text = scan::trim(self.text);
        text.is_empty()
            || text.starts_with(';')
                && self
                    .pieces()
                    .map(|piece| Param::read(scan::trim(piece)))
                    .all(|param| param.is_well_formed())
    }

    fn pieces(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let text = scan::trim(self.text);
        let mut rest = text
            .strip_prefix(';')
            .or(if text.is_empty() { None } else { Some(text) });
        std::iter::from_fn(move || {
            let (piece, after) = scan::split_outside::<false>(rest?, b';');
            rest = after;
            Some(piece)
        })
    }
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
