//! The JSON of the admin interface: what scripts rely on. Field names change only with a new
//! `/v2`; the tests hold them.
//!
//! Plain data. Knows nothing of HTTP, nodes or shards.

use callring_proto::io::Histogram;
use serde::{Deserialize, Serialize};

/// How the cluster is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// Calls are served, with less safety than configured.
    Degraded,
    /// Calls are being lost, or the next fault loses them.
    Critical,
}

impl Verdict {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

/// `callring status`: sums over the live members, as one of them sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The member that answers.
    pub name: String,
    /// The cluster's name; empty for a standalone node.
    pub cluster: String,
    /// Members that are alive or suspect.
    pub members_alive: usize,
    /// Members, those not counted that said good-bye.
    pub members_total: usize,
    /// Changes of membership the answering member has seen.
    pub view_epoch: u64,
    /// Calls owned.
    pub calls_owned: u64,
    /// Copies held for other owners.
    pub calls_replica: u64,
    /// Owned calls that are not answered yet.
    pub in_setup: u64,
    /// Owned calls with fewer live copies than configured.
    pub under_replicated: u64,
    /// Answered calls of which only one live member has the latest state.
    pub uncovered: u64,
    /// SIP messages that left while no live member had a copy.
    pub degraded: u64,
    /// Calls taken over from silent owners.
    pub takeovers: u64,
    /// Claims begun.
    pub claimed: u64,
    /// Calls taken over because membership gave their owner up.
    pub adopted: u64,
    /// Calls offered to their heirs.
    pub invited: u64,
    /// Calls handed to the heir that was invited.
    pub handed_over: u64,
    /// Changes of replicas carried through.
    pub repaired: u64,
    /// Messages carried to another member's call.
    pub relayed: u64,
    /// Times a member met a newer owner and yielded.
    pub fenced: u64,
    /// Microseconds that outputs waited for replicas.
    pub gate_hold_us: Histogram,
    /// Microseconds from the first message for an orphaned call to its first output.
    pub takeover_us: Histogram,
    /// Records per batch sent to a replica.
    pub batch_records: Histogram,
    /// In one word.
    pub verdict: Verdict,
    /// What to look at, most urgent first.
    pub advice: Vec<String>,
}

/// Answer to `GET /v1/status`: the status, and who is missing from its sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The status.
    #[serde(flatten)]
    pub status: Status,
    /// Live members that did not answer in time.
    pub unreachable: Vec<String>,
}

/// What membership says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Alive,
    /// It missed a probe and may refute.
    Suspect,
    /// Declared dead.
    Down,
    /// It said good-bye.
    Left,
}

impl State {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        }
    }
}

/// One line of `callring members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What membership says.
    pub state: State,
    /// It hands its calls over and takes no new ones.
    pub draining: bool,
    /// `member` or `edge`.
    pub role: String,
    /// Failure domain; may be empty.
    pub zone: String,
    /// Share of copies.
    pub weight: u16,
    /// Which life of the node.
    pub incarnation: u32,
    /// Where its fabric listens; null for a standalone node.
    pub cluster_addr: Option<String>,
    /// SIP listeners as advertised.
    pub sip: Vec<String>,
    /// Version of the program.
    pub version: String,
    /// Hash of the settings that all members should share.
    pub config_hash: String,
    /// Round trip from the answering member, microseconds; null to itself and without a link.
    pub rtt_us: Option<u64>,
    /// Calls it owns; null if it did not answer.
    pub calls_owned: Option<u64>,
    /// Copies it holds; null if it did not answer.
    pub calls_replica: Option<u64>,
}

/// Answer to `GET /v1/members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersAnswer {
    /// By name.
    pub members: Vec<Member>,
    /// Live members that did not answer in time.
    pub unreachable: Vec<String>,
}

/// One line of `callring calls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The call id.
    pub key: String,
    /// The first leg's Call-ID.
    pub call_id: String,
    /// The owner's name.
    pub owner: String,
    /// Names of those that hold copies.
    pub replicas: Vec<String>,
    /// Changes of owner so far, plus one.
    pub epoch: u32,
    /// Changes of state so far.
    pub version: u64,
    /// `early`, `answered`, `confirmed` or `ending`.
    pub state: callring_proto::io::CallState,
    /// The application that runs it.
    pub app: String,
    /// Dialogs in it.
    pub legs: usize,
    /// Seconds since birth.
    pub age_s: u64,
}

/// Answer to `GET /v1/calls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsAnswer {
    /// The youngest first.
    pub calls: Vec<Call>,
    /// Whether the limit left some out.
    pub more: bool,
    /// Live members that did not answer in time.
    pub unreachable: Vec<String>,
}

/// Answer to `GET /v1/calls/{key}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallAnswer {
    /// The line of the list.
    #[serde(flatten)]
    pub call: Call,
    /// The first leg's From URI.
    pub from: String,
    /// The first leg's To URI.
    pub to: String,
    /// Fewer live copies than configured.
    pub degraded: bool,
    /// The dialogs, one text per leg.
    pub dialogs: Vec<String>,
    /// The application's state, as it prints itself.
    pub app_state: String,
    /// The application's timers, the next first.
    #[serde(default)]
    pub timers: Vec<Timer>,
    /// Durable tasks that have not come back, the eldest first.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// Outputs that wait for replicas.
    pub held: usize,
    /// Bytes of the record.
    pub record_bytes: usize,
    /// Who has what of it.
    pub copies: Vec<Copy>,
    /// Live members that did not answer in time.
    pub unreachable: Vec<String>,
}

/// A timer of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// What the application calls it.
    pub id: u16,
    /// Milliseconds until it goes off.
    pub left_ms: u64,
}

/// A durable task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number in the call.
    pub number: u32,
    /// The function that runs.
    pub name: String,
}

/// What one member has of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Its name.
    pub member: String,
    /// Whether it owns the call.
    pub owned: bool,
    /// Changes of owner, as far as it knows.
    pub epoch: u32,
    /// Changes of state, as far as it knows.
    pub version: u64,
}

/// Answer to `GET /v1/ring`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RingAnswer {
    /// Changes of membership the answering member has seen.
    pub view_epoch: u64,
    /// Each member's part of the ring; by name.
    pub shares: Vec<Share>,
    /// Where the asked key lies, if one was asked for.
    pub key: Option<RingKey>,
}

/// A member's part of the ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its weight.
    pub weight: u16,
    /// The part of all positions that come to it first, 0 to 1.
    pub share: f64,
}

/// Where a key lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingKey {
    /// The key.
    pub key: String,
    /// Whom the ring proposes, first to last. The call's record may name others: `callring call`.
    pub proposed: Vec<String>,
}

/// Answer to `GET` and `POST /v1/drain`, to `POST /v1/undrain` and `/v1/leave`: of the asked node
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Its name.
    pub name: String,
    /// It hands its calls over and takes no new ones.
    pub draining: bool,
    /// Calls it still owns.
    pub calls_owned: u64,
    /// Those of them that are not answered yet.
    pub in_setup: u64,
    /// Shards that did not answer, so what they own is not counted.
    pub shards_mute: usize,
    /// How long it hands calls over at most when it is told to leave, seconds.
    pub stop_timeout_s: u64,
}

/// Answer to `GET /v1/safe-to-stop`: the asked node alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafeToStop {
    /// Its name.
    pub name: String,
    /// Whether its end just now, however sudden, would lose no answered call.
    pub safe: bool,
    /// Why, in one line.
    pub reason: String,
    /// What would happen besides.
    pub notes: Vec<String>,
}

/// Answer to a request that is refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, for people.
    pub error: String,
}
