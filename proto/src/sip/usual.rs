//! What most values look like, read in one look at each byte: no white space but where everybody
//! writes it, no escapes, no IPv6 address, no password, one Via a field. Nothing here refuses
//! anything: no value means that the readers of `header` and `uri` have to decide.
//!
//! May touch: `scan`, the spans of `message`. Must not know: what a field is for. RFC 3261 25.1.

use super::header;
use super::message::TopVia;
use super::scan::{ByteSet, DIGITS, Span, TOKEN, byte_set};
use super::uri::{NAME, USER};

/// A value that is being read, and how far.
pub(super) struct Usual<'a> {
    head: &'a [u8],
    at: usize,
    end: usize,
}

/// What may stand in a parameter's value and means nothing there, nor in a list.
const VALUE: ByteSet = byte_set!(is_value_byte);

const fn is_value_byte(byte: u8) -> bool {
    header::is_plain_byte(byte) && byte != b','
}

/// What may stand in a URI behind its host, as long as it has no headers.
const TAIL: ByteSet = byte_set!(is_tail_byte);

const fn is_tail_byte(byte: u8) -> bool {
    super::uri::is_user_byte(byte) && byte != b'?' || byte == b':'
}

/// What may stand in a display name without quotes.
const DISPLAY: ByteSet = byte_set!(is_display_byte);

const fn is_display_byte(byte: u8) -> bool {
    !matches!(byte, b',' | b';' | b'"' | b'<' | b'>')
}

/// What may stand in one with quotes and means nothing.
const QUOTED: ByteSet = byte_set!(is_quoted_byte);

const fn is_quoted_byte(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\')
}

impl<'a> Usual<'a> {
    /// What lies at `value` in `head`.
    #[inline]
    pub(super) fn new(head: &'a [u8], value: Span) -> Self {
        let value = value.range();
        Self {
            head: head.get(..value.end).unwrap_or_default(),
            at: value.start,
            end: value.end,
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.head.get(self.at).copied()
    }

    /// Whether all has been read.
    #[inline]
    pub(super) const fn is_done(&self) -> bool {
        self.at == self.end
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at = self.at.wrapping_add(usize::from(is));
        is
    }

    #[inline]
    fn run(&mut self, set: &ByteSet) -> Span {
        let from = self.at;
        let rest = self.head.get(from..).unwrap_or_default();
        self.at = from.wrapping_add(set.span(rest));
        Span::new(from..self.at)
    }

    /// The same, of at least one byte.
    #[inline]
    fn some(&mut self, set: &ByteSet) -> Option<Span> {
        Some(self.run(set)).filter(|span| !span.is_empty())
    }

    #[inline]
    fn bytes(&self, span: Span) -> &'a [u8] {
        self.head.get(span.range()).unwrap_or_default()
    }

    #[inline]
    fn is(&self, span: Span, name: &[u8]) -> bool {
        let text = self.bytes(span);
        text == name || text.eq_ignore_ascii_case(name)
    }

