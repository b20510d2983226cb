//! Identities: members, calls, ballots. Each is a small `Copy` value with a total order.
//!
//! PROTOCOL.md rules 1 and 2 live in these types: a member is a name *and* an incarnation, and
//! everything that is compared is compared as (epoch, owner, version).

use std::fmt;
use std::hash::Hasher as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// A node's name as a number: a fixed hash of the name in its certificate.
///
/// Names are for people and configuration; the protocol compares this. Two names of one cluster
/// that collide are refused at the door by membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The id of the node called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut hash = SipHasher24::new_with_keys(0x6361_6c6c_7269_6e67, 0x6e6f_6465_206e_616d);
        hash.write(name.as_bytes());
        Self(hash.finish())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:04x}", self.0 >> 48)
    }
}

/// One life of a node, ordered: the number rises at each restart, the boot id tells apart two lives
/// that could not know of each other. Never derived from the wall clock (PROTOCOL.md rule 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Incarnation {
    /// 1 + the highest number the peers knew for this name when the life began.
    pub number: u32,
    /// Random per start.
    pub boot: u32,
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// A member of the cluster: a node in one of its lives. A restarted node is a different member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MemberId {
    /// Which node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{:?}", self.node, self.incarnation)
    }
}

/// Who may speak for a call, and since which change of owner (PROTOCOL.md rule 2).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Ballot {
    /// Rises at each change of owner.
    pub epoch: u32,
    /// The member that owns the call at this epoch.
    pub owner: MemberId,
}

/// Rises at each change of a call's state; not reset by a change of owner.
pub type Version = u64;

/// The identity of a call, also its KEY on the command line: a position on the hash ring and a
/// nonce drawn at birth. A Call-ID can name several calls, a call id only one (SIP.md S2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct CallId {
    /// Place on the hash ring: keyed hash of the first leg's Call-ID.
    pub position: u64,
    /// Drawn at birth.
    pub nonce: u64,
}

impl CallId {
    /// The 16 bytes of the identity, as they lie in a locator.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.position) << 64) | u128::from(self.nonce)).to_be_bytes()
    }

    /// The inverse of [`CallId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        let low = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
        Self { position: low(both >> 64), nonce: low(both) }
    }

    /// The shard of a node with `shards` shards that this call belongs to, for good.
    #[must_use]
    pub fn shard(self, shards: u16) -> u16 {
        shard_of(self.position, shards)
    }
}

/// The shard that holds what lies at `position`, on a node with `shards` shards.
#[must_use]
pub fn shard_of(position: u64, shards: u16) -> u16 {
    // The low bits: the high ones choose the place on the hash ring.
    u16::try_from(position % u64::from(shards.max(1))).unwrap_or_default()
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.position, self.nonce)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}..{:04x}", self.position >> 48, self.nonce & 0xffff)
    }
}

/// A KEY that is not 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call's KEY is 32 hexadecimal digits, as `callring calls` prints it")]
pub struct BadCallId;

impl FromStr for CallId {
    type Err = BadCallId;
    fn from_str(text: &str) -> Result<Self, BadCallId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadCallId);
        }
        let both = u128::from_str_radix(text, 16).map_err(|_| BadCallId)?;
        Ok(Self::from_bytes(both.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_back_from_what_is_printed() {
        let id = CallId { position: 0x0123_4567_89ab_cdef, nonce: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(CallId::from_bytes(id.to_bytes()), id);
        for bad in ["", "12", "+1234567890123456789012345678901", &"g".repeat(32)] {
            assert_eq!(bad.parse::<CallId>(), Err(BadCallId), "{bad}");
        }
    }

    #[test]
    fn ballots_compare_epoch_first_then_owner() {
        let member = |node, number| MemberId {
            node: NodeId(node),
            incarnation: Incarnation { number, boot: 0 },
        };
        let ballot = |epoch, owner| Ballot { epoch, owner };
        assert!(ballot(2, member(1, 1)) > ballot(1, member(9, 9)));
        assert!(ballot(2, member(3, 1)) > ballot(2, member(2, 9)));
        assert!(ballot(2, member(3, 2)) > ballot(2, member(3, 1)));
    }
}
