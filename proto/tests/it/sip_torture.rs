//! Goal: the messages of RFC 4475 and RFC 5118 get what `torture/index.tsv` says. Method: one row,
//! one message, one check.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use callring_proto::sip::header::with_tag;
use callring_proto::sip::{HeaderName, Malformed, Message, ResponseBuilder, Scheme};

/// What the index says of one message.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
    pub(crate) kind: String,
    method_or_code: String,
    via_transport: String,
    via_sent_by: String,
    parse: String,
    pub(crate) expect_uas: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

// The wall against IO is the core's; a test may read its data.
#[allow(clippy::disallowed_methods)]
fn read(path: impl AsRef<Path>) -> Bytes {
    Bytes::from(std::fs::read(folder().join(path)).unwrap())
}

pub(crate) fn rows() -> Vec<Row> {
    let index = String::from_utf8(read("index.tsv").to_vec()).unwrap();
    let mut lines = index
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows = lines.map(|line| {
        let column =
            |name: &str| line[names.iter().position(|known| *known == name).unwrap()].to_owned();
        Row {
            name: column("name"),
            bytes: read(column("file")),
            kind: column("kind"),
            method_or_code: column("method_or_code"),
            via_transport: column("via_transport"),
            via_sent_by: column("via_sentby"),
            parse: column("parse"),
            expect_uas: column("expect_uas"),
        }
    });
    rows.collect()
}

#[test]
fn every_message_of_the_index_gets_what_it_says() {
    let rows = rows();
    assert_eq!(rows.len(), 62);
    for row in rows {
        let outcome = Message::parse(row.bytes.clone());
        match (&outcome, row.parse.as_str()) {
            (Ok(message), "accept" | "either") => accepted(&row, message),
            // A message that is well formed, but not whole: the UAS would answer 400 a step later.
            (Err(malformed), "accept") => {
                assert_eq!(row.expect_uas, "400", "{}: {malformed}", row.name);
                refused(&row, malformed);
            }
            (Err(malformed), "reject" | "either") => refused(&row, malformed),
            _ => panic!("{}: {outcome:?}", row.name),
        }
    }
}

/// What lies between our reading and the wire: a message is kept as it came, but for folds, which
/// are white space of the same length, bytes that are no text, and what lies beyond the body.
#[test]
fn every_accepted_message_is_kept_byte_for_byte() {
    for row in rows() {
        let Ok(message) = Message::parse(row.bytes.clone()) else {
            continue;
        };
        let folded: Vec<u8> = row.bytes.to_vec();
        let kept = message.bytes();
        let head = kept.len() - message.body().len();
        assert_eq!(message.body(), &folded[head..kept.len()], "{}", row.name);
        for (at, (kept, came)) in kept.iter().zip(&folded).enumerate().take(head) {
            let fold = || {
                let line_end = folded[at..].starts_with(b"\r\n") || folded[at] == b'\n';
                let next = folded[at..]
                    .iter()
                    .find(|byte| !matches!(byte, b'\r' | b'\n'));
                line_end && matches!(next, Some(b' ' | b'\t'))
            };
            assert!(
                kept == came || *kept == b' ' && fold(),
                "{} at {at}: {kept} for {came}",
                row.name
            );
        }
    }
}

fn accepted(row: &Row, message: &Message) {
    let name = &row.name;
    assert_eq!(message.is_request(), row.kind == "request", "{name}");
    match message.status() {
        Some(status) => assert_eq!(status.to_string(), row.method_or_code, "{name}"),
        None => assert_eq!(message.method().as_str(), row.method_or_code, "{name}"),
    }
    let via = message.top_via().unwrap();
    let port = via.port.map(|port| format!(":{port}")).unwrap_or_default();
    assert_eq!(via.transport, row.via_transport, "{name}");
    assert_eq!(format!("{}{port}", via.host), row.via_sent_by, "{name}");
    assert_eq!(
        Message::parse(message.bytes().clone()).as_ref(),
        Ok(message),
        "{name}"
    );
    if message.is_request() {
        answer(message, 200, name);
    }
}

