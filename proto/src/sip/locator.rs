//! The locator: what our tags and branches say to us, and to nobody else (SIP.md S2.2, S2.3).
//!
//! Every local tag and Via branch is a *sealed* token: it holds the call id and a hint at the
//! owner, encrypted and authenticated under the cluster's key and bound to the leg's Call-ID. Any
//! member can open it; an onlooker can neither name a node nor join the two legs of a B2BUA call; a
//! token of another dialog, of the other purpose, or guessed, doesn't open. Nothing here looks
//! anything up.
//!
//! ```text
//! plaintext   call id 16 | owner hint 2 | nonce 5                  big-endian, 23 bytes
//! AES-SIV     associated data: [purpose, head], leg's Call-ID      RFC 5297, 32-byte key
//! token       head 1 | SIV 16 | ciphertext 23                      40 bytes
//!             head = format version << 4 | key id
//! text        base32, lower-case, no padding: 64 characters; read in any case
//! tag         text                                                 64 characters
//! branch      "z9hG4bK" text                                       71 characters
//! ```
//!
//! Stateless final responses carry another kind of To tag (RFC 3261 8.2.7): `0`, a digit that no
//! base32 text has, and a keyed hash of the request.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::fmt;
use std::hash::Hasher as _;

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes128Siv;
use data_encoding::BASE32_NOPAD_NOCASE as BASE32;
use rand::Rng as _;
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128 as _, SipHasher24 as SipHasher24x128};

use super::transaction::key::{COOKIE, id_of_branch};
use crate::base::ids::{CallId, NodeId};
use crate::base::rng::Rng;

/// Characters of a sealed tag.
pub const TAG_CHARS: usize = 64;
/// Characters of a sealed branch.
pub const BRANCH_CHARS: usize = TAG_CHARS + COOKIE.len();
/// Characters of the To tag of a stateless response.
pub const STATELESS_TAG_CHARS: usize = 27;

/// The version of the token's format.
const FORMAT: u8 = 1;
const KEY_ID_MAX: u8 = 0x0f;
const CALL_BYTES: usize = 16;
const HINT_BYTES: usize = 2;
const NONCE_BYTES: usize = 5;
const PLAIN_BYTES: usize = CALL_BYTES + HINT_BYTES + NONCE_BYTES;
const SIV_BYTES: usize = 16;
const TOKEN_BYTES: usize = 1 + SIV_BYTES + PLAIN_BYTES;
/// Not in the alphabet of base32, so a sealed tag never begins with it.
const STATELESS_FLAG: char = '0';

/// What a token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Locator {
    /// Whose dialog or transaction it is.
    pub call: CallId,
    /// [`owner_hint`] of the call's owner when the token was made. A hint only: tags outlive
    /// owners, and two nodes can have the same.
    pub hint: u16,
}

/// The hint that names `node`: the low 16 bits of its id.
#[must_use]
pub fn owner_hint(node: NodeId) -> u16 {
    u16::try_from(node.0 & u64::from(u16::MAX)).unwrap_or_default()
}

/// A key of AES-SIV and its number on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey {
    /// 0 to 15; the number that tokens name it by.
    pub id: u8,
    /// 256 bits from a CSPRNG.
    pub key: [u8; 32],
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey #{} (secret)", self.id)
    }
}

/// The secrets of a cluster that locators need. All members have the same.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKeys {
    /// Seals and opens.
    pub current: SealKey,
    /// Opens only. For a rotation: give every member the new key here, then make it current
    /// everywhere with the old one here, then drop the old one when its last dialog is over.
    pub previous: Option<SealKey>,
    /// Where a Call-ID lies on the hash ring. Never rotates: live calls would move.
    pub position_secret: [u8; 16],
    /// Makes the To tags of stateless responses. Can change at any time.
    pub stateless_secret: [u8; 16],
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeys")
            .field("current", &self.current)
            .field("previous", &self.previous)
            .finish_non_exhaustive()
    }
}

