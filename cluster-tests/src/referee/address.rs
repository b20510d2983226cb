//! Rules of addresses: what a phone is told to answer to is the listener that the message left by.
//! `SIP.md` S1.1.

use callring::demo::capture::Direction::Received;
use callring::proto::sip::{Host, Message, Method};

use super::book::{Book, Seen, Story};
use super::{Listener, Rule, Violation};

pub(super) fn judge(book: &Book<'_>, story: &Story, out: &mut Vec<Violation>) {
    let received = story.seen.iter().filter(|seen| seen.direction == Received);
    let mut told: Vec<&[u8]> = Vec::new();
    for seen in received {
        let Some(node) = book.node(seen.remote) else {
            continue;
        };
        // What was told before is repeated byte for byte, by whoever repeats it. Where the request
        // it answers was sent before the capture began, so was the first of its answers.
        let bytes = seen.message.bytes().as_ref();
        let asked_before = !seen.message.is_request() && !was_asked(story, &seen.message);
        if !told.contains(&bytes) && !asked_before {
            contact(book, (story, node), seen, out);
        }
        told.push(bytes);
        if seen.message.is_request() {
            sent_by(book, (story, node), seen, out);
        }
    }
}

/// Whether the capture has the request that this response answers.
fn was_asked(story: &Story, response: &Message) -> bool {
    let mut sent = story.seen.iter().filter(|seen| seen.direction != Received);
    sent.any(|seen| {
        seen.message.is_request()
            && seen.message.branch() == response.branch()
            && seen.message.cseq() == response.cseq()
    })
}

fn contact(
    book: &Book<'_>,
    (story, node): (&Story, &Listener),
    seen: &Seen,
    out: &mut Vec<Violation>,
) {
    let given = seen.message.contact();
    let Some(given) = given else {
        if needs_contact(&seen.message) {
            let text = format!("{} has none", seen.name());
            out.push(story.broken(Rule::Contact, seen, text));
        }
        return;
    };
    let is_redirect = seen.message.status().is_some_and(|status| status >= 300);
    if is_redirect || names(node, given.uri.host, given.uri.port) {
        return;
    }
    let mut living = book.living(seen.at);
    if lost_its_way(book, story, seen)
        && living.any(|node| names(node, given.uri.host, given.uri.port))
    {
        return;
    }
    let text = format!(
        "{} came from {} ({}) and names {}",
        seen.name(),
        node.node,
        node.advertised,
        given.uri.as_str()
    );
    out.push(story.broken(Rule::Contact, seen, text));
}

/// Whether this answers a request that was sent by way of a node that has died since, too: the
/// answer was made for its owner's own listener, and leaves as it was made by wherever the
/// repetition came in.
fn lost_its_way(book: &Book<'_>, story: &Story, seen: &Seen) -> bool {
    let mut sent = story.seen.iter().filter(|one| one.direction != Received);
    !seen.message.is_request()
        && sent.any(|one| {
            one.message.is_request()
                && one.transaction() == seen.transaction()
                && book.was_down(one.remote, seen.at)
        })
}

/// RFC 3261 8.1.1.8 and 12.1.1; RFC 3311 5.1 and 5.2.
fn needs_contact(message: &Message) -> bool {
    let refreshes = matches!(message.method(), Method::Invite | Method::Update);
    refreshes
        && message
            .status()
            .is_none_or(|status| (200..300).contains(&status))
}

fn sent_by(
    book: &Book<'_>,
    (story, node): (&Story, &Listener),
    seen: &Seen,
    out: &mut Vec<Violation>,
) {
    // S4: an heir repeats the BYE of an owner before it as it was, be that one dead or one that
    // handed the call over; whether it ever left the heir can't know.
    let bye = *seen.message.method() == Method::Bye;
    let right = seen.message.top_via().is_ok_and(|via| {
        let mut owners = book.nodes();
        names(node, via.host, via.port)
            || (bye && owners.any(|owner| names(owner, via.host, via.port)))
    });
    if !right {
        let text = format!(
            "{} came from {} ({}) and has another sent-by",
            seen.name(),
            node.node,
            node.advertised
        );
        out.push(story.broken(Rule::SentBy, seen, text));
    }
}

fn names(node: &Listener, host: Host<'_>, port: Option<u16>) -> bool {
    let said = format!("{}:{}", host.as_str(), port.unwrap_or(5060));
    said.eq_ignore_ascii_case(&node.advertised)
        || (port.is_none() && host.as_str().eq_ignore_ascii_case(&node.advertised))
}
