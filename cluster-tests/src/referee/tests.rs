//! Goal: the referee finds every kind of fault, and none in a good call.
//! Method: one good call as text; each test spoils one thing and names the rule that catches it.

use bytes::Bytes;
use callring::demo::capture::Direction::{self, Received, Sent};
use callring::demo::capture::Packet;

use super::*;

const PHONE: &str = "127.0.0.1:40000";
const N1: &str = "127.0.0.1:5061";
const N2: &str = "127.0.0.1:5062";
const N3: &str = "127.0.0.1:5063";

/// One datagram of a made-up run.
#[derive(Clone)]
struct Line {
    direction: Direction,
    remote: &'static str,
    local: &'static str,
    text: String,
}

fn request(direction: Direction, remote: &'static str, method: &str, branch: &str) -> Line {
    let (number, method) = method.split_once(' ').unwrap();
    let ours = "<sip:phone@127.0.0.1:40000>;tag=p";
    let theirs = match (method, branch) {
        ("INVITE", "setup") => "<sip:answer@127.0.0.1:5061>",
        _ => "<sip:answer@127.0.0.1:5061>;tag=s",
    };
    let (from, to, sent_by) = match direction {
        Sent => (ours, theirs, PHONE),
        Received => (theirs, ours, remote),
    };
    let contact = match method {
        "INVITE" | "UPDATE" => format!("Contact: <sip:x@{sent_by}>\r\n"),
        _ => String::new(),
    };
    Line {
        direction,
        remote,
        local: PHONE,
        text: format!(
            "{method} sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by};branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: c1\r\n\
             CSeq: {number} {method}\r\n{contact}Content-Length: 0\r\n\r\n"
        ),
    }
}

fn response(to: &Line, status: u16) -> Line {
    let direction = match to.direction {
        Sent => Received,
        Received => Sent,
    };
    let (peer, port) = match to.direction {
        Sent => PHONE.split_once(':').unwrap(),
        Received => to.remote.split_once(':').unwrap(),
    };
    let head = to.text.split_once("\r\n").unwrap().1;
    let mut text = format!("SIP/2.0 {status} X\r\n{head}");
    text = text.replace(";rport", &format!(";rport={port};received={peer}"));
    text = text.replace("Max-Forwards: 70\r\n", "");
    let tagless = "To: <sip:answer@127.0.0.1:5061>\r\n";
    if status > 100 {
        text = text.replace(tagless, &tagless.replace("\r\n", ";tag=s\r\n"));
    }
    if direction == Received {
        text = text.replace(&format!("x@{PHONE}"), &format!("x@{}", to.remote));
    }
    Line {
        direction,
        text,
        ..to.clone()
    }
}

fn good() -> Vec<Line> {
    let invite = request(Sent, N1, "1 INVITE", "setup");
    let info = request(Sent, N2, "2 INFO", "info");
    let theirs = request(Received, N2, "10 INVITE", "theirs");
    let bye = request(Sent, N2, "3 BYE", "bye");
    vec![
        invite.clone(),
        invite.clone(),
        response(&invite, 100),
        response(&invite, 180),
        response(&invite, 200),
        response(&invite, 200),
        request(Sent, N2, "1 ACK", "ack"),
        info.clone(),
        response(&info, 200),
        theirs.clone(),
        response(&theirs, 200),
        request(Received, N2, "10 ACK", "theirs-ack"),
        bye.clone(),
        response(&bye, 200),
    ]
}

/// A call that the cluster ends.
fn ended_by_bye() -> Vec<Line> {
    let mut lines = good();
    lines.truncate(12);
    let bye = request(Received, N1, "11 BYE", "bye1");
    lines.extend([bye.clone(), response(&bye, 200), bye]);
    lines
}

fn judged(lines: &[Line], n1_down_at_ms: Option<u64>) -> Verdict {
    let mut capture = Capture::new();
    let node = |name: &str, address: &str, down: Option<u64>| Listener {
        node: name.into(),
        address: address.parse().unwrap(),
        advertised: address.into(),
        down: down.map(|ms| capture.epoch + Duration::from_millis(ms)),
    };
    let nodes = [
        node("n1", N1, n1_down_at_ms),
        node("n2", N2, None),
        node("n3", N3, None),
    ];
    let packet = |(n, line): (usize, &Line)| Packet {
        at: Duration::from_millis(n as u64),
        direction: line.direction,
        local: line.local.parse().unwrap(),
        remote: line.remote.parse().unwrap(),
        bytes: Bytes::from(line.text.clone()),
        call: None,
    };
    capture.packets = lines.iter().enumerate().map(packet).collect();
    judge(&capture, &nodes)
}

