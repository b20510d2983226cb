//! Goal: rules of RFC 3261 that no other test is about, each under its number among the project's
//! requirements (T: transactions, U: what a server answers, D: dialogs, X: transport).
//! Method: one shard; texts in, first lines out, and the header fields looked at.

use std::time::Duration;

use callring_proto::cluster::policy::Replication;
use callring_proto::sip::{HeaderName, Message, ResponseBuilder};

use crate::uas::Desk;
use crate::world::{MS, World, request, with_body};

const SECOND: Duration = Duration::from_secs(1);

fn last(desk: &Desk) -> Message {
    Message::parse(desk.sent.back().unwrap().clone()).unwrap()
}

fn field(desk: &Desk, name: HeaderName) -> String {
    last(desk).header(name).unwrap_or_default().to_owned()
}

/// A call that is answered and acknowledged, whose INVITE had these fields too.
fn confirmed(extra: &str) -> Desk {
    let mut desk = Desk::new();
    let invite = format!("tagless\n{extra}");
    let said = desk.say("INVITE", 1, "i", &invite);
    assert_eq!(said, "180 INVITE, 200 INVITE");
    assert_eq!(desk.say("ACK", 1, "a", ""), "");
    desk
}

/// A request in the dialog, with this Contact.
fn ask(desk: &mut Desk, method: &str, cseq: u32, contact: &str) -> String {
    let tag = desk.tag.clone();
    desk.raw(&format!(
        "{method} sip:ivr@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK{cseq}\n\
         From: <sip:a@192.0.2.9>;tag=77\nTo: <sip:ivr@192.0.2.1>;tag={tag}\nCall-ID: c1\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\nContact: <{contact}>\nContent-Length: 0\n\n"
    ))
}

/// The BYE that the application's timer sends.
fn bye_of(desk: &mut Desk) -> Message {
    assert_eq!(desk.pass(SECOND * 60), "BYE");
    last(desk)
}

#[test]
fn u1_u2_a_method_for_nobody_is_refused_with_what_there_is() {
    let mut desk = Desk::new();
    for (method, answer, name, value) in [
        ("REGISTER", "405 REGISTER", HeaderName::Allow, "INVITE"),
        ("MESSAGE", "405 MESSAGE", HeaderName::Allow, "INVITE"),
        ("PUBLISH", "405 PUBLISH", HeaderName::Allow, "INVITE"),
        ("FOO", "501 FOO", HeaderName::Allow, "INVITE"),
        (
            "SUBSCRIBE",
            "489 SUBSCRIBE",
            HeaderName::AllowEvents,
            "refer",
        ),
    ] {
        assert_eq!(desk.say(method, 1, method, "tagless\nEvent: x\n"), answer);
        let said = field(&desk, name);
        assert!(said.contains(value), "{method}: {said:?}");
        desk.tag.clear();
    }
    for (method, answer) in [("REFER", "403 REFER"), ("NOTIFY", "481 NOTIFY")] {
        let extra = "tagless\nEvent: refer\nRefer-To: <sip:b@h>\n";
        assert_eq!(desk.say(method, 1, method, extra), answer);
    }
    assert_eq!(desk.shard.next_deadline(), None);
}

#[test]
fn u4_u5_u6_a_refusal_names_what_would_do() {
    for (extra, answer, name, value) in [
        (
            "Require: foo, 100rel\n",
            "420 INVITE",
            HeaderName::Unsupported,
            "foo",
        ),
        (
            "Content-Encoding: gzip\n",
            "415 INVITE",
            HeaderName::AcceptEncoding,
            "identity",
        ),
        (
            "Content-Encoding: gzip\n",
            "415 INVITE",
            HeaderName::Accept,
            "application/sdp",
        ),
        (
            "Accept: text/plain\n",
            "406 INVITE",
            HeaderName::CallId,
            "c1",
        ),
    ] {
        let mut desk = Desk::new();
        let invite = format!("tagless\n{extra}");
        assert_eq!(desk.say("INVITE", 1, "i", &invite), answer);
        assert_eq!(field(&desk, name), value);
    }
    // U5: neither ACK nor CANCEL is refused for what it requires.
    let mut desk = Desk::new();
    desk.say("INVITE", 1, "i", "tagless\nX-Ring: 1\n");
    let cancelled = desk.say("CANCEL", 1, "i", "tagless\nRequire: foo\n");
    assert_eq!(cancelled, "200 CANCEL, 487 INVITE");
    assert_eq!(desk.say("ACK", 1, "i", "Require: foo\n"), "");
    assert_eq!(desk.pass(SECOND * 40), "");
}

