//! Who a member is in gossip, and the door through which gossip comes in.
//!
//! Kept tiny, since every message carries several identities; what else members say of themselves
//! is metadata and travels elsewhere. Nothing here knows states or time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, PostcardCodec};
use serde::{Deserialize, Serialize};

use crate::base::ids::{Incarnation, MemberId, NodeId};

/// Longest node name, bytes. Above: the message is refused.
pub const NAME_BYTES_MAX: usize = 64;

/// A node, one life of it, and where its fabric listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name in the node's certificate.
    pub name: Arc<str>,
    /// Where its fabric can be reached; fixed for the life of the node.
    pub addr: SocketAddr,
    /// Which life.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The member this is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        MemberId {
            node: NodeId::of(&self.name),
            incarnation: self.incarnation,
        }
    }

    /// The same node with a higher number: it was declared Down, or is older than it knew.
    pub(super) fn raised_to(&self, number: u32) -> Self {
        let incarnation = Incarnation {
            number,
            ..self.incarnation
        };
        Self {
            incarnation,
            ..self.clone()
        }
    }

    /// Whoever listens at `addr`; [`Door`] lets announcements to such a nobody in.
    pub(super) fn nobody_at(addr: SocketAddr) -> Self {
        Self {
            name: "".into(),
            addr,
            incarnation: Incarnation::default(),
        }
    }
}

impl foca::Identity for Identity {
    // Not the socket address: a node may come back at another one.
    type Addr = Arc<str>;

    fn renew(&self) -> Option<Self> {
        Some(self.raised_to(self.incarnation.number.checked_add(1)?))
    }

    fn addr(&self) -> Arc<str> {
        self.name.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.incarnation > adversary.incarnation
    }
}

/// Why a message was refused at the door.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("not a gossip message: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("a member's name has 1 to {NAME_BYTES_MAX} bytes")]
    BadName,
}

/// The codec of gossip: postcard, and no identity without a name gets past it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// This node's name.
    pub(super) name: Arc<str>,
}

impl foca::Codec<Identity> for Door {
    type Error = Refused;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        buf: impl BufMut,
    ) -> Result<(), Refused> {
        Ok(PostcardCodec.encode_header(header, buf)?)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Identity>, Refused> {
        let mut header: Header<Identity> = PostcardCodec.decode_header(buf)?;
        check_name(&header.src)?;
        // A joiner knows a seed's address only.
        if header.message == Message::Announce && header.dst.name.is_empty() {
            header.dst.name = self.name.clone();
        }
        Ok(header)
    }

    fn encode_member(
        &mut self,
        member: &Member<Identity>,
        buf: impl BufMut,
    ) -> Result<(), Refused> {
        Ok(PostcardCodec.encode_member(member, buf)?)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Identity>, Refused> {
        let member: Member<Identity> = PostcardCodec.decode_member(buf)?;
        check_name(member.id())?;
        Ok(member)
    }
}

fn check_name(identity: &Identity) -> Result<(), Refused> {
    if (1..=NAME_BYTES_MAX).contains(&identity.name.len()) {
        Ok(())
    } else {
        Err(Refused::BadName)
    }
}
