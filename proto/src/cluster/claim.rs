//! The claimant's side: how a member becomes owner of a call whose owner is silent.
//!
//! PROTOCOL.md rules 9, 10, 12, 13, 14, 15 are kept here. Safety holds whoever claims; that only
//! the first listed member that is not silent does so is for progress.

use smallvec::SmallVec;

use super::engine::{Cluster, Wake};
use super::entry::{Brought, Claiming, Copy, Owned, Queue, Role, Stage};
use super::gate::Gate;
use super::handoff::is_at_rest;
use super::liveness::Peer;
use super::release::ENDED;
use super::sabotage::Break;
use crate::base::ids::{Ballot, CallId, MemberId, Version};
use crate::base::limits::{CSEQ_LEASE, T1_X64};
use crate::base::time::{Duration, Instant};
use crate::wire::{
    Claim, Frame, Members, Promise, PromiseRecord, Record, Refusal, Refuse, TakeOver,
};

/// A claim is repeated to those that have not answered after this long: an answer may be lost.
const REPEAT: Duration = Duration::from_millis(100);
/// An invitation of an owner that has not promised for this long is void.
const INVITATION: Duration = Duration::from_millis(500);
/// A claim of what was ours once, refused, is made anew after this long.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);
/// A claim that could not be decided for this long is given up; whoever needs the call asks again.
const GIVE_UP: Duration = Duration::from_secs(4);

impl<H> Cluster<H> {
    /// An ingress finds the owner silent and us the heir (rule 9). Ours to check.
    pub(super) fn on_take_over(&mut self, peer: Peer, take_over: &TakeOver, now: Instant) {
        let key = take_over.key;
        let refusal = match self.entries.get(&key).map(|entry| &entry.role) {
            None | Some(Role::None) => Some(Refusal::NoCopy),
            Some(Role::Owned(owned)) if owned.stage == Stage::Active => Some(Refusal::Owner {
                ballot: owned.record.ballot,
            }),
            Some(Role::Owned(_) | Role::Claiming(_)) => None,
            Some(Role::Copy(copy)) if copy.record.ballot > take_over.ballot => {
                Some(Refusal::Promised {
                    ballot: copy.record.ballot,
                })
            }
            Some(Role::Copy(copy)) => {
                let owner = copy.record.ballot.owner;
                if self.is_absent(owner, key) {
                    self.start_claim(key, Queue::default(), None, now);
                } else {
                    // The message that follows waits for our own evidence; begin to gather it.
                    self.ask_life(owner, key, now);
                }
                None
            }
        };
        if let Some(refusal) = refusal {
            let ballot = take_over.ballot;
            self.send_shard(
                peer,
                Frame::Refuse(Refuse {
                    key,
                    ballot,
                    refusal,
                }),
            );
        }
    }

    /// Rule 10: asks for promises above every epoch seen. Only from a copy. Of an owner that lives
    /// only if it has `invited_by` us, and then it is asked first.
    pub(super) fn start_claim(
        &mut self,
        key: CallId,
        queue: Queue,
        invited_by: Option<MemberId>,
        now: Instant,
    ) {
        let (me, of_copy) = (self.me, self.breaks(Break::EpochOfTheCopy));
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let role = std::mem::replace(&mut entry.role, Role::None);
        let Role::Copy(copy) = role else {
            entry.role = role;
            return;
        };
        let promised = if of_copy { 0 } else { entry.promised.epoch };
        let known = promised.max(copy.record.ballot.epoch);
        let epoch = known.max(entry.seen).saturating_add(1);
        // Rule 22: who was given up for dead may have missed anything.
        let missed = self.renamed_at.is_some_and(|at| copy.at <= at);
        let wide = missed || entry.promised > copy.record.ballot;
        let ballot = Ballot { epoch, owner: me };
        if invited_by.is_none() {
            entry.promised = ballot;
        }
        entry.since = now;
        entry.role = Role::Claiming(Box::new(Claiming {
            ballot,
            best: copy.clone(),
            copy,
            asked: Members::new(),
            asked_at: now,
            granted: Members::new(),
            lapsed: SmallVec::new(),
            holders: Members::new(),
            wide,
            invited_by,
            queue,
            since: now,
        }));
        tracing::debug!(?key, ?ballot, "claim");
        self.stats.claimed += 1;
        if self.breaks(Break::ResumeFenced) && self.resume_fenced(key, now) {
            return;
        }
        self.ask_promises(key, false, now);
        self.advance_claim(key, now);
    }

