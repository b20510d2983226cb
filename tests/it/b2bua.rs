//! Goal: two legs are one call: answers, refusals, requests and ends pass from one to the other,
//! and targets are tried in turn. Method: one shard without sockets; this test is both phones.

mod desk;

use callring_proto::app::{Message, Method};
use desk::{ANSWER, CALLEE, CALLER, Desk, OFFER, OTHER, SECOND};

#[test]
fn what_is_the_calls_passes_and_what_is_the_legs_does_not() {
    let mut desk = Desk::new();
    let extra = "X-Account: 7\r\nRecord-Route: <sip:p;lr>\r\nSupported: 100rel, foo\r\n";
    let said = desk.caller("INVITE", 1, extra, OFFER);
    assert_eq!(said, "INVITE to callee");
    let invite = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(invite.header_named("X-Account"), Some("7"));
    assert_eq!(
        invite.header_named("From").unwrap().split(';').next(),
        Some("\"A\" <sip:a@192.0.2.9>")
    );
    assert_eq!(invite.header_named("To"), Some("<sip:ivr@192.0.2.1>"));
    assert_eq!(invite.header_named("Max-Forwards"), Some("69"));
    assert_eq!(invite.header_named("Record-Route"), None);
    assert_ne!(invite.header_named("Supported"), Some("100rel, foo"));
    assert_eq!(invite.body(), OFFER.as_bytes());
    let said = desk.answers(CALLEE, &invite, 183, ANSWER);
    assert!(said.starts_with("183 INVITE to caller"), "{said}");
    // Early media goes reliably where the caller can.
    let ringing = desk.newest();
    assert_eq!(ringing.header_named("X-Said"), Some("by the callee"));
    assert_eq!(ringing.header_named("Require"), Some("100rel"));
    assert_ne!(
        ringing.header_named("Contact"),
        Some("<sip:b@192.0.2.20:5080>")
    );
}

#[test]
fn one_side_ends_what_both_have() {
    let mut desk = Desk::answered();
    assert_eq!(
        desk.caller("BYE", 2, "", ""),
        "200 BYE to caller, BYE to callee"
    );
    let bye = desk.asked(CALLEE, &Method::Bye);
    desk.answers(CALLEE, &bye, 200, "");
    desk.is_empty();
    let mut desk = Desk::answered();
    assert_eq!(
        desk.callee("BYE", 1, ""),
        "200 BYE to callee, BYE to caller"
    );
    let bye = desk.asked(CALLER, &Method::Bye);
    desk.answers(CALLER, &bye, 200, "");
    desk.is_empty();
}

#[test]
fn a_target_that_fails_is_followed_by_the_next() {
    for (status, goes_on) in [
        (503, true),
        (500, true),
        (480, true),
        (486, false),
        (603, false),
    ] {
        let mut desk = Desk::new();
        desk.caller("INVITE", 1, "", OFFER);
        let invite = desk.asked(CALLEE, &Method::Invite);
        let said = desk.answers(CALLEE, &invite, status, "");
        let expected = if goes_on {
            "ACK to callee, INVITE to other".to_owned()
        } else {
            format!("ACK to callee, {status} INVITE to caller")
        };
        assert_eq!(said, expected);
        if goes_on {
            let invite = desk.asked(OTHER, &Method::Invite);
            assert_eq!(invite.request_uri(), format!("sip:ivr@{OTHER}"));
            let said = desk.answers(OTHER, &invite, 200, ANSWER);
            assert_eq!(said, "ACK to other, 200 INVITE to caller");
        }
    }
}

#[test]
fn a_dead_target_is_followed_by_the_next_and_the_caller_is_told_the_best_refusal() {
    let mut desk = Desk::new();
    desk.caller("INVITE", 1, "", OFFER);
    // It rings for twenty seconds, dead or not.
    let said = desk.pass(SECOND * 21);
    assert!(said.ends_with("INVITE to other"), "{said}");
    let invite = desk.asked(OTHER, &Method::Invite);
    let said = desk.answers(OTHER, &invite, 503, "");
    assert_eq!(said, "ACK to other, 408 INVITE to caller"); // RFC 3261 16.7
    // The dead one wakes up: it is told that nobody wants it any more.
    let late = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(desk.answers(CALLEE, &late, 180, ""), "CANCEL to callee");
    assert_eq!(
        desk.answers(CALLEE, &late, 200, ANSWER),
        "ACK to callee, BYE to callee"
    );
}

