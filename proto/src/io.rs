//! All that can happen to a shard, and all that it can ask for. Closed enums: a new feature adds a
//! variant, and the compiler lists the places.
//!
//! What the shell owes: inputs are handed over in the order they came; [`Input::LinkUp`] comes before
//! any frame of its session and [`Input::LinkDown`] after the last; lane frames keep their order
//! within a session; every output is carried out in order, or its loss is what the network could
//! have done anyway. A datagram that waited while the shell [`stood_still`] is not handed over.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::flow::Flow;
use crate::base::ids::{CallId, MemberId, NodeId, Version};
use crate::base::limits::T1_X64;
use crate::base::task::{TaskOutcome, TaskRun};
use crate::base::time::Instant;
use crate::cluster::view::View;

/// Whether a shell, woken only `now` by what was `due` long before, stood still for so long that a
/// request which waited outlived its transaction (64*T1, RFC 3261 17.2): it would begin anew what
/// its sender has given up.
#[must_use]
pub fn stood_still(due: Instant, now: Instant) -> bool {
    now.since(due) >= T1_X64
}

/// What can happen to a shard. Time passing is not among it: see [`crate::shard::Shard::handle_timeout`].
#[derive(Clone, Debug)]
pub enum Input {
    /// A datagram or framed message arrived at one of this node's SIP sockets.
    Sip {
        /// Where, and from whom.
        flow: Flow,
        /// As received.
        bytes: Bytes,
    },
    /// A frame for this shard arrived from a member.
    Frame {
        /// Whose certificate and incarnation the link has.
        from: MemberId,
        /// The link's session.
        session: u64,
        /// Header and body.
        bytes: Bytes,
    },
    /// Membership or metadata changed.
    View(Arc<View>),
    /// A link to a member stands.
    LinkUp {
        /// The member at its other end.
        member: MemberId,
        /// Unique among the links of this pair of incarnations, and higher than its predecessors.
        session: u64,
        /// How many shards the member has.
        shards: u16,
        /// Highest wire version it reads.
        wire: u8,
    },
    /// A link ended.
    LinkDown {
        /// The member at its other end.
        member: MemberId,
        /// The session that ended.
        session: u64,
    },
    /// Whether more comes in than this shard gets done: new calls are turned away while it is so.
    Overloaded(bool),
    /// Membership declared this node down while it lived: it goes on as a new incarnation.
    Renamed(MemberId),
    /// A task has come back. Whose outcome nobody waits for any more, it is dropped.
    TaskDone {
        /// Of which call.
        key: CallId,
        /// As in the [`TaskRun`].
        number: u32,
        /// As in the [`TaskRun`].
        epoch: u32,
        /// What has become of it.
        outcome: TaskOutcome,
    },
    /// Somebody wants to know, or to do, something.
    Ask {
        /// The asker's number, given back by [`Output::Answer`].
        ask: u64,
        /// What.
        request: Ask,
    },
}

/// What a shard wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send from this node's own socket `flow.listener` to `flow.remote`.
    Sip {
        /// Socket and remote address.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// Carry a frame; its header says to which shard, and whether on the lane stream.
    Frame {
        /// To this member.
        to: MemberId,
        /// Header and body.
        bytes: Bytes,
    },
    /// Another shard of this node is the right one for this input.
    Forward {
        /// Which.
        shard: u16,
        /// The input, to be handed over unchanged.
        input: Input,
        /// It may begin a call: the first to be left out where there is no room for all.
        fresh: bool,
    },
    /// Begin a run of a durable task. Its end is told by [`Input::TaskDone`], once, or never: the
    /// core has an eye on its time too.
    Task(TaskRun),
    /// Answers an [`Input::Ask`]. Every ask is answered once.
    Answer {
        /// The asker's number.
        ask: u64,
        /// The answer.
        answer: Answer,
    },
}

/// What can be asked of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Its counters and gauges.
    Summary,
    /// The calls it owns, and the orphans it would inherit.
    Calls(CallFilter),
    /// One call in full, if this shard owns it or holds a copy.
    Call(CallId),
    /// Bring a signal to a call, wherever it is owned.
    Signal {
        /// Which call.
        key: CallId,
        /// What to do: see [`crate::app::Signal`].
        body: Bytes,
    },
}

