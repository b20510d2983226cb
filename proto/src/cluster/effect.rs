//! The only way out of the cluster room.

use bytes::Bytes;

use crate::base::flow::Flow;
use crate::base::ids::{Ballot, CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{Address, Egress, Frame, Judgement, Message, Record, SignalAnswer, Submit};

/// What the cluster wants done. `H` is an output that was held; the room never looks into it.
#[derive(Debug)]
pub enum Effect<H> {
    /// Carry a frame to a member.
    Frame {
        /// To this member.
        to: MemberId,
        /// From and to which shard.
        address: Address,
        /// The frame.
        frame: Frame,
    },
    /// A held output may leave now.
    Release {
        /// Of which call.
        key: CallId,
        /// The output.
        output: H,
        /// How long it was held.
        held: Duration,
    },
    /// A held output will never leave: the call has another owner.
    Drop {
        /// Of which call.
        key: CallId,
        /// The output.
        output: H,
    },
    /// Something for a call that is owned here and running.
    Deliver {
        /// Which call.
        key: CallId,
        /// What was brought.
        message: Message,
    },
    /// This member owns the call from now on: bring it to life from its record.
    Activated {
        /// Which call.
        key: CallId,
        /// Its record, age up to date. Own CSeq numbers start above `cseq_floor` (rule 23).
        record: Box<Record>,
        /// The highest lease of the record taken over.
        cseq_floor: u32,
        /// When the first message for the orphan came, if one did.
        asked: Option<Instant>,
    },
    /// This member no longer owns the call: forget all of it at once (rule 8).
    Yielded {
        /// Which call.
        key: CallId,
    },
    /// A phone ended the call here, and somebody owns it at a higher ballot who may not know (rule
    /// 22): tell that owner.
    EndedHere {
        /// Which call.
        key: CallId,
        /// The higher ballot.
        ballot: Ballot,
    },
    /// No live member knows the call.
    NotFound {
        /// Which call.
        key: CallId,
        /// What was brought for it.
        message: Message,
    },
    /// A SIP message that is to leave from a socket here, for a call owned elsewhere.
    Egress(Egress),
    /// What became of a signal sent from here.
    SignalAnswer(SignalAnswer),
    /// Whether a birth here stands (SIP.md S3.1).
    Judged {
        /// Of which call.
        key: CallId,
        /// The word.
        judgement: Judgement,
    },
    /// The owner of a call died before there was a record: what it left to be done then (S3.3).
    End {
        /// The call.
        key: CallId,
        /// What its birth notice said.
        end: Bytes,
    },
    /// A call that has no record is to have one all the same: it is to be handed over.
    Expose {
        /// Which call.
        key: CallId,
    },
    /// A request without a tag of ours whose transaction nobody knows.
    Nowhere {
        /// The request.
        message: Message,
    },
    /// A request that this member was chosen to serve.
    Submitted(Submit),
    /// The member that was chosen to serve a request has fallen silent: it is as if it came anew.
    Again {
        /// The way it came.
        flow: Flow,
        /// The request.
        bytes: Bytes,
    },
}
