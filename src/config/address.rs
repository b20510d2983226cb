//! The syntax of names and addresses in settings. Parses; looks nothing up, binds nothing.

use std::net::{IpAddr, SocketAddr};

use callring_proto::base::flow::Transport;

/// Whether `name` is one DNS label: letters, digits and inner hyphens, at most 63.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether `host` is a DNS name, an IPv4 address or an IPv6 address in brackets.
pub(crate) fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').map(str::parse::<IpAddr>);
        return matches!(address, Some(Ok(IpAddr::V6(_))));
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    let all_digits = labels
        .split('.')
        .all(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if all_digits {
        return host.parse::<IpAddr>().is_ok();
    }
    labels.len() <= 253 && labels.split('.').all(is_dns_label)
}

/// Splits `host:port`; the port may be missing.
pub(crate) fn host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_host = match text.rfind(']') {
        Some(end) => end + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(after_host);
    if !is_host(host) {
        return None;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some((host, Some(port)))
        }
        _ => None,
    }
}

/// A listener as written: `udp://IP:PORT[?advertise=HOST:PORT]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) transport: Transport,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<String>,
}

/// Reads a listener. The error says what was expected.
pub(crate) fn listener(text: &str) -> Result<Listener, String> {
    let form = "a listener is written udp://IP:PORT or udp://IP:PORT?advertise=HOST:PORT";
    let shown = text.escape_debug();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("\"{shown}\" has no transport; {form}"));
    };
    let transport = match scheme {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        "ws" => Transport::Ws,
        "wss" => Transport::Wss,
        _ => return Err(format!("\"{shown}\" has an unknown transport; {form}")),
    };
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    let listen = address
        .parse()
        .map_err(|_| format!("\"{}\" is not IP:PORT; {form}", address.escape_debug()))?;
    let advertise = match query {
        None => None,
        Some(query) => match query.strip_prefix("advertise=") {
            Some(advertise) => Some(advertised(advertise)?),
            None => {
                return Err(format!(
                    "\"?{}\" is unknown; the only option is ?advertise=HOST:PORT",
                    query.escape_debug()
                ));
            }
        },
    };
    Ok(Listener {
        transport,
        listen,
        advertise,
    })
}

/// Reads an advertised address.
pub(crate) fn advertised(text: &str) -> Result<String, String> {
    let shown = text.escape_debug();
    match host_port(text) {
        None => Err(format!("\"{shown}\" is not HOST or HOST:PORT")),
        Some((host, _)) if is_unspecified(host) => {
            Err(format!("\"{shown}\" is no address that a phone can reach"))
        }
        Some(_) => Ok(text.to_owned()),
    }
}

fn is_unspecified(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}
