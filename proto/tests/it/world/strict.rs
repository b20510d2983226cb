//! A strict peer's view of everything that nodes have sent it in one call: what RFC 3261, 3262 and
//! 3264 let it refuse. It must not know which node sent what, or who died.

use std::collections::BTreeMap;

use callring_proto::sip::{HeaderName, Message, Method};

use super::Sent;

/// What is wrong, in the order it was sent.
pub(super) fn complaints(sent: &[Sent]) -> Vec<String> {
    let mut found = Vec::new();
    let messages: Vec<&Message> = sent.iter().map(|sent| &sent.message).collect();
    tags(&messages, &mut found);
    numbers(&messages, &mut found);
    finals(&messages, &mut found);
    rseqs(&messages, &mut found);
    origins(&messages, &mut found);
    found
}

/// RFC 3261 12: one tag of theirs per dialog.
fn tags(messages: &[&Message], found: &mut Vec<String>) {
    let mut known = BTreeMap::new();
    for message in messages {
        let tag = if message.is_request() {
            message.from_tag()
        } else {
            message.to_tag()
        };
        let Some(tag) = tag else { continue };
        let first = known.entry(message.call_id()).or_insert(tag);
        if *first != tag {
            found.push(format!("{message:?} has another tag"));
        }
    }
}

/// RFC 3261 12.2.1.1: new requests have rising numbers; repeated ones are the same.
fn numbers(messages: &[&Message], found: &mut Vec<String>) {
    let mut last = 0;
    let mut seen: BTreeMap<(&str, &Method), &Message> = BTreeMap::new();
    for message in messages.iter().filter(|message| message.is_request()) {
        if matches!(message.method(), Method::Ack | Method::Cancel) {
            continue;
        }
        let key = (message.branch().unwrap_or_default(), message.method());
        if let Some(first) = seen.get(&key) {
            if first.bytes() != message.bytes() {
                found.push(format!("{message:?} was repeated, but not the same"));
            }
            continue;
        }
        seen.insert(key, message);
        if message.cseq_number() <= last {
            found.push(format!("{message:?} after number {last}"));
        }
        last = message.cseq_number();
    }
}

/// RFC 3261 17.2: one final response; only Contact may differ when it comes from another node.
fn finals(messages: &[&Message], found: &mut Vec<String>) {
    let mut seen: BTreeMap<(&str, &Method), Vec<String>> = BTreeMap::new();
    for message in messages {
        if message.status().is_none_or(|status| status < 200) {
            continue;
        }
        let text = String::from_utf8_lossy(message.bytes()).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with("Contact"));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        let key = (message.branch().unwrap_or_default(), message.method());
        let first = seen.entry(key).or_insert_with(|| lines.clone());
        if *first != lines {
            found.push(format!("{message:?} is a second final"));
        }
    }
}

/// RFC 3262 4: the RSeqs of one INVITE follow each other without a gap.
fn rseqs(messages: &[&Message], found: &mut Vec<String>) {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for message in messages {
        let Some(rseq) = message.header(HeaderName::RSeq) else {
            continue;
        };
        let rseq: u32 = rseq.parse().expect("a number");
        let last = last.entry(message.cseq_number()).or_insert(rseq);
        if rseq > *last + 1 {
            found.push(format!("{message:?} has RSeq {rseq} after {last}"));
        }
        *last = rseq.max(*last);
    }
}

/// RFC 3264 8: the version of `o=` is one more if the description is another, and else the same.
fn origins(messages: &[&Message], found: &mut Vec<String>) {
    let mut last: Option<(u64, &[u8])> = None;
    for message in messages {
        let body = message.body();
        let text = String::from_utf8_lossy(body);
        let origin = text.lines().find_map(|line| line.strip_prefix("o="));
        let Some(version) = origin.and_then(|origin| origin.split(' ').nth(2)) else {
            continue;
        };
        let version: u64 = version.parse().expect("a number");
        match last {
            Some((old, same)) if old == version && same == body => {}
            Some((old, same)) if old + 1 == version && same != body => {}
            None => {}
            Some((old, _)) => {
                found.push(format!("{message:?} has o= version {version} after {old}"));
            }
        }
        last = Some((version, body));
    }
}