#[test]
fn a_target_without_an_address_is_passed_over() {
    let mut desk = Desk::new();
    let said = desk.caller_of("name", "INVITE", 1, "", OFFER);
    assert_eq!(said, "INVITE to callee");
}

#[test]
fn who_may_not_is_told_at_once() {
    let mut desk = Desk::new();
    assert_eq!(
        desk.caller_of("nobody", "INVITE", 1, "", OFFER),
        "404 INVITE to caller"
    );
}

#[test]
fn a_caller_that_hangs_up_before_the_answer_takes_the_callee_along() {
    let mut desk = Desk::new();
    desk.caller("INVITE", 1, "", OFFER);
    let invite = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(
        desk.answers(CALLEE, &invite, 180, ""),
        "180 INVITE to caller"
    );
    let said = desk.caller("CANCEL", 1, "", "");
    assert_eq!(
        said,
        "200 CANCEL to caller, 487 INVITE to caller, CANCEL to callee"
    );
    let cancel = desk.asked(CALLEE, &Method::Cancel);
    desk.answers(CALLEE, &cancel, 200, "");
    assert_eq!(desk.answers(CALLEE, &invite, 487, ""), "ACK to callee");
    desk.is_empty();
}

#[test]
fn what_one_asks_the_other_is_asked_once() {
    let mut desk = Desk::answered();
    let hold = OFFER.replace("m=audio 4000", "m=audio 4002");
    assert_eq!(desk.caller("INVITE", 2, "", &hold), "INVITE to callee");
    let asked = desk.asked(CALLEE, &Method::Invite);
    let port = |one: &Message| String::from_utf8_lossy(one.body()).contains("m=audio 4002");
    assert!(port(&asked) && asked.to_tag() == Some("b"));
    // Repeated, it is not asked again.
    assert_eq!(desk.caller("INVITE", 2, "", &hold), "");
    let said = desk.answers(CALLEE, &asked, 200, &ANSWER.replace("audio 6", "audio 8"));
    assert_eq!(said, "ACK to callee, 200 INVITE to caller");
    assert!(String::from_utf8_lossy(desk.newest().body()).contains("audio 8"));
    desk.caller("ACK", 2, "", "");
    // The other way round, and one that is refused: both sides stay as they were.
    assert_eq!(desk.callee("INFO", 1, ""), "INFO to caller");
    let info = desk.asked(CALLER, &Method::Info);
    assert_eq!(desk.answers(CALLER, &info, 200, ""), "200 INFO to callee");
    assert_eq!(desk.callee("INVITE", 2, &hold), "INVITE to caller");
    let asked = desk.asked(CALLER, &Method::Invite);
    let said = desk.answers(CALLER, &asked, 488, "");
    assert_eq!(said, "ACK to caller, 488 INVITE to callee");
    assert_eq!(
        desk.caller("BYE", 3, "", ""),
        "200 BYE to caller, BYE to callee"
    );
}

/// What the callee tells of the REFER it was sent last.
fn notify(desk: &mut Desk, cseq: u32, state: &str, line: &str) -> String {
    let refer = desk.asked(CALLEE, &Method::Refer).cseq_number();
    let fields = format!(
        "Event: refer;id={refer}\r\nSubscription-State: {state}\r\n\
         Content-Type: message/sipfrag\r\nContent-Length: {}\r\n\r\n{line}",
        line.len()
    );
    desk.callee_says("NOTIFY", cseq, &fields)
}

/// The newest NOTIFY to the caller, answered: its state and its line.
fn told(desk: &mut Desk) -> (String, String) {
    let notify = desk.asked(CALLER, &Method::Notify);
    desk.answers(CALLER, &notify, 200, "");
    let state = notify
        .header_named("Subscription-State")
        .unwrap_or_default();
    let state = state.split(';').next().unwrap_or_default().to_owned();
    let line = String::from_utf8_lossy(notify.body()).trim().to_owned();
    (state, line)
}

