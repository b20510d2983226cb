//! Reading and answering SIP beside rsip, in the same run: `cargo bench -p callring-proto`.
//!
//! For each message the two take turns, and the best of many rounds counts, so that a busy machine
//! slows both or neither. What is compared: rsip's parse alone against our parse *and* the fields
//! of the hot path (transaction, dialog, order); rsip's response as its README builds one, and its
//! text, against ours. The last line of each says the ratio.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use callring_proto::sip::{Message, ResponseBuilder};
use rsip::headers::ToTypedHeader as _;
use rsip::prelude::HeadersExt as _;

const ROUNDS: usize = 60;
const TURNS: usize = 2_000;

const SDP: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.17\r\ns=-\r\n\
    c=IN IP4 192.0.2.17\r\nt=0 0\r\nm=audio 49172 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
    a=sendrecv\r\n";

const FIELDS: &str = "Via: SIP/2.0/UDP 192.0.2.17:5060;rport;\
    branch=z9hG4bK-524287-1---c0a1f9d2e77b\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice Example\" <sip:alice@example.com>;tag=9fxced76sl-4411\r\n\
    To: <sip:+4930123456@example.com>TAG\r\n\
    Call-ID: 3848276298220188511@192.0.2.17\r\n\
    CSeq: 314159 METHOD\r\n";

const MORE: &str = "Contact: <sip:alice@192.0.2.17:5060>\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, UPDATE\r\n\
    Supported: replaces, timer\r\n\
    User-Agent: Example Softphone 5.6.1 (build 20261103)\r\n\
    P-Asserted-Identity: \"Alice Example\" <sip:+4930987654@example.com>\r\n\
    Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n\
    Content-Type: application/sdp\r\n";

fn message(line: &str, method: &str, body: bool) -> String {
    let tag = if method == "INVITE" && line.starts_with("INVITE") {
        ""
    } else {
        ";tag=n4mejo2cbccgk7l9"
    };
    let fields = FIELDS.replace("METHOD", method).replace("TAG", tag);
    let (more, body) = if body { (MORE, SDP) } else { ("", "") };
    let length = body.len();
    format!("{line}\r\n{fields}{more}Content-Length: {length}\r\n\r\n{body}")
}

fn ours(bytes: &Bytes) -> usize {
    let message = Message::parse(bytes.clone()).expect("it reads");
    let via = message.top_via().expect("a Via");
    let hot = (
        message.branch(),
        message.call_id(),
        message.from_tag(),
        message.to_tag(),
        message.cseq_number(),
        via.host.as_str(),
        via.port,
        message.status(),
    );
    black_box(hot);
    message.body().len()
}

fn rsip_parse(bytes: &[u8]) -> usize {
    rsip::SipMessage::try_from(bytes)
        .map(|message| black_box(&message).body().len())
        .expect("it reads")
}

fn our_response(invite: &Message) -> usize {
    let response = ResponseBuilder::new(invite, 200)
        .source("192.0.2.17:5060".parse().expect("an address"))
        .to_tag("n4mejo2cbccgk7l9")
        .contact("<sip:192.0.2.1:5060;transport=udp>")
        .body("application/sdp", SDP.as_bytes())
        .build();
    black_box(response.expect("it can be built")).len()
}

/// As rsip's README has it.
fn rsip_response(invite: &rsip::Request) -> usize {
    let mut headers = rsip::Headers::default();
    headers.push(invite.via_header().expect("Via").clone().into());
    headers.push(invite.from_header().expect("From").clone().into());
    let to = invite.to_header().expect("To").typed().expect("To");
    headers.push(to.with_tag("n4mejo2cbccgk7l9".into()).into());
    headers.push(invite.call_id_header().expect("Call-ID").clone().into());
    headers.push(invite.cseq_header().expect("CSeq").clone().into());
    let contact = rsip::headers::Contact::from("<sip:192.0.2.1:5060;transport=udp>");
    headers.push(contact.into());
    let kind = rsip::headers::ContentType::from("application/sdp");
    headers.push(kind.into());
    let length = rsip::headers::ContentLength::from(SDP.len().to_string());
    headers.push(length.into());
    let response = rsip::Response {
        status_code: rsip::StatusCode::OK,
        version: rsip::Version::V2,
        headers,
        body: SDP.as_bytes().to_vec(),
    };
    black_box(response.to_string()).len()
}

fn turn(work: &mut impl FnMut() -> usize) -> f64 {
    let begun = Instant::now();
    for _ in 0..TURNS {
        black_box(work());
    }
    let nanos = begun.elapsed().as_nanos();
    #[allow(clippy::cast_precision_loss)]
    let nanos = nanos as f64;
    nanos / 2_000.0
}

fn compare(what: &str, mut ours: impl FnMut() -> usize, mut theirs: impl FnMut() -> usize) {
    let (mut best, mut other) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        best = best.min(turn(&mut ours));
        other = other.min(turn(&mut theirs));
    }
    println!(
        "{what:<28} callring {best:>7.0} ns   rsip {other:>7.0} ns   ratio {:>5.1}",
        other / best
    );
}

fn main() {
    let invite = message("INVITE sip:+4930123456@example.com SIP/2.0", "INVITE", true);
    let ok = message("SIP/2.0 200 OK", "INVITE", true);
    let bye = message("BYE sip:alice@192.0.2.17:5060 SIP/2.0", "BYE", false);
    for (name, text) in [("INVITE", &invite), ("200", &ok), ("BYE", &bye)] {
        let bytes = Bytes::from(text.clone());
        let what = format!("parse {name}, {} bytes", text.len());
        compare(&what, || ours(&bytes), || rsip_parse(text.as_bytes()));
    }
    let ours = Message::parse(Bytes::from(invite.clone())).expect("it reads");
    let theirs = rsip::Request::try_from(invite.as_str()).expect("it reads");
    compare(
        "build 200 to INVITE",
        || our_response(&ours),
        || rsip_response(&theirs),
    );
}