fn refused(row: &Row, malformed: &Malformed) {
    let expected: Vec<_> = row.expect_uas.split('|').collect();
    match &malformed.partial {
        Some(partial) => {
            let status = malformed.status.to_string();
            assert!(
                expected.contains(&status.as_str()),
                "{}: {malformed}",
                row.name
            );
            answer(partial, malformed.status, &row.name);
        }
        None => assert!(expected.contains(&"drop"), "{}: {malformed}", row.name),
    }
}

/// Each request that can be answered gets an answer that can be read, or at least sent.
fn answer(request: &Message, status: u16, name: &str) {
    let source: SocketAddr = "198.51.100.7:4000".parse().unwrap();
    let built = ResponseBuilder::new(request, status)
        .source(source)
        .to_tag("mine")
        .build();
    let response = match Message::parse(built.unwrap()) {
        Ok(response) => response,
        // What could not be read in the request can't be read in its copy.
        Err(malformed) => return assert!(status >= 400, "{name}: {malformed}"),
    };
    assert_eq!(response.status(), Some(status), "{name}");
    assert_eq!(response.call_id(), request.call_id(), "{name}");
    assert_eq!(response.from_tag(), request.from_tag(), "{name}");
    assert_eq!(
        response.to_tag(),
        request.to_tag().or(Some("mine")),
        "{name}"
    );
    assert_eq!(response.branch(), request.branch(), "{name}");
    let (vias, copies) = (
        request.values(HeaderName::Via),
        response.values(HeaderName::Via),
    );
    assert!(copies.skip(1).eq(vias.skip(1)), "{name}");
    let top = response.top_via().unwrap();
    assert_eq!(top.received_ip(), Some(source.ip()), "{name}");
}

fn message(file: &str) -> Message {
    Message::parse(read(file)).unwrap()
}

#[test]
fn a_short_tortuous_invite_is_read_to_its_last_parameter() {
    let invite = message("rfc4475/wsinv.dat");
    assert_eq!((invite.cseq_number(), invite.max_forwards()), (9, Some(68)));
    assert_eq!(
        (invite.to_tag(), invite.from_tag()),
        (Some("1918181833n"), Some("98asjd8"))
    );
    assert_eq!(
        invite.from().unwrap().display_text().unwrap(),
        "J Rosenberg \\\""
    );
    assert_eq!(invite.branch(), Some("390skdjuw"));
    assert_eq!(invite.header(HeaderName::Subject), Some(""));
    let folded = invite.header_named("newfangledheader").unwrap();
    let words: Vec<_> = folded.split_whitespace().collect();
    assert_eq!(
        words,
        ["newfangled", "value", "continued", "newfangled", "value"]
    );
    assert_eq!(
        invite.header_named("UnknownHeaderWithUnusualValue"),
        Some(";;,,;;,;")
    );
    let branches: Vec<_> = invite
        .values(HeaderName::Via)
        .map(|via| {
            callring_proto::sip::Via::parse(via)
                .unwrap()
                .branch
                .unwrap()
        })
        .collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    let contact = invite.contact().unwrap();
    assert_eq!(contact.display_text().unwrap(), "Quoted string \"\"");
    assert_eq!(contact.params.value("q"), Some("0.33"));
    assert_eq!(contact.params.value("newparam"), Some("newvalue"));
    assert_eq!(invite.body().len(), 150);
}

#[test]
fn unusual_messages_keep_their_meaning() {
    let dblreq = message("rfc4475/dblreq.dat");
    assert_eq!(dblreq.body(), b"");
    let escnull = message("rfc4475/escnull.dat");
    assert_eq!(
        escnull.to().unwrap().uri.user_text().unwrap(),
        "null-\0-null"
    );
    assert_eq!(escnull.values(HeaderName::Contact).count(), 2);
    let semiuri = message("rfc4475/semiuri.dat");
    assert_eq!(
        semiuri.uri().unwrap().user_text().unwrap(),
        "user;par=u@example.net"
    );
    let cparam01 = message("rfc4475/cparam01.dat");
    assert!(
        cparam01
            .contact()
            .unwrap()
            .params
            .get("unknownparam")
            .is_some()
    );
    let cparam02 = message("rfc4475/cparam02.dat");
    assert!(
        cparam02
            .contact()
            .unwrap()
            .uri
            .param("unknownparam")
            .is_some()
    );
    let unreason = message("rfc4475/unreason.dat");
    assert!(unreason.reason().starts_with("= 2**3 * 5**2 "));
    assert_eq!(message("rfc4475/noreason.dat").reason(), "");
    let intmeth = message("rfc4475/intmeth.dat");
    assert_eq!(
        intmeth.to().unwrap().display_text().unwrap(),
        "BEL:\u{7} NUL:\0 DEL:\u{7f}"
    );
    let novelsc = message("rfc4475/novelsc.dat");
    assert_eq!(novelsc.uri().unwrap().scheme, Scheme::Other("soap.beep"));
    let bext01 = message("rfc4475/bext01.dat");
    assert_eq!(
        bext01.require().collect::<Vec<_>>(),
        ["nothingSupportsThis", "nothingSupportsThisEither"]
    );
    assert!(
        !message("rfc4475/badbranch.dat")
            .top_via()
            .unwrap()
            .has_unique_branch()
    );
}