/// Keys that can't serve. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSealKeys {
    /// A key id that doesn't fit into four bits.
    #[error("key id {0} is above 15")]
    IdTooLarge(u8),
    /// Both keys have one id, so that a token can't say which one sealed it.
    #[error("the current and the previous key both have id {0}")]
    SameId(u8),
}

/// Makes and reads the tokens of a cluster.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: SealKeys,
}

/// What a token is for; one kind never opens as the other.
#[derive(Clone, Copy)]
enum Purpose {
    Tag,
    Branch,
}

impl Purpose {
    const fn byte(self) -> u8 {
        match self {
            Self::Tag => b't',
            Self::Branch => b'b',
        }
    }
}

impl Sealer {
    /// A sealer with these keys.
    ///
    /// # Errors
    /// If an id is above 15 or both keys have the same.
    pub fn new(keys: SealKeys) -> Result<Self, BadSealKeys> {
        let (current, previous) = (keys.current.id, keys.previous.as_ref().map(|key| key.id));
        if let Some(id) = [current]
            .into_iter()
            .chain(previous)
            .find(|id| *id > KEY_ID_MAX)
        {
            return Err(BadSealKeys::IdTooLarge(id));
        }
        if previous == Some(current) {
            return Err(BadSealKeys::SameId(current));
        }
        Ok(Self { keys })
    }

    /// Where a call whose first leg has this Call-ID lies on the hash ring (SIP.md S2.1).
    #[must_use]
    pub fn position(&self, call_id: &[u8]) -> u64 {
        let mut hash = SipHasher24::new_with_key(&self.keys.position_secret);
        hash.write(call_id);
        hash.finish()
    }

    /// A hash of what names a transaction, or part of it: the same at every member, and nobody else
    /// can aim at one (SIP.md S3.1). Parts don't run into each other.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> u128 {
        let mut hash = SipHasher24x128::new_with_key(&self.keys.position_secret);
        for part in parts {
            hash.write(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.write(part);
        }
        u128::from(hash.finish128())
    }

    /// A fresh local tag for a dialog of `call` on the leg with this Call-ID: [`TAG_CHARS`] long.
    pub fn seal_tag(&self, leg_call_id: &[u8], locator: Locator, rng: &mut Rng) -> Box<str> {
        self.seal(Purpose::Tag, leg_call_id, locator, rng)
            .into_boxed_str()
    }

    /// What a tag of ours says, with at most one decryption; `None` if it isn't one, or was made
    /// for another Call-ID: 481, and silence for an ACK (SIP.md S2.3).
    #[must_use]
    pub fn open_tag(&self, leg_call_id: &[u8], tag: &str) -> Option<Locator> {
        self.open(Purpose::Tag, leg_call_id, tag)
    }

    /// A fresh branch for a request of `call` on the leg with this Call-ID: [`BRANCH_CHARS`] long.
    pub fn seal_branch(&self, leg_call_id: &[u8], locator: Locator, rng: &mut Rng) -> Box<str> {
        let token = self.seal(Purpose::Branch, leg_call_id, locator, rng);
        format!("{COOKIE}{token}").into_boxed_str()
    }

    /// What a branch of ours says, with at most one decryption; `None` as for
    /// [`Sealer::open_tag`]: the response is stray and dropped.
    #[must_use]
    pub fn open_branch(&self, leg_call_id: &[u8], branch: &str) -> Option<Locator> {
        self.open(Purpose::Branch, leg_call_id, id_of_branch(branch)?)
    }

