//! Goal: no input costs more than its length. Method: what is counted is bytes looked at, not time:
//! each scanner of this room counts what it passes, and a message may be passed a fixed number of
//! times, however many semicolons, routes, quotes, folds or commas it has.

use super::scan::work;
use super::{HeaderName, Message, NameAddr, ResponseBuilder, Via};

/// How often a byte may be looked at while a message is read, its lists are walked and it is
/// answered. A plain INVITE needs about ten.
const LOOKS_MAX: usize = 40;

const HEAD: &str = "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:b@h>\r\n\
    From: <sip:a@h>;tag=1\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";

fn look(message: &Message) {
    for field in message.fields() {
        for value in message.values(field.name).take(1) {
            let _ = (Via::parse(value).is_ok(), NameAddr::parse(value).is_ok());
        }
    }
    let _ = (
        message.values(HeaderName::Route).count(),
        message.values(HeaderName::RecordRoute).count(),
        message.contact(),
        message.require().count(),
        message.top_via().is_ok(),
        message.max_forwards(),
        message.expires(),
    );
    let source = "192.0.2.7:5060".parse().unwrap();
    let response = ResponseBuilder::new(message, 400)
        .source(source)
        .to_tag("x");
    let _ = response.with_record_route().build();
}

/// How often each byte of `text` is looked at.
fn looks(text: &str) -> usize {
    let ((), work) = work::of(|| match Message::parse(text.to_owned().into()) {
        Ok(message) => look(&message),
        Err(malformed) => {
            if let Some(partial) = malformed.partial {
                look(&partial);
            }
        }
    });
    work / text.len()
}

fn lines(line: &str, times: usize) -> String {
    format!("{HEAD}{}\r\n", line.repeat(times))
}

/// Values, parameters and routes without end.
fn lists() -> Vec<(&'static str, String)> {
    vec![
        (
            "semicolons in the Request-URI",
            format!("INVITE sip:h{} SIP/2.0\r\n\r\n", ";".repeat(60_000)),
        ),
        (
            "semicolons in From",
            HEAD.replace(";tag=1", &";".repeat(8_000)) + "\r\n",
        ),
        (
            "parameters in Via",
            HEAD.replace(";branch", &format!("{};branch", ";a=b".repeat(2_000))) + "\r\n",
        ),
        (
            "parameters in Contact",
            format!(
                "{HEAD}Contact: <sip:h{}>{}\r\n\r\n",
                ";a".repeat(2_000),
                ";b".repeat(2_000)
            ),
        ),
        (
            "routes on one line",
            format!("{HEAD}Route: {}\r\n\r\n", "<sip:p;lr>,".repeat(740)),
        ),
        (
            "routes on many lines",
            lines("Route: <sip:p;lr>,<sip:q;lr>\r\n", 2_000),
        ),
        (
            "Vias",
            lines(
                "Via: SIP/2.0/UDP h;branch=z9hG4bK2,SIP/2.0/UDP i\r\n",
                1_200,
            ),
        ),
        ("quotes", format!("{HEAD}X: {}\r\n\r\n", "\"".repeat(8_000))),
        (
            "open quotes and brackets",
            lines(&format!("Route: {}\r\n", "\"<,".repeat(2_700)), 7),
        ),
        (
            "escapes",
            format!(
                "{HEAD}Contact: \"{}\" <sip:h>\r\n\r\n",
                "\\\"".repeat(4_000)
            ),
        ),
        (
            "commas",
            format!("{HEAD}Require: {}\r\n\r\n", ",".repeat(8_000)),
        ),
    ]
}

/// Quotes, folds and what is no text.
fn characters() -> Vec<(&'static str, String)> {
    vec![
        (
            "tokens",
            format!("{HEAD}Require: {}\r\n\r\n", "a,".repeat(4_000)),
        ),
        ("folds", lines("X:\r\n ", 12_000)),
        ("short fields", lines("Y: a\r\n", 10_000)),
        ("no colons", lines("yyyyyyyyyyyyyyyyyyyy\r\n", 2_900)),
        ("line ends", "\r\n".repeat(32_000)),
        ("returns", "\r".repeat(65_000)),
        (
            "line feeds",
            format!("{HEAD}{}\r\n\r\n", "\n".repeat(60_000)),
        ),
        ("NULs", format!("{HEAD}X: {}\r\n\r\n", "\0".repeat(8_000))),
        (
            "no UTF-8",
            format!("{HEAD}X: {}\r\n\r\n", "\u{fc}".repeat(4_000)),
        ),
        (
            "white space",
            format!("{HEAD}X:{}\r\n\r\n", " \t".repeat(30_000)),
        ),
        (
            "at signs",
            format!("INVITE sip:{} SIP/2.0\r\n\r\n", "a@".repeat(30_000)),
        ),
    ]
}

#[test]
fn hostile_messages_are_looked_at_as_often_as_plain_ones() {
    let plain = looks(&format!("{HEAD}\r\n"));
    assert!(plain <= LOOKS_MAX, "a plain one: {plain}");
    for (what, text) in lists().into_iter().chain(characters()) {
        let looks = looks(&text);
        assert!(looks <= LOOKS_MAX, "{what}: {looks} looks at each byte");
    }
}
