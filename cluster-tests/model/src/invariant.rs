//! What must never happen, as PROTOCOL.md section 1 promises it, and how it is noticed.
//!
//! Judged from outside: by what left towards phones, never by what a node believes.

use super::model::Model;
use super::state::{Ballot, Emitted, Kind, Log, Node, Role, State};

/// A set of invariants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Invariants(u16);

impl Invariants {
    pub(crate) const NONE: Self = Self(0);
    /// G1: an output a phone was told is contained in what every later ballot emits from.
    pub(crate) const LOST_OR_FORKED: Self = Self(1);
    /// G1, stronger: what was told lies at some live node.
    pub(crate) const UNKNOWN: Self = Self(2);
    /// G2: at most one node emits per epoch.
    pub(crate) const TWO_IN_EPOCH: Self = Self(4);
    /// G4: nothing new leaves at a ballot after a higher one has emitted.
    pub(crate) const LATE_OUTPUT: Self = Self(8);
    /// G3: after an end was told, nothing leaves from a state without it.
    pub(crate) const RESURRECTION: Self = Self(16);
    /// CSeq numbers rise as phones see them (rule 23).
    pub(crate) const CSEQ: Self = Self(32);
    pub(crate) const ALL: Self = Self(63);
    /// At rest, when all that was said has been heard, there is one owner at most.
    pub(crate) const TWO_OWNERS: Self = Self(64);
    /// At rest, where there is one owner, it lists whoever has a copy.
    pub(crate) const STRAY: Self = Self(128);
    /// Before there is a record: nobody is told 500 by one and 200 by the owner.
    pub(crate) const ENDED_TOO: Self = Self(256);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::LOST_OR_FORKED, "G1-lost-or-forked"),
        (Self::UNKNOWN, "G1-unknown"),
        (Self::TWO_IN_EPOCH, "G2-two-in-epoch"),
        (Self::LATE_OUTPUT, "G4-late-output"),
        (Self::RESURRECTION, "G3-resurrection"),
        (Self::CSEQ, "cseq"),
        (Self::TWO_OWNERS, "two-owners-at-rest"),
        (Self::STRAY, "stray-at-rest"),
        (Self::ENDED_TOO, "ended-and-answered"),
    ];

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Their names, with a plus between.
    pub(crate) fn names(self) -> String {
        let names = Self::NAMES.iter().filter(|(one, _)| self.meets(*one));
        names.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
    }
}

impl Model {
    /// Judges what leaves at `ballot` against all that left before.
    pub(crate) fn judge_output(&self, state: &mut State, now: Emitted) {
        for before in state.emitted.clone() {
            if before.ballot == now.ballot {
                continue;
            }
            let same_epoch = before.ballot.epoch() == now.ballot.epoch();
            if same_epoch && before.ballot.owner() != now.ballot.owner() {
                state.broken.add(Invariants::TWO_IN_EPOCH);
            }
            let (lower, higher) = if before.ballot < now.ballot {
                (before, now)
            } else {
                (now, before)
            };
            let forked = higher.log.prefix(lower.version) != lower.log;
            if lower.version > higher.version || forked {
                state.broken.add(Invariants::LOST_OR_FORKED);
            }
            if before.has_end() && !now.has_end() {
                state.broken.add(Invariants::RESURRECTION);
            }
            if before.ballot > now.ballot && now.version > before.version {
                state.broken.add(Invariants::LATE_OUTPUT);
            }
        }
    }

    /// Judges the CSeq numbers of the requests that the owner takes from version `from` to `to`.
    pub(crate) fn judge_cseq(
        &self,
        state: &mut State,
        owner: usize,
        ballot: Ballot,
        (from, to): (u8, u8),
    ) {
        let own = state.nodes[owner].own;
        for at in from..to {
            if !own.log.is(at, Kind::Request) || !own.log.taken_at(at, ballot) {
                continue;
            }
            let block = if self.rules.lease { own.lease * 8 } else { 0 };
            let number = block + own.log.requests(at + 1);
            if number <= state.cseq {
                state.broken.add(Invariants::CSEQ);
            } else {
                state.cseq = number;
            }
        }
    }

    /// Judges whether everything told to phones lies at some live node. Not asked once the end was
    /// told: from then on copies may go.
    pub(crate) fn judge_knowledge(&self, state: &mut State) {
        if state.end_told() {
            return;
        }
        let known = |told: &Emitted| {
            state.nodes.iter().any(|node| {
                let record = &node.record;
                node.up
                    && !record.is_none()
                    && record.version >= told.version
                    && record.log.prefix(told.version) == told.log
            })
        };
        if !state.emitted.iter().all(known) {
            state.broken.add(Invariants::UNKNOWN);
        }
    }

    /// What is wrong with a state in which nothing more happens by itself.
    pub(crate) fn judge_rest(&self, state: &State) -> Invariants {
        let owns = |node: &&Node| node.up && node.role == Role::Owner;
        let mut owners = state.nodes.iter().filter(owns);
        let Some(owner) = owners.next() else {
            return Invariants::NONE;
        };
        if owners.next().is_some() {
            return Invariants::TWO_OWNERS;
        }
        let listed = |at: usize| owner.own.members.has(at) || owner.previous.has(at);
        let stray = |(at, node): (usize, &Node)| node.up && !node.record.is_none() && !listed(at);
        if state.nodes.iter().enumerate().any(stray) {
            Invariants::STRAY
        } else {
            Invariants::NONE
        }
    }

    /// Notes up to where outputs have left at a ballot.
    pub(crate) fn note_output(&self, state: &mut State, ballot: Ballot, version: u8, log: Log) {
        let now = Emitted {
            ballot,
            version,
            log,
        };
        match state.emitted.iter_mut().find(|one| one.ballot == ballot) {
            Some(known) => *known = now,
            None => {
                state.emitted.push(now);
                state.emitted.sort();
            }
        }
    }
}
