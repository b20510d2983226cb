//! Messages out of a byte stream: framing by Content-Length at any split, pipelining, keep-alives,
//! and a deadline for whoever drips. RFC 3261 7.5, 18.3; RFC 5626 3.5.1.
//!
//! Must not know: sockets, what a message means. What it gives out is read by
//! [`Message::parse`](super::Message::parse) like a datagram.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;

use super::parse;
use crate::base::limits::{SIP_MESSAGE_BYTES_MAX, STREAM_ASSEMBLY};
use crate::base::time::Instant;

/// What a stream has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// One message, from its start line to the end of its body.
    Message(Bytes),
    /// Two line ends between messages: a ping that wants one line end for an answer.
    Ping,
}

/// Why a stream can't go on: the peer's fault. The connection is to be closed; after a
/// [`StreamFault::Unframed`] its head may be answered first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// More than a message may have.
    #[error("a message is too large")]
    TooLarge,
    /// Where the message ends can't be known.
    #[error("{reason}")]
    Unframed {
        /// What was wrong: text of ours.
        reason: &'static str,
        /// The head, empty line included.
        head: Bytes,
    },
    /// A message took too long to arrive.
    #[error("a message was not complete in time")]
    TooSlow,
}

/// How far the message at the start of the buffer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between messages. `blank`: a line end was just taken that may be half of a ping.
    Between { blank: bool },
    /// In the head; as much of it has been searched for its end.
    Head { searched: usize },
    /// The head is there; the whole message has this many bytes.
    Body { length: usize },
}

/// Cuts one connection's bytes into messages.
#[derive(Clone, Debug)]
pub struct Assembler {
    buffer: BytesMut,
    stage: Stage,
    /// When the first byte of the unfinished message came.
    begun: Option<Instant>,
    /// When the newest bytes came.
    newest: Instant,
}

