//! What two members say to each other before anything else, on the first stream of a connection.
//!
//! It carries the protocol versions, so its own layout can't depend on them: a fixed head with a
//! format number of its own, and a postcard body that is frozen per format. It may use base. It does
//! not know certificates: whether the name is the certificate's is for the fabric to check.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::codec::DecodeError;
use super::{VERSION, VERSION_MIN};
use crate::base::ids::Incarnation;

/// The format this build writes and reads.
const HELLO_FORMAT: u8 = 1;
/// Bytes before the body: magic, format, body length.
pub const HELLO_HEAD_BYTES: usize = 6;
/// Largest body, bytes. A name and a few numbers; above: refused.
pub const HELLO_BYTES_MAX: usize = 1_024;

const MAGIC: [u8; 3] = [0xCA, 0x11, 0x0E];

/// The first words of a connection, and their answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// From a node that is about to begin a life: what do you know of me? Answered by `YouAre`.
    WhoAmI,
    /// Answer to `WhoAmI`; the connection then ends.
    YouAre {
        /// Highest incarnation number known for the asking node's name; 0 if it was never heard of.
        known: u32,
        /// The answering node, if it lives yet.
        me: Option<(Incarnation, SocketAddr)>,
    },
    /// From the dialling side: let there be a link.
    Hello(Hello),
    /// From the dialled side: so be it. `session` is the link's.
    Welcome(Hello),
    /// From the dialled side: no.
    Refused(HelloRefusal),
}

/// Who stands at one end of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The node's name.
    pub name: String,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Where members reach it.
    pub address: SocketAddr,
    /// How many shards it runs.
    pub shards: u16,
    /// Oldest protocol version it reads.
    pub wire_min: u8,
    /// Highest protocol version it reads and writes.
    pub wire_max: u8,
    /// In `Hello`: the highest session this end has seen with that node. In `Welcome`: the link's.
    pub session: u64,
    /// Highest incarnation number this end knows for the other's name.
    pub known: u32,
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloRefusal {
    /// A later life of the same name is known.
    Superseded {
        /// The later life.
        by: Incarnation,
    },
    /// No protocol version in common.
    Version {
        /// Oldest the refusing side reads.
        min: u8,
        /// Newest it reads.
        max: u8,
    },
    /// The refusing side has not begun its life yet.
    NotYet,
    /// Both ends are the same node.
    Yourself,
    /// The name is not the certificate's, or the bytes made no sense.
    Nonsense,
}

impl Hello {
    /// Whether the other end reads a version that this build writes, and the other way round.
    #[must_use]
    pub fn speaks_with_us(&self) -> bool {
        self.wire_min <= VERSION && self.wire_max >= VERSION_MIN && self.wire_min <= self.wire_max
    }
}

impl Greeting {
    /// To bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[HELLO_FORMAT, 0, 0]);
        let mut out = postcard::to_extend(self, out).expect("a Vec takes any greeting");
        let length = u16::try_from(out.len().saturating_sub(HELLO_HEAD_BYTES)).unwrap_or(u16::MAX);
        if let Some(field) = out.get_mut(4..HELLO_HEAD_BYTES) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        out
    }

    /// How many bytes of body follow this head.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not the head of a greeting this build reads.
    pub fn body_length(head: &[u8; HELLO_HEAD_BYTES]) -> Result<usize, DecodeError> {
        let [m0, m1, m2, format, l0, l1] = *head;
        if [m0, m1, m2] != MAGIC {
            return Err(DecodeError::Magic);
        }
        if format != HELLO_FORMAT {
            return Err(DecodeError::Version(format));
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length > HELLO_BYTES_MAX {
            return Err(DecodeError::Large(length));
        }
        Ok(length)
    }

    /// Reads the body that follows a head.
    ///
    /// # Errors
    /// [`DecodeError::Body`] if it does not decode.
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        postcard::from_bytes(body).map_err(|source| DecodeError::Body { kind: 0, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            name: "sip-1".into(),
            incarnation: Incarnation { number: 3, boot: 9 },
            address: SocketAddr::from(([10, 0, 0, 1], 7060)),
            shards: 2,
            wire_min: 1,
            wire_max: 1,
            session: 5,
            known: 2,
        }
    }

    /// The bytes of format 1 stay what they are: nodes of any version begin with them.
    #[test]
    fn format_one_is_frozen() {
        let bytes = Greeting::Hello(hello()).encode();
        let golden: &[u8] = &[
            0xCA, 0x11, 0x0E, 1, 0, 21, // head
            2, 5, b's', b'i', b'p', b'-', b'1', 3, 9, // variant, name, incarnation
            0, 10, 0, 0, 1, 0x94, 0x37, // address: IPv4, port as varint
            2, 1, 1, 5, 2, // shards, versions, session, known
        ];
        let head: [u8; HELLO_HEAD_BYTES] = golden[..HELLO_HEAD_BYTES].try_into().unwrap();
        assert_eq!(bytes, golden);
        assert_eq!(Greeting::body_length(&head), Ok(golden.len() - 6));
        assert_eq!(
            Greeting::decode_body(&golden[6..]),
            Ok(Greeting::Hello(hello()))
        );
    }

    /// Foreign magic, another format and an impossible length are told apart; bodies decode totally.
    #[test]
    fn refuses_what_it_does_not_read() {
        assert_eq!(Greeting::body_length(b"GET / "), Err(DecodeError::Magic));
        assert_eq!(
            Greeting::body_length(&[0xCA, 0x11, 0x0E, 9, 0, 1]),
            Err(DecodeError::Version(9))
        );
        assert_eq!(
            Greeting::body_length(&[0xCA, 0x11, 0x0E, 1, 0xff, 0xff]),
            Err(DecodeError::Large(0xffff))
        );
        let bytes = Greeting::Hello(hello()).encode();
        for cut in 0..bytes.len() - HELLO_HEAD_BYTES {
            assert!(Greeting::decode_body(&bytes[6..6 + cut]).is_err(), "{cut}");
        }
        let foreign = Hello {
            wire_min: 7,
            wire_max: 9,
            ..hello()
        };
        assert!(hello().speaks_with_us() && !foreign.speaks_with_us());
    }
}
