//! URIs: a borrowed view of `sip:`, `sips:`, `tel:`, `urn:` and any other scheme.
//!
//! Must not know: headers, resolution. RFC 3261 19.1 and 25.1, RFC 3966, RFC 5118 (IPv6).

mod equal;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use super::scan::{self, ByteSet, SyntaxError, byte_set};

/// A URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// RFC 3261 19.1.
    Sip,
    /// RFC 3261 19.1.
    Sips,
    /// RFC 3966.
    Tel,
    /// RFC 8141.
    Urn,
    /// Any other, as received.
    Other(&'a str),
}

/// A host: a name, an IPv4 address, or an IPv6 one in brackets.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    text: &'a str,
}

/// A URI, read without copying. `==` compares the parts as received; [`Uri::is_equivalent`] what
/// they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user part with its escapes, of a `sip:` or `sips:` URI.
    pub user: Option<&'a str>,
    /// The password with its escapes.
    pub password: Option<&'a str>,
    /// The host; empty unless the scheme is `sip` or `sips`.
    pub host: Host<'a>,
    /// The port.
    pub port: Option<u16>,
    opaque: &'a str,
    params: &'a str,
    headers: Option<&'a str>,
    raw: &'a str,
}

impl<'a> Host<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// Reads `host[:port]`, white space around the colon allowed.
    pub(super) fn with_port(text: &'a str) -> Result<(Self, Option<u16>), SyntaxError> {
        if let Some(plain) = Self::plain(text) {
            return Ok(plain);
        }
        let bad = SyntaxError::new("a host is no name and no address");
        let (host, rest) = if text.starts_with('[') {
            let at = scan::find(text, b']').ok_or(bad)?;
            text.split_at_checked(at.saturating_add(1)).ok_or(bad)?
        } else {
            scan::cut_before(text, b':')
        };
        let host = Self {
            text: scan::trim(host),
        };
        if !host.is_well_formed() {
            return Err(bad);
        }
        let rest = scan::trim(rest);
        if rest.is_empty() {
            return Ok((host, None));
        }
        let bad = SyntaxError::new("a port is no number below 65536");
        let port = scan::number(scan::trim(rest.strip_prefix(':').ok_or(bad)?)).ok_or(bad)?;
        Ok((host, Some(u16::try_from(port).map_err(|_| bad)?)))
    }

    /// A name or an IPv4 address, and a port, without white space.
    fn plain(text: &'a str) -> Option<(Self, Option<u16>)> {
        let length = NAME.span(text.as_bytes());
        let (host, rest) = text.split_at_checked(length)?;
        let host = Self { text: host };
        if rest.is_empty() {
            return (length > 0).then_some((host, None));
        }
        let port = scan::number(rest.strip_prefix(':')?)?;
        let port = u16::try_from(port).ok()?;
        (length > 0).then_some((host, Some(port)))
    }

    /// The host as received, an IPv6 address with its brackets.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let inner = self
            .text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let text = inner.unwrap_or(self.text);
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        // RFC 5118 4.10: the grammar of RFC 3261 leads to three colons before an IPv4 tail.
        text.replacen(":::", "::", 1)
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6)
    }

    fn is_well_formed(&self) -> bool {
        match self
            .text
            .strip_prefix('[')
            .map(|text| text.strip_suffix(']'))
        {
            None => !self.text.is_empty() && NAME.holds_all(self.text),
            Some(inner) => inner.is_some_and(|inner| {
                let allowed = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
                inner.contains(':') && inner.bytes().all(allowed)
            }),
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(other.text)
            || self.ip().is_some_and(|address| Some(address) == other.ip())
    }
}

