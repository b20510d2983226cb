//! What members tell each other of INVITEs before any tag of ours is known (SIP.md S3): birth
//! notices and what became of them, questions for a transaction, requests for a call that is yet to
//! be born, and for a word on an owner that is silent. All of it since protocol version 2. Hashes
//! and bytes are opaque here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::flow::Flow;
use crate::base::ids::{CallId, MemberId};

/// Calls that the sender has given birth to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Births {
    /// The sender waits for a verdict; otherwise it wants to hear of objections only.
    pub asks: bool,
    /// The notices.
    pub notices: Vec<Birth>,
}

/// A birth notice (SIP.md S3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// The call.
    pub key: CallId,
    /// Keyed hash of the INVITE's transaction: branch, sent-by, method.
    pub transaction: u128,
    /// Keyed hash of what two ways of one INVITE have in common: Call-ID, From tag, CSeq number.
    pub attempt: u64,
    /// Keyed hash of the Request-URI.
    pub target: u64,
    /// The sender found that nobody has this call, to which the transaction belonged before.
    pub instead: Option<CallId>,
    /// What to do if the owner dies before the call has a record (S3.3).
    pub end: Bytes,
}

/// Answers to [`Births`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// One per notice that was asked about or objected to.
    pub verdicts: Vec<Verdict>,
}

/// What a holder of notices says to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The call of the notice.
    pub key: CallId,
    /// The word on it.
    pub judgement: Judgement,
}

/// Whether a birth stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Judgement {
    /// The first notice of its transaction: the birth stands.
    First,
    /// The transaction belongs to another call.
    Taken {
        /// That call.
        key: CallId,
        /// Who gave birth to it.
        owner: MemberId,
    },
    /// The same request came by another way and is being served (RFC 3261 8.2.2.2).
    Merged,
    /// The transaction was given its final response after its owner's death.
    Ended,
}

/// What became of births that the receiver has notices of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Call by call.
    pub calls: Vec<(CallId, Outcome)>,
}

/// How far an INVITE's transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Answered with a 2xx: the call has a record.
    Answered,
    /// Answered with a failure: another attempt is no merged request any more.
    Refused,
    /// The transaction is over.
    Over,
}

/// Whose is this transaction?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seek {
    /// The position of its Call-ID.
    pub position: u64,
    /// As in [`Birth::transaction`].
    pub transaction: u128,
}

/// Answer to [`Seek`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sought {
    /// The question's.
    pub transaction: u128,
    /// The call and who gave birth to it, if there is a notice.
    pub found: Option<(CallId, MemberId)>,
}

/// A request without a tag of ours, for the receiver to serve: it was chosen as the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// Members it has passed.
    pub hops: u8,
    /// The way back.
    pub flow: Flow,
    /// The raw bytes.
    pub bytes: Bytes,
}

/// Do you find this shard of a member silent, as I do? (S3.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// The member.
    pub member: MemberId,
    /// Its shard.
    pub shard: u16,
}

/// Answer to [`Vouch`], on evidence of the sender's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The question's.
    pub member: MemberId,
    /// The question's.
    pub shard: u16,
    /// Whether the sender hears it.
    pub heard: bool,
}
