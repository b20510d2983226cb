//! Goal: where rsip is right, we say the same; where it is wrong, we know how. Method: both read
//! the same messages.

use callring_proto::sip::{HeaderName, Message, Method, Uri, UriBuf};
use rsip::prelude::{HeadersExt as _, ToTypedHeader as _, UntypedHeader as _};

use super::sip_torture::rows;

const INVITE: &str = "INVITE sip:bob@biloxi.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.atlanta.com:5066;branch=z9hG4bKkjshdyff\r\n\
    Max-Forwards: 70\r\n\
    To: Bob <sip:bob@biloxi.com>\r\n\
    From: Alice <sip:alice@atlanta.com>;tag=88sja8x\r\n\
    Call-ID: 987asjd97y7atg\r\n\
    CSeq: 986759 INVITE\r\n\
    Contact: <sip:alice@pc33.atlanta.com:5066>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 5\r\n\r\nv=0\r\n";

/// Compares what a peer identifies a transaction and a dialog by.
#[track_caller]
fn same(name: &str, ours: &Message, theirs: &impl rsip::message::HeadersExt) {
    assert_eq!(
        theirs.call_id_header().unwrap().value(),
        ours.call_id(),
        "{name}"
    );
    let from = theirs.from_header().unwrap().typed();
    let tag = from
        .ok()
        .and_then(|from| from.tag().map(|tag| tag.value().to_owned()));
    if tag.is_some() {
        assert_eq!(tag.as_deref(), ours.from_tag(), "{name}");
    }
    if let Ok(cseq) = theirs.cseq_header().unwrap().typed() {
        assert_eq!(cseq.seq, ours.cseq_number(), "{name}");
        assert_eq!(Method::from(cseq.method), *ours.method(), "{name}");
    }
}

#[test]
fn plain_messages_read_the_same() {
    let ours = Message::parse(INVITE.into()).unwrap();
    let theirs = rsip::Request::try_from(INVITE).unwrap();
    same("INVITE", &ours, &theirs);
    assert_eq!(
        theirs.uri,
        rsip::Uri::try_from(&ours.uri().unwrap()).unwrap()
    );
    assert_eq!(theirs.body, ours.body());
    let via = theirs.via_header().unwrap().typed().unwrap();
    let top = ours.top_via().unwrap();
    assert_eq!(via.branch().map(rsip::param::Branch::value), ours.branch());
    assert_eq!(via.uri.host_with_port.port.map(u16::from), top.port);
}

#[test]
fn the_bridge_says_what_rsip_would_have_read() {
    let ours = Message::parse(INVITE.into()).unwrap();
    let bridged = rsip::Request::try_from(&ours).unwrap();
    assert_eq!(bridged, rsip::Request::try_from(INVITE).unwrap());
    let ok = INVITE.replace("INVITE sip:bob@biloxi.com SIP/2.0", "SIP/2.0 200 OK");
    let ours = Message::parse(ok.clone().into()).unwrap();
    let bridged = rsip::Response::try_from(&ours).unwrap();
    assert_eq!(bridged, rsip::Response::try_from(ok.as_str()).unwrap());
    assert!(rsip::Request::try_from(&ours).is_err());
}

#[test]
fn torture_messages_cross_the_bridge_or_are_refused_by_name() {
    let mut crossed = 0;
    for row in rows() {
        let Ok(ours) = Message::parse(row.bytes) else {
            continue;
        };
        if let Ok(theirs) = rsip::Request::try_from(&ours) {
            crossed += 1;
            same(&row.name, &ours, &theirs);
            let vias = ours.values(HeaderName::Via).count();
            let is_via = |header: &&rsip::Header| matches!(header, rsip::Header::Via(_));
            assert_eq!(
                theirs.headers.iter().filter(is_via).count(),
                vias,
                "{}",
                row.name
            );
        }
    }
    assert!(crossed > 20, "{crossed}");
}

#[test]
fn uris_cross_both_ways() {
    for text in [
        "sip:john.doe@h",
        "sip:a:b@h:5070;transport=tcp;lr",
        "sip:[2001:db8::1]:5060",
    ] {
        let uri = Uri::parse(text).unwrap();
        let theirs = rsip::Uri::try_from(&uri).unwrap();
        let back = UriBuf::try_from(&theirs).unwrap();
        assert!(back.view().unwrap().is_equivalent(&uri), "{theirs}");
    }
    assert!(rsip::Uri::try_from(&Uri::parse("tel:+1").unwrap()).is_err());
    // rsip takes the user for a host here: why it is not the parser of the wire.
    let wrong = rsip::Uri::try_from("sip:john.doe@example.com");
    assert!(wrong.is_err() || wrong.is_ok_and(|uri| uri.auth.is_none()));
}
