//! Births: who serves an INVITE that several members may have got, before any tag is known.
//!
//! SIP.md S3.1 and S3.2 are kept here. An owner posts a notice of each birth to the holders of the
//! position and serves the INVITE meanwhile; the first holder that is not silent says whether that
//! notice was the first of its transaction. So two members that get one INVITE, and hear the same
//! holder, agree on one of them. Nothing here is a promise: a call without a record is nobody's but
//! its owner's. Hashes and bytes are opaque.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use smallvec::SmallVec;

use super::effect::Effect;
use super::engine::{Cluster, Wake};
use super::liveness::Peer;
use super::place::KeptRequests;
use super::policy::MergedPolicy;
use super::register::Register;
use super::seek::Seeks;
use super::vouch::Absence;
use crate::base::ids::{CallId, MemberId};
use crate::base::map::{KeyedState, Map};
use crate::base::time::{Duration, Instant};
use crate::wire::{Birth, Frame, Judgement, Outcome, Settled, Verdict, Verdicts};

/// A notice that nobody has answered is posted again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What looks like a merged request is looked at again after this long: that the attempt before it
/// was refused may be on its way.
const MERGED_AGAIN: Duration = Duration::from_millis(60);
/// How often what waits is looked after.
const TICK: Duration = Duration::from_millis(50);
/// The same while all that lies here is others' notices.
const TICK_IDLE: Duration = Duration::from_millis(250);
/// Notices in one frame.
const NOTICES_MAX: usize = 128;

pub(super) type Holders = SmallVec<[MemberId; 4]>;

/// A birth of our own, until its transaction is over.
#[derive(Debug)]
struct Own {
    birth: Birth,
    /// Who has the notice, in the order of their say.
    holders: Holders,
    decided: bool,
    /// Whose verdict is waited for, and since when.
    asked: Option<(MemberId, Instant)>,
    /// Our own word decides and was given: whoever is asked is a witness.
    first_here: bool,
    /// Rivals that were told to give way to this one.
    refused: SmallVec<[CallId; 1]>,
    not_before: Instant,
    /// It looked like a merged request once.
    merged: bool,
    /// Holders whose say did not count, and what they have instead.
    disputes: SmallVec<[(MemberId, CallId); 1]>,
}

impl Own {
    /// What follows from the word of `from`, who was asked. Where our own word decides it is a
    /// witness, and our memory begins with our life: it may know what is older. Only to a rival
    /// that was told to give way at our word do we not give way.
    fn heed(&mut self, from: MemberId, word: Judgement) -> Judgement {
        match word {
            _ if !self.first_here => word,
            Judgement::Taken { key, .. } if self.refused.contains(&key) => {
                self.disputes.push((from, key));
                Judgement::First
            }
            Judgement::Taken { .. } | Judgement::Ended => word,
            Judgement::First | Judgement::Merged => Judgement::First,
        }
    }
}

/// All that one shard knows of births.
#[derive(Debug)]
pub(super) struct Births {
    pub(super) register: Register,
    own: Map<CallId, Own>,
    undecided: BTreeSet<CallId>,
    posting: BTreeMap<(Peer, bool), Vec<Birth>>,
    verdicts: BTreeMap<Peer, Vec<Verdict>>,
    settling: BTreeMap<Peer, Vec<(CallId, Outcome)>>,
    /// A failure is among them: whoever failed over with it comes at once.
    urgent: bool,
    pub(super) seeks: Seeks,
    pub(super) kept: KeptRequests,
    /// Owners of notices that are absent.
    pub(super) absent: BTreeMap<Peer, Absence>,
    /// The protocol version of each link.
    pub(super) wires: BTreeMap<MemberId, u8>,
    /// When it is looked after next.
    due: Option<Instant>,
}

impl Births {
    pub(super) fn new(hasher: KeyedState) -> Self {
        Self {
            register: Register::new(hasher),
            own: Map::with_hasher(hasher),
            undecided: BTreeSet::new(),
            posting: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            settling: BTreeMap::new(),
            urgent: false,
            seeks: Seeks::new(hasher),
            kept: KeptRequests::new(hasher),
            absent: BTreeMap::new(),
            wires: BTreeMap::new(),
            due: None,
        }
    }

    /// Whether evidence about other members is wanted.
    pub(super) fn is_idle(&self) -> bool {
        self.register.is_empty()
            && self.own.is_empty()
            && self.seeks.is_empty()
            && self.kept.is_empty()
    }
}

