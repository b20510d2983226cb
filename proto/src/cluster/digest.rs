//! Anti-entropy: an owner and a holder of copies compare, in the background, what the one believes
//! that the other has (PROTOCOL.md rule 21). It raises what lags and lets go what was let go
//! before; nothing follows from absence.
//!
//! One stretch of the ring at a time, in one number per pair; only a number that differs costs
//! more.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::engine::{Cluster, Wake};
use super::entry::{Entry, Role};
use super::liveness::Peer;
use crate::base::ids::{Ballot, CallId, Version};
use crate::base::time::{Duration, Instant};
use crate::wire::{Digest, Frame, Gaps, Mark, Record};

/// Stretches that the ring is divided into.
const RANGES: u8 = 32;
/// Pause between two stretches: the whole ring takes a little over a minute.
const EVERY: Duration = Duration::from_secs(2);
/// The same after a link came up, when one end may have missed a lot: under two seconds. It begins
/// after `CATCH_UP_FROM`, when what was due again has been sent.
const CATCH_UP: Duration = Duration::from_millis(50);
const CATCH_UP_FROM: Duration = Duration::from_millis(500);
/// Marks in one answer at most; what is left out comes with the next digest that differs.
const MARKS_MAX: usize = 4_096;

/// Which stretch is next.
#[derive(Debug, Default)]
pub(super) struct Round {
    range: u8,
    /// Stretches that are due soon, for a link came up.
    soon: u8,
    next: Option<Instant>,
}

/// What one side counts of a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    calls: u32,
    hash: u64,
}

impl Sum {
    fn add(&mut self, record: &Record) {
        let mut hash = SipHasher13::new();
        hash.write(&record.key.to_bytes());
        hash.write_u32(record.ballot.epoch);
        hash.write_u64(record.ballot.owner.node.0);
        hash.write_u32(record.ballot.owner.incarnation.number);
        hash.write_u32(record.ballot.owner.incarnation.boot);
        hash.write_u64(record.version);
        self.calls = self.calls.saturating_add(1);
        self.hash = self.hash.wrapping_add(hash.finish());
    }
}

fn range_of(key: CallId) -> u8 {
    // The five highest bits.
    u8::try_from(key.position >> 59).unwrap_or_default()
}

impl<H> Cluster<H> {
    /// A link came up: the whole ring is compared soon.
    pub(super) fn compare_soon(&mut self, now: Instant) {
        self.digests.soon = RANGES;
        self.arm_digests(now + CATCH_UP_FROM);
    }

    fn arm_digests(&mut self, at: Instant) {
        if self.digests.next.is_none_or(|next| at < next) {
            self.digests.next = Some(at);
            self.wake_at(at, Wake::Digest);
        }
    }

    /// Sends the sums of the next stretch to everybody linked.
    pub(super) fn send_digests(&mut self, now: Instant) {
        if self.digests.next.is_none_or(|next| now < next) {
            return; // of an earlier plan
        }
        self.digests.next = None;
        let range = self.digests.range;
        self.digests.range = (range + 1) % RANGES;
        let linked = self.lanes.iter();
        let linked = linked.filter(|(_, lane)| lane.session().is_some());
        // None: something of the stretch is under way, and the two would differ for that alone.
        let mut sums: BTreeMap<Peer, Option<Sum>> = linked
            .map(|(peer, _)| (*peer, Some(Sum::default())))
            .collect();
        for (key, entry) in &self.entries {
            let Role::Owned(owned) = &entry.role else {
                continue;
            };
            if range_of(*key) != range {
                continue;
            }
            for member in owned.record.listed() {
                let Some(sum) = sums.get_mut(&self.peer(member, *key)) else {
                    continue;
                };
                if owned.acked(member) != Some(owned.record.version) {
                    *sum = None;
                } else if let Some(sum) = sum {
                    sum.add(&owned.record);
                }
            }
        }
        for (peer, sum) in sums {
            let lane = self.lanes.entry(peer).or_default();
            if let (Some(Sum { calls, hash }), Some(session)) = (sum, lane.session()) {
                lane.say(Frame::Digest(Digest {
                    session,
                    range,
                    calls,
                    hash,
                }));
            }
        }
        let pause = if self.digests.soon > 0 {
            CATCH_UP
        } else {
            EVERY
        };
        self.digests.soon = self.digests.soon.saturating_sub(1);
        self.arm_digests(now + pause);
    }

    /// An owner's sums: if ours of its calls differ, it hears what we have.
    pub(super) fn on_digest(&mut self, peer: Peer, digest: &Digest) {
        let mut sum = Sum::default();
        let mut marks = Vec::new();
        for (key, entry) in &self.entries {
            let Role::Copy(copy) = &entry.role else {
                continue;
            };
            // An earlier life's too: it may have gone on under a new name.
            let theirs = copy.record.ballot.owner.node == peer.member.node;
            if theirs && range_of(*key) == digest.range && self.peer(peer.member, *key) == peer {
                sum.add(&copy.record);
                marks.push(Mark {
                    key: *key,
                    ballot: copy.record.ballot,
                    version: copy.record.version,
                });
            }
        }
        if (sum.calls, sum.hash) == (digest.calls, digest.hash) {
            return;
        }
        marks.sort_unstable();
        marks.truncate(MARKS_MAX);
        let gaps = Gaps {
            session: digest.session,
            range: digest.range,
            marks,
        };
        self.lanes.entry(peer).or_default().say(Frame::Gaps(gaps));
    }

    /// What a holder has of ours: it gets what it lacks, and hears again what it may let go.
    pub(super) fn on_gaps(&mut self, peer: Peer, gaps: &Gaps, now: Instant) {
        let whole = gaps.marks.len() < MARKS_MAX;
        let held: BTreeMap<CallId, (Ballot, Version)> = gaps
            .marks
            .iter()
            .map(|mark| (mark.key, (mark.ballot, mark.version)))
            .collect();
        let lacks = |record: &Record| match held.get(&record.key) {
            Some(mark) => *mark < record.rank(),
            None => whole,
        };
        let lacking = self.keys_where(|key, entry| match &entry.role {
            Role::Owned(owned) => {
                range_of(key) == gaps.range
                    && owned.record.lists(peer.member)
                    && self.peer(peer.member, key) == peer
                    && owned.acked(peer.member) == Some(owned.record.version)
                    && lacks(&owned.record)
            }
            _ => false,
        });
        for key in lacking {
            self.stats.gaps += 1;
            tracing::warn!(?key, member = ?peer.member, "a copy was not where it should be");
            if let Some(owned) = self.owned_mut(key) {
                owned.unack(peer.member);
            }
            self.lanes.entry(peer).or_default().want(key);
        }
        for (key, mark) in held {
            // What we owned at the mark's ballot and know to have gone on, or to have ended, may
            // go.
            let known = match self.owned(key) {
                Some(owned) if owned.record.lists(peer.member) => None,
                Some(owned) => Some(owned.record.rank()),
                None => {
                    // Of the same ballot it may be what the call will rise from.
                    let here = self.entries.get(&key).and_then(Entry::record);
                    let here = here.filter(|record| record.ballot > mark.0);
                    self.had.mark(key).max(here.map(Record::rank))
                }
            };
            if known.is_some_and(|known| known >= mark) {
                self.release_copy(peer.member, key, mark, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stretches cover the ring.
    #[test]
    fn every_position_is_in_one_stretch() {
        let range = |position| range_of(CallId { position, nonce: 1 });
        assert_eq!((range(0), range(u64::MAX)), (0, RANGES - 1));
        assert_eq!(range(u64::MAX / 2), RANGES / 2 - 1);
    }
}
