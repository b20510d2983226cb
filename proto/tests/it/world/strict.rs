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
    finals(sent, &mut found);
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

/// The dialog that a message belongs to: Call-ID and the peer's tag, none before it has said one.
fn dialog(message: &Message) -> (&str, &str) {
    let tag = if message.is_request() {
        message.to_tag()
    } else {
        message.from_tag()
    };
    (message.call_id(), tag.unwrap_or_default())
}

/// What is known of a dialog, or of the INVITE of ours that it came from.
fn known<T: Copy>(of: &BTreeMap<(&str, &str), T>, (call, tag): (&str, &str)) -> Option<T> {
    of.get(&(call, tag))
        .or_else(|| of.get(&(call, "")))
        .copied()
}

/// RFC 3261 12.2.1.1: new requests have rising numbers; repeated ones are the same.
fn numbers(messages: &[&Message], found: &mut Vec<String>) {
    let mut numbers: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut seen: BTreeMap<(&str, &Method), &Message> = BTreeMap::new();
    for message in messages.iter().filter(|message| message.is_request()) {
        if *message.method() == Method::Ack {
            // It tells which INVITE the dialog came from.
            let number = message.cseq_number();
            numbers.entry(dialog(message)).or_insert(number);
        }
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
        let last = known(&numbers, dialog(message)).unwrap_or(0);
        if message.cseq_number() <= last {
            found.push(format!("{message:?} after number {last}"));
        }
        numbers.insert(dialog(message), message.cseq_number());
    }
}

/// RFC 3261 17.2: one final response; only Contact may differ, and only when another node says it.
fn finals(sent: &[Sent], found: &mut Vec<String>) {
    let mut seen: BTreeMap<(&str, &Method), &Sent> = BTreeMap::new();
    for one in sent {
        let message = &one.message;
        if message.status().is_none_or(|status| status < 200) {
            continue;
        }
        let key = (message.branch().unwrap_or_default(), message.method());
        let first = seen.entry(key).or_insert(one);
        let moved = first.node != one.node;
        if lines(&first.message, moved) != lines(message, moved) {
            found.push(format!("{message:?} is a second final"));
        }
    }
}

/// The lines of a message, with or without Contact.
fn lines(message: &Message, moved: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    let lines = text.lines().map(str::to_owned);
    lines
        .filter(|line| !moved || !line.starts_with("Contact"))
        .collect()
}

/// RFC 3262 3, 4: the RSeqs of one INVITE follow each other without a gap, none means two things,
/// and none comes again once another has.
fn rseqs(messages: &[&Message], found: &mut Vec<String>) {
    let mut last: BTreeMap<(&str, u32), (u32, u16)> = BTreeMap::new();
    for message in messages {
        let Some(rseq) = message.header(HeaderName::RSeq) else {
            continue;
        };
        let rseq: u32 = rseq.parse().expect("a number");
        let status = message.status().expect("a response");
        let invite = (message.call_id(), message.cseq_number());
        let (before, meant) = *last.entry(invite).or_insert((rseq, status));
        if rseq != before && rseq != before + 1 {
            found.push(format!("{message:?} has RSeq {rseq} after {before}"));
        } else if rseq == before && status != meant {
            found.push(format!("{message:?} has RSeq {rseq} of a {meant}"));
        }
        last.insert(invite, (rseq, status));
    }
}

