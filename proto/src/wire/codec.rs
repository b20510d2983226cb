//! Header and body of a frame, to bytes and back. Decoding is total: any bytes give a frame or an
//! error, and no length is trusted before it is compared with what is there.

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::Frame;
use super::v1::{BatchV1, LocatedV1, PromiseV1};
use super::{VERSION, VERSION_MIN};
use crate::base::limits::FRAME_BYTES_MAX;

const MAGIC: u16 = 0xCA11;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 12;

/// Which shard says it to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Shard of the sender.
    pub from_shard: u16,
    /// Shard of the receiver.
    pub to_shard: u16,
}

/// What the fabric reads of a frame in order to carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version of the body.
    pub version: u8,
    /// Kind of body.
    pub kind: u8,
    /// Sender's and receiver's shard.
    pub address: Address,
    /// Bytes of body that follow the header.
    pub length: usize,
}

/// Bytes that are not a frame this build reads. The peer is at fault; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header or its length says.
    #[error("frame cut short: {have} of {need} bytes")]
    Short {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// The first two bytes are not a frame's.
    #[error("not a callring frame")]
    Magic,
    /// A version outside what this build reads.
    #[error("frame of protocol version {0}, this build reads {VERSION_MIN} to {VERSION}")]
    Version(u8),
    /// A kind this version does not have.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A body larger than any real one.
    #[error("frame of {0} bytes, at most {FRAME_BYTES_MAX} are read")]
    Large(usize),
    /// Bytes after the body, or in it after its last field.
    #[error("{0} bytes too many in a frame")]
    Trailing(usize),
    /// The body does not decode.
    #[error("frame kind {kind}: body does not decode: {source}")]
    Body {
        /// Kind of the frame.
        kind: u8,
        /// Why.
        source: postcard::Error,
    },
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// [`DecodeError`] if it is cut short, foreign, of another version or too large.
pub fn peek(bytes: &[u8]) -> Result<Header, DecodeError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(DecodeError::Short {
            have: bytes.len(),
            need: HEADER_BYTES,
        });
    };
    let [m0, m1, version, kind, f0, f1, t0, t1, l0, l1, l2, l3] = *head;
    if u16::from_be_bytes([m0, m1]) != MAGIC {
        return Err(DecodeError::Magic);
    }
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(DecodeError::Large(length));
    }
    let address = Address {
        from_shard: u16::from_be_bytes([f0, f1]),
        to_shard: u16::from_be_bytes([t0, t1]),
    };
    Ok(Header {
        version,
        kind,
        address,
        length,
    })
}

fn write<T: Serialize>(address: Address, version: u8, kind: u8, body: &T) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&[version, kind]);
    out.extend_from_slice(&address.from_shard.to_be_bytes());
    out.extend_from_slice(&address.to_shard.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut out = postcard::to_extend(body, out).expect("a Vec takes any frame");
    let length = u32::try_from(out.len().saturating_sub(HEADER_BYTES)).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(8..HEADER_BYTES) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Bytes::from(out)
}

fn read<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) =
        postcard::take_from_bytes(body).map_err(|source| DecodeError::Body { kind, source })?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Trailing(rest.len()))
    }
}

/// Kinds by number; `since` is the version a kind came with, `v1` the body it had in version 1 if
/// that was another.
macro_rules! kinds {
    ($($number:literal => $kind:ident since $since:literal $(, v1 $v1:ty)?;)+) => {
        /// Writes a frame from one shard to another in the words of protocol `version`; none if
        /// that version has no words for it.
        #[must_use]
        pub fn encode(address: Address, frame: &Frame, version: u8) -> Option<Bytes> {
            let version = version.clamp(VERSION_MIN, VERSION);
            match frame {
                $($(Frame::$kind(body) if version == 1 => {
                    Some(write(address, version, $number, &<$v1>::from(body)))
                })?)+
                $(Frame::$kind(body) => {
                    (version >= $since).then(|| write(address, version, $number, body))
                })+
            }
        }

        fn read_body(version: u8, kind: u8, body: &[u8]) -> Result<Frame, DecodeError> {
            match (version, kind) {
                $($((1, $number) => {
                    read::<$v1>(kind, body).map(|body| Frame::$kind(body.into()))
                })?)+
                $((version, $number) if version >= $since => read(kind, body).map(Frame::$kind),)+
                _ => Err(DecodeError::Kind(kind)),
            }
        }
    };
}

// Numbers are for good: a kind that goes leaves its number unused.
kinds! {
    1 => Batch since 1, v1 BatchV1;
    2 => Ack since 1;
    3 => Ping since 1;
    4 => Pong since 1;
    5 => Release since 1;
    6 => Digest since 2;
    7 => Gaps since 2;
    16 => Locate since 1;
    17 => Located since 1, v1 LocatedV1;
    18 => TakeOver since 1;
    19 => Claim since 1;
    20 => Promise since 1, v1 PromiseV1;
    21 => Refuse since 1;
    22 => Invite since 2;
    32 => Relay since 1;
    33 => NotOwner since 1;
    34 => Egress since 1;
    35 => SignalAnswer since 1;
    48 => Births since 2;
    49 => Verdicts since 2;
    50 => Settled since 2;
    51 => Seek since 2;
    52 => Sought since 2;
    53 => Submit since 2;
    54 => Vouch since 2;
    55 => Vouched since 2;
}

/// Reads one whole frame of at most protocol version `version_max`.
///
/// # Errors
/// [`DecodeError`] if the bytes are not exactly a frame this build, held to that version, reads.
pub fn decode(bytes: &[u8], version_max: u8) -> Result<(Address, Frame), DecodeError> {
    let header = peek(bytes)?;
    if header.version > version_max {
        return Err(DecodeError::Version(header.version));
    }
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let Some(body) = body.get(..header.length) else {
        return Err(DecodeError::Short {
            have: body.len(),
            need: header.length,
        });
    };
    let whole = HEADER_BYTES.saturating_add(header.length);
    if bytes.len() > whole {
        return Err(DecodeError::Trailing(bytes.len().saturating_sub(whole)));
    }
    Ok((
        header.address,
        read_body(header.version, header.kind, body)?,
    ))
}

impl Header {
    /// Whether the frame belongs on the ordered lane stream; others travel on short streams.
    #[must_use]
    pub fn is_lane(&self) -> bool {
        // Births, verdicts and what became of them share packets with the records they go with.
        matches!(self.kind, 0..=15 | 48..=50)
    }
}

/// Splits the next whole frame off the front of `buffer`, if it is all there.
///
/// # Errors
/// [`DecodeError`] if what is there can't become a frame.
pub fn split(buffer: &mut BytesMut) -> Result<Option<(Header, Bytes)>, DecodeError> {
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let header = peek(buffer)?;
    let whole = HEADER_BYTES.saturating_add(header.length);
    if buffer.len() < whole {
        buffer.reserve(whole.saturating_sub(buffer.len()));
        return Ok(None);
    }
    Ok(Some((header, buffer.split_to(whole).freeze())))
}