    /// A number that fits.
    #[inline]
    fn number(&mut self) -> Option<u32> {
        let digits = self.some(&DIGITS)?;
        let step = |sum: u32, digit: &u8| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            sum.wrapping_mul(10).wrapping_add(digit)
        };
        let digits = self.bytes(digits);
        (digits.len() < 10).then(|| digits.iter().fold(0, step))
    }

    /// `host[:port]`, the host no IPv6 address.
    #[inline]
    fn host(&mut self) -> Option<(Span, Option<u16>)> {
        let host = self.some(&NAME)?;
        if !self.eat(b':') {
            return Some((host, None));
        }
        let port = u16::try_from(self.number()?).ok()?;
        Some((host, Some(port)))
    }

    /// One parameter behind its semicolon.
    #[inline]
    fn param(&mut self) -> Option<(Span, Option<Span>)> {
        let name = self.some(&TOKEN)?;
        let value = self.eat(b'=').then(|| self.run(&VALUE));
        Some((name, value))
    }

    /// RFC 3261 20.42.
    pub(super) fn via(mut self) -> Option<TopVia> {
        let raw = Span::new(self.at..self.end);
        self.bytes(raw).strip_prefix(b"SIP/2.0/")?;
        self.at = self.at.wrapping_add(8);
        let transport = self.some(&TOKEN)?;
        if !self.eat(b' ') {
            return None;
        }
        let (host, port) = self.host()?;
        let mut via = TopVia {
            raw,
            transport,
            host,
            params: Span::new(self.at..self.end),
            branch: None,
            received: None,
            maddr: None,
            port,
            rport: None,
        };
        while !self.is_done() {
            if !self.eat(b';') {
                return None;
            }
            let (name, value) = self.param()?;
            match name.len() {
                6 if self.is(name, b"branch") => via.branch = via.branch.or(value),
                8 if self.is(name, b"received") => via.received = via.received.or(value),
                5 if self.is(name, b"maddr") => via.maddr = via.maddr.or(value),
                5 if self.is(name, b"rport") => {
                    let text = value.map(|value| self.bytes(value));
                    let text = text.and_then(|text| std::str::from_utf8(text).ok());
                    let port = text.and_then(|text| text.parse().ok());
                    via.rport = via.rport.or(Some(port));
                }
                _ => {}
            }
        }
        Some(via)
    }

    /// A `sip:` URI without headers; what follows it is left.
    pub(super) fn uri(&mut self) -> Option<()> {
        let rest = self.head.get(self.at..)?;
        rest.strip_prefix(b"sip:")?;
        self.at = self.at.wrapping_add(4);
        let start = self.at;
        if self.run(&USER).is_empty() || !self.eat(b'@') {
            self.at = start;
        }
        self.host()?;
        if self.peek() == Some(b';') {
            self.run(&TAIL);
        }
        Some(())
    }

    /// An address in angle brackets, and its tag; what follows its last parameter is left.
    pub(super) fn address(&mut self) -> Option<Option<Span>> {
        match self.peek()? {
            b'"' => {
                self.at = self.at.wrapping_add(1);
                self.run(&QUOTED);
                if !self.eat(b'"') {
                    return None;
                }
                self.eat(b' ');
            }
            b'<' => {}
            _ => {
                self.run(&DISPLAY);
            }
        }
        if !self.eat(b'<') {
            return None;
        }
        self.uri()?;
        if !self.eat(b'>') {
            return None;
        }
        let mut tag = None;
        while self.eat(b';') {
            let (name, value) = self.param()?;
            if name.len() == 3 && self.is(name, b"tag") {
                tag = tag.or(Some(value.filter(|value| !value.is_empty())?));
            }
        }
        Some(tag)
    }

    /// RFC 3261 20.16: the number, and where the method's name lies.
    pub(super) fn cseq(mut self) -> Option<(u32, &'a [u8])> {
        let number = self.number()?;
        if !self.eat(b' ') {
            return None;
        }
        let method = self.some(&TOKEN)?;
        self.is_done().then(|| (number, self.bytes(method)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{CSeq, NameAddr, Via};
    use super::super::scan::ListValues;
    use super::super::uri::Uri;
    use super::*;

    /// What values are made of: what is usual, and what makes the readers part ways.
    const PIECES: [&str; 46] = [
        "SIP/2.0/UDP",
        "SIP/2.0/",
        "sip/2.0/tcp",
        " ",
        " ",
        "  ",
        "\t",
        "host",
        "192.0.2.1",
        "a.b.",
        "-",
        "[2001:db8::1]",
        ":",
        ":5060",
        ":99999",
        ":0",
        ";",
        ";",
        "branch",
        "=",
        "z9hG4bK-1",
        "rport",
        "rport=",
        "received",
        "maddr",
        "tag",
        ";tag=",
        "TAG",
        "sip:",
        "sip:",
        "sips:",
        "tel:+1",
        "user",
        "@",
        "us er",
        ":pass",
        "%41",
        "%4",
        "<",
        ">",
        "\"",
        "\\",
        ",",
        "?a=b",
        "é",
        "*",
    ];

    /// Whole values that the pieces are put into, so that many come to their end.
    const VALUES: [&str; 8] = [
        "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1;rport",
        "SIP/2.0/TLS host;received=192.0.2.9;rport=5;branch=z9hG4bK",
        "\"A. Person\" <sip:user@host:5062;transport=udp>;tag=1",
        "Person <sip:host>;tag=x;other=y",
        "<sip:user@192.0.2.1>",
        "sip:user@host;lr",
        "4711 INVITE",
        "1 BYE",
    ];

    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap_or_default()
    }

    fn made(state: &mut u64) -> String {
        let mut text = String::new();
        let whole = !next(state).is_multiple_of(4);
        if whole {
            text.push_str(VALUES[next(state) % VALUES.len()]);
        }
        for _ in 0..next(state) % if whole { 3 } else { 12 } {
            let piece = PIECES[next(state) % PIECES.len()];
            let at = next(state) % text.len().saturating_add(1);
            let end = at.saturating_add(next(state) % 3).min(text.len());
            if whole && text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, piece);
            } else {
                text.push_str(piece);
            }
        }
        super::super::scan::trim(&text).to_owned()
    }

    /// That a usual reader says what the general one does, or nothing; how often each said it.
    fn agree(text: &str, said: &mut [usize; 4]) {
        let whole = Span::new(0..text.len());
        let usual = || Usual::new(text.as_bytes(), whole);
        let one = || ListValues::new(text).eq([text]);
        if let Some(via) = usual().via() {
            said[0] += 1;
            let (read, whole) = Via::read(text).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert_eq!(via.on(text), read, "{text}");
            assert!(whole, "{text}");
            assert!(one(), "{text}");
        }
        let mut address = usual();
        if let Some(tag) = address.address().filter(|_| address.is_done()) {
            said[1] += 1;
            let read = NameAddr::read(text).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            let tag = tag.and_then(|tag| text.get(tag.range()));
            assert_eq!(tag, read.1, "{text}");
            assert!(one(), "{text}");
        }
        let mut uri = usual();
        if uri.uri().is_some() && uri.is_done() {
            said[2] += 1;
            let read = Uri::parse(text).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert!(!read.has_headers(), "{text}");
        }
        if let Some((number, method)) = usual().cseq() {
            said[3] += 1;
            let read = CSeq::parse(text).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert_eq!(
                (number, method),
                (read.number, read.method.as_str().as_bytes())
            );
        }
    }

    #[test]
    fn a_usual_reader_says_what_the_general_one_does() {
        let (mut state, mut said) = (0x5eed_0001_u64, [0; 4]);
        for _ in 0..300_000 {
            agree(&made(&mut state), &mut said);
        }
        assert!(said.iter().all(|count| *count > 5_000), "{said:?}");
    }
}