/// RFC 3264 8: the version of `o=` is one more if the description is another, and else the same.
fn origins(messages: &[&Message], found: &mut Vec<String>) {
    let mut versions: BTreeMap<(&str, &str), (u64, &[u8])> = BTreeMap::new();
    for message in messages {
        let body = message.body();
        let text = String::from_utf8_lossy(body);
        let origin = text.lines().find_map(|line| line.strip_prefix("o="));
        let Some(version) = origin.and_then(|origin| origin.split(' ').nth(2)) else {
            continue;
        };
        let version: u64 = version.parse().expect("a number");
        match known(&versions, dialog(message)) {
            Some((old, same)) if old == version && same == body => {}
            Some((old, same)) if old + 1 == version && same != body => {}
            None => {}
            Some((old, _)) => {
                found.push(format!("{message:?} has o= version {version} after {old}"));
            }
        }
        versions.insert(dialog(message), (version, body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "SIP/2.0 200 OK\nVia: SIP/2.0/UDP h;branch=z9hG4bKi\n\
        From: <sip:a@h>;tag=a\nTo: <sip:b@h>;tag=b\nCall-ID: c\nCSeq: 1 INVITE\n\
        Contact: <sip:192.0.2.1>\nContent-Length: 0\n\n";

    fn sent(node: usize, text: &str) -> Sent {
        let bytes = text.replace('\n', "\r\n").into();
        let message = Message::parse(bytes).expect("it reads");
        Sent { node, message }
    }

    fn ringing(status: u16, rseq: u32) -> String {
        let line = format!("SIP/2.0 {status} x\nRequire: 100rel\nRSeq: {rseq}\n");
        ANSWER.replace("SIP/2.0 200 OK\n", &line)
    }

    fn bye(cseq: u32, branch: &str, extra: &str) -> String {
        format!(
            "BYE sip:a@h SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK{branch}\n\
             From: <sip:b@h>;tag=b\nTo: <sip:a@h>;tag=a\nCall-ID: c\nCSeq: {cseq} BYE\n\
             Max-Forwards: 70\n{extra}Content-Length: 0\n\n"
        )
    }

    fn described(version: u32, port: u32) -> String {
        let sdp = format!("v=0\r\no=- 1 {version} IN IP4 h\r\nm=audio {port} RTP/AVP 0\r\n");
        let length = format!(
            "Content-Type: application/sdp\nContent-Length: {}\n\n",
            sdp.len()
        );
        let head = ANSWER.replace("Content-Length: 0\n\n", &length);
        let head = head.replace("branch=z9hG4bKi", &format!("branch=z9hG4bK{version}{port}"));
        head + &sdp.replace("\r\n", "\n")
    }

    // Goal: no rule of this file is empty. Method: each kept and each broken, by what was sent.
    #[test]
    fn each_rule_finds_what_breaks_it() {
        let moved = ANSWER.replace("<sip:192.0.2.1>", "<sip:192.0.2.2>");
        let other_tag = ANSWER.replace("tag=b", "tag=x").replace("bKi", "bKj");
        let mut table: Vec<(&str, Vec<Sent>, usize)> = Vec::new();
        let mut row = |name, messages: &[(usize, &str)], faults| {
            let list = messages.iter().map(|(node, text)| sent(*node, text));
            table.push((name, list.collect(), faults));
        };
        row("a repetition", &[(0, ANSWER), (0, ANSWER)], 0);
        row(
            "another Contact of another node",
            &[(0, ANSWER), (1, &moved)],
            0,
        );
        row(
            "another Contact of the same",
            &[(0, ANSWER), (0, &moved)],
            1,
        );
        row("another tag", &[(0, ANSWER), (0, &other_tag)], 1);
        let up = [ringing(180, 7), ringing(183, 8), ringing(183, 8)];
        row("RSeq rises", &[(0, &up[0]), (0, &up[1]), (1, &up[2])], 0);
        row("RSeq falls", &[(0, &up[1]), (0, &up[0])], 1);
        row("RSeq skips", &[(0, &up[0]), (1, &ringing(183, 9))], 1);
        row(
            "RSeq means two things",
            &[(0, &up[0]), (1, &ringing(183, 7))],
            1,
        );
        let one = bye(5, "x", "");
        row("a request again", &[(0, &one), (1, &one)], 0);
        row(
            "not the same again",
            &[(0, &one), (1, &bye(5, "x", "X-A: 1\n"))],
            1,
        );
        row("CSeq stands still", &[(0, &one), (1, &bye(5, "y", ""))], 1);
        row(
            "o= rises",
            &[(0, &described(1, 4)), (0, &described(2, 6))],
            0,
        );
        row(
            "o= skips",
            &[(0, &described(1, 4)), (0, &described(3, 6))],
            1,
        );
        row(
            "o= stands still",
            &[(0, &described(1, 4)), (0, &described(1, 6))],
            1,
        );
        for (name, messages, faults) in &table {
            let found = complaints(messages);
            assert_eq!(found.len(), *faults, "{name}: {found:?}");
        }
    }
}
