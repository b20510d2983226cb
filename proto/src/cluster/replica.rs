//! The replica's side: storing, acknowledging, fencing, promising, releasing.
//!
//! PROTOCOL.md rules 4, 11, 13, 18 and 21 are kept here. A replica never decides from absence.

use std::collections::{BTreeMap, VecDeque};

use super::engine::{Cluster, Wake};
use super::entry::{Copy, Entry, Owned, Role, Stage};
use super::liveness::Peer;
use super::sabotage::Break;
use crate::base::ids::{Ballot, CallId, MemberId, Version};
use crate::base::time::Instant;
use crate::wire::{
    Ack, Batch, Claim, Frame, Locate, Located, Promise, PromiseRecord, Record, Refusal, Refuse,
    Refused, Release, Standing,
};

/// Keys whose copy was released and that are remembered as such (rule 13). Bounded: the oldest
/// goes, and a claim for it then finds the ring's word instead of ours.
const REMEMBERED_MAX: usize = 65_536;

/// Up to where copies that were here have been released.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    marks: BTreeMap<CallId, (Ballot, Version)>,
    order: VecDeque<CallId>,
}

impl Remembered {
    pub(super) fn insert(&mut self, key: CallId, mark: (Ballot, Version)) {
        match self.marks.get_mut(&key) {
            Some(known) => *known = mark.max(*known),
            None => {
                self.marks.insert(key, mark);
                self.order.push_back(key);
            }
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
    }

    /// Up to where copies of the call were released.
    pub(super) fn mark(&self, key: CallId) -> Option<(Ballot, Version)> {
        self.marks.get(&key).copied()
    }
}

/// A claim that waits for our own evidence about the owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingClaim {
    pub(super) from: MemberId,
    pub(super) ballot: Ballot,
    /// What the owner of our copy says of itself.
    pub(super) owner: OwnerSays,
}

/// What the owner of a copy answers when it is asked whether it still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerSays {
    /// Nothing yet.
    Nothing,
    /// It is.
    Mine,
    /// It has yielded to a higher ballot, as after an invitation (rule 16).
    Yielded,
}

impl<H> Cluster<H> {
    // ---- storing --------------------------------------------------------------------------

    pub(super) fn on_batch(&mut self, peer: Peer, session: u64, batch: Batch, now: Instant) {
        let any = self.breaks(Break::AnySession);
        let applied = self.applied.entry(peer).or_default();
        if any {
            applied.next = batch.first;
        } else if batch.session != session || batch.first != applied.next {
            // Not what this session has next: a leftover (rule 18). Nothing is acknowledged.
            return;
        }
        applied.next += batch.records.len() as u64;
        let upto = applied.next;
        let mut refused = Vec::new();
        for record in batch.records {
            let key = record.key;
            if let Some(promised) = self.apply(record, now) {
                refused.push(Refused { key, promised });
            }
        }
        let ack = Ack {
            session,
            upto,
            echo: batch.stamp,
            refused,
        };
        self.lanes.entry(peer).or_default().say(Frame::Ack(ack));
    }

    /// Stores a record unless a higher ballot stands promised (rule 4); returns that ballot.
    fn apply(&mut self, record: Record, now: Instant) -> Option<Ballot> {
        let key = record.key;
        let no_fencing = self.breaks(Break::NoFencing);
        let entry = self.entries.entry(key).or_insert_with(|| Entry::new(now));
        if record.ballot < entry.promised && !no_fencing {
            return Some(entry.promised);
        }
        let late = entry.released.is_some_and(|mark| record.rank() <= mark);
        let late = late && !self.sabotage.breaks(Break::LateRecordRecreates);
        if !record.lists(self.me) || late {
            return None;
        }
        let held = entry.record().map(Record::rank);
        match &entry.role {
            // Rule 22 and 8: a higher ballot than ours: yield, then store like anybody else.
            Role::Owned(owned) if owned.record.ballot < record.ballot => {
                self.stats.fenced += 1;
                self.yield_to(key, record.ballot, now);
            }
            Role::Owned(_) => return None,
            Role::Claiming(claiming) if claiming.ballot < record.ballot => {
                self.abort_claim(key, record.ballot, now);
            }
            Role::Claiming(claiming) if claiming.invited_by.is_none() => return None,
            Role::Claiming(_) => {
                // Rule 16: the owner that invited us has not promised yet; it goes on.
                self.renew_claim(record, now);
                return None;
            }
            Role::Copy(_) | Role::None => {}
        }
        if held.is_some_and(|held| !self.is_newer(record.rank(), held)) {
            return None;
        }
        let entry = self.entries.get_mut(&key)?;
        let ended = entry.record().map(|held| held.end);
        let (ballot, goes_on) = (record.ballot, !record.has_ended());
        entry.promised = entry.promised.max(record.ballot);
        let handed = entry.handed_to == Some(ballot.owner);
        let before = std::mem::replace(&mut entry.role, Role::Copy(Copy { record, at: now }));
        entry.since = now;
        self.note_orphan(ballot.owner, now);
        if let Role::Copy(former) = before
            && former.record.ballot < ballot
        {
            if !handed {
                self.release_followers(&former.record, now);
            }
            self.tell_outbid(&former.record, ballot);
        }
        if let Some(ended) = ended.filter(|_| goes_on) {
            self.say_ended(key, ended, ballot);
        }
        if self.lookups.contains_key(&key) || self.pending_claims.contains_key(&key) {
            self.advance(key, now);
        }
        None
    }

