//! Goal: what is written reads back, repeats what it must, and cannot be torn. Method: examples.

use super::*;
use crate::base::flow::Transport;
use crate::sip::message::Message;
use crate::sip::method::Method;

fn request(via: &str) -> Message {
    let text = format!(
        "INVITE sip:b@example.com SIP/2.0\r\nv: {via}\r\n\
         Via: SIP/2.0/TCP 10.0.0.9;branch=z9hG4bK0\r\n\
         Record-Route: <sip:p2;lr>\r\nRecord-Route: <sip:p1;lr>\r\nf: \"A\" <sip:a@h>;tag=1\r\n\
         To: <sip:b@example.com>\r\nCall-ID: c@h\r\nCSeq: 7 INVITE\r\nTimestamp: 54\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

#[track_caller]
fn check_via(via: &str, source: &str, want: &str) {
    let request = request(via);
    let bytes = ResponseBuilder::new(&request, 180)
        .source(source.parse().unwrap())
        .build();
    let response = Message::parse(bytes.unwrap()).unwrap();
    let lines: Vec<_> = response.headers(HeaderName::Via).collect();
    assert_eq!(lines, [want, "SIP/2.0/TCP 10.0.0.9;branch=z9hG4bK0"]);
}

#[test]
fn top_via_tells_where_the_request_came_from() {
    check_via(
        "SIP/2.0/UDP 1.2.3.4 ; branch=z",
        "1.2.3.4:9",
        "SIP/2.0/UDP 1.2.3.4 ; branch=z",
    );
    check_via(
        "SIP/2.0/UDP 1.2.3.4;branch=z",
        "1.2.3.5:9",
        "SIP/2.0/UDP 1.2.3.4;branch=z;received=1.2.3.5",
    );
    check_via(
        "SIP/2.0/UDP h;rport;branch=z;received=6.6.6.6",
        "1.2.3.4:9",
        "SIP/2.0/UDP h;rport=9;branch=z;received=1.2.3.4",
    );
    check_via(
        "SIP/2.0/UDP 1.2.3.4;rport;branch=z",
        "1.2.3.4:9",
        "SIP/2.0/UDP 1.2.3.4;rport=9;branch=z;received=1.2.3.4",
    );
    check_via(
        "SIP/2.0/UDP [2001:db8:0::1];branch=z",
        "[2001:db8::1]:9",
        "SIP/2.0/UDP [2001:db8:0::1];branch=z",
    );
    check_via(
        "SIP/2.0/UDP h;branch=z",
        "[2001:db8::1]:9",
        "SIP/2.0/UDP h;branch=z;received=2001:db8::1",
    );
    check_via(
        "SIP/2.0/UDP h;branch=z , SIP/2.0/UDP g;branch=y",
        "1.2.3.4:9",
        "SIP/2.0/UDP h;branch=z;received=1.2.3.4 , SIP/2.0/UDP g;branch=y",
    );
}

#[test]
fn x1_x2_responses_go_where_rfc_3581_says() {
    let check = |via: &str, want: &str| {
        let via = format!("SIP/2.0/{via}");
        let target = response_target(&Via::parse(&via).unwrap(), "1.2.3.4:9".parse().unwrap());
        assert_eq!(target.to_string(), want, "{via}");
    };
    check("UDP h;rport;branch=z", "1.2.3.4:9");
    check("UDP h;branch=z", "1.2.3.4:5060");
    check("UDP 5.6.7.8:5070;branch=z", "1.2.3.4:5070");
    check("TLS h;branch=z", "1.2.3.4:5061");
    check("UDP h;maddr=9.9.9.9;branch=z", "1.2.3.4:5060");
}

#[test]
fn t8_a_response_repeats_its_request_and_a_100_its_timestamp() {
    let request = request("SIP/2.0/UDP h;branch=z9hG4bK1");
    let bytes = ResponseBuilder::new(&request, 200)
        .to_tag("t9")
        .with_record_route()
        .contact("<sip:n1>")
        .body("application/sdp", &b"v=0\r\n"[..])
        .build()
        .unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(
        text,
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         Via: SIP/2.0/TCP 10.0.0.9;branch=z9hG4bK0\r\nFrom: \"A\" <sip:a@h>;tag=1\r\n\
         To: <sip:b@example.com>;tag=t9\r\nCall-ID: c@h\r\nCSeq: 7 INVITE\r\n\
         Record-Route: <sip:p2;lr>\r\nRecord-Route: <sip:p1;lr>\r\nContact: <sip:n1>\r\n\
         Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
    let trying = ResponseBuilder::new(&request, 100).build().unwrap();
    let trying = Message::parse(trying).unwrap();
    assert_eq!(trying.header(HeaderName::Timestamp), Some("54"));
    assert_eq!((trying.to_tag(), trying.reason()), (None, "Trying"));
}

fn bye() -> RequestBuilder<'static> {
    RequestBuilder::new(Method::Bye, "sip:a@h")
        .via(Transport::Udp, "n1:5060", "z9hG4bKx")
        .from("<sip:b@h>;tag=2")
        .to("<sip:a@h>;tag=1")
        .call_id("c@h")
        .cseq(8)
}

#[test]
fn a_request_reads_back_as_it_was_written() {
    let bytes = bye()
        .routes(["<sip:p1;lr>", "<sip:p2;lr>"])
        .header("X-A", "b")
        .build()
        .unwrap();
    let bye = Message::parse(bytes.clone()).unwrap();
    assert_eq!((bye.method(), bye.request_uri()), (&Method::Bye, "sip:a@h"));
    assert_eq!(
        (bye.from_tag(), bye.to_tag(), bye.call_id()),
        (Some("2"), Some("1"), "c@h")
    );
    assert_eq!((bye.max_forwards(), bye.cseq_number()), (Some(70), 8));
    assert_eq!(bye.top_via().unwrap().rport, Some(None));
    assert_eq!(bye.values(HeaderName::Route).count(), 2);
    assert_eq!(bye.header_named("x-a"), Some("b"));
    assert_eq!(bye.bytes(), &bytes);
    let record = postcard::to_allocvec(&bye).unwrap();
    assert_eq!(postcard::from_bytes::<Message>(&record).unwrap(), bye);
}

#[test]
fn nothing_ends_a_line_early() {
    for bad in ["a\r\nRoute: <sip:evil>", "a\nb", "a\rb", "a\0b"] {
        assert_eq!(
            bye().header("X", bad).build(),
            Err(Refused::LineBreak("a header field"))
        );
        assert_eq!(bye().route(bad).build(), Err(Refused::LineBreak("Route")));
        assert_eq!(bye().from(bad).build(), Err(Refused::LineBreak("From")));
        let invite = request("SIP/2.0/UDP h");
        assert!(
            ResponseBuilder::new(&invite, 200)
                .reason(bad)
                .build()
                .is_err()
        );
        assert!(
            ResponseBuilder::new(&invite, 200)
                .to_tag(bad)
                .build()
                .is_err()
        );
        assert!(
            ResponseBuilder::new(&invite, 200)
                .body(bad, &b""[..])
                .build()
                .is_err()
        );
    }
    assert_eq!(
        bye().header("X Y", "a").build(),
        Err(Refused::NotAToken("a header field's name"))
    );
    assert_eq!(
        bye().header("l", "5").build(),
        Err(Refused::Owned("Content-Length"))
    );
    assert_eq!(
        RequestBuilder::new(Method::Bye, "sip:h").build(),
        Err(Refused::Missing("Via"))
    );
    let large = bye().body("a/b", vec![0; limits::SIP_MESSAGE_BYTES_MAX]);
    assert_eq!(large.build(), Err(Refused::TooLarge));
}

#[test]
fn ack_and_cancel_repeat_the_invite() {
    let invite = request("SIP/2.0/UDP h;branch=z9hG4bK1,SIP/2.0/UDP g;branch=z9hG4bK2");
    let busy = ResponseBuilder::new(&invite, 486)
        .to_tag("b")
        .build()
        .unwrap();
    let busy = Message::parse(busy).unwrap();
    let ack = Message::parse(ack_of(&invite, &busy).build().unwrap()).unwrap();
    assert_eq!(
        (ack.method(), ack.cseq_number(), ack.to_tag()),
        (&Method::Ack, 7, Some("b"))
    );
    assert_eq!(
        ack.headers(HeaderName::Via).collect::<Vec<_>>(),
        ["SIP/2.0/UDP h;branch=z9hG4bK1"]
    );
    let cancel = Message::parse(cancel_of(&invite).build().unwrap()).unwrap();
    assert_eq!((cancel.method(), cancel.to_tag()), (&Method::Cancel, None));
    assert_eq!(cancel.branch(), Some("z9hG4bK1"));
}
