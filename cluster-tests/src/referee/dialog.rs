//! Rules of a dialog: tags, CSeq, ACK, BYE, and that no answered call is denied.
//! RFC 3261 8.2.6.2, 12.2, 13.2.2.4, 15.

use std::collections::HashMap;

use callring::demo::capture::Direction::{self, Received, Sent};
use callring::proto::sip::Method;

use super::book::{Seen, Story};
use super::{Rule, Violation};

pub(super) fn judge(story: &Story, out: &mut Vec<Violation>) {
    tags(story, out);
    for direction in [Sent, Received] {
        cseq(story, direction, out);
        repeats(story, direction, out);
        acks(story, direction, out);
    }
    ends(story, out);
}

/// The user agent's tag and the cluster's, as the first message that has them says.
fn tags(story: &Story, out: &mut Vec<Violation>) {
    let (mut ours, mut theirs): (Option<&str>, Option<&str>) = (None, None);
    for seen in &story.seen {
        let (from, to) = (seen.message.from_tag(), seen.message.to_tag());
        let from_us = seen.is_request(Sent) || seen.status(Received).is_some();
        let (our_tag, their_tag) = if from_us { (from, to) } else { (to, from) };
        for (known, tag) in [(&mut ours, our_tag), (&mut theirs, their_tag)] {
            let Some(tag) = tag else { continue };
            match known {
                Some(known) if !known.eq_ignore_ascii_case(tag) => out.push(story.broken(
                    Rule::TagChanged,
                    seen,
                    format!("{} has tag {tag}, the dialog had {known}", seen.name()),
                )),
                Some(_) => {}
                None => *known = Some(tag),
            }
        }
    }
}

fn cseq(story: &Story, direction: Direction, out: &mut Vec<Violation>) {
    let mut last: Option<u32> = None;
    for seen in story.new_requests(direction) {
        if matches!(seen.message.method(), Method::Ack | Method::Cancel) {
            continue;
        }
        let number = seen.message.cseq_number();
        if let Some(last) = last
            && number <= last
        {
            let text = format!("{} after {last} ({direction:?})", seen.name());
            out.push(story.broken(Rule::CSeqNotRising, seen, text));
        }
        last = last.max(Some(number));
        if *seen.message.method() == Method::Bye {
            break; // What comes after its own end is judged as that.
        }
    }
}

fn repeats(story: &Story, direction: Direction, out: &mut Vec<Violation>) {
    let mut first: HashMap<(&str, &Method), &Seen> = HashMap::new();
    for seen in &story.seen {
        if !seen.is_request(direction) {
            continue;
        }
        let known = first.entry(seen.transaction()).or_insert(seen);
        if known.message.bytes() != seen.message.bytes() {
            let text = format!("{} came again, but not the same", seen.name());
            out.push(story.broken(Rule::RepeatDiffers, seen, text));
        }
    }
}

fn acks(story: &Story, direction: Direction, out: &mut Vec<Violation>) {
    if direction == Sent && !story.has_setup() {
        return;
    }
    let mut invites = Vec::new();
    for seen in story.seen.iter().filter(|seen| seen.is_request(direction)) {
        let number = seen.message.cseq_number();
        match seen.message.method() {
            Method::Invite => invites.push(number),
            Method::Ack if !invites.contains(&number) => out.push(story.broken(
                Rule::AckCSeq,
                seen,
                format!("{}, the INVITEs had {invites:?}", seen.name()),
            )),
            _ => {}
        }
    }
}

/// Walks the call from its answer to its end.
fn ends(story: &Story, out: &mut Vec<Violation>) {
    let mut stands = !story.has_setup();
    let mut over: Option<&'static str> = None;
    let mut known = Vec::new();
    for seen in &story.seen {
        let method = seen.message.method();
        if seen.is_request(Received) {
            if !known.contains(&seen.transaction()) {
                known.push(seen.transaction());
                if let Some(why) = over {
                    after_end(story, seen, why, out);
                }
            }
            continue;
        }
        if let Some(status) = seen.status(Received) {
            if status == 481 && stands && over.is_none() {
                let text = format!(
                    "{}, though the call was answered and not ended",
                    seen.name()
                );
                out.push(story.broken(Rule::Lost, seen, text));
            }
            if (200..300).contains(&status) {
                match method {
                    Method::Invite => stands = true,
                    Method::Bye => over = over.or(Some("our BYE was answered")),
                    _ => {}
                }
            }
            continue;
        }
        if *method == Method::Bye && seen.status(Sent).is_some_and(|status| status >= 200) {
            over = Some("its BYE was answered");
        }
    }
}

fn after_end(story: &Story, seen: &Seen, why: &str, out: &mut Vec<Violation>) {
    let rule = match seen.message.method() {
        Method::Ack | Method::Cancel => return,
        Method::Bye => Rule::SecondBye,
        _ => Rule::AfterEnd,
    };
    out.push(story.broken(rule, seen, format!("{} after {why}", seen.name())));
}