    /// Rule 8: the owner of the copy that went for a record of `ballot` may not have heard of it,
    /// and believes that its copy lies here.
    fn tell_outbid(&mut self, former: &Record, ballot: Ballot) {
        let (key, owner) = (former.key, former.ballot.owner);
        if owner.node == self.me.node || owner.node == ballot.owner.node {
            return;
        }
        let members = self.members_of(key);
        if members.contains(&owner) || self.view.is_gone(owner) {
            return;
        }
        let standing = Standing::Copy {
            ballot,
            members,
            owner_silent: false,
        };
        self.send(owner, key, Frame::Located(Located { key, standing }));
    }

    /// A claimant that waits for its inviter's promise stores like any replica.
    fn renew_claim(&mut self, record: Record, now: Instant) {
        let Some(entry) = self.entries.get_mut(&record.key) else {
            return;
        };
        entry.promised = entry.promised.max(record.ballot);
        if let Role::Claiming(claiming) = &mut entry.role
            && record.rank() > claiming.copy.record.rank()
        {
            claiming.copy = Copy { record, at: now };
            claiming.best = claiming.copy.clone();
        }
    }

    /// Rule 2: ballot before version.
    pub(super) fn is_newer(&self, one: (Ballot, Version), other: (Ballot, Version)) -> bool {
        if self.breaks(Break::VersionBeforeBallot) {
            return (one.1, one.0) > (other.1, other.0);
        }
        one > other
    }

