//! Goal: no input makes the parser, its views or the builders panic, and what is accepted can be
//! answered and read again. Method: seeded mutations of good and bad messages.

use bytes::Bytes;
use callring_proto::base::rng;
use callring_proto::sip::{HeaderName, Message, NameAddr, ResponseBuilder, Uri, Via};
use rand::RngExt as _;

use super::sip_torture::rows;

/// Pieces that parsers trip over.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\r\n ",
    b"\n",
    b"\r",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b":",
    b"@",
    b"[",
    b"]",
    b"?",
    b"=",
    b"%",
    b"\xff",
    b"\xc3\xa4",
    b"\r\nVia: ",
    b";rport;received=",
    b"99999999999",
    b"\r\n\r\n",
];

fn mutate(bytes: &mut Vec<u8>, rng: &mut rng::Rng) {
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        let to = (at + rng.random_range(0..12)).min(bytes.len());
        match rng.random_range(0..5) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            2 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(to..to, again);
            }
            3 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                bytes.splice(at..to, piece.iter().copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
        }
    }
}

/// Looks at a message in every way there is.
fn exercise(message: &Message, whole: bool) {
    for field in message.fields() {
        assert!(!field.value.contains(['\r', '\n']));
        for value in message.values(field.name).take(4) {
            let _ = Via::parse(value);
            if let Ok(address) = NameAddr::parse(value) {
                let _ = (
                    address.display_text(),
                    address.tag(),
                    address.uri.user_text(),
                );
                assert!(address.uri.is_equivalent(&address.uri));
            }
        }
    }
    let _ = (
        message.contact(),
        message.expires(),
        message.max_forwards(),
        message.require().count(),
    );
    let _ = (
        message.content_type(),
        message.body_bytes(),
        format!("{message:?}"),
    );
    if let Ok(uri) = Uri::parse(message.request_uri()) {
        let _ = (uri.params().count(), uri.headers().count(), uri.host.ip());
    }
    let _ = (rsip::Uri::try_from(
        &message.uri().unwrap_or(Uri::parse("sip:h").unwrap()),
    ),);
    if !message.is_request() {
        return;
    }
    let source = "192.0.2.77:6000".parse().unwrap();
    let response = ResponseBuilder::new(message, 480)
        .source(source)
        .to_tag("x")
        .build();
    if whole {
        let response = Message::parse(response.unwrap()).unwrap();
        assert_eq!(response.branch(), message.branch());
        assert_eq!(
            response.header(HeaderName::CallId),
            message.header(HeaderName::CallId)
        );
    }
}

#[test]
fn mutated_messages_never_panic() {
    let mut rng = rng::from_seed([7; 32]);
    let seeds: Vec<Bytes> = rows().into_iter().map(|row| row.bytes).collect();
    let (mut whole, mut partial) = (0, 0);
    for round in 0..200_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        mutate(&mut bytes, &mut rng);
        match Message::parse(bytes.into()) {
            Ok(message) => {
                whole += 1;
                exercise(&message, true);
                assert_eq!(
                    Message::parse(message.bytes().clone()).as_ref(),
                    Ok(&message)
                );
            }
            Err(malformed) => {
                assert!((400..600).contains(&malformed.status));
                if let Some(message) = malformed.partial {
                    partial += 1;
                    exercise(&message, false);
                }
            }
        }
    }
    // The mutations stay near what is valid, so both ways are well trodden.
    assert!(whole > 20_000 && partial > 20_000, "{whole} {partial}");
}

#[test]
fn hostile_messages_cost_no_more_than_their_length() {
    let head = "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:b@h>\r\n\
                From: <sip:a@h>;tag=1\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";
    let texts = [
        format!("INVITE sip:h{} SIP/2.0\r\n\r\n", ";".repeat(60_000)),
        format!("{head}Route: {}\r\n\r\n", "<sip:p;lr>,".repeat(740)),
        format!("{head}X: {}\r\n\r\n", "\"".repeat(8_000)),
        format!(
            "{head}{}\r\n",
            format!("Route: {}\r\n", "\"<,".repeat(2_700)).repeat(6)
        ),
        format!("{head}Contact: <sip:h{}>\r\n\r\n", ";a".repeat(4_000)),
        format!("{head}{}\r\n", "X:\r\n ".repeat(10_000)),
        format!("{head}{}\r\n\r\n", "Y: a\r\n".repeat(10_000)),
        "\r\n".repeat(32_000),
        "\r".repeat(65_000),
    ];
    // A quadratic step over 60 kB would make this take minutes.
    for _ in 0..20 {
        for text in &texts {
            if let Ok(message) = Message::parse(text.clone().into()) {
                exercise(&message, true);
            }
        }
    }
}
