//! The messages of PROTOCOL.md section 3, version 2; `v1` has what differs in version 1.
//!
//! *Lane* frames (batch, ack, ping, pong, release, digest, gaps, births, verdicts, settled) keep
//! their order within a session; all others may overtake each other, be lost with a connection, or
//! arrive twice.

use serde::{Deserialize, Serialize};

use super::record::{Members, Record};
use super::relay::{Egress, NotOwner, Relay, SignalAnswer};
use super::setup::{Births, Seek, Settled, Sought, Submit, Verdicts, Vouch, Vouched};
use crate::base::ids::{Ballot, CallId, Version};

/// Everything one member's shard can say to another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Lane: records in order.
    Batch(Batch),
    /// Lane: what has been applied, and what was refused.
    Ack(Ack),
    /// Lane: are you there, and your answer is a fresh echo.
    Ping(Ping),
    /// Lane: answered by the shard itself, so a hung shard is silent.
    Pong(Pong),
    /// Lane: copies up to a version may go.
    Release(Release),
    /// Lane: what I own and you hold copies of, in a stretch of the ring, in one number.
    Digest(Digest),
    /// Lane: what I hold of yours there, because the numbers differ.
    Gaps(Gaps),
    /// Who owns this call?
    Locate(Locate),
    /// What I know of it.
    Located(Located),
    /// Its owner is silent to me: you are the heir.
    TakeOver(TakeOver),
    /// I mean to own it.
    Claim(Claim),
    /// Nobody below this ballot hears an ack from me any more.
    Promise(Promise),
    /// No.
    Refuse(Refuse),
    /// Claim this call of mine.
    Invite(Invite),
    /// Something for a call that you own.
    Relay(Relay),
    /// I don't own it.
    NotOwner(NotOwner),
    /// Let this SIP message leave from your socket.
    Egress(Egress),
    /// What became of a signal.
    SignalAnswer(SignalAnswer),
    /// Calls that were born.
    Births(Births),
    /// Whether those births stand.
    Verdicts(Verdicts),
    /// What became of births.
    Settled(Settled),
    /// Whose is this transaction?
    Seek(Seek),
    /// Whose it is.
    Sought(Sought),
    /// You were chosen to serve this.
    Submit(Submit),
    /// Do you hear this member?
    Vouch(Vouch),
    /// Whether I do.
    Vouched(Vouched),
}

/// Records on a lane, in order. Positions are `first`, `first + 1`, ...
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The link's session; frames of older ones are dropped (rule 18).
    pub session: u64,
    /// The owner's send stamp, nanoseconds on its own clock; echoed by the ack (rule 5).
    pub stamp: u64,
    /// Lane position of the first record.
    pub first: u64,
    /// The records.
    pub records: Vec<Record>,
}

/// Cumulative acknowledgement of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The session of the batches.
    pub session: u64,
    /// Every record below this position has been applied or is in `refused`.
    pub upto: u64,
    /// The latest stamp heard on the lane.
    pub echo: u64,
    /// Records that met a higher promise: their owner is fenced (rules 4, 8).
    pub refused: Vec<Refused>,
}

/// One refused record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which call.
    pub key: CallId,
    /// The ballot that stands promised.
    pub promised: Ballot,
}

/// Asks for life; see [`Pong`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The link's session.
    pub session: u64,
    /// The sender's stamp.
    pub stamp: u64,
}

/// The shard's own answer to a [`Ping`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The link's session.
    pub session: u64,
    /// The ping's stamp.
    pub echo: u64,
}

/// Positional: copies at or below (ballot, version) may go, newer ones stay (rule 18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which call.
    pub key: CallId,
    /// Up to this ballot
    pub ballot: Ballot,
    /// and this version.
    pub version: Version,
}

/// Asks what a member knows of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locate {
    /// Which call.
    pub key: CallId,
}

/// Answer to [`Locate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Which call.
    pub key: CallId,
    /// What the answering member knows.
    pub standing: Standing,
}

/// What a member knows of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It owns the call.
    Owner {
        /// At this ballot.
        ballot: Ballot,
    },
    /// It holds a copy.
    Copy {
        /// The copy's ballot, or the higher one it has promised.
        ballot: Ballot,
        /// The copy's list of replicas, in its order: the first that is not silent is the heir.
        members: Members,
        /// Whether the owner is silent to the answering member.
        owner_silent: bool,
    },
    /// It has no copy.
    Unknown {
        /// Up to which ballot it has let one go, if it ever had one.
        let_go: Option<Ballot>,
    },
}

/// Tells the heir that the owner is silent to an ingress (rule 9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// Which call.
    pub key: CallId,
    /// The ballot whose owner is silent.
    pub ballot: Ballot,
}

/// Asks for promises (rule 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which call.
    pub key: CallId,
    /// The ballot claimed.
    pub ballot: Ballot,
}

/// Rule 16: the owner asks the heir to claim the call; it will promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Which call.
    pub key: CallId,
    /// The owner's ballot.
    pub ballot: Ballot,
    /// The latest version.
    pub version: Version,
}

/// Rule 21: where one call's copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Which call.
    pub key: CallId,
    /// At this ballot
    pub ballot: Ballot,
    /// and this version.
    pub version: Version,
}

/// Rule 21: an owner's summary of the calls whose copies the receiver should hold, all settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The link's session.
    pub session: u64,
    /// Positions whose first 5 bits are this.
    pub range: u8,
    /// How many calls.
    pub calls: u32,
    /// The sum of a hash of each call's mark: it does not depend on their order.
    pub hash: u64,
}

/// Answer to a [`Digest`] that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// The link's session.
    pub session: u64,
    /// The digest's range.
    pub range: u8,
    /// Every copy held there whose owner is the digest's sender.
    pub marks: Vec<Mark>,
}

/// Grants a claim, with all the granter knows (rule 11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Which call.
    pub key: CallId,
    /// The ballot promised.
    pub ballot: Ballot,
    /// The granter's copy.
    pub record: PromiseRecord,
}

/// A promise's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromiseRecord {
    /// The copy, its age brought up to date.
    Known(Record),
    /// No copy.
    Unknown,
    /// No copy any more: copies up to this position were released, so one that is not above it is
    /// obsolete (rule 13).
    Released {
        /// Up to this ballot
        ballot: Ballot,
        /// and this version.
        version: Version,
    },
}

/// Turns a claim or a take-over down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// Which call.
    pub key: CallId,
    /// The ballot that was asked for.
    pub ballot: Ballot,
    /// Why.
    pub refusal: Refusal,
}

/// Why a claim was turned down (rule 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The owner is not silent to the refusing member: reach it through that one.
    Alive {
        /// The owner's ballot.
        ballot: Ballot,
    },
    /// A ballot at least as high stands promised.
    Promised {
        /// That ballot.
        ballot: Ballot,
    },
    /// The refusing member owns the call.
    Owner {
        /// At this ballot.
        ballot: Ballot,
    },
    /// The refusing member holds no copy and so can't be the heir.
    NoCopy,
}