    /// Rule 18: positional; a copy above the mark stays.
    pub(super) fn on_release(&mut self, peer: Peer, release: Release, now: Instant) {
        let key = release.key;
        // A later life of the owner knows what became of its calls.
        let (owner, from) = (release.ballot.owner, peer.member);
        if from.node != owner.node || from.incarnation < owner.incarnation {
            return;
        }
        // Whoever releases at a higher ballot owns the call: rule 8.
        let fencing = !self.breaks(Break::NoFencing);
        match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Owned(owned)) if owned.record.ballot < release.ballot && fencing => {
                self.stats.fenced += 1;
                self.yield_to(key, release.ballot, now);
            }
            Some(Role::Claiming(claiming)) if claiming.ballot < release.ballot => {
                self.abort_claim(key, release.ballot, now);
            }
            _ => {}
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let mark = (release.ballot, release.version);
        entry.promised = entry.promised.max(release.ballot);
        entry.released = Some(entry.released.map_or(mark, |known| known.max(mark)));
        let at_or_below = |record: &Record| record.rank() <= mark;
        let role = std::mem::replace(&mut entry.role, Role::None);
        let Role::Copy(copy) = role else {
            entry.role = role;
            return;
        };
        if !at_or_below(&copy.record) {
            entry.role = Role::Copy(copy);
            return;
        }
        // A replica that left keeps only the mark and its promise, and those not for ever.
        entry.since = now;
        let handed = entry.handed_to == Some(release.ballot.owner);
        self.had.insert(key, mark);
        self.wake_at(now + crate::base::limits::T1_X64, Wake::Key(key));
        if !handed && copy.record.ballot < release.ballot {
            self.release_followers(&copy.record, now);
        }
    }

    // ---- answering ------------------------------------------------------------------------

    pub(super) fn on_locate(&mut self, peer: Peer, key: CallId, now: Instant) {
        let let_go = self.had.mark(key).map(|(ballot, _)| ballot);
        let standing = match self
            .entries
            .get(&key)
            .map(|entry| (&entry.role, entry.ballot()))
        {
            None | Some((Role::None, _)) => Standing::Unknown { let_go },
            Some((Role::Owned(owned), ballot)) if owned.record.ballot == ballot => {
                Standing::Owner { ballot }
            }
            Some((_, ballot)) => {
                let members = self.members_of(key);
                let owner_silent = self.is_absent(ballot.owner, key);
                if !owner_silent && ballot.owner != self.me {
                    // Whoever asks may be about to need the answer to this.
                    self.ask_life(ballot.owner, key, now);
                }
                Standing::Copy {
                    ballot,
                    members,
                    owner_silent,
                }
            }
        };
        self.send_shard(peer, Frame::Located(Located { key, standing }));
    }

    pub(super) fn members_of(&self, key: CallId) -> crate::wire::Members {
        let record = self.entries.get(&key).and_then(Entry::record);
        record
            .map(|record| record.listed().map(|member| self.living(member)).collect())
            .unwrap_or_default()
    }

    // ---- promising (rule 11) --------------------------------------------------------------

    pub(super) fn on_claim(&mut self, from: MemberId, claim: &Claim, now: Instant) {
        let (key, ballot) = (claim.key, claim.ballot);
        if ballot.owner != from {
            return;
        }
        if let Some(refusal) = self.refusal(key, ballot, now) {
            self.send(
                from,
                key,
                Frame::Refuse(Refuse {
                    key,
                    ballot,
                    refusal,
                }),
            );
            self.claimed_in_vain(key, from, ballot, now);
            return;
        }
        let owner = self
            .entries
            .get(&key)
            .and_then(Entry::record)
            .map(|record| record.ballot.owner);
        match owner {
            // Our own evidence decides, not the claimant's; until there is some, the claim waits.
            Some(owner)
                if owner != from
                    && owner != self.me
                    && !self.is_absent(owner, key)
                    && !self.breaks(Break::PromiseOnHearsay) =>
            {
                self.ask_life(owner, key, now);
                self.send(owner, key, Frame::Locate(Locate { key }));
                let pending = self.pending_claims.entry(key).or_default();
                if !pending.iter().any(|one| one.ballot == ballot) {
                    let owner = OwnerSays::Nothing;
                    pending.push(PendingClaim {
                        from,
                        ballot,
                        owner,
                    });
                }
            }
            _ => self.promise(key, from, ballot, now),
        }
    }

    fn refusal(&self, key: CallId, ballot: Ballot, now: Instant) -> Option<Refusal> {
        let entry = self.entries.get(&key)?;
        if self.breaks(Break::NoFencing) {
            return None;
        }
        if let Role::Owned(owned) = &entry.role
            && !self.is_invited(key, ballot.owner, now)
        {
            return Some(Refusal::Owner {
                ballot: owned.record.ballot,
            });
        }
        let known = entry.record().map_or(0, |record| record.ballot.epoch);
        // A claimant's `best` is no promise of ours; only what lay here counts.
        let known = match &entry.role {
            Role::Claiming(claiming) => claiming.copy.record.ballot.epoch,
            _ => known,
        };
        let repeat = ballot == entry.promised;
        let higher = ballot.epoch > entry.promised.epoch && ballot.epoch > known;
        (!repeat && !higher).then(|| Refusal::Promised {
            ballot: entry.ballot(),
        })
    }

    /// Claims that waited for evidence about the owner.
    pub(super) fn advance_pending_claims(&mut self, key: CallId, now: Instant) {
        let Some(pending) = self.pending_claims.remove(&key) else {
            return;
        };
        for claim in pending {
            let PendingClaim { from, ballot, .. } = claim;
            let owner = self
                .entries
                .get(&key)
                .and_then(Entry::record)
                .map(|record| record.ballot);
            let refusal = self.refusal(key, ballot, now);
            match (refusal, owner) {
                (Some(refusal), _) => {
                    self.send(
                        from,
                        key,
                        Frame::Refuse(Refuse {
                            key,
                            ballot,
                            refusal,
                        }),
                    );
                }
                (None, Some(held))
                    if held.owner != from
                        && claim.owner != OwnerSays::Yielded
                        && !self.is_absent(held.owner, key) =>
                {
                    if claim.owner == OwnerSays::Mine {
                        let refusal = Refusal::Alive { ballot: held };
                        self.send(
                            from,
                            key,
                            Frame::Refuse(Refuse {
                                key,
                                ballot,
                                refusal,
                            }),
                        );
                    } else {
                        self.watch(held.owner, key);
                        self.pending_claims.entry(key).or_default().push(claim);
                    }
                }
                (None, _) => self.promise(key, from, ballot, now),
            }
        }
    }

    /// Rule 11: what the owner itself says of a call that somebody claims. And rule 8: what anybody
    /// says of a call that we own.
    pub(super) fn owner_answered(&mut self, from: MemberId, located: &Located, now: Instant) {
        let key = located.key;
        if let Standing::Owner { ballot } | Standing::Copy { ballot, .. } = located.standing {
            let active = |owned: &Owned<H>| owned.stage == Stage::Active;
            if self.owned(key).is_some_and(active) && !self.breaks(Break::NoFencing) {
                self.fenced(key, ballot, now);
            }
        }
        let owned_at = self.entries.get(&key).and_then(Entry::record);
        let Some(held) = owned_at.map(|record| record.ballot) else {
            return;
        };
        let Some(pending) = self.pending_claims.get_mut(&key) else {
            return;
        };
        if held.owner != from {
            return;
        }
        let says = match &located.standing {
            Standing::Owner { .. } => OwnerSays::Mine,
            Standing::Copy { ballot, .. } if *ballot > held => OwnerSays::Yielded,
            // It was let go there: by a higher ballot, or because it has ended, which the claimant
            // will hear as well (rule 13). At this ballot nobody speaks any more.
            Standing::Unknown { let_go } if *let_go >= Some(held) => OwnerSays::Yielded,
            // It said so before it owned the call: an answer of before, and late.
            Standing::Unknown { .. } | Standing::Copy { .. } => return,
        };
        for claim in pending.iter_mut() {
            claim.owner = says;
        }
        self.advance_pending_claims(key, now);
    }

    fn promise(&mut self, key: CallId, to: MemberId, ballot: Ballot, now: Instant) {
        if matches!(
            self.entries.get(&key).map(|entry| &entry.role),
            Some(Role::Claiming(_))
        ) {
            self.abort_claim(key, ballot, now);
        }
        let mark = self.had.mark(key);
        let entry = self.entries.entry(key).or_insert_with(|| Entry::new(now));
        entry.promised = entry.promised.max(ballot);
        let record = match &entry.role {
            Role::Copy(copy) => PromiseRecord::Known(copy.aged(now)),
            Role::Owned(owned) => PromiseRecord::Known(owned.aged(now)),
            Role::Claiming(claiming) => PromiseRecord::Known(claiming.copy.aged(now)),
            Role::None => match mark {
                Some((ballot, version)) => PromiseRecord::Released { ballot, version },
                None => PromiseRecord::Unknown,
            },
        };
        if matches!(entry.role, Role::None) {
            entry.since = now;
            self.wake_at(now + crate::base::limits::T1_X64, Wake::Key(key));
        }
        self.send(
            to,
            key,
            Frame::Promise(Promise {
                key,
                ballot,
                record,
            }),
        );
        if self.owned(key).is_some() && !self.breaks(Break::NoFencing) {
            // Rule 16: with the promise that we invited, we yield; if nothing comes of it, rule 15.
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.handed_to = Some(to);
                self.stats.handed_over += 1;
            }
            self.yield_to(key, ballot, now);
            self.wake_at(now + self.orphan_after(), Wake::Key(key));
        }
    }

    /// A bare promise or mark that nothing came of goes after a while.
    pub(super) fn drop_bare(&mut self, key: CallId, now: Instant) {
        let bare = self.entries.get(&key).is_some_and(|entry| {
            matches!(entry.role, Role::None)
                && now.since(entry.since) >= crate::base::limits::T1_X64
        });
        if bare {
            self.entries.remove(&key);
        }
    }
}