impl<H> Cluster<H> {
    /// The version that a link speaks.
    pub fn on_wire(&mut self, member: MemberId, version: u8) {
        self.births.wires.insert(member, version);
    }

    /// Linked, not silent, and it knows of births.
    pub(super) fn is_present(&self, member: MemberId, key: CallId) -> bool {
        let speaks = self.births.wires.get(&member);
        speaks.is_some_and(|version| *version >= 2)
            && self.session(member, key).is_some()
            && !self.is_absent(member, key)
    }

    // ---- the owner ------------------------------------------------------------------------

    /// A call was born here. [`Effect::Judged`] will say whether it stands; until then nothing that
    /// carries its tag may leave.
    pub fn post_birth(&mut self, birth: Birth, now: Instant) {
        let key = birth.key;
        let holders = self.view.holders(key.position, self.policy.copies);
        let own = Own {
            birth,
            holders,
            decided: false,
            asked: None,
            first_here: false,
            not_before: now,
            refused: SmallVec::new(),
            merged: false,
            disputes: SmallVec::new(),
        };
        let birth = own.birth.clone();
        let listed = own.holders.contains(&self.me);
        self.births.own.insert(key, own);
        self.births.undecided.insert(key);
        self.advance_birth(key, now);
        if !listed {
            // Not a holder's say, but what finds the call here.
            self.judge(self.me, birth, now);
        }
        self.tell_the_others(key, None, now);
        self.start_ticking(now);
    }

    /// Posts the notice to the holders that it was not sent to, `to` alone or all; objections only.
    fn tell_the_others(&mut self, key: CallId, to: Option<&Holders>, now: Instant) {
        let Some(own) = self.births.own.get(&key) else {
            return;
        };
        let asked = own.asked.map(|(member, _)| member);
        let (birth, decided) = (own.birth.clone(), own.decided);
        for member in to.unwrap_or(&own.holders).clone() {
            if member == self.me {
                // Where our own word decides, it has been taken.
                if !decided {
                    self.judge(self.me, birth.clone(), now);
                }
            } else if Some(member) != asked && self.is_present(member, key) {
                self.post(member, false, birth.clone());
            }
        }
    }

    fn post(&mut self, member: MemberId, asks: bool, birth: Birth) {
        let peer = self.peer(member, birth.key);
        let posting = self.births.posting.entry((peer, asks)).or_default();
        posting.push(birth);
    }

    /// Looks again at a birth that is not decided: the first holder that is present decides.
    pub(super) fn advance_birth(&mut self, key: CallId, now: Instant) {
        let Some(own) = self.births.own.get(&key) else {
            return;
        };
        if own.decided || now < own.not_before {
            return;
        }
        let mut holders = own.holders.iter().copied();
        let decider = holders.find(|one| *one == self.me || self.is_present(*one, key));
        let (asked, birth) = (own.asked, own.birth.clone());
        let own_holders = own.holders.clone();
        match decider {
            // Nobody is left to say otherwise.
            None => self.conclude(key, Judgement::First, now),
            Some(me) if me == self.me => {
                let judgement = self.judge(me, birth, now);
                let mut others = own_holders.into_iter();
                let witness = others.find(|one| *one != me && self.is_present(*one, key));
                match witness.filter(|_| judgement == Judgement::First) {
                    // What the caller is told, somebody else knows: the notice is with another.
                    Some(witness) => {
                        if let Some(own) = self.births.own.get_mut(&key) {
                            own.first_here = true;
                        }
                        self.ask(witness, key, asked, now);
                    }
                    None => self.conclude(key, judgement, now),
                }
            }
            Some(member) => self.ask(member, key, asked, now),
        }
    }

    fn ask(
        &mut self,
        member: MemberId,
        key: CallId,
        asked: Option<(MemberId, Instant)>,
        now: Instant,
    ) {
        let waiting =
            asked.is_some_and(|(whom, since)| whom == member && now.since(since) < ASK_AGAIN);
        if !waiting && let Some(own) = self.births.own.get_mut(&key) {
            own.asked = Some((member, now));
            let birth = own.birth.clone();
            self.post(member, true, birth);
        }
        self.watch(member, key);
    }

