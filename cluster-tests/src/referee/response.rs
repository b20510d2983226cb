//! Rules of responses to the user agent's requests: what they repeat, where they come from, that
//! there is one final each. RFC 3261 8.2.6, 17.2, 18.2; RFC 3581 4.

use std::collections::HashMap;
use std::net::SocketAddr;

use callring::demo::capture::Direction::{Received, Sent};
use callring::proto::sip::{Field, HeaderName, Message, Method};

use super::book::{Book, Seen, Story};
use super::{Rule, Violation};

pub(super) fn judge(book: &Book<'_>, story: &Story, out: &mut Vec<Violation>) {
    let mut asked: HashMap<(&str, &Method), Vec<&Seen>> = HashMap::new();
    let mut finals: HashMap<(&str, &Method), &Seen> = HashMap::new();
    for seen in &story.seen {
        if seen.is_request(Sent) {
            asked.entry(seen.transaction()).or_default().push(seen);
        }
        if seen.is_request(Received) && !story.seen.iter().any(|seen| seen.is_request(Sent)) {
            out.push(story.broken(Rule::Stray, seen, seen.name()));
        }
        let Some(status) = seen.status(Received) else {
            continue;
        };
        if status > 100 && seen.message.to_tag().is_none() {
            out.push(story.broken(Rule::ToTagMissing, seen, seen.name()));
        }
        let Some(requests) = asked.get(&seen.transaction()) else {
            // What another user agent on this address asked for is not ours to judge.
            if story.has_setup() {
                let text = format!("{} answers nothing that was sent", seen.name());
                out.push(story.broken(Rule::Stray, seen, text));
            }
            continue;
        };
        way(book, story, requests, seen, out);
        copied(story, requests[0], seen, out);
        if status >= 200 {
            let first = finals.entry(seen.transaction()).or_insert(seen);
            if !same_final(first, seen) {
                let text = format!("{}, after {}", seen.name(), first.name());
                out.push(story.broken(Rule::TwoFinals, seen, text));
            }
        }
    }
}

fn way(
    book: &Book<'_>,
    story: &Story,
    requests: &[&Seen],
    response: &Seen,
    out: &mut Vec<Violation>,
) {
    let from = response.remote;
    let straight = requests
        .iter()
        .any(|request| request.remote == from && request.local == response.local);
    // Where the request went to several, whoever has the call of a dead one may answer.
    let orphaned = requests
        .iter()
        .any(|request| book.was_down(request.remote, response.at));
    let home = requests
        .iter()
        .any(|request| request.local == response.local);
    if !(straight || (orphaned && home)) {
        let asked: Vec<SocketAddr> = requests.iter().map(|request| request.remote).collect();
        let text = format!("{} from {from}, asked was {asked:?}", response.name());
        out.push(story.broken(Rule::WrongWay, response, text));
    }
}

fn copied(story: &Story, request: &Seen, response: &Seen, out: &mut Vec<Violation>) {
    let (asked, got) = (&request.message, &response.message);
    let mut broken = |rule, what: &str| {
        let text = format!("{what} of {} is not that of the request", response.name());
        out.push(story.broken(rule, response, text));
    };
    for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        if asked.header(name) != got.header(name) {
            broken(Rule::NotCopied, name.as_str());
        }
    }
    let to = |message: &Message| {
        message
            .header(HeaderName::To)
            .unwrap_or_default()
            .to_owned()
    };
    let expected = match (asked.to_tag(), got.to_tag()) {
        (None, Some(tag)) => format!("{};tag={tag}", to(asked)),
        _ => to(asked),
    };
    if to(got) != expected {
        broken(Rule::NotCopied, "To");
    }
    let below = |message: &Message| {
        let vias = message.values(HeaderName::Via).skip(1);
        vias.map(str::to_owned).collect::<Vec<_>>()
    };
    if below(asked) != below(got) {
        broken(Rule::NotCopied, "Via");
    }
    let (Ok(asked), Ok(got)) = (asked.top_via(), got.top_via()) else {
        broken(Rule::NotCopied, "Via");
        return;
    };
    if (asked.host, asked.port, asked.branch) != (got.host, got.port, got.branch) {
        broken(Rule::NotCopied, "Via");
    }
    // RFC 3581 4: rport asks for both.
    let marked = got.rport == Some(Some(request.local.port()))
        && got.received_ip() == Some(request.local.ip());
    if asked.rport.is_some() && !marked {
        broken(Rule::NotMarked, "rport or received");
    }
}

fn same_final(first: &Seen, again: &Seen) -> bool {
    if first.remote == again.remote {
        return first.message.bytes() == again.message.bytes();
    }
    let fields = |message: &Message| {
        let all = message.fields();
        let kept = all.filter(|field: &Field<'_>| field.name != HeaderName::Contact);
        kept.map(|field| (field.name_text.to_owned(), field.value.to_owned()))
            .collect::<Vec<_>>()
    };
    let (a, b) = (&first.message, &again.message);
    (a.status(), a.reason(), a.body()) == (b.status(), b.reason(), b.body())
        && fields(a) == fields(b)
}