#[test]
fn the_wire_form_of_baddn_is_refused_like_its_archive_form() {
    let outcome = Message::parse(read("rfc4475/baddn_wire.dat"));
    assert_eq!(outcome.unwrap_err().status, 400);
}

#[test]
fn bounds_and_versions_have_their_status() {
    let build = |uri: &str, extra: &str| {
        format!(
            "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\n\
             To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n{extra}\r\n"
        )
    };
    #[track_caller]
    fn check(text: String, status: u16, answered: bool) {
        let malformed = Message::parse(text.into()).unwrap_err();
        assert_eq!(
            (malformed.status, malformed.partial.is_some()),
            (status, answered)
        );
        if let Some(partial) = malformed.partial {
            answer(&partial, status, malformed.reason);
        }
    }
    assert!(Message::parse(build("sip:h", "").into()).is_ok());
    assert!(Message::parse(format!("\r\n\r\n{}", build("sip:h", "")).into()).is_ok());
    check(build(&format!("sip:{}", "a".repeat(2_100)), ""), 414, true);
    check(
        build("sip:h", "").replace("2.0\r\nVia", "3.0\r\nVia"),
        505,
        true,
    );
    check(
        build("sip:h", &format!("X: {}\r\n", "a".repeat(8_193))),
        400,
        true,
    );
    check(build("sip:h", &"X: a\r\n".repeat(300)), 400, true);
    check(
        build("sip:h", &"Via: SIP/2.0/UDP g\r\n".repeat(72)),
        400,
        true,
    );
    check(
        build("sip:h", &"Route: <sip:p;lr>\r\n".repeat(73)),
        400,
        true,
    );
    check(build("sip:h", "") + &"b".repeat(65_535), 513, true);
    check(build("sip:h", "Subject: a\nb\r\n"), 400, true);
    check(build("sip:h", "Subject: a\0b\r\n"), 400, true);
    check(build("sip:h", "Content-Length: 5\r\n"), 400, true);
    check(build("sip:h", "Content-Length: five\r\n"), 400, true);
    check(build("sip:h", "To: <sip:c@h>\r\n"), 400, true);
    check(build("sip:h", "no colon\r\n"), 400, true);
    check(
        build("sip:h", "To: <sip:c@h>\r\n").replace("OPTIONS", "ACK"),
        400,
        false,
    );
    check(
        build("sip:h", "").replace("OPTIONS sip", "ACK sip"),
        400,
        false,
    );
    check(build("sip:h", "").replace("Via", "Vib"), 400, false);
    for garbage in [
        "",
        "\r\n",
        "\r\n\r\n",
        "hello",
        "\0\0\0\0",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let malformed = Message::parse(garbage.into()).unwrap_err();
        assert!(malformed.partial.is_none(), "{garbage:?}");
    }
    assert!(
        Message::parse("\r\n\r\n".into())
            .unwrap_err()
            .is_keep_alive()
    );
}

#[test]
fn bytes_that_are_no_text_do_not_lose_the_call() {
    let mut bytes = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n".to_vec();
    bytes.extend(b"From: \"J\xf6rg\" <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n");
    bytes.extend(b"Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n\xff\xfe");
    let options = Message::parse(bytes.into()).unwrap();
    assert_eq!(options.from().unwrap().display_text().unwrap(), "J?rg");
    assert_eq!(options.body(), b"\xff\xfe");
    assert_eq!(
        with_tag(options.header(HeaderName::To).unwrap(), "9"),
        "<sip:b@h>;tag=9"
    );
}