    fn conclude(&mut self, key: CallId, judgement: Judgement, now: Instant) {
        let Some(own) = self.births.own.get_mut(&key) else {
            return;
        };
        if judgement == Judgement::Merged && !own.merged {
            own.merged = true;
            own.asked = None;
            own.not_before = now + MERGED_AGAIN;
            return self.tick_by(now + MERGED_AGAIN);
        }
        self.births.undecided.remove(&key);
        if judgement == Judgement::First {
            own.decided = true;
            for (member, other) in std::mem::take(&mut own.disputes) {
                self.dispute(member, key, other);
            }
        } else {
            self.settle_birth(key, Outcome::Over, now);
        }
        self.effect(Effect::Judged { key, judgement });
    }

    /// A holder whose say did not count has another call's notice: it takes ours for that.
    fn dispute(&mut self, member: MemberId, key: CallId, other: CallId) {
        if let Some(own) = self.births.own.get(&key) {
            let birth = Birth {
                instead: Some(other),
                ..own.birth.clone()
            };
            self.post(member, false, birth);
        }
    }

    pub(super) fn on_verdicts(&mut self, from: MemberId, verdicts: Verdicts, now: Instant) {
        for Verdict { key, judgement } in verdicts.verdicts {
            let Some(own) = self.births.own.get_mut(&key) else {
                continue;
            };
            match judgement {
                _ if !own.decided && own.asked.is_some_and(|(whom, _)| whom == from) => {
                    let word = own.heed(from, judgement);
                    self.conclude(key, word, now);
                }
                Judgement::Taken { key: other, .. } if own.decided => {
                    self.dispute(from, key, other);
                }
                Judgement::Taken { key: other, .. } => own.disputes.push((from, other)),
                Judgement::First | Judgement::Merged | Judgement::Ended => {}
            }
        }
    }

    /// How far the INVITE's transaction of a call that we own has come.
    pub fn settle_birth(&mut self, key: CallId, outcome: Outcome, now: Instant) {
        let holders = match self.births.own.get_mut(&key) {
            Some(own) => {
                own.birth.end = Bytes::new();
                own.holders.clone()
            }
            // An heir: whoever has the notice is at the position.
            None => self.view.holders(key.position, self.policy.copies),
        };
        if outcome == Outcome::Over {
            self.births.own.remove(&key);
            self.births.undecided.remove(&key);
        }
        self.births.register.settle(key, outcome);
        for member in holders {
            if member != self.me && self.is_present(member, key) {
                let peer = self.peer(member, key);
                let settling = self.births.settling.entry(peer).or_default();
                settling.push((key, outcome));
                self.births.urgent |= outcome == Outcome::Refused;
            }
        }
        self.start_ticking(now);
    }

    /// Positions lie with other members than before: new holders get the notices of what is not
    /// over.
    pub(super) fn births_in_view(&mut self, now: Instant) {
        let view = &self.view;
        let gone = |member: &MemberId| view.is_gone(*member);
        self.births.wires.retain(|member, _| !gone(member));
        let keys: Vec<CallId> = self.births.own.keys().copied().collect();
        for key in keys {
            let holders = self.view.holders(key.position, self.policy.copies);
            let Some(own) = self.births.own.get_mut(&key) else {
                continue;
            };
            let fresh = holders.iter().filter(|one| !own.holders.contains(one));
            let fresh: Holders = fresh.copied().collect();
            // The order of those that were asked first stays: they know who was first.
            own.holders.extend(fresh.iter().copied());
            self.tell_the_others(key, Some(&fresh), now);
        }
    }

    /// Whether a notice at `position` would lie with another member.
    #[must_use]
    pub fn has_other_holders(&self, position: u64) -> bool {
        let holders = self.view.holders(position, self.policy.copies);
        holders.iter().any(|member| *member != self.me)
    }

    // ---- the holder -----------------------------------------------------------------------

    pub(super) fn on_births(&mut self, from: Peer, births: crate::wire::Births, now: Instant) {
        for birth in births.notices {
            let key = birth.key;
            let judgement = self.judge(from.member, birth, now);
            if let (true, Judgement::Taken { key: ours, .. }) = (births.asks, &judgement)
                && let Some(own) = self.births.own.get_mut(ours)
                && !own.refused.contains(&key)
            {
                own.refused.push(key);
            }
            if births.asks || judgement != Judgement::First {
                let verdicts = self.births.verdicts.entry(from).or_default();
                verdicts.push(Verdict { key, judgement });
            }
        }
        self.start_ticking(now);
    }