/// Which calls to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFilter {
    /// At most this many.
    pub limit: usize,
    /// Only those this node owns.
    pub owner: Option<NodeId>,
    /// Only those in this state.
    pub state: Option<CallState>,
    /// Only those whose From URI contains this.
    pub from: Option<String>,
    /// Only those whose To URI contains this.
    pub to: Option<String>,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Ask::Summary`].
    Summary(Box<Summary>),
    /// To [`Ask::Calls`].
    Calls(Vec<CallSummary>),
    /// To [`Ask::Call`].
    Call(Option<Box<CallDetail>>),
    /// To [`Ask::Signal`]: taken, or why not.
    Signal(Result<(), String>),
}

/// Where a call stands, as `callring calls` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// No final response yet.
    Early,
    /// A 2xx was sent or received, its ACK was not.
    Answered,
    /// The ACK passed.
    Confirmed,
    /// Ended; kept so that it stays ended.
    Ending,
}

/// One line of `callring calls`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallSummary {
    /// The call id.
    pub key: CallId,
    /// The first leg's Call-ID.
    pub call_id: String,
    /// Who owns it, by the record.
    pub owner: MemberId,
    /// Who holds copies, by the record.
    pub replicas: Vec<MemberId>,
    /// Changes of owner so far, plus one.
    pub epoch: u32,
    /// Changes of state so far.
    pub version: Version,
    /// Where it stands.
    pub state: CallState,
    /// The application that runs it.
    pub app: String,
    /// Dialogs in it.
    pub legs: usize,
    /// Seconds since birth.
    pub age_s: u64,
    /// The first leg's From URI.
    pub from: String,
    /// The first leg's To URI.
    pub to: String,
    /// Fewer live copies than the policy asks for.
    pub degraded: bool,
}

/// `callring call KEY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    /// The line of the list.
    pub summary: CallSummary,
    /// Whether the answering member owns it, or only holds a copy.
    pub owned: bool,
    /// The dialogs, one text per leg.
    pub legs: Vec<String>,
    /// The application's state, as it prints itself.
    pub app_state: String,
    /// The application's timers: number, and milliseconds until it goes off.
    #[serde(default)]
    pub timers: Vec<(u16, u64)>,
    /// Durable tasks that have not come back: number in the call, and the function's name.
    #[serde(default)]
    pub tasks: Vec<(u32, String)>,
    /// Outputs that wait for replicas.
    pub held: usize,
    /// Bytes of the record's state.
    pub record_bytes: usize,
}

/// A shard's counters (rising) and gauges (present values). A member of another version may not
/// count all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Gauge: calls owned, tombstones not counted.
    pub calls_owned: u64,
    /// Gauge: copies held for other owners, tombstones not counted.
    pub calls_replica: u64,
    /// Gauge: owned calls with fewer live copies than the policy asks for.
    pub under_replicated: u64,
    /// Gauge: owned calls that are not answered yet.
    pub in_setup: u64,
    /// Gauge: answered calls of which no other live member has the latest state.
    pub uncovered: u64,
    /// Gauge: shards that hear half of the last settled view or less. There nothing is adopted, and
    /// what only time causes is put off.
    pub in_minority: u64,
    /// Gauge: outputs waiting for replicas.
    pub held: u64,
    /// Gauge: live transactions.
    pub transactions: u64,
    /// Gauge: birth notices held.
    #[serde(default)]
    pub births: u64,
    /// Outputs released while no live member held a copy.
    pub degraded_total: u64,
    /// Calls taken over from a silent owner.
    pub takeovers_total: u64,
    /// Claims begun.
    pub claimed_total: u64,
    /// Calls taken over because membership gave their owner up, asked for by nobody.
    pub adopted_total: u64,
    /// Calls offered to their heirs.
    pub invited_total: u64,
    /// Calls handed to the heir that was invited.
    pub handed_over_total: u64,
    /// Changes of replicas carried through.
    pub repaired_total: u64,
    /// Copies that were not where they should have been, found by comparing.
    pub gaps_total: u64,
    /// Claims that were turned down.
    pub claims_refused_total: u64,
    /// SIP messages and signals carried to another member's call.
    pub relayed_total: u64,
    /// Requests given to a member that was chosen to serve them.
    #[serde(default)]
    pub submitted_total: u64,
    /// Requests given to another member because the one before fell silent.
    #[serde(default)]
    pub resubmitted_total: u64,
    /// Calls that died with their owner before they had a record, and whose caller was told so.
    #[serde(default)]
    pub births_ended_total: u64,
    /// Times this shard met a higher ballot and yielded.
    pub fenced_total: u64,
    /// SIP messages in, by method or status class.
    pub sip_in: Vec<(String, u64)>,
    /// SIP messages out, by method or status code.
    pub sip_out: Vec<(String, u64)>,
    /// SIP messages refused or dropped, by reason.
    pub sip_rejected: Vec<(String, u64)>,
    /// Frames that could not be decoded.
    pub frames_bad_total: u64,
    /// Outputs released by the gate.
    pub gate_released_total: u64,
    /// Time outputs were held: counts per bound, microseconds, cumulative as Prometheus has it.
    pub gate_hold: Histogram,
    /// Time from the first message for an orphan to its first output.
    pub takeover: Histogram,
    /// Records per batch.
    pub batch_records: Histogram,
    /// Members this shard finds silent just now.
    pub silent: Vec<MemberId>,
    /// Smoothed round-trip times to members, microseconds.
    pub rtt_us: Vec<(MemberId, u64)>,
}

/// A histogram of whole numbers with fixed bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bounds, rising.
    pub bounds: Vec<u64>,
    /// One more than bounds: how many fell at or below each bound and above the one before.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: u64,
}
