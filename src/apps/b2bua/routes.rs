//! Routes as a table: who may call, and where calls go by what their INVITE says. The first route
//! that matches counts. SIP.md S8.

use std::net::IpAddr;
use std::time::Duration;

use callring_proto::app::{Message, Method, Reply};
use callring_proto::sip::NameAddr;
use ipnet::IpNet;
use regex_lite::{Captures, Regex};

use super::{Plan, Router};

/// Who may call, by where its messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What routes call it.
    pub name: String,
    /// Its networks.
    pub sources: Vec<IpNet>,
}

/// What a route asks of an INVITE; what is `None` is not asked. Addresses are matched as URIs,
/// without display name and parameters of the field.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// Of the Request-URI.
    pub uri: Option<Regex>,
    /// Of the URI in To.
    pub to: Option<Regex>,
    /// Of the URI in From.
    pub from: Option<Regex>,
    /// Of any value of the field of this name.
    pub header: Option<(String, Regex)>,
    /// The peer it comes from.
    pub peer: Option<String>,
    /// The method.
    pub method: Option<Method>,
}

/// Where calls go that match.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which calls.
    pub matches: Matches,
    /// Request-URIs, tried in turn. `$1` is the first group of the first pattern there is, of
    /// `uri`, `to`, `from`, `header` in this order; `$$` a dollar.
    pub to: Vec<String>,
    /// How long each may ring.
    pub ring_timeout: Duration,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In order.
    pub routes: Vec<Route>,
    /// Nobody else is served.
    pub peers: Vec<Peer>,
    /// Everybody is served.
    pub open: bool,
}

impl Routes {
    fn peer(&self, source: IpAddr) -> Option<&Peer> {
        let source = source.to_canonical();
        let has = |peer: &&Peer| peer.sources.iter().any(|net| net.contains(&source));
        self.peers.iter().find(has)
    }
}

fn uri_of(value: Option<&str>) -> &str {
    let value = value.unwrap_or_default();
    NameAddr::parse(value).map_or(value, |name| name.uri.as_str())
}

impl Matches {
    /// Whether `invite` is meant; with what the first pattern found in it.
    fn find<'m>(&self, invite: &'m Message, peer: Option<&str>) -> Option<Option<Captures<'m>>> {
        let foreign = self.peer.as_deref().is_some_and(|name| Some(name) != peer);
        let other = self
            .method
            .as_ref()
            .is_some_and(|one| one != invite.method());
        if foreign || other {
            return None;
        }
        let texts = [
            (&self.uri, invite.request_uri()),
            (&self.to, uri_of(invite.header_named("To"))),
            (&self.from, uri_of(invite.header_named("From"))),
        ];
        let mut first = None;
        for (pattern, text) in texts {
            if let Some(pattern) = pattern {
                let found = pattern.captures(text)?;
                first.get_or_insert(found);
            }
        }
        if let Some((name, pattern)) = &self.header {
            let same =
                |field: &callring_proto::sip::Field<'m>| field.name_text.eq_ignore_ascii_case(name);
            let mut values = invite.fields().filter(same).map(|field| field.value);
            let found = values.find_map(|value| pattern.captures(value))?;
            first.get_or_insert(found);
        }
        Some(first)
    }
}

impl Router for Routes {
    fn route(&self, invite: &Message, source: IpAddr) -> Result<Plan, Reply> {
        let peer = self.peer(source).map(|peer| peer.name.as_str());
        if peer.is_none() && !self.open {
            return Err(Reply::new(403));
        }
        for route in &self.routes {
            let Some(found) = route.matches.find(invite, peer) else {
                continue;
            };
            let expand = |target: &String| match &found {
                Some(found) => {
                    let mut out = String::new();
                    found.expand(target, &mut out);
                    out
                }
                None => target.replace("$$", "$"),
            };
            return Ok(Plan {
                targets: route.to.iter().map(expand).collect(),
                ring_timeout: route.ring_timeout,
            });
        }
        Err(Reply::new(404))
    }
}