#[test]
fn u10_u12_options_with_no_forwards_left_lists_what_there_is() {
    let mut desk = Desk::new();
    let text = "OPTIONS sip:192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bKo\n\
                From: <sip:a@h>;tag=7\nTo: <sip:192.0.2.1>\nCall-ID: o\nCSeq: 9 OPTIONS\n\
                Max-Forwards: 0\nContent-Length: 0\n\n";
    assert_eq!(desk.raw(text), "200 OPTIONS");
    assert_eq!(field(&desk, HeaderName::Accept), "application/sdp");
    for (name, value) in [
        (HeaderName::Allow, "PRACK"),
        (HeaderName::Supported, "100rel"),
        (HeaderName::Supported, "timer"),
    ] {
        let said = field(&desk, name);
        assert!(said.contains(value), "{said:?}");
    }
    assert!(last(&desk).to_tag().is_some(), "U11");
}

#[test]
fn d2_d4_the_route_set_is_the_invites_record_route_in_its_order() {
    let loose = "Record-Route: <sip:p2;lr>, <sip:p1;lr>\nRecord-Route: <sip:p0;lr>\n";
    let mut desk = confirmed(loose);
    // Fixed once the dialog stands: a later Record-Route changes nothing.
    desk.say("INVITE", 2, "j", "Record-Route: <sip:p9;lr>\n");
    desk.say("ACK", 2, "k", "");
    let bye = bye_of(&mut desk);
    assert_eq!(bye.request_uri(), "sip:a@192.0.2.9:5070");
    let routes: Vec<&str> = bye.values(HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:p2;lr>", "<sip:p1;lr>", "<sip:p0;lr>"]);

    let mut desk = confirmed("Record-Route: <sip:strict>, <sip:p1;lr>\n");
    let bye = bye_of(&mut desk);
    assert_eq!(bye.request_uri(), "sip:strict");
    let routes: Vec<&str> = bye.values(HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:p1;lr>", "<sip:a@192.0.2.9:5070>"]);
}

#[test]
fn d3_invite_and_update_move_the_target_and_nothing_else_does() {
    for (method, moves) in [
        ("INVITE", true),
        ("UPDATE", true),
        ("INFO", false),
        ("OPTIONS", false),
    ] {
        let mut desk = confirmed("");
        let answer = ask(&mut desk, method, 2, "sip:b@192.0.2.77:5099");
        assert_eq!(answer, format!("200 {method}"));
        if method == "INVITE" {
            ask(&mut desk, "ACK", 2, "sip:b@192.0.2.77:5099");
        }
        let expected = if moves {
            "sip:b@192.0.2.77:5099"
        } else {
            "sip:a@192.0.2.9:5070"
        };
        assert_eq!(bye_of(&mut desk).request_uri(), expected, "{method}");
    }
}

#[test]
fn d9_an_invite_while_one_is_open_is_500_and_told_when_to_try() {
    let mut desk = confirmed("");
    assert_eq!(desk.say("INVITE", 2, "j", "X-Slow: 1\n"), "");
    assert_eq!(desk.say("INVITE", 3, "k", ""), "500 INVITE");
    let pause: u32 = field(&desk, HeaderName::RetryAfter).parse().unwrap();
    assert!(pause <= 10);
    // D13: whoever hangs up ends what is open.
    assert_eq!(desk.say("ACK", 3, "k", ""), "");
    let ended = desk.say("BYE", 4, "b", "");
    assert!(
        ended.contains("200 BYE") && ended.contains("487 INVITE"),
        "{ended}"
    );
}

#[test]
fn t12_a_request_that_nobody_answers_is_no_408() {
    let mut desk = confirmed("");
    assert_eq!(desk.say("INFO", 2, "f", "X-Slow: 1\n"), "");
    let sent = desk.pass(SECOND * 59);
    assert!(!sent.contains("408"), "{sent}");
}

#[test]
fn t18_an_ack_is_never_answered() {
    let mut desk = Desk::new();
    for tag in ["", "forged"] {
        desk.tag = tag.into();
        assert_eq!(desk.say("ACK", 1, "a", ""), "");
    }
    desk.tag.clear();
    assert_eq!(
        desk.say("INVITE", 1, "i", "tagless\nRequire: foo\n"),
        "420 INVITE"
    );
    for branch in ["i", "other"] {
        assert_eq!(desk.say("ACK", 1, branch, ""), "");
    }
    assert_eq!(desk.pass(SECOND * 40), "");
}

#[test]
fn t21_nothing_is_left_after_64_t1_and_t4() {
    let mut desk = Desk::new();
    for call in 0..10 {
        desk.tag.clear();
        let said = desk.raw(&invite(call));
        assert_eq!(said, "180 INVITE, 200 INVITE");
        let (mut bye, tag) = (invite(call), desk.tag.clone());
        bye = bye.replace("INVITE", "BYE").replace("CSeq: 1", "CSeq: 2");
        bye = bye.replace("To: <sip:ivr@h>", &format!("To: <sip:ivr@h>;tag={tag}"));
        bye = bye.replace("z9hG4bKi", "z9hG4bKb");
        assert_eq!(desk.raw(&bye), "200 BYE");
    }
    assert!(desk.shard.next_deadline().is_some());
    desk.pass(SECOND * (32 + 5));
    assert_eq!(desk.shard.next_deadline(), None);
    assert_eq!(desk.shard.holdings().count(), 0);
}

fn invite(call: usize) -> String {
    format!(
        "INVITE sip:ivr@h SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKi{call}\n\
         From: <sip:a@h>;tag=7\nTo: <sip:ivr@h>\nCall-ID: many-{call}\nCSeq: 1 INVITE\n\
         Max-Forwards: 70\nContact: <sip:a@192.0.2.9:5070>\nContent-Length: 0\n\n"
    )
}

#[test]
fn x4_a_datagram_ends_where_its_length_says() {
    let options = |length: &str, body: &str| {
        format!(
            "OPTIONS sip:192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bKo\n\
             From: <sip:a@h>;tag=7\nTo: <sip:192.0.2.1>\nCall-ID: o\nCSeq: 9 OPTIONS\n\
             Max-Forwards: 70\n{length}\n{body}"
        )
    };
    for (length, body, answer) in [
        ("Content-Length: 3\n", "abc", "200 OPTIONS"),
        (
            "Content-Length: 3\n",
            "abcOPTIONS sip:x SIP/2.0",
            "200 OPTIONS",
        ),
        ("", "abc", "200 OPTIONS"),
        ("Content-Length: 9\n", "abc", "400 OPTIONS"),
    ] {
        let mut desk = Desk::new();
        assert_eq!(desk.raw(&options(length, body)), answer, "{length:?}");
    }
}

#[test]
fn d12_a_failed_reinvite_of_ours_changes_nothing_unless_the_dialog_is_gone() {
    for (status, ends) in [(488, false), (503, false), (408, true), (481, true)] {
        let mut world = World::new(1, &Replication::default(), |_, _| {});
        let invite = request("INVITE", "c", 1, "i", "X-Sdp: 1\n");
        world.datagram(0, &with_body(&invite, "v=0\r\no=- 1 1 IN IP4 h\r\n"));
        world.pass(MS);
        let tag = format!("To-tag: {}\n", world.tag());
        world.datagram(0, &request("ACK", "c", 1, "a", &tag));
        let agreed = world.sent.last().expect("a 200").message.body().to_vec();
        world.signal(0, "INVITE a=inactive");
        assert_eq!(world.pass(MS), "INVITE");
        let asked = world.sent.last().expect("it went").message.clone();
        assert_ne!(asked.body(), agreed);
        let refusal = ResponseBuilder::new(&asked, status).build();
        world.packet(0, refusal.expect("a response"));
        let said = world.pass(MS);
        assert!(said.starts_with("ACK"), "{status}: {said}");
        world.datagram(0, &request("OPTIONS", "c", 2, "o", &tag));
        let said = world.pass(MS);
        let expected = if ends { "481 OPTIONS" } else { "200 OPTIONS" };
        assert_eq!(said, expected, "after {status}");
        if !ends {
            // What was agreed on is what is repeated.
            world.datagram(0, &request("INVITE", "c", 3, "r", &tag));
            world.pass(MS);
            let ok = world.sent.last().expect("a 200").message.clone();
            let audio = |body: &[u8]| String::from_utf8_lossy(body).contains("a=inactive");
            assert_eq!(ok.status(), Some(200));
            assert!(!audio(ok.body()), "{ok:?}");
        }
    }
}
