//! The only way out of the cluster room.

use crate::base::ids::{Ballot, CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{Address, Egress, Frame, Message, Record, SignalAnswer};

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
}