    /// The To tag of a stateless final response (RFC 3261 8.2.7): the same for each repeat of the
    /// request, on each member.
    ///
    /// `parts` name the request. Take only what its ACK repeats, so that the ACK can be recognised:
    /// top Via branch and sent-by, From tag, Call-ID, CSeq number. Parts don't run into each other.
    #[must_use]
    pub fn stateless_tag(&self, parts: &[&[u8]]) -> Box<str> {
        let mut hash = SipHasher24x128::new_with_key(&self.keys.stateless_secret);
        for part in parts {
            hash.write(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.write(part);
        }
        let digest = u128::from(hash.finish128()).to_be_bytes();
        format!("{STATELESS_FLAG}{}", to_text(&digest)).into_boxed_str()
    }

    /// Whether `tag` is the one that [`Sealer::stateless_tag`] gives to a request with these parts,
    /// in any case of letters. An ACK for which it is true acknowledges such a response.
    ///
    /// After a change of the secret, and for clients that don't repeat their Via in the ACK (RFC
    /// 2543), it is false for an ACK of ours too. An ACK is absorbed by [`is_stateless_tag`] alone:
    /// it is never answered, and no dialog can have such a tag.
    #[must_use]
    pub fn is_stateless_tag_of(&self, parts: &[&[u8]], tag: &str) -> bool {
        is_stateless_tag(tag) && self.stateless_tag(parts).eq_ignore_ascii_case(tag)
    }

    fn seal(&self, purpose: Purpose, leg: &[u8], locator: Locator, rng: &mut Rng) -> String {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        let mut body = [0; PLAIN_BYTES];
        let plain = locator
            .call
            .to_bytes()
            .into_iter()
            .chain(locator.hint.to_be_bytes());
        for (to, from) in body.iter_mut().zip(plain.chain(nonce)) {
            *to = from;
        }
        let key = &self.keys.current;
        let head = (FORMAT << 4) | key.id;
        #[expect(
            clippy::expect_used,
            reason = "RFC 5297 2.4 allows 126 headers, these are two"
        )]
        let siv = Aes128Siv::new(&key.key.into())
            .encrypt_inout_detached(
                [&[purpose.byte(), head][..], leg],
                body.as_mut_slice().into(),
            )
            .expect("two headers are few enough");
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.push(head);
        token.extend_from_slice(&siv);
        token.extend_from_slice(&body);
        to_text(&token)
    }

    fn open(&self, purpose: Purpose, leg: &[u8], text: &str) -> Option<Locator> {
        let token: [u8; TOKEN_BYTES] = from_text(text)?;
        let ([head], rest) = token.split_first_chunk::<1>()?;
        let (siv, rest) = rest.split_first_chunk::<SIV_BYTES>()?;
        let mut body = <[u8; PLAIN_BYTES]>::try_from(rest).ok()?;
        let keys = [Some(&self.keys.current), self.keys.previous.as_ref()];
        let key = keys
            .into_iter()
            .flatten()
            .find(|key| (FORMAT << 4) | key.id == *head)?;
        Aes128Siv::new(&key.key.into())
            .decrypt_inout_detached(
                [&[purpose.byte(), *head][..], leg],
                body.as_mut_slice().into(),
                &(*siv).into(),
            )
            .ok()?;
        let (call, rest) = body.split_first_chunk::<CALL_BYTES>()?;
        let (hint, _nonce) = rest.split_first_chunk::<HINT_BYTES>()?;
        Some(Locator {
            call: CallId::from_bytes(*call),
            hint: u16::from_be_bytes(*hint),
        })
    }
}

/// Whether `tag` has the shape of a stateless response's To tag. Says nothing of who made it; no
/// dialog of ours has such a tag, so an ACK to it is absorbed and anything else gets 481.
#[must_use]
pub fn is_stateless_tag(tag: &str) -> bool {
    tag.strip_prefix(STATELESS_FLAG)
        .is_some_and(|text| from_text::<16>(text).is_some())
}

/// Lower-case base32.
fn to_text(bytes: &[u8]) -> String {
    let mut text = BASE32.encode(bytes);
    text.make_ascii_lowercase();
    text
}

/// Exactly `N` bytes from base32 in any case. The length is checked first, so that the cost doesn't
/// grow with what a peer sends.
fn from_text<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != BASE32.encode_len(N) {
        return None;
    }
    let mut bytes = [0; N];
    (BASE32.decode_mut(text.as_bytes(), &mut bytes).ok()? == N).then_some(bytes)
}

#[cfg(test)]
mod tests;
