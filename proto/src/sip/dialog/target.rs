//! Where a request inside a dialog goes: RFC 3261 12.2.1.1 and, for addresses that are numbers,
//! RFC 3263 4.

use std::net::SocketAddr;

use super::Dialog;
use crate::sip::header::NameAddr;
use crate::sip::uri::Uri;

/// A request's Request-URI, its Route values, and where to send it if an address tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The Request-URI.
    pub uri: String,
    /// Route values, in order.
    pub routes: Vec<String>,
    /// The next hop, if its host is an address.
    pub address: Option<SocketAddr>,
}

/// How the dialog's next own request travels.
#[must_use]
pub fn next_hop(dialog: &Dialog) -> NextHop {
    next_hop_of(&dialog.remote_target, &dialog.route_set)
}

/// The same by remote target and route set.
#[must_use]
pub fn next_hop_of(remote_target: &str, route_set: &[String]) -> NextHop {
    let first = route_set
        .first()
        .and_then(|route| NameAddr::parse(route).ok());
    match first {
        None => NextHop {
            uri: remote_target.to_owned(),
            routes: Vec::new(),
            address: address_of(remote_target),
        },
        // RFC 3261 12.2.1.1: a loose router gets the Route header as it stands.
        Some(first) if first.uri.is_loose() => NextHop {
            uri: remote_target.to_owned(),
            routes: route_set.to_vec(),
            address: address_of(first.uri.as_str()),
        },
        // RFC 3261 12.2.1.1: a strict router is the Request-URI; the target is the last Route.
        Some(first) => {
            let target = format!("<{remote_target}>");
            let rest = route_set.iter().skip(1).cloned();
            NextHop {
                uri: first.uri.as_str().to_owned(),
                routes: rest.chain(std::iter::once(target)).collect(),
                address: address_of(first.uri.as_str()),
            }
        }
    }
}

fn address_of(uri: &str) -> Option<SocketAddr> {
    let uri = Uri::parse(uri).ok()?;
    let host = uri.is_sip().then_some(uri.host)?;
    let default = if uri.as_str().starts_with("sips:") {
        5061
    } else {
        5060
    };
    Some(SocketAddr::new(host.ip()?, uri.port.unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_from_the_uri() {
        for (uri, address) in [
            ("sip:a@192.0.2.1", Some("192.0.2.1:5060")),
            ("sip:a@192.0.2.1:5070;transport=udp", Some("192.0.2.1:5070")),
            ("sips:[2001:db8::1]", Some("[2001:db8::1]:5061")),
            ("sip:a@example.com", None),
        ] {
            assert_eq!(
                address_of(uri),
                address.map(|text| text.parse().unwrap()),
                "{uri}"
            );
        }
    }
}