// Method: the caller refers the callee; its NOTIFYs come back, the last of another REFER even
// before that REFER's answer.
#[test]
fn a_refer_passes_and_its_outcome_comes_back() {
    let mut desk = Desk::answered();
    let refer = "Refer-To: <sip:c@192.0.2.77>\r\nReferred-By: <sip:a@192.0.2.9>\r\n";
    assert_eq!(desk.caller("REFER", 2, refer, ""), "REFER to callee");
    let asked = desk.asked(CALLEE, &Method::Refer);
    assert_eq!(asked.header_named("Refer-To"), Some("<sip:c@192.0.2.77>"));
    assert_eq!(asked.header_named("Referred-By"), Some("<sip:a@192.0.2.9>"));
    let said = desk.answers(CALLEE, &asked, 202, "");
    assert_eq!(said, "202 REFER to caller, NOTIFY to caller");
    let trying = ("active".to_owned(), "SIP/2.0 100 Trying".to_owned());
    assert_eq!(told(&mut desk), trying);
    let said = notify(&mut desk, 1, "active;expires=60", "SIP/2.0 100 Trying");
    assert_eq!(said, "200 NOTIFY to callee");
    let said = notify(
        &mut desk,
        2,
        "terminated;reason=noresource",
        "SIP/2.0 200 OK",
    );
    assert_eq!(said, "200 NOTIFY to callee, NOTIFY to caller");
    let ok = ("terminated".to_owned(), "SIP/2.0 200 OK".to_owned());
    assert_eq!(told(&mut desk), ok);
    // One that is refused, and one whose end is known first.
    assert_eq!(desk.caller("REFER", 3, refer, ""), "REFER to callee");
    let asked = desk.asked(CALLEE, &Method::Refer);
    assert_eq!(desk.answers(CALLEE, &asked, 603, ""), "603 REFER to caller");
    assert_eq!(desk.caller("REFER", 4, refer, ""), "REFER to callee");
    let asked = desk.asked(CALLEE, &Method::Refer);
    let said = notify(
        &mut desk,
        3,
        "terminated;reason=noresource",
        "SIP/2.0 486 Busy",
    );
    assert_eq!(said, "200 NOTIFY to callee");
    desk.answers(CALLEE, &asked, 202, "");
    desk.pass(SECOND);
    let busy = ("terminated".to_owned(), "SIP/2.0 486 Busy".to_owned());
    assert_eq!(told(&mut desk), busy);
    desk.caller("BYE", 5, "", "");
    let bye = desk.asked(CALLEE, &Method::Bye);
    desk.answers(CALLEE, &bye, 200, "");
    desk.is_empty();
}

// Method: neither the first INVITE nor a later one has a description; the offers are in the 200s.
#[test]
fn an_offer_in_a_200_is_answered_by_the_others_ack() {
    let mut desk = Desk::new();
    assert!(
        desk.caller("INVITE", 1, "", "")
            .ends_with("INVITE to callee")
    );
    let asked = desk.asked(CALLEE, &Method::Invite);
    assert_eq!(asked.body(), b"");
    let said = desk.answers(CALLEE, &asked, 200, OFFER);
    assert_eq!(said, "200 INVITE to caller", "no ACK without an answer");
    assert_eq!(desk.newest().body(), OFFER.as_bytes());
    assert_eq!(
        desk.answers(CALLEE, &asked, 200, OFFER),
        "",
        "nor at a repetition"
    );
    assert_eq!(desk.caller("ACK", 1, "", ANSWER), "ACK to callee");
    assert_eq!(desk.asked(CALLEE, &Method::Ack).body(), ANSWER.as_bytes());
    assert_eq!(desk.answers(CALLEE, &asked, 200, OFFER), "ACK to callee");
    let said = desk.callee("INVITE", 1, "");
    assert_eq!(said, "INVITE to caller");
    let asked = desk.asked(CALLER, &Method::Invite);
    let again = OFFER.replace("m=audio 4000", "m=audio 4002");
    let said = desk.answers(CALLER, &asked, 200, &again);
    assert_eq!(said, "200 INVITE to callee");
    let answer = ANSWER.replace("m=audio 6", "m=audio 8");
    assert_eq!(desk.callee("ACK", 1, &answer), "ACK to caller");
    let ack = desk.asked(CALLER, &Method::Ack);
    assert!(String::from_utf8_lossy(ack.body()).contains("m=audio 8"));
    assert_eq!(
        desk.caller("BYE", 2, "", ""),
        "200 BYE to caller, BYE to callee"
    );
    let bye = desk.asked(CALLEE, &Method::Bye);
    desk.answers(CALLEE, &bye, 200, "");
    desk.is_empty();
}