impl Assembler {
    /// A connection that has brought nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            buffer: BytesMut::new(),
            stage: Stage::Between { blank: false },
            begun: None,
            newest: now,
        }
    }

    /// Takes what arrived. [`Assembler::poll`] until it has nothing more, before the next.
    pub fn push(&mut self, bytes: &[u8], now: Instant) {
        self.newest = now;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next thing that is complete.
    ///
    /// # Errors
    /// [`StreamFault`]: nothing of this connection can be read any more.
    pub fn poll(&mut self) -> Result<Option<Framed>, StreamFault> {
        loop {
            match self.stage {
                Stage::Between { blank } => {
                    if self.buffer.starts_with(b"\r\n") {
                        self.buffer.advance(2);
                        self.begun = None;
                        self.stage = Stage::Between { blank: !blank };
                        if blank {
                            return Ok(Some(Framed::Ping));
                        }
                    } else if self.buffer.is_empty() {
                        return Ok(None);
                    } else {
                        self.begun = self.begun.or(Some(self.newest));
                        if *self.buffer == *b"\r" {
                            return Ok(None);
                        }
                        self.stage = Stage::Head { searched: 0 };
                    }
                }
                Stage::Head { searched } => {
                    let Some(length) = self.head(searched)? else {
                        return Ok(None);
                    };
                    self.stage = Stage::Body { length };
                }
                Stage::Body { length } => {
                    if self.buffer.len() < length {
                        return Ok(None);
                    }
                    self.stage = Stage::Between { blank: false };
                    self.begun = None;
                    let message = self.buffer.split_to(length).freeze();
                    return Ok(Some(Framed::Message(message)));
                }
            }
        }
    }

    /// Looks for the end of the head; the length of the whole message once it is there.
    fn head(&mut self, searched: usize) -> Result<Option<usize>, StreamFault> {
        let rest = self.buffer.get(searched..).unwrap_or_default();
        let Some(at) = memmem::find(rest, b"\r\n\r\n") else {
            if self.buffer.len() > SIP_MESSAGE_BYTES_MAX {
                return Err(StreamFault::TooLarge);
            }
            // The last three bytes may be the beginning of its end.
            let searched = self.buffer.len().saturating_sub(3);
            self.stage = Stage::Head { searched };
            return Ok(None);
        };
        let head_len = searched.saturating_add(at).saturating_add(4);
        let head = self.buffer.get(..head_len).unwrap_or_default();
        let head = Bytes::copy_from_slice(head);
        let unframed = |reason| StreamFault::Unframed {
            reason,
            head: head.clone(),
        };
        // RFC 3261 18.3: over a stream Content-Length is mandatory.
        let body = parse::declared_length(&head)
            .map_err(|error| unframed(error.reason))?
            .ok_or_else(|| unframed("Content-Length is missing"))?;
        let length = head_len.saturating_add(body);
        if length > SIP_MESSAGE_BYTES_MAX {
            return Err(StreamFault::TooLarge);
        }
        Ok(Some(length))
    }

    /// When [`Assembler::on_timeout`] is wanted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        #[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
        self.begun.map(|begun| begun + STREAM_ASSEMBLY)
    }

    /// Whether the unfinished message has had its time. The deadline counts from its first byte, so
    /// that a byte now and then doesn't move it.
    ///
    /// # Errors
    /// [`StreamFault::TooSlow`] if it has.
    pub fn on_timeout(&self, now: Instant) -> Result<(), StreamFault> {
        match self.next_deadline() {
            Some(at) if at <= now => Err(StreamFault::TooSlow),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Duration;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn message(length: &str, body: &str) -> String {
        format!(
            "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\
             {length}\r\n{body}"
        )
    }

    fn all(pieces: &[&[u8]]) -> Result<Vec<Framed>, StreamFault> {
        let mut assembler = Assembler::new(NOW);
        let mut found = Vec::new();
        for piece in pieces {
            assembler.push(piece, NOW);
            while let Some(framed) = assembler.poll()? {
                found.push(framed);
            }
        }
        Ok(found)
    }

    fn cut(bytes: Bytes) -> Framed {
        Framed::Message(bytes)
    }

    // Goal: X5. Method: three pipelined messages and a ping, split at every byte, and byte by byte.
    #[test]
    fn x5_every_split_of_a_pipeline_reads_the_same() {
        let folded = message("l:\r\n  4\r\n", "\r\n\r\n");
        let parts = [
            message("Content-Length: 3\r\n", "abc"),
            folded,
            message("Content-Length : 0\r\n", ""),
        ];
        let whole = format!("\r\n{}{}\r\n\r\n{}", parts[0], parts[1], parts[2]);
        let cuts = parts.iter().map(|part| cut(part.clone().into()));
        let mut expected: Vec<Framed> = cuts.collect();
        expected.insert(2, Framed::Ping);
        for at in 0..=whole.len() {
            let (one, other) = whole.as_bytes().split_at(at);
            assert_eq!(all(&[one, other]).unwrap(), expected, "split at {at}");
        }
        let bytes: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
        assert_eq!(all(&bytes).unwrap(), expected);
        for part in parts {
            assert!(super::super::Message::parse(part.into()).is_ok());
        }
    }

    // Goal: X6. Method: line ends between messages, in every grouping.
    #[test]
    fn x6_two_line_ends_are_a_ping_and_one_is_nothing() {
        assert_eq!(all(&[b"\r\n\r\n"]).unwrap(), [Framed::Ping]);
        assert_eq!(all(&[b"\r", b"\n\r", b"\n"]).unwrap(), [Framed::Ping]);
        assert_eq!(all(&[b"\r\n"]).unwrap(), []);
        let options = message("Content-Length: 0\r\n", "");
        let after_one = format!("\r\n{options}");
        assert_eq!(all(&[after_one.as_bytes()]).unwrap(), [cut(options.into())]);
    }

    // Goal: X5. Method: heads that do not say where the message ends.
    #[test]
    fn x5_bad_framing_closes() {
        for length in [
            "",
            "Content-Length: five\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 1\r\nl: 2\r\n",
        ] {
            let text = message(length, "");
            let found = all(&[text.as_bytes()]);
            assert!(
                matches!(found, Err(StreamFault::Unframed { .. })),
                "{length}"
            );
        }
        assert!(all(&[b"hello\r\n\r\n"]).is_err());
        let large = message("Content-Length: 65535\r\n", "");
        assert_eq!(all(&[large.as_bytes()]), Err(StreamFault::TooLarge));
        let endless = vec![b'a'; 70_000];
        assert_eq!(all(&[&endless]), Err(StreamFault::TooLarge));
    }

    // Goal: X8. Method: a byte a second; the deadline counts from the first.
    #[test]
    fn x8_whoever_drips_is_cut_off() {
        let text = message("Content-Length: 0\r\n", "");
        let mut assembler = Assembler::new(NOW);
        assert_eq!(assembler.next_deadline(), None);
        for (second, byte) in text.as_bytes().iter().enumerate().take(10) {
            let now = NOW + Duration::from_secs(second as u64);
            assert_eq!(assembler.on_timeout(now), Ok(()));
            assembler.push(&[*byte], now);
            assert_eq!(assembler.poll(), Ok(None));
        }
        let late = assembler.on_timeout(NOW + STREAM_ASSEMBLY);
        assert_eq!(late, Err(StreamFault::TooSlow));
        // What comes behind a whole message has a time of its own.
        let later = NOW + Duration::from_secs(5);
        let mut assembler = Assembler::new(NOW);
        assembler.push(&text.as_bytes()[..20], NOW);
        assert_eq!(assembler.poll(), Ok(None));
        assembler.push(format!("{}OPT", &text[20..]).as_bytes(), later);
        assert!(assembler.poll().unwrap().is_some());
        assert_eq!(assembler.poll(), Ok(None));
        assert_eq!(assembler.next_deadline(), Some(later + STREAM_ASSEMBLY));
    }
}
