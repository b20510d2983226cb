//! The record of a call as it lies at its replicas: who may speak for it, who holds copies, and the
//! state itself as bytes that only the owner reads.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::base::ids::{Ballot, CallId, MemberId, Version};

/// The members that hold copies of a record, the owner not among them.
pub type Members = SmallVec<[MemberId; 3]>;

/// Highest local CSeq number that the present owner may use (PROTOCOL.md rule 23).
pub type Lease = u32;

/// Whether a call is over, and on whose word (PROTOCOL.md rules 20 and 22).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Ending {
    /// It goes on.
    #[default]
    No,
    /// Only time ended it: no phone has said or confirmed the end.
    ByTime,
    /// A phone ended it, or answered our end of it: it must not rise again.
    ByPhone,
}

/// One call at one version. Ordered by (ballot, version): PROTOCOL.md rule 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which call.
    pub key: CallId,
    /// Who owns it, since which epoch.
    pub ballot: Ballot,
    /// Rises with each change of state.
    pub version: Version,
    /// Who holds copies (rule 3): this list decides who must acknowledge and who is asked.
    pub members: Members,
    /// During a change of replicas: who held copies before (rule 17).
    pub old: Members,
    /// See [`Lease`].
    pub lease: Lease,
    /// A call that has ended is a tombstone, a version like any other (rule 20).
    pub end: Ending,
    /// Written while no other live member held a copy, or fewer than asked for (rule 25).
    pub degraded: bool,
    /// Milliseconds since `state` was written: its timers have run that much further (rule 24).
    pub age_ms: u32,
    /// The call itself, opaque to everybody but its owner.
    pub state: Bytes,
}

impl Record {
    /// What orders two copies of one call.
    #[must_use]
    pub fn rank(&self) -> (Ballot, Version) {
        (self.ballot, self.version)
    }

    /// Whether it is a tombstone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.end != Ending::No
    }

    /// Everybody the record names besides its owner: `members` and, during a change, `old`.
    pub fn listed(&self) -> impl Iterator<Item = MemberId> + '_ {
        let fresh = self.old.iter().filter(|old| !self.members.contains(old));
        self.members.iter().chain(fresh).copied()
    }

    /// Whether the record names `member` as a holder of a copy.
    #[must_use]
    pub fn lists(&self, member: MemberId) -> bool {
        self.members.contains(&member) || self.old.contains(&member)
    }
}
