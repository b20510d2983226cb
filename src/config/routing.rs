//! `[[peer]]` and `[[route]]`: read, judged, and made into the table that `b2bua` asks.

use std::net::IpAddr;
use std::time::Duration;

use callring_proto::app::Method;
use callring_proto::sip::Uri;
use ipnet::IpNet;
use regex_lite::Regex;

use super::draft::NOT_YET;
use super::place::{Given, Place, Problem};
use super::tree::Section;
use crate::apps::b2bua::routes::{Matches, Peer, Route, Routes};

/// Longest a target may ring: an hour, for what queues.
const RING_TIMEOUT_S_MAX: u64 = 3_600;
/// The same if nothing is said.
const RING_TIMEOUT_S: u64 = 60;
/// What a route's `match` may ask.
const PATTERNS: [&str; 3] = ["uri", "to", "from"];

/// A `[[peer]]` as written.
#[derive(Clone, Debug)]
pub(super) struct DraftPeer {
    place: Place,
    name: Option<Given<String>>,
    sources: Vec<Given<String>>,
}

/// A `[[route]]` as written.
#[derive(Clone, Debug)]
pub(super) struct DraftRoute {
    place: Place,
    /// `uri`, `to`, `from`.
    patterns: [Option<Given<String>>; 3],
    header: Option<Given<String>>,
    method: Option<Given<String>>,
    peer: Option<Given<String>>,
    to: Vec<Given<String>>,
    ring_timeout_s: Option<Given<u64>>,
    pub(super) app: Option<Given<String>>,
}

pub(super) fn read_peer(mut peer: Section<'_, '_>) -> DraftPeer {
    let draft = DraftPeer {
        place: peer.place(),
        name: peer.string("name"),
        sources: peer.strings("sources").unwrap_or_default(),
    };
    peer.refuse(
        &[
            "max_calls",
            "max_cps",
            "options_s",
            "udp_max",
            "tls",
            "user",
        ],
        NOT_YET,
    );
    peer.finish();
    draft
}

pub(super) fn read_route(mut route: Section<'_, '_>) -> DraftRoute {
    let mut draft = DraftRoute {
        place: route.place(),
        patterns: [None, None, None],
        header: None,
        method: None,
        peer: None,
        to: Vec::new(),
        ring_timeout_s: None,
        app: None,
    };
    if let Some(mut matches) = route.table("match") {
        draft.patterns = PATTERNS.map(|key| matches.string(key));
        draft.header = matches.string("header");
        draft.method = matches.string("method");
        draft.peer = matches.string("peer");
        matches.finish();
    }
    draft.to = route.strings("to").unwrap_or_default();
    draft.ring_timeout_s = route.number("ring_timeout_s");
    draft.app = route.string("app");
    route.refuse(&["when"], NOT_YET);
    route.finish();
    draft
}

/// Judges peers and routes; `open`: everybody may call.
pub(super) fn judge(
    peers: &[DraftPeer],
    routes: &[DraftRoute],
    open: bool,
    problems: &mut Vec<Problem>,
) -> Routes {
    let peers: Vec<Peer> = peers.iter().map(|one| judge_peer(one, problems)).collect();
    let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let routes = routes
        .iter()
        .map(|one| judge_route(one, &names, problems))
        .collect();
    Routes {
        routes,
        peers,
        open,
    }
}

fn judge_peer(draft: &DraftPeer, problems: &mut Vec<Problem>) -> Peer {
    let mut complain = |text: &str| {
        problems.push(Problem {
            place: draft.place.clone(),
            text: text.to_owned(),
        });
    };
    if draft.name.is_none() {
        complain("`name` is missing, e.g. name = \"carrier\"");
    }
    if draft.sources.is_empty() {
        complain("`sources` is missing, e.g. sources = [\"192.0.2.0/24\"]");
    }
    let mut sources = Vec::new();
    for source in &draft.sources {
        match network(&source.value) {
            Some(net) => sources.push(net),
            None => problems.push(source.problem(format!(
                "\"{}\" is no network, e.g. 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32",
                source.value.escape_debug()
            ))),
        }
    }
    let name = draft.name.as_ref().map(|name| name.value.clone());
    Peer {
        name: name.unwrap_or_default(),
        sources,
    }
}

fn network(text: &str) -> Option<IpNet> {
    let single = text.parse::<IpAddr>().map(IpNet::from);
    text.parse().ok().or(single.ok())
}

fn pattern(given: Option<&Given<String>>, problems: &mut Vec<Problem>) -> Option<Regex> {
    let given = given?;
    match Regex::new(&given.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            problems.push(given.problem(format!("no regular expression: {error}")));
            None
        }
    }
}

fn judge_route(draft: &DraftRoute, peers: &[&str], problems: &mut Vec<Problem>) -> Route {
    let [uri, to, from] = draft.patterns.each_ref();
    let method = draft.method.as_ref().map(|given| {
        if given.value != "INVITE" {
            problems.push(given.problem(format!("only INVITE is routed; others are {NOT_YET}")));
        }
        Method::Invite
    });
    if let Some(peer) = &draft.peer
        && !peers.contains(&peer.value.as_str())
    {
        let text = format!("there is no [[peer]] \"{}\"", peer.value.escape_debug());
        problems.push(peer.problem(text));
    }
    let header = draft.header.as_ref().and_then(|given| {
        let Some((name, value)) = given.value.split_once(':') else {
            problems.push(given.problem("a header is matched as \"Name: pattern\""));
            return None;
        };
        let value = Given {
            value: value.trim().to_owned(),
            place: given.place.clone(),
        };
        Some((name.trim().to_owned(), pattern(Some(&value), problems)?))
    });
    let matches = Matches {
        uri: pattern(uri.as_ref(), problems),
        to: pattern(to.as_ref(), problems),
        from: pattern(from.as_ref(), problems),
        header,
        peer: draft.peer.as_ref().map(|peer| peer.value.clone()),
        method,
    };
    for target in &draft.to {
        if let Err(text) = target_fits(&target.value) {
            problems.push(target.problem(text));
        }
    }
    let seconds = draft.ring_timeout_s.as_ref();
    if let Some(given) = seconds.filter(|one| !(1..=RING_TIMEOUT_S_MAX).contains(&one.value)) {
        let text = format!("{} is out of range: 1 to {RING_TIMEOUT_S_MAX}", given.value);
        problems.push(given.problem(text));
    }
    let seconds = seconds.map_or(RING_TIMEOUT_S, |given| given.value);
    Route {
        matches,
        to: draft.to.iter().map(|target| target.value.clone()).collect(),
        ring_timeout: Duration::from_secs(seconds),
    }
}

