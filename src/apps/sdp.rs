//! Session descriptions for an application that sends no media: an answer that accepts the first
//! audio stream as inactive and refuses the rest, and an offer of the same kind.
//!
//! RFC 8866 and RFC 3264, as far as that needs. Lines of the offer are never copied blindly: only
//! tokens and payload numbers that were checked come back.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Why an offer can't be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not begin with `v=0`, or has no stream.
    #[error("not a session description")]
    Malformed,
    /// No stream in it is audio over RTP.
    #[error("no audio stream over RTP")]
    NoAudio,
}

/// Who speaks: what goes into `o=` and `c=`.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The address named in both lines. No packet is expected there.
    pub address: IpAddr,
    /// Session id: constant for the life of a call.
    pub id: u64,
    /// Session version: rises by one when the description changes (RFC 3264 8).
    pub version: u64,
}

/// The discard port: a stream that is inactive expects nothing.
const PORT: u16 = 9;

fn head(origin: Origin) -> String {
    let family = if origin.address.is_ipv4() {
        "IP4"
    } else {
        "IP6"
    };
    format!(
        "v=0\r\no=callring {} {} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n",
        origin.id,
        origin.version,
        address = origin.address,
    )
}

/// An offer of one inactive audio stream, PCMU or PCMA.
#[must_use]
pub fn offer(origin: Origin) -> String {
    let mut text = head(origin);
    let _ = write!(
        text,
        "m=audio {PORT} RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=inactive\r\n"
    );
    text
}

/// The `o=` line of a description: it changes when the description does (RFC 3264 8). Bounded.
#[must_use]
pub fn origin_line(description: &[u8]) -> String {
    let text = String::from_utf8_lossy(description);
    let line = text.lines().find(|line| line.starts_with("o="));
    line.map(|line| line.trim_end().chars().take(128).collect())
        .unwrap_or_default()
}

/// The answer to `offer` (RFC 3264 6): as many streams, the first audio one accepted with its first
/// codec and inactive, the others refused with port 0.
///
/// # Errors
/// [`SdpError`] if the offer is none, or has no audio.
pub fn answer(offer: &[u8], origin: Origin) -> Result<String, SdpError> {
    let text = String::from_utf8_lossy(offer);
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some("v=0") {
        return Err(SdpError::Malformed);
    }
    let lines: Vec<&str> = lines.collect();
    let mut out = head(origin);
    let (mut streams, mut accepted) = (0, false);
    for (at, line) in lines.iter().enumerate() {
        let Some(media) = line.strip_prefix("m=") else {
            continue;
        };
        let stream = Stream::read(media).ok_or(SdpError::Malformed)?;
        streams += 1;
        if accepted || !stream.is_audio() {
            let _ = write!(
                out,
                "m={} 0 {} {}\r\n",
                stream.kind, stream.protocol, stream.formats
            );
            continue;
        }
        accepted = true;
        let format = stream.formats.split(' ').next().unwrap_or_default();
        let _ = write!(
            out,
            "m={} {PORT} {} {format}\r\n",
            stream.kind, stream.protocol
        );
        let attributes = lines
            .iter()
            .skip(at + 1)
            .take_while(|line| !line.starts_with("m="));
        for line in attributes {
            let map = line
                .strip_prefix("a=rtpmap:")
                .and_then(|rest| rest.split_once(' '));
            if let Some((number, codec)) = map
                && number == format
                && codec.bytes().all(|byte| byte.is_ascii_graphic())
            {
                let _ = write!(out, "a=rtpmap:{format} {codec}\r\n");
            }
        }
        out.push_str("a=inactive\r\n");
    }
    match (streams, accepted) {
        (0, _) => Err(SdpError::Malformed),
        (_, false) => Err(SdpError::NoAudio),
        (_, true) => Ok(out),
    }
}

struct Stream<'a> {
    kind: &'a str,
    protocol: &'a str,
    formats: &'a str,
    port: u16,
}

impl<'a> Stream<'a> {
    fn read(media: &'a str) -> Option<Self> {
        let (kind, rest) = media.split_once(' ')?;
        let (port, rest) = rest.split_once(' ')?;
        let (protocol, formats) = rest.split_once(' ')?;
        let port = port.split('/').next()?.parse().ok()?;
        let clean = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        };
        ([kind, protocol, formats].into_iter().all(clean) && !formats.is_empty()).then_some(Self {
            kind,
            protocol,
            formats,
            port,
        })
    }

    fn is_audio(&self) -> bool {
        self.kind == "audio" && self.protocol.starts_with("RTP/") && self.port != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            address: [192, 0, 2, 1].into(),
            id: 7,
            version: 1,
        }
    }

    fn check(streams: &str, expected: Result<&str, SdpError>) {
        let offer = format!("v=0\r\no=a 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\n{streams}");
        let answer = answer(offer.as_bytes(), origin());
        let streams = answer
            .as_ref()
            .map(|text| &text[text.find("m=").unwrap()..]);
        assert_eq!(streams.map_err(|error| *error), expected, "{streams:?}");
    }

    #[test]
    fn as_many_streams_come_back_as_were_offered() {
        check(
            "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
            Ok("m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=inactive\r\n"),
        );
        check(
            "m=video 5000 RTP/AVP 31\r\nm=audio 4000 RTP/SAVP 8\r\nm=audio 4002 RTP/AVP 0\r\n",
            Ok(
                "m=video 0 RTP/AVP 31\r\nm=audio 9 RTP/SAVP 8\r\na=inactive\r\nm=audio 0 RTP/AVP 0\r\n",
            ),
        );
    }

    #[test]
    fn what_is_no_offer_is_refused() {
        check("", Err(SdpError::Malformed));
        check("m=audio\r\n", Err(SdpError::Malformed));
        check("m=message 9 TCP/MSRP *\r\n", Err(SdpError::NoAudio));
        check("m=audio 0 RTP/AVP 0\r\n", Err(SdpError::NoAudio));
        assert_eq!(answer(b"\xff\xfe", origin()), Err(SdpError::Malformed));
    }

    #[test]
    fn our_own_offer_can_be_answered() {
        assert!(answer(offer(origin()).as_bytes(), origin()).is_ok());
    }
}
