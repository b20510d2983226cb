//! What one member knows of one call: at most one role at a time, so that every change of role is
//! one assignment and nothing of the old role survives it (PROTOCOL.md rule 8).

use smallvec::SmallVec;

use super::gate::Gate;
use crate::base::ids::{Ballot, MemberId, Version};
use crate::base::limits::QUEUED_INPUTS_PER_CALL_MAX;
use crate::base::time::{Instant, millis};
use crate::wire::{Members, Message, Record};

/// A message brought to a call from outside.
#[derive(Clone, Debug)]
pub(super) struct Brought {
    pub(super) message: Message,
    /// Members it has passed.
    pub(super) hops: u8,
    /// When it came to this member.
    pub(super) since: Instant,
}

/// Messages that wait for a call to have an owner. Bounded: the newest goes.
#[derive(Debug, Default)]
pub(super) struct Queue(Vec<Brought>);

impl Queue {
    /// Whether there was room. What came again while it waits is one message.
    pub(super) fn push(&mut self, brought: Brought) -> bool {
        if self.0.iter().any(|known| known.message == brought.message) {
            return true;
        }
        let room = self.0.len() < QUEUED_INPUTS_PER_CALL_MAX;
        if room {
            self.0.push(brought);
        }
        room
    }

    pub(super) fn take(&mut self) -> Vec<Brought> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Message) -> bool) {
        self.0.retain(|brought| keep(&brought.message));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Brought> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.iter().map(|brought| brought.since).min()
    }
}

/// A record and when it came to lie here.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) record: Record,
    pub(super) at: Instant,
}

impl Copy {
    /// The record with its age brought up to date (rule 24).
    pub(super) fn aged(&self, now: Instant) -> Record {
        let mut record = self.record.clone();
        record.age_ms = record.age_ms.saturating_add(millis(now.since(self.at)));
        record
    }
}

/// Where an owned call stands with its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Born here and not worth a copy yet.
    Early,
    /// Claimed: nothing leaves before all live listed members have the new ballot (rule 14).
    Activating,
    /// Running.
    Active,
}

/// A call owned here.
#[derive(Debug)]
pub(super) struct Owned<H> {
    pub(super) record: Record,
    /// When `record.state` was written.
    pub(super) at: Instant,
    pub(super) stage: Stage,
    /// Latest version of this ballot that each member acknowledged, and our stamp that it echoed.
    pub(super) acked: SmallVec<[(MemberId, Version, Instant); 4]>,
    /// Everything up to here may be told.
    pub(super) committed: Version,
    /// The version that began the change of replicas, while there is one (rule 17).
    pub(super) change: Option<Version>,
    /// Holders of copies that the record does not list, known from the claim: the former owner, and
    /// whoever was left behind by an earlier change. Released when the present change is through.
    pub(super) stray: Members,
    pub(super) gate: Gate<H>,
    /// Whom we have asked to claim the call, and when (rule 16).
    pub(super) invited: Option<(MemberId, Instant)>,
    /// A claim that a listed member made in vain, and when to rise above it.
    pub(super) contested: Option<(Ballot, Instant)>,
    /// When something was told last.
    pub(super) told_at: Instant,
    /// Brought while activating.
    pub(super) queue: Queue,
    pub(super) ended_at: Option<Instant>,
}

impl<H> Owned<H> {
    pub(super) fn acked(&self, member: MemberId) -> Option<Version> {
        self.acked_at(member).map(|(version, _)| version)
    }

    pub(super) fn acked_at(&self, member: MemberId) -> Option<(Version, Instant)> {
        let mut acked = self.acked.iter();
        let (_, version, stamp) = acked.find(|(who, ..)| *who == member)?;
        Some((*version, *stamp))
    }

    pub(super) fn ack(&mut self, member: MemberId, version: Version, stamp: Instant) {
        match self.acked.iter_mut().find(|(who, ..)| *who == member) {
            Some((_, known, at)) => (*known, *at) = (*known, *at).max((version, stamp)),
            None => self.acked.push((member, version, stamp)),
        }
    }

    /// The member does not have what it acknowledged.
    pub(super) fn unack(&mut self, member: MemberId) {
        self.acked.retain(|(who, ..)| *who != member);
    }

    /// The record with its age brought up to date (rule 24).
    pub(super) fn aged(&self, now: Instant) -> Record {
        let mut record = self.record.clone();
        record.age_ms = record.age_ms.saturating_add(millis(now.since(self.at)));
        record
    }
}

/// A claim of ours that is not decided (rules 10 to 13).
#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) ballot: Ballot,
    /// What lay here when the claim began; it lies here again if the claim fails.
    pub(super) copy: Copy,
    /// The highest record heard of.
    pub(super) best: Copy,
    pub(super) asked: Members,
    pub(super) asked_at: Instant,
    pub(super) granted: Members,
    /// Granted without a record, for copies up to this position were released (rule 13).
    pub(super) lapsed: SmallVec<[(MemberId, (Ballot, Version)); 2]>,
    /// Granted with a record.
    pub(super) holders: Members,
    /// Ask everybody: a ballot above our copy's is known, and whoever has its record may be
    /// anywhere.
    pub(super) wide: bool,
    /// The owner that asked us to: it promises first, then the others are asked (rule 16).
    pub(super) invited_by: Option<MemberId>,
    pub(super) queue: Queue,
    pub(super) since: Instant,
}

/// What this member is to a call.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most entries are copies: a box each would cost more than the few bare promises"
)]
pub(super) enum Role<H> {
    /// Nothing; only a promise, or the memory of a released copy.
    None,
    /// Holder of a copy.
    Copy(Copy),
    /// Claimant.
    Claiming(Box<Claiming>),
    /// Owner.
    Owned(Box<Owned<H>>),
}

/// Everything known of a call.
#[derive(Debug)]
pub(super) struct Entry<H> {
    /// No ballot below this is stored, acked or promised (rule 4).
    pub(super) promised: Ballot,
    /// The highest epoch that a claim of ours was refused for (rule 10).
    pub(super) seen: u32,
    /// Copies up to here were released and must not come back (rule 18).
    pub(super) released: Option<(Ballot, Version)>,
    pub(super) role: Role<H>,
    /// Whom we promised the call that we owned, because we had invited it (rule 16).
    pub(super) handed_to: Option<MemberId>,
    /// When the role last changed.
    pub(super) since: Instant,
}

impl<H> Entry<H> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            promised: Ballot::default(),
            seen: 0,
            released: None,
            role: Role::None,
            handed_to: None,
            since: now,
        }
    }

    /// The record, whatever the role.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.role {
            Role::None => None,
            Role::Copy(copy) => Some(&copy.record),
            Role::Claiming(claiming) => Some(&claiming.best.record),
            Role::Owned(owned) => Some(&owned.record),
        }
    }

    /// The highest ballot this member knows of.
    pub(super) fn ballot(&self) -> Ballot {
        self.record()
            .map_or(self.promised, |record| record.ballot.max(self.promised))
    }
}