/// Whether something can be sent to it, whatever stands for its groups.
fn target_fits(target: &str) -> Result<(), String> {
    let groups = Regex::new(r"\$(\{\w+\}|\w+|\$)").expect("a pattern of ours");
    let plain = groups.replace_all(target, "1");
    let shown = target.escape_debug();
    let uri = Uri::parse(&plain).map_err(|_| {
        format!("\"{shown}\" is no SIP URI, e.g. sip:$1@192.0.2.10 or sip:ivr@192.0.2.10:5080")
    })?;
    let named = target
        .rsplit('@')
        .next()
        .is_some_and(|host| host.contains('$'));
    if uri.host.ip().is_none() && !named {
        return Err(format!(
            "\"{shown}\" names a host; names are {NOT_YET}, an address is wanted"
        ));
    }
    Ok(())
}

/// Routes that lead nowhere.
pub(super) fn lost(routes: &[DraftRoute]) -> impl Iterator<Item = Problem> {
    let lost = routes.iter().filter(|route| route.to.is_empty());
    lost.map(|route| Problem {
        place: route.place.clone(),
        text: "`to` is missing, e.g. to = [\"sip:ivr@192.0.2.10\"]".to_owned(),
    })
}

/// What is missing for `b2bua` to make sense: routes, and peers where strangers could call.
pub(super) fn lacks(routes: &Routes, exposed: Option<&str>) -> Option<String> {
    if routes.routes.is_empty() {
        return Some(
            "b2bua has nowhere to send calls to: add a [[route]], \
             e.g. to = [\"sip:ivr@192.0.2.10\"]"
                .to_owned(),
        );
    }
    let listener = exposed.filter(|_| routes.peers.is_empty() && !routes.open)?;
    Some(format!(
        "anybody could call through {listener}: add a [[peer]] with its sources, or say --open"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Env, Flags};

    /// What is complained of first.
    fn complaint(text: &str) -> String {
        let given = Some(("c.toml", text));
        let refused = Config::load(given, &Env::default(), &Flags::default());
        let problems = refused.expect_err(text);
        problems.to_string().lines().next().unwrap().to_owned()
    }

    // Method: each mistake, its line, its remedy.
    #[test]
    fn complaints_name_place_and_remedy() {
        let open = "[[sip.listener]]\nlisten = \"udp://192.0.2.1:5060\"\n[app]\n\
                    kind = \"b2bua\"\n[[route]]\nto = [\"sip:a@192.0.2.9\"]";
        let cases = [
            (
                "[app]\nkind = \"b2bua\"",
                "2: app.kind: b2bua has nowhere to send calls to: add a [[route]], \
                 e.g. to = [\"sip:ivr@192.0.2.10\"]",
            ),
            (
                open,
                "4: app.kind: anybody could call through 192.0.2.1:5060: add a [[peer]] with its \
                 sources, or say --open",
            ),
            (
                "[app]\nkind = \"b2bua\"\n[[route]]\nring_timeout_s = 9",
                "3: route: `to` is missing, e.g. to = [\"sip:ivr@192.0.2.10\"]",
            ),
            (
                "[[peer]]\nname = \"x\"",
                "1: peer: `sources` is missing, e.g. sources = [\"192.0.2.0/24\"]",
            ),
            (
                "[[peer]]\nname = \"x\"\nsources = [\"here\"]",
                "3: peer.sources: \"here\" is no network, e.g. 192.0.2.0/24, 192.0.2.7 or \
                 2001:db8::/32",
            ),
            (
                "[[route]]\nto = [\"sip:a@b\"]",
                "2: route.to: \"sip:a@b\" names a host; names are not supported by this version \
                 of callring, an address is wanted",
            ),
            (
                "[[route]]\nto = [\"a@192.0.2.1\"]",
                "2: route.to: \"a@192.0.2.1\" is no SIP URI, e.g. sip:$1@192.0.2.10 or \
                 sip:ivr@192.0.2.10:5080",
            ),
            (
                "[[route]]\nmatch = { peer = \"x\" }",
                "2: route.match.peer: there is no [[peer]] \"x\"",
            ),
            (
                "[[route]]\nring_timeout_s = 0",
                "2: route.ring_timeout_s: 0 is out of range: 1 to 3600",
            ),
            (
                "[[route]]\napp = \"b2bua\"",
                "2: route.app: another app than the node's, \"answer\", is not supported by this \
                 version of callring",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(complaint(text), format!("c.toml:{expected}"));
        }
        let torn = complaint("[[route]]\nmatch = { to = \"(\" }");
        assert!(
            torn.starts_with("c.toml:2: route.match.to: no regular expression"),
            "{torn}"
        );
    }
}
