//! What must hold, a file per invariant: pure functions from what was seen to a complaint. Names
//! and numbers are PROTOCOL.md's. Nothing here changes the world.

pub(super) mod answered;
pub(super) mod copies;
pub(super) mod counters;
pub(super) mod emitter;
pub(super) mod leader;
pub(super) mod order;
pub(super) mod promises;
pub(super) mod residue;
pub(super) mod resurrection;
pub(super) mod tags;
pub(super) mod timers;

use callring_proto::base::time::Instant;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// G1: what was told lies in every later state that speaks, and elsewhere when it is told.
    LeaderCompleteness,
    /// G2: one member speaks per epoch, and only an owner tells anything new.
    OneEmitter,
    /// G3: an end that was told stays.
    NoResurrection,
    /// G4: a lower ballot tells nothing new after a higher one; own numbers rise.
    RealTimeOrder,
    /// A timer's BYE comes once, and when it is due.
    TimersOnce,
    /// An answered call answers.
    AnsweredKept,
    /// One To tag per INVITE transaction.
    OneTag,
    /// Rules 8, 10, 11: who promises, claims and sends records may.
    Promises,
    /// Gauges equal a recount.
    CountersTrue,
    /// After the trouble every call has its owner and its copies.
    CopiesRestored,
    /// When all is over nothing is kept.
    NothingLeft,
    /// No ERROR is logged; what a node sends can be read.
    NoError,
}

/// Something that must not happen.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When, in the world's time.
    pub at: Instant,
    /// What does not hold.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}