// Method: the caller says nothing any more once it was answered.
#[test]
fn a_callee_whose_offer_nobody_answers_is_let_go() {
    let mut desk = Desk::new();
    desk.caller("INVITE", 1, "", "");
    let asked = desk.asked(CALLEE, &Method::Invite);
    desk.answers(CALLEE, &asked, 200, OFFER);
    let said = desk.pass(SECOND * 33);
    let at = |what: &str| said.find(what).unwrap_or_else(|| panic!("{what}: {said}"));
    assert!(at("ACK to callee") < at("BYE to callee"));
    at("BYE to caller");
    desk.is_empty();
}

fn table(text: &str, source: &str, extra: &str) -> String {
    use callring::apps::b2bua::Router as _;
    use callring::config::{AppConfig, Config, Env, Flags};

    let text = format!("[app]\nkind = \"b2bua\"\n{text}");
    let config = Config::load(Some(("c.toml", &text)), &Env::default(), &Flags::default());
    let AppConfig::B2bua(routes) = config.expect("it is accepted").app else {
        panic!("it is the b2bua");
    };
    let invite = format!(
        "INVITE sip:+4930123@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         From: \"A\" <sip:a@h>;tag=a\r\nTo: <sip:+4930123@192.0.2.1>\r\nCall-ID: c\r\n\
         CSeq: 1 INVITE\r\n{extra}\r\n"
    );
    let invite = Message::parse(invite.into()).expect("it reads");
    match routes.route(&invite, source.parse().expect("an address")) {
        Ok(plan) => plan.targets.join(" "),
        Err(reply) => reply.status.to_string(),
    }
}

// Method: tables as users write them, an INVITE, where it goes.
#[test]
fn routes_go_by_patterns_and_peers() {
    let number = "[[route]]\nmatch = { to = '^sip:\\+49(\\d+)@' }\nto = [\"sip:$1@10.0.0.1\"]\n";
    let rest = "[[route]]\nto = [\"sip:rest@10.0.0.2\", \"sip:more@10.0.0.3\"]\n";
    let peer = "[[peer]]\nname = \"p\"\nsources = [\"192.0.2.0/24\"]\n";
    let both = format!("{number}{rest}");
    assert_eq!(table(&both, "192.0.2.7", ""), "sip:30123@10.0.0.1");
    assert_eq!(
        table(rest, "192.0.2.7", ""),
        "sip:rest@10.0.0.2 sip:more@10.0.0.3"
    );
    let us = number.replace("49", "1");
    assert_eq!(table(&us, "192.0.2.7", ""), "404");
    assert_eq!(
        table(&format!("{us}{rest}"), "192.0.2.7", "")
            .split(' ')
            .count(),
        2
    );
    // Whoever is no peer is not served once there is one.
    let guarded = format!("{peer}{rest}");
    assert_eq!(table(&guarded, "192.0.2.7", "").split(' ').count(), 2);
    assert_eq!(
        table(&guarded, "::ffff:192.0.2.7", "").split(' ').count(),
        2
    );
    assert_eq!(table(&guarded, "198.51.100.1", ""), "403");
    let open = "open = true\n";
    assert_ne!(
        table(&format!("{open}{guarded}"), "198.51.100.1", ""),
        "403"
    );
    let of_peer = rest.replace("to =", "match = { peer = \"p\" }\nto =");
    let of_peer = format!("{open}{peer}{of_peer}");
    assert_eq!(table(&of_peer, "198.51.100.1", ""), "404");
    assert_ne!(table(&of_peer, "192.0.2.7", ""), "404");
    let header = rest.replace("to =", "match = { header = 'X-Tenant: ^(\\w+)$' }\nto =");
    let header = header.replace("rest", "$1");
    assert_eq!(table(&header, "192.0.2.7", ""), "404");
    let told = table(&header, "192.0.2.7", "x-tenant: acme\r\n");
    assert_eq!(told.split(' ').next(), Some("sip:acme@10.0.0.2"));
}