impl Eq for Host<'_> {}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl<'a> Uri<'a> {
    /// Reads a URI. An unknown scheme is no error: what follows it is [`Uri::opaque`].
    ///
    /// # Errors
    /// If it has no scheme, or characters no URI has, or its host or port is none.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let bad = SyntaxError::new("a URI has no scheme");
        let (scheme, rest) = match text.strip_prefix("sip:") {
            Some(rest) => (Scheme::Sip, rest),
            None => {
                let (scheme, rest) = scan::cut(text, b':').ok_or(bad)?;
                if !is_scheme(scheme) {
                    return Err(bad);
                }
                (Scheme::read(scheme), rest)
            }
        };
        let bad = SyntaxError::new("a URI is empty or has characters that no URI has");
        // One look for most: a user and a host, or a host alone.
        let user = USER.span(rest.as_bytes());
        let (user, behind) = match rest.as_bytes().get(user) {
            Some(b'@') => rest.split_at_checked(user).ok_or(bad)?,
            _ => ("", rest),
        };
        let mut uri = Self {
            scheme,
            user: None,
            password: None,
            host: Host::new(""),
            port: None,
            opaque: rest,
            params: "",
            headers: None,
            raw: text,
        };
        if let (Scheme::Sip | Scheme::Sips, false, Some(host)) =
            (scheme, user.is_empty(), behind.strip_prefix('@'))
            && let Some(host) = Host::plain(host)
        {
            uri.user = Some(user);
            (uri.host, uri.port) = host;
            return Ok(uri);
        }
        if rest.is_empty() || !ALLOWED.holds_all(behind) {
            return Err(bad);
        }
        match uri.scheme {
            Scheme::Sip | Scheme::Sips if !user.is_empty() => {
                let host = behind.strip_prefix('@').unwrap_or(behind);
                uri.hosted(Some(user), None, host)
            }
            Scheme::Sip | Scheme::Sips => uri.hierarchical(rest),
            Scheme::Tel => Ok(uri.number(rest)),
            Scheme::Urn | Scheme::Other(_) => Ok(uri),
        }
    }

    fn hierarchical(self, rest: &'a str) -> Result<Self, SyntaxError> {
        match scan::cut(rest, b'@') {
            Some((userinfo, hostport)) => {
                let (user, password) = match scan::cut(userinfo, b':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (userinfo, None),
                };
                self.hosted(Some(user), password, hostport)
            }
            None => self.hosted(None, None, rest),
        }
    }

    fn hosted(
        mut self,
        user: Option<&'a str>,
        password: Option<&'a str>,
        hostport: &'a str,
    ) -> Result<Self, SyntaxError> {
        (self.user, self.password) = (user, password);
        if let Some((host, port)) = Host::plain(hostport) {
            (self.host, self.port) = (host, port);
            return Ok(self);
        }
        let (hostport, headers) = match scan::cut(hostport, b'?') {
            Some((before, headers)) => (before, Some(headers)),
            None => (hostport, None),
        };
        let (hostport, params) = scan::cut_before(hostport, b';');
        (self.host, self.port) = Host::with_port(hostport)?;
        (self.params, self.headers) = (params, headers);
        Ok(self)
    }

    fn number(mut self, rest: &'a str) -> Self {
        (self.opaque, self.params) = scan::cut_before(rest, b';');
        self
    }

    /// The whole URI, as received.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.raw
    }

    /// What follows the scheme: the number of a `tel:` URI without its parameters, otherwise all.
    #[must_use]
    pub const fn opaque(&self) -> &'a str {
        self.opaque
    }

    /// Whether the scheme is `sip` or `sips`.
    #[must_use]
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The user part with its escapes resolved, once.
    #[must_use]
    pub fn user_text(&self) -> Option<String> {
        self.user.map(unescape)
    }

    /// Parameters in order: name, and value if it has one. Empty ones are skipped.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone + use<'a> {
        self.params
            .split(';')
            .filter(|param| !param.is_empty())
            .map(|param| match scan::cut(param, b'=') {
                Some((name, value)) => (name, Some(value)),
                None => (param, None),
            })
    }

    /// The value of the first parameter called `name`, in any case; empty if it has none.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        let mut params = self.params();
        let found = params.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(found.1.unwrap_or_default())
    }

    /// Whether the URI has the parameter `lr` (RFC 3261 19.1.1: a loose router).
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.param("lr").is_some()
    }

    /// Headers in order: name and value, with their escapes.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let headers = self.headers.unwrap_or_default();
        headers
            .split('&')
            .filter(|header| !header.is_empty())
            .map(|header| scan::cut(header, b'=').unwrap_or((header, "")))
    }

    /// Whether the URI has a `?` and headers after it.
    #[must_use]
    pub const fn has_headers(&self) -> bool {
        self.headers.is_some()
    }
}

impl<'a> Scheme<'a> {
    fn read(text: &'a str) -> Self {
        let is = |name| text.eq_ignore_ascii_case(name);
        if is("sip") {
            Self::Sip
        } else if is("sips") {
            Self::Sips
        } else if is("tel") {
            Self::Tel
        } else if is("urn") {
            Self::Urn
        } else {
            Self::Other(text)
        }
    }
}

/// What may stand in a host's name; an underscore may not, but does.
pub(super) const NAME: ByteSet = byte_set!(is_name_byte);

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// What may stand in a user part, and means nothing in it.
pub(super) const USER: ByteSet = byte_set!(is_user_byte);

pub(super) const fn is_user_byte(byte: u8) -> bool {
    is_allowed(byte) && !matches!(byte, b':' | b'@')
}

/// What may stand in a URI; liberal, since real ones have more than the grammar allows.
const ALLOWED: ByteSet = byte_set!(is_allowed);

const fn is_allowed(byte: u8) -> bool {
    byte > b' ' && !matches!(byte, b'<' | b'>' | b'"' | 0x7f)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Resolves `%HH` once; what is no escape stays, and bytes that are no UTF-8 are replaced.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match escaped_byte(rest) {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[b'%', high, low], rest) = text.split_first_chunk::<3>()? else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some((
        digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?,
        rest,
    ))
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

/// A URI that owns its text. It was read once, so its view always exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UriBuf {
    text: Arc<str>,
}

impl UriBuf {
    /// The URI as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The view of its parts.
    ///
    /// # Errors
    /// Never for a value that was made by this type; total all the same.
    pub fn view(&self) -> Result<Uri<'_>, SyntaxError> {
        Uri::parse(&self.text)
    }
}

impl FromStr for UriBuf {
    type Err = SyntaxError;
    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        Uri::parse(text).map(Self::from)
    }
}

impl From<Uri<'_>> for UriBuf {
    fn from(uri: Uri<'_>) -> Self {
        Self {
            text: Arc::from(uri.raw),
        }
    }
}

impl fmt::Display for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl serde::Serialize for UriBuf {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for UriBuf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