    /// SIP.md S3.1, S3.2: the first notice of a transaction wins; of two ways of one request the
    /// first, unless it was refused or its owner is absent (RFC 3263 failover).
    fn judge(&mut self, owner: MemberId, birth: Birth, now: Instant) -> Judgement {
        let register = &self.births.register;
        if let Some(known) = register.get(birth.transaction)
            && known.key != birth.key
        {
            if known.ended.is_some() {
                let key = known.key;
                self.send_end(key, now);
                return Judgement::Ended;
            }
            if birth.instead != Some(known.key) {
                return Judgement::Taken {
                    key: known.key,
                    owner: known.owner.member,
                };
            }
        }
        let rejects = self.policy.merged == MergedPolicy::Reject;
        if let Some(rival) = register.rival(&birth).filter(|_| rejects)
            && rival.outcome != Some(Outcome::Refused)
            && rival.ended.is_none()
            && !self.is_absent(rival.owner.member, rival.key)
        {
            return Judgement::Merged;
        }
        let owner = self.peer(owner, birth.key);
        self.births.register.insert(owner, birth);
        Judgement::First
    }

    pub(super) fn on_settled(&mut self, settled: Settled) {
        for (key, outcome) in settled.calls {
            self.births.register.settle(key, outcome);
        }
    }

    /// Frames about INVITEs whose calls have no name that is known everywhere.
    pub(super) fn on_setup_frame(&mut self, from: Peer, frame: Frame, now: Instant) {
        match frame {
            Frame::Births(births) => self.on_births(from, births, now),
            Frame::Verdicts(verdicts) => self.on_verdicts(from.member, verdicts, now),
            Frame::Settled(settled) => self.on_settled(settled),
            Frame::Seek(seek) => self.on_seek(from, &seek),
            Frame::Sought(sought) => self.on_sought(from.member, &sought, now),
            Frame::Submit(submit) => self.effect(Effect::Submitted(submit)),
            Frame::Vouch(vouch) => self.on_vouch(from, vouch, now),
            Frame::Vouched(vouched) => self.on_vouched(from.member, vouched, now),
            other => debug_assert!(false, "not about births: {other:?}"),
        }
    }

    // ---- batches and time -----------------------------------------------------------------

    /// Frames out of all that was said since the last drain.
    pub(super) fn flush_births(&mut self) {
        if self.births.posting.is_empty() && self.births.verdicts.is_empty() && !self.births.urgent
        {
            return;
        }
        for ((peer, asks), mut births) in std::mem::take(&mut self.births.posting) {
            while !births.is_empty() {
                let rest = births.split_off(births.len().min(NOTICES_MAX));
                let notices = std::mem::replace(&mut births, rest);
                self.send_shard(peer, Frame::Births(crate::wire::Births { asks, notices }));
            }
        }
        for (peer, verdicts) in std::mem::take(&mut self.births.verdicts) {
            self.send_shard(peer, Frame::Verdicts(Verdicts { verdicts }));
        }
        if std::mem::take(&mut self.births.urgent) {
            self.flush_settled();
        }
    }

    fn flush_settled(&mut self) {
        for (peer, calls) in std::mem::take(&mut self.births.settling) {
            self.send_shard(peer, Frame::Settled(Settled { calls }));
        }
    }

    pub(super) fn start_ticking(&mut self, now: Instant) {
        self.tick_by(now + TICK);
    }

    fn tick_by(&mut self, at: Instant) {
        if self.births.due.is_none_or(|due| due > at) {
            self.births.due = Some(at);
            self.wake_at(at, Wake::Births);
        }
    }

    pub(super) fn tick_births(&mut self, now: Instant) {
        if self.births.due.is_none_or(|due| due > now) {
            return; // it was brought forward
        }
        self.births.due = None;
        self.flush_settled();
        let undecided: Vec<CallId> = self.births.undecided.iter().copied().collect();
        for key in undecided {
            self.advance_birth(key, now);
        }
        self.advance_seeks(now);
        self.look_after_kept(now);
        self.look_after_orphans(now);
        if self.births.is_idle() {
            return;
        }
        let busy = !self.births.undecided.is_empty()
            || !self.births.settling.is_empty()
            || !self.births.seeks.is_empty()
            || !self.births.absent.is_empty()
            || self.births.kept.is_busy();
        let pause = if busy { TICK } else { TICK_IDLE };
        self.tick_by(now + pause);
    }
}
