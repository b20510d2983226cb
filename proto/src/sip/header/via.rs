//! Via: the way a request came, and so the way its responses go. RFC 3261 20.42, 18.2.2, RFC 3581.

use std::net::IpAddr;

use crate::sip::header::{Param, Params};
use crate::sip::scan::{self, SyntaxError};
use crate::sip::uri::Host;

/// One Via value. Reading it is lenient about parameters; [`Params::is_well_formed`] is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport's name, as received: `UDP`, `TCP`, `TLS`, `WS`, or any other token.
    pub transport: &'a str,
    /// The sent-by host.
    pub host: Host<'a>,
    /// The sent-by port.
    pub port: Option<u16>,
    /// The transaction's branch.
    pub branch: Option<&'a str>,
    /// The address that the hop before us saw, as received (an IPv6 one with or without brackets).
    pub received: Option<&'a str>,
    /// RFC 3581: `Some(None)` asks for the port, `Some(Some(port))` names it.
    pub rport: Option<Option<u16>>,
    /// A multicast address to answer to. Received, never obeyed.
    pub maddr: Option<&'a str>,
    /// Every parameter.
    pub params: Params<'a>,
    /// The value from its protocol to its last parameter.
    pub raw: &'a str,
}

/// RFC 3261 8.1.1.7: a branch that begins so is unique in space and time.
const MAGIC_COOKIE: &str = "z9hG4bK";

const NO_PROTOCOL: SyntaxError = SyntaxError::new("Via has no protocol and transport");

/// The transport's name, and what follows the white space behind it.
fn protocol(raw: &str) -> Option<(&str, &str)> {
    if let Some(rest) = raw.strip_prefix("SIP/2.0/") {
        let length = scan::TOKEN.span(rest.as_bytes());
        let (transport, rest) = rest.split_at_checked(length)?;
        if !transport.is_empty() && rest.starts_with(' ') {
            return Some((transport, rest));
        }
    }
    let (name, rest) = scan::cut(raw, b'/')?;
    let (version, rest) = scan::cut(rest, b'/')?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let (transport, rest) = rest.split_once([' ', '\t'])?;
    [scan::trim(name), scan::trim(version), transport]
        .into_iter()
        .all(scan::is_token)
        .then_some((transport, rest))
}

impl<'a> Via<'a> {
    /// Reads one value (not a list).
    ///
    /// # Errors
    /// If protocol, transport or sent-by cannot be read.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        Self::read(text).map(|(via, _)| via)
    }

    /// The value, and whether its parameters follow the grammar: one look at each.
    pub(in crate::sip) fn read(text: &'a str) -> Result<(Self, bool), SyntaxError> {
        let raw = scan::trim(text);
        let (transport, rest) = protocol(raw).ok_or(NO_PROTOCOL)?;
        let (sent_by, params) = scan::cut_before(rest, b';');
        let (host, port) = Host::with_port(scan::trim(sent_by))?;
        let mut via = Self {
            transport,
            host,
            port,
            branch: None,
            received: None,
            rport: None,
            maddr: None,
            params: Params::new(params),
            raw,
        };
        let mut well_formed = via.params.starts_well();
        for (param, good) in via.params.walk() {
            well_formed &= good;
            via.take(param);
        }
        Ok((via, well_formed))
    }

    fn take(&mut self, param: Param<'a>) {
        match param.name.len() {
            6 if param.is("branch") => self.branch = self.branch.or(param.value),
            8 if param.is("received") => self.received = self.received.or(param.value),
            5 if param.is("rport") => {
                let port = param.value.and_then(|value| value.parse().ok());
                self.rport = self.rport.or(Some(port));
            }
            5 if param.is("maddr") => self.maddr = self.maddr.or(param.value),
            _ => {}
        }
    }

    /// The address of `received`.
    #[must_use]
    pub fn received_ip(&self) -> Option<IpAddr> {
        self.received.and_then(|text| Host::new(text).ip())
    }

    /// RFC 3261 17.1.3: whether the branch alone identifies a transaction. The cookie alone, with
    /// nothing behind it, identifies nothing.
    #[must_use]
    pub fn has_unique_branch(&self) -> bool {
        let after = self.branch.and_then(|branch| {
            let (cookie, rest) = branch.split_at_checked(MAGIC_COOKIE.len())?;
            cookie.eq_ignore_ascii_case(MAGIC_COOKIE).then_some(rest)
        });
        after.is_some_and(|rest| !rest.is_empty())
    }

    /// RFC 3261 18.2.2: the port that sent-by means, given or by default.
    #[must_use]
    pub fn sent_by_port(&self) -> u16 {
        let secure = self.transport.eq_ignore_ascii_case("TLS")
            || self.transport.eq_ignore_ascii_case("WSS");
        self.port.unwrap_or(if secure { 5061 } else { 5060 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_in_any_spacing() {
        let via = Via::parse(
            "SIP  / 2.0  / UDP  [2001:db8::9:1] : 5070 ; branch  =   z9hG4bK9i=x/y ;rport; \
             received=2001:db8::9:255",
        );
        let via = via.unwrap();
        assert_eq!(
            (via.transport, via.host.as_str()),
            ("UDP", "[2001:db8::9:1]")
        );
        assert_eq!((via.port, via.rport), (Some(5070), Some(None)));
        assert_eq!(via.branch, Some("z9hG4bK9i=x/y"));
        assert_eq!(via.received_ip(), Some("2001:db8::9:255".parse().unwrap()));
        assert!(via.has_unique_branch());
        let via =
            Via::parse("SIP/2.0/TLS h;rport=9;received=[2001:db8::1];branch=z9hG4bK").unwrap();
        assert_eq!((via.rport, via.sent_by_port()), (Some(Some(9)), 5061));
        assert_eq!(via.received_ip(), Some("2001:db8::1".parse().unwrap()));
        assert!(!via.has_unique_branch());
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        for bad in [
            "",
            ";",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 h",
            "SIP/2.0/UDP ;x",
            "a b",
        ] {
            assert!(Via::parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/U D h i",
        ] {
            assert!(Via::parse(bad).is_err(), "{bad}");
        }
    }
}