    fn claiming(&self, key: CallId) -> Option<&Claiming> {
        match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Claiming(claiming)) => Some(claiming),
            _ => None,
        }
    }

    pub(super) fn claiming_mut(&mut self, key: CallId) -> Option<&mut Claiming> {
        match self.entries.get_mut(&key).map(|entry| &mut entry.role) {
            Some(Role::Claiming(claiming)) => Some(claiming),
            _ => None,
        }
    }

    /// Sends the claim to everybody it concerns and has not been asked; to all that have not
    /// granted, if `again`.
    fn ask_promises(&mut self, key: CallId, again: bool, now: Instant) {
        let Some(claiming) = self.claiming(key) else {
            return;
        };
        let ballot = claiming.ballot;
        let inviter = claiming.invited_by;
        let mut whom: Members = claiming.best.record.listed().collect();
        // As many again as there are copies: a replacement lies behind those that were silent then.
        let mut reach = self.policy.copies * 2;
        if self.breaks(Break::AskTheRing) {
            whom.clear();
            reach = self.policy.copies;
        }
        whom.push(claiming.best.record.ballot.owner);
        whom.extend(self.view.holders(key.position, reach));
        whom.extend(self.previous.holders(key.position, reach));
        if claiming.wide {
            whom.extend(self.view.live().map(|info| info.id));
        }
        whom.sort_unstable();
        whom.dedup();
        whom.retain(|member| *member != self.me && !self.view.is_gone(*member));
        // Rule 16: until the owner has promised, nobody else would.
        whom.retain(|member| inviter.is_none_or(|inviter| *member == inviter));
        whom.retain(|member| {
            let asked = claiming.asked.contains(member);
            !asked || (again && !claiming.granted.contains(member))
        });
        for member in &whom {
            self.ask_life(*member, key, now);
            self.send(*member, key, Frame::Claim(Claim { key, ballot }));
        }
        if let Some(claiming) = self.claiming_mut(key) {
            let fresh = whom
                .iter()
                .filter(|member| !claiming.asked.contains(member));
            let fresh: Members = fresh.copied().collect();
            claiming.asked.extend(fresh);
            claiming.asked_at = now;
        }
        self.wake_at(now + REPEAT, Wake::Key(key));
    }

    pub(super) fn on_promise(&mut self, from: MemberId, promise: Promise, now: Instant) {
        let key = promise.key;
        let Some(claiming) = self.claiming_mut(key) else {
            return;
        };
        if claiming.ballot != promise.ballot {
            return;
        }
        if !claiming.granted.contains(&from) {
            claiming.granted.push(from);
        }
        match promise.record {
            PromiseRecord::Known(record) => {
                claiming.holders.push(from);
                let best = claiming.best.record.rank();
                let newer = self.is_newer(record.rank(), best);
                if newer && let Some(claiming) = self.claiming_mut(key) {
                    claiming.best = Copy { record, at: now };
                    self.ask_promises(key, false, now);
                }
            }
            PromiseRecord::Released { ballot, version } => {
                claiming.lapsed.push((from, (ballot, version)));
            }
            PromiseRecord::Unknown => {}
        }
        self.invitation_kept(key, from, now);
        self.advance_claim(key, now);
    }

    /// Rule 16: the owner has promised; now the others are asked.
    fn invitation_kept(&mut self, key: CallId, from: MemberId, now: Instant) {
        let Some(claiming) = self.claiming_mut(key) else {
            return;
        };
        if claiming.invited_by != Some(from) {
            return;
        }
        claiming.invited_by = None;
        let ballot = claiming.ballot;
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        // Until now the owner's records were taken, so nothing stood promised.
        if entry.promised.epoch >= ballot.epoch {
            let promised = entry.promised;
            return self.abort_claim(key, promised, now);
        }
        entry.promised = ballot;
        self.ask_promises(key, false, now);
    }

    pub(super) fn on_refuse(&mut self, from: MemberId, refuse: &Refuse, now: Instant) {
        let key = refuse.key;
        let ours = self
            .claiming(key)
            .is_some_and(|claiming| claiming.ballot == refuse.ballot);
        if !ours {
            self.lookup_refused(key, from, refuse, now);
            return;
        }
        self.stats.claims_refused += 1;
        let ballot = match refuse.refusal {
            Refusal::Alive { ballot }
            | Refusal::Owner { ballot }
            | Refusal::Promised { ballot } => ballot,
            Refusal::NoCopy => return,
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.seen = entry.seen.max(ballot.epoch);
        }
        self.abort_claim(key, ballot, now);
        let alive = matches!(refuse.refusal, Refusal::Alive { .. });
        if alive && self.is_absent(ballot.owner, key) {
            // Rule 11: somebody else hears the owner; it takes our messages there.
            self.relay_via(key, from, now);
        }
    }

    /// Rule 12: looks whether everybody that must have promised has.
    pub(super) fn advance_claim(&mut self, key: CallId, now: Instant) {
        let Some(claiming) = self.claiming(key) else {
            return;
        };
        let best = &claiming.best.record;
        if best.ballot.epoch >= claiming.ballot.epoch {
            let ballot = best.ballot;
            self.abort_claim(key, ballot, now);
            return;
        }
        // Rule 13: a copy whose listed holder had it released is obsolete, and so is one of a call
        // whose end somebody has purged.
        let lapsed = claiming.lapsed.iter().find(|(member, mark)| {
            let named = best.members.contains(member) || best.ballot.owner == *member;
            let purged = mark.1 == ENDED && mark.0 >= best.ballot;
            (named && *mark >= best.rank()) || purged
        });
        if let Some((_, mark)) = lapsed
            && !self.breaks(Break::ClaimObsolete)
        {
            let mark = *mark;
            self.obsolete(key, mark, now);
            return;
        }
        // Everybody asked, not only everybody listed: a copy left behind by changes it has not
        // heard of lists the wrong members, and only the ring leads to the right ones.
        let of_ring = self.breaks(Break::AskTheRing);
        let must: Members = best
            .listed()
            .filter(|_| !of_ring)
            .chain(std::iter::once(best.ballot.owner))
            .chain(claiming.asked.iter().copied())
            .filter(|member| *member != self.me && !claiming.granted.contains(member))
            .filter(|member| !self.is_absent(*member, key))
            .collect();
        let first = self.breaks(Break::FirstPromiseWins) && !claiming.granted.is_empty();
        if must.is_empty() || first {
            self.activate(key, now);
            return;
        }
        let (since, asked_at) = (claiming.since, claiming.asked_at);
        if self.is_invitation_void(claiming, now) || now.since(since) >= GIVE_UP {
            let ballot = self
                .claiming(key)
                .map(|claiming| claiming.copy.record.ballot);
            self.abort_claim(key, ballot.unwrap_or_default(), now);
            return;
        }
        for member in must {
            self.watch(member, key);
        }
        if now.since(asked_at) >= REPEAT {
            self.ask_promises(key, true, now);
        }
    }

    /// Whether the owner that invited us has not promised for too long. It has gone on by itself,
    /// or it is silent, and then a claim of the ordinary kind will do.
    fn is_invitation_void(&self, claiming: &Claiming, now: Instant) -> bool {
        let age = now.since(claiming.since);
        claiming.invited_by.is_some() && age >= INVITATION
    }

    /// Rule 14: the first record of the new ballot goes to old and new members before anything
    /// else.
    pub(super) fn activate(&mut self, key: CallId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let Role::Claiming(claiming) = std::mem::replace(&mut entry.role, Role::None) else {
            return;
        };
        let claiming = *claiming;
        let best = claiming.best.aged(now);
        let me = self.me;
        let listed: Members = best.listed().filter(|member| *member != me).collect();
        let members = self.propose(key, &listed);
        // A later life of one that is gone may have kept its copy.
        let (gone, old): (Members, Members) =
            listed.into_iter().partition(|old| self.view.is_gone(*old));
        let mut stray = claiming.holders;
        stray.extend(gone);
        stray.push(best.ballot.owner);
        stray.push(claiming.copy.record.ballot.owner);
        let record = Record {
            ballot: claiming.ballot,
            version: best.version,
            members,
            old,
            lease: best.lease.saturating_add(CSEQ_LEASE),
            ..best
        };
        tracing::debug!(?key, ballot = ?record.ballot, version = record.version, "take over");
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.since = now;
        entry.role = Role::Owned(Box::new(Owned {
            change: Some(record.version + 1),
            stray,
            record,
            at: now,
            stage: Stage::Activating,
            acked: SmallVec::new(),
            committed: 0,
            gate: Gate::default(),
            invited: None,
            contested: None,
            told_at: now,
            queue: claiming.queue,
            ended_at: None,
        }));
        self.bump(key, now);
        self.advance_lookup(key, now);
    }

    /// The claim is off: the copy is a copy again, and what was queued goes to whoever owns
    /// `ballot`.
    pub(super) fn abort_claim(&mut self, key: CallId, ballot: Ballot, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let role = std::mem::replace(&mut entry.role, Role::None);
        let Role::Claiming(mut claiming) = role else {
            entry.role = role;
            return;
        };
        entry.since = now;
        let mark = entry.released;
        match mark.filter(|mark| claiming.copy.record.rank() <= *mark) {
            // It was released in the meantime.
            Some(mark) => {
                self.had.insert(key, mark);
                self.wake_at(now + T1_X64, Wake::Key(key));
            }
            None => {
                let owner = claiming.copy.record.ballot.owner;
                entry.role = Role::Copy(claiming.copy);
                if owner.node == self.me.node {
                    // Rule 12: again, above it. Nobody else comes for what only we believe in.
                    self.wake_at(now + CLAIM_AGAIN, Wake::Key(key));
                }
                // No round of adoption saw it while it was claimed.
                self.note_orphan(owner, now);
            }
        }
        let queue = claiming.queue.take();
        tracing::debug!(?key, ?ballot, "claim aborted");
        self.bring_later(key, queue, ballot, now);
    }

    /// Rule 13: everybody has let go of what lies here. The promises stay.
    fn obsolete(&mut self, key: CallId, mark: (Ballot, Version), now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let Role::Claiming(mut claiming) = std::mem::replace(&mut entry.role, Role::None) else {
            return;
        };
        let queue: Vec<Brought> = claiming.queue.take();
        entry.since = now;
        self.had.insert(key, mark);
        self.wake_at(now + T1_X64, Wake::Key(key));
        self.bring_all(key, queue, now);
    }

    /// Rule 15: a copy that was fenced off, and nobody's record came of it.
    pub(super) fn advance_orphan(&mut self, key: CallId, now: Instant) {
        self.drop_bare(key, now);
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        let Role::Copy(copy) = &entry.role else {
            return;
        };
        let owner = copy.record.ballot.owner;
        let ours_once = owner == self.me || owner.node == self.me.node;
        if ours_once && now >= entry.since + self.orphan_after() {
            self.start_claim(key, Queue::default(), None, now);
        }
    }

    /// A member that claims our call in vain takes no record of ours any more (rule 4). It
    /// may be that the claim is old news, and we are the ones to hear something soon.
    pub(super) fn claimed_in_vain(
        &mut self,
        key: CallId,
        from: MemberId,
        ballot: Ballot,
        now: Instant,
    ) {
        let until = now + self.orphan_after();
        let Some(owned) = self.owned_mut(key) else {
            return;
        };
        let (mark, listed) = (owned.record.rank(), owned.record.lists(from));
        let settled = owned.stage == Stage::Active && owned.record.old.is_empty();
        let present = owned.record.ballot;
        if ballot > present {
            // Whoever claims again and again does not put it off.
            let (before, until) = owned.contested.unwrap_or((ballot, until));
            owned.contested = Some((before.max(ballot), until));
        }
        // It holds a copy that nobody meant it to keep: it missed our coming.
        if !listed && !settled && !owned.stray.contains(&from) {
            owned.stray.push(from);
        }
        if ballot > present {
            self.wake_at(until, Wake::Key(key));
        }
        if !listed && settled {
            self.release_copy(from, key, mark, now);
        }
    }

    /// Rule 15, beforehand: while nothing waits for it, the owner rises above a claim made in vain.
    pub(super) fn outbid(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned(key) else {
            return;
        };
        let Some((ballot, until)) = owned.contested else {
            return;
        };
        let quiet = is_at_rest(owned) && owned.told_at < now;
        if now >= until && quiet && ballot > owned.record.ballot {
            self.yield_to(key, ballot, now);
            self.start_claim(key, Queue::default(), None, now);
        }
    }

    /// How long whoever fenced us off may take until its record shows.
    pub(super) fn orphan_after(&self) -> Duration {
        self.policy.silence * 2
    }
}