/// Spoils the good call and expects this rule, and no other, to be broken.
#[track_caller]
fn check(rule: Rule, spoil: impl FnOnce(&mut Vec<Line>)) {
    let mut lines = good();
    spoil(&mut lines);
    check_lines(rule, &lines);
}

#[track_caller]
fn check_lines(rule: Rule, lines: &[Line]) {
    let verdict = judged(lines, None);
    let rules: Vec<Rule> = verdict.violations.iter().map(|found| found.rule).collect();
    assert!(!rules.is_empty(), "{rule:?} was not found");
    assert!(rules.iter().all(|found| *found == rule), "{verdict}");
}

fn edit(line: &mut Line, from: &str, to: &str) {
    assert!(line.text.contains(from), "{}", line.text);
    line.text = line.text.replace(from, to);
}

#[test]
fn good_calls_are_clean() {
    judged(&good(), None).expect_clean();
    judged(&ended_by_bye(), None).expect_clean();
    assert_eq!(judged(&good(), None).dialogs, 1);
}

#[test]
fn keep_alives_are_no_messages_and_garbage_is_found() {
    let blank = |text: &str| Line {
        text: text.into(),
        ..good()[2].clone()
    };
    let mut lines = good();
    lines.push(blank("\r\n\r\n"));
    judged(&lines, None).expect_clean();
    check(Rule::NotSip, |lines| lines.push(blank("SIP?")));
}

#[test]
fn strangers_are_found() {
    check(Rule::UnknownSource, |lines| lines[3].remote = "127.0.0.1:9");
}

#[test]
fn a_response_without_a_to_tag_is_found() {
    check(Rule::ToTagMissing, |lines| {
        edit(&mut lines[3], ";tag=s", "");
    });
}

#[test]
fn changed_tags_are_found() {
    check(Rule::TagChanged, |lines| {
        edit(&mut lines[3], ";tag=s", ";tag=t");
    });
    check(Rule::TagChanged, |lines| {
        for line in &mut lines[9..12] {
            edit(line, ";tag=s", ";tag=t");
        }
    });
    check(Rule::TagChanged, |lines| {
        for line in &mut lines[9..12] {
            edit(line, ";tag=p", ";tag=q");
        }
    });
}

#[test]
fn a_cseq_that_does_not_rise_is_found_in_both_directions() {
    check(Rule::CSeqNotRising, |lines| {
        edit(&mut lines[12], "3 BYE", "2 BYE");
        edit(&mut lines[13], "3 BYE", "2 BYE");
    });
    let mut lines = ended_by_bye();
    for line in &mut lines[12..] {
        edit(line, "11 BYE", "10 BYE");
    }
    check_lines(Rule::CSeqNotRising, &lines);
}

#[test]
fn a_request_that_comes_again_changed_is_found() {
    let mut lines = ended_by_bye();
    edit(&mut lines[14], "Max-Forwards: 70", "Max-Forwards: 69");
    check_lines(Rule::RepeatDiffers, &lines);
}

#[test]
fn an_ack_with_another_cseq_is_found_in_both_directions() {
    check(Rule::AckCSeq, |lines| {
        edit(&mut lines[6], "1 ACK", "2 ACK");
    });
    check(Rule::AckCSeq, |lines| {
        edit(&mut lines[11], "10 ACK", "9 ACK");
    });
}

#[test]
fn two_finals_are_found() {
    check(Rule::TwoFinals, |lines| {
        lines[5] = response(&lines[0], 500);
    });
    check(Rule::TwoFinals, |lines| {
        edit(&mut lines[5], "200 X", "200 Y");
    });
}

#[test]
fn a_final_repeated_by_another_node_may_name_that_node() {
    let mut lines = good();
    lines[1].remote = N2;
    lines[5] = response(&lines[1], 200);
    judged(&lines, None).expect_clean();
    edit(&mut lines[5], "200 X", "200 Y");
    check_lines(Rule::TwoFinals, &lines);
}

#[test]
fn a_second_bye_is_found_only_after_an_answer() {
    let second = request(Received, N2, "12 BYE", "bye2");
    let mut lines = ended_by_bye();
    lines.push(second.clone());
    check_lines(Rule::SecondBye, &lines);
    // The first was never answered: the heir may try again.
    lines.remove(13);
    judged(&lines, None).expect_clean();
    // Ours was answered.
    check(Rule::SecondBye, |lines| lines.push(second));
}

#[test]
fn a_request_in_a_dialog_that_is_over_is_found() {
    let info = request(Received, N2, "12 INFO", "late");
    check(Rule::AfterEnd, |lines| lines.push(info));
}

