//! A look-up: what is known of a call that is owned elsewhere, and what waits for its owner. It
//! outlives its first message: it is also the route for the next ones. State only; `find` decides.
//!
//! ```text
//!   bring -> Asking -> Relayed(to) -> idle route
//!              |  ^        | silent: heir, or ourselves
//!              v  |        v
//!           Everyone    Paused (refused, crossed claims)
//!              |
//!              v
//!           NotFound
//! ```

use smallvec::SmallVec;

use super::entry::Queue;
use crate::base::ids::{Ballot, MemberId};
use crate::base::time::Instant;
use crate::wire::Members;

/// A rate limit; by default that of questions to every member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) tokens: u32,
    pub(super) filled: Instant,
    per_second: u32,
    max: u32,
}

impl Bucket {
    /// Refilled at this rate, up to this many.
    pub(super) fn new(per_second: u32, max: u32) -> Self {
        Self {
            tokens: max,
            filled: Instant::START,
            per_second,
            max,
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let millis = u32::try_from(now.since(self.filled).as_millis()).unwrap_or(u32::MAX);
        let fresh = millis.saturating_mul(self.per_second) / 1_000;
        if fresh > 0 {
            self.tokens = self.tokens.saturating_add(fresh).min(self.max);
            self.filled = now;
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new(100, 100)
    }
}

/// Where a look-up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing under way.
    Idle,
    /// The members at the position and the hinted owner have been asked.
    Asking,
    /// Everybody has been asked.
    Everyone,
    /// What waits has been sent to this member.
    Relayed(Relayed),
    /// Crossed claims or a refusal: look again then.
    Paused(Instant),
}

/// What waits is with another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relayed {
    pub(super) to: MemberId,
    /// An echo of it, in the same session, proves that the member was there to take it.
    pub(super) stamp: Instant,
    /// The session it went by; none if there was no link, and so it went nowhere.
    pub(super) session: Option<u64>,
}

/// What is known of a call that is owned elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) ballot: Ballot,
    pub(super) members: Members,
}

/// A look-up, and afterwards the route it found.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) hint: Option<MemberId>,
    pub(super) step: Step,
    pub(super) asked: SmallVec<[MemberId; 6]>,
    pub(super) asked_at: Instant,
    pub(super) answered: SmallVec<[MemberId; 6]>,
    pub(super) known: Option<Known>,
    /// The ballot whose owner a holder of a copy finds silent.
    pub(super) reported: Option<Ballot>,
    /// Members that turned out not to own the call or not to be able to inherit it.
    pub(super) excluded: SmallVec<[MemberId; 4]>,
    pub(super) queue: Queue,
    pub(super) since: Instant,
    pub(super) used: Instant,
    /// Whoever began it keeps to a pace of its own.
    pub(super) paced: bool,
}

impl Lookup {
    pub(super) fn new(hint: Option<MemberId>, now: Instant) -> Self {
        Self {
            hint,
            step: Step::Idle,
            asked: SmallVec::new(),
            asked_at: now,
            answered: SmallVec::new(),
            known: None,
            reported: None,
            excluded: SmallVec::new(),
            queue: Queue::default(),
            since: now,
            used: now,
            paced: false,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn learn(&mut self, ballot: Ballot, members: Option<&Members>) {
        match &mut self.known {
            Some(known) if known.ballot > ballot => {}
            Some(known) if known.ballot == ballot => {
                if let Some(members) = members {
                    known.members = members.clone();
                }
            }
            known => {
                let members = members.cloned().unwrap_or_default();
                *known = Some(Known { ballot, members });
            }
        }
    }

    pub(super) fn again(&mut self) {
        self.step = Step::Idle;
        self.asked.clear();
        self.answered.clear();
    }
}
