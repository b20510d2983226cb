//! Safety rules that tests break on purpose, to show that the simulator would notice. No real node
//! breaks any: the default breaks none, and only tests and the simulator ask for anything else.

use super::engine::Cluster;
use crate::base::ids::CallId;
use crate::base::time::Instant;

/// One safety rule of PROTOCOL.md, broken at the one place that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Break {
    /// Rule 6: outputs leave before they are acknowledged.
    ReleaseBeforeAck,
    /// Rules 4 and 8: promises and fences are ignored.
    NoFencing,
    /// Rule 12: a claim completes with the first promise.
    FirstPromiseWins,
    /// Rule 6: an acknowledgement of any age counts.
    StaleAckCounts,
    /// Rule 5: an acknowledgement of an earlier ballot counts for the present one.
    AckOfAnyBallot,
    /// Rule 17: members that leave are let go at once, the record does not name them as old.
    NoOldList,
    /// Rule 14: a new ballot speaks before anybody has its first record.
    ActivateWithoutAcks,
    /// Rule 20: a tombstone goes soon, whoever has it.
    PurgeEarly,
    /// Rule 8: what was held leaves when the call is yielded.
    YieldKeepsHeld,
    /// Rule 11: the claimant's word is taken for evidence.
    PromiseOnHearsay,
    /// Rule 13: a copy that its listed holders have let go of is claimed from.
    ClaimObsolete,
    /// Rule 18: a record at or below the released position is stored again.
    LateRecordRecreates,
    /// Rule 15: a fenced owner goes on at its old ballot when nobody's record shows.
    ResumeFenced,
    /// Rule 24: a heir's timers run their whole length again.
    TimersRestart,
    /// Rule 23: a heir's numbers begin where its copy says, lease or not.
    NoLeaseFloor,
    /// Rule 1: a restarted node comes back as the same member. The shell draws the incarnation, so
    /// whoever starts nodes has to look at this.
    SameIncarnation,
    /// Rule 2: copies are compared by version before ballot.
    VersionBeforeBallot,
    /// Rule 3: a claimant asks those whom the ring proposes, not those whom the record lists.
    AskTheRing,
    /// Rule 18: batches are applied whatever their session and position.
    AnySession,
    /// Rule 10: a claim's epoch is one above the copy's, whatever was promised since.
    EpochOfTheCopy,
}

impl Break {
    /// All of them, in the order of the table that the simulator prints.
    pub const ALL: [Self; 20] = [
        Self::SameIncarnation,
        Self::VersionBeforeBallot,
        Self::AskTheRing,
        Self::NoFencing,
        Self::AckOfAnyBallot,
        Self::ReleaseBeforeAck,
        Self::StaleAckCounts,
        Self::YieldKeepsHeld,
        Self::EpochOfTheCopy,
        Self::PromiseOnHearsay,
        Self::FirstPromiseWins,
        Self::ClaimObsolete,
        Self::ActivateWithoutAcks,
        Self::ResumeFenced,
        Self::NoOldList,
        Self::LateRecordRecreates,
        Self::AnySession,
        Self::PurgeEarly,
        Self::NoLeaseFloor,
        Self::TimersRestart,
    ];

    /// The rules of PROTOCOL.md that it breaks, and its name on a command line.
    #[must_use]
    pub const fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::ReleaseBeforeAck => ("6", "release-before-ack"),
            Self::NoFencing => ("4, 8", "no-fencing"),
            Self::FirstPromiseWins => ("12", "first-promise-wins"),
            Self::StaleAckCounts => ("6", "stale-ack-counts"),
            Self::AckOfAnyBallot => ("5", "ack-of-any-ballot"),
            Self::NoOldList => ("17", "no-old-list"),
            Self::ActivateWithoutAcks => ("14", "activate-without-acks"),
            Self::PurgeEarly => ("20", "purge-early"),
            Self::YieldKeepsHeld => ("8", "yield-keeps-held"),
            Self::PromiseOnHearsay => ("11", "promise-on-hearsay"),
            Self::ClaimObsolete => ("13", "claim-obsolete"),
            Self::LateRecordRecreates => ("18", "late-record-recreates"),
            Self::ResumeFenced => ("15", "resume-fenced"),
            Self::TimersRestart => ("24", "timers-restart"),
            Self::NoLeaseFloor => ("23", "no-lease-floor"),
            Self::SameIncarnation => ("1", "same-incarnation"),
            Self::VersionBeforeBallot => ("2", "version-before-ballot"),
            Self::AskTheRing => ("3", "ask-the-ring"),
            Self::AnySession => ("18", "any-session"),
            Self::EpochOfTheCopy => ("10", "epoch-of-the-copy"),
        }
    }
}

/// What is broken: nothing, or one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage(Option<Break>);

impl Sabotage {
    /// With one rule broken.
    #[must_use]
    pub const fn breaking(rule: Break) -> Self {
        Self(Some(rule))
    }

    /// Whether this one is.
    #[must_use]
    pub fn breaks(self, rule: Break) -> bool {
        self.0 == Some(rule)
    }

    /// Which one is.
    #[must_use]
    pub const fn broken(self) -> Option<Break> {
        self.0
    }
}

/// What a broken rule does where the whole one has no code of its own.
impl<H> Cluster<H> {
    pub(super) fn breaks(&self, rule: Break) -> bool {
        self.sabotage.breaks(rule)
    }

    /// [`Break::ResumeFenced`]: what was ours once goes on as if nobody had fenced us off.
    /// Whether it was ours.
    pub(super) fn resume_fenced(&mut self, key: CallId, now: Instant) -> bool {
        let me = self.me;
        let Some(claiming) = self.claiming_mut(key) else {
            return false;
        };
        let ours = claiming.copy.record.ballot;
        if ours.owner != me {
            return false;
        }
        claiming.ballot = ours;
        self.activate(key, now);
        if let Some(owned) = self.owned_mut(key) {
            owned.committed = owned.record.version;
        }
        self.activated(key, now);
        true
    }

    /// [`Break::NoOldList`]: those that leave are told so before anybody else has the record.
    pub(super) fn let_old_go(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        let mark = owned.record.rank();
        for old in std::mem::take(&mut owned.record.old) {
            self.release_copy(old, key, mark, now);
        }
        self.bump(key, now);
    }
}