#[test]
fn a_contact_of_another_node_or_none_is_found() {
    check(Rule::Contact, |lines| {
        for line in &mut lines[4..6] {
            edit(line, &format!("x@{N1}"), &format!("x@{N2}"));
        }
    });
    check(Rule::Contact, |lines| {
        for line in &mut lines[4..6] {
            edit(line, &format!("Contact: <sip:x@{N1}>\r\n"), "");
        }
    });
    check(Rule::Contact, |lines| {
        edit(&mut lines[9], &format!("x@{N2}"), &format!("x@{N1}"));
    });
}

#[test]
fn an_answer_whose_way_died_may_name_whoever_lives() {
    let mut lines = good();
    // Sent to a node that dies, repeated to another, answered with the owner's own listener.
    lines[1].remote = N2;
    for line in [2, 3, 4, 5] {
        lines[line].remote = N2;
    }
    for line in &mut lines[2..6] {
        edit(line, &format!("x@{N1}"), &format!("x@{N3}"));
    }
    check_lines(Rule::Contact, &lines);
    judged(&lines, Some(2)).expect_clean();
    for line in &mut lines[2..6] {
        edit(line, &format!("x@{N3}"), &format!("x@{N1}"));
    }
    let found = judged(&lines, Some(2)).violations;
    assert!(found.iter().any(|found| found.rule == Rule::Contact));
}

#[test]
fn a_sent_by_of_another_node_is_found() {
    check(Rule::SentBy, |lines| {
        edit(&mut lines[9], &format!("UDP {N2}"), &format!("UDP {N1}"));
    });
}

#[test]
fn a_bye_may_be_that_of_an_owner_before() {
    let by = |sent_by: &str| {
        let mut lines = ended_by_bye();
        edit(
            &mut lines[12],
            &format!("UDP {N1}"),
            &format!("UDP {sent_by}"),
        );
        lines.truncate(13);
        lines.push(response(&lines[12], 200));
        judged(&lines, None)
    };
    by(N2).expect_clean();
    let found = by("127.0.0.1:5999").violations;
    assert!(found.iter().any(|found| found.rule == Rule::SentBy));
}

#[test]
fn a_response_that_takes_another_way_is_found() {
    let elsewhere = |lines: &mut Vec<Line>| lines[8].remote = N1;
    check(Rule::WrongWay, elsewhere);
    check(Rule::WrongWay, |lines| lines[8].local = "127.0.0.1:40001");
    // A dead node's response may come from another one.
    let mut lines = good();
    lines[5].remote = N2;
    edit(&mut lines[5], &format!("x@{N1}"), &format!("x@{N2}"));
    check_lines(Rule::WrongWay, &lines);
    judged(&lines, Some(5)).expect_clean();
}

#[test]
fn what_a_response_must_repeat_is_held() {
    for (from, to) in [
        ("branch=z9hG4bKinfo", "branch=z9hG4bKinfo;x=1"),
        ("<sip:phone@", "\"P\" <sip:phone@"),
        ("<sip:answer@", "\"A\" <sip:answer@"),
        ("UDP 127.0.0.1:40000", "UDP 127.0.0.1:40001"),
    ] {
        let benign = to.ends_with(";x=1");
        let mut lines = good();
        edit(&mut lines[8], from, to);
        if benign {
            judged(&lines, None).expect_clean();
        } else {
            check_lines(Rule::NotCopied, &lines);
        }
    }
    check(Rule::NotCopied, |lines| {
        edit(&mut lines[8], "2 INFO", "4 INFO");
    });
}

#[test]
fn a_via_that_is_not_marked_is_found() {
    check(Rule::NotMarked, |lines| {
        edit(&mut lines[8], ";rport=40000", ";rport");
    });
    check(Rule::NotMarked, |lines| {
        edit(&mut lines[8], ";received=127.0.0.1", "");
    });
}

#[test]
fn a_response_to_nothing_and_a_request_of_no_dialog_are_found() {
    check(Rule::Stray, |lines| {
        edit(&mut lines[8], "z9hG4bKinfo", "z9hG4bKother");
    });
    check(Rule::Stray, |lines| {
        let mut stray = request(Received, N2, "1 BYE", "stray");
        edit(&mut stray, "Call-ID: c1", "Call-ID: c2");
        lines.push(stray);
    });
}

#[test]
fn a_481_for_a_call_that_stands_is_found() {
    check(Rule::Lost, |lines| {
        edit(&mut lines[8], "200 X", "481 X");
    });
    // After the end it is right, and where it was never answered.
    let mut lines = good();
    let late = request(Sent, N2, "4 INFO", "late");
    lines.extend([late.clone(), response(&late, 481)]);
    judged(&lines, None).expect_clean();
    let mut lines = vec![request(Sent, N2, "2 BYE", "adopted")];
    lines.push(response(&lines[0], 481));
    check_lines(Rule::Lost, &lines);
}
