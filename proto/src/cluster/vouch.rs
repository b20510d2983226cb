//! Vouching: a second opinion about an owner that is silent here. One bad link makes a member
//! silent to one other alone, and then its ringing callers must not be told that it is gone
//! (SIP.md S3.3). Others are asked whether they find it silent as well, and say so on evidence of
//! their own; a living owner has the word of one that hears it.

use smallvec::SmallVec;

use super::births::Holders;
use super::engine::Cluster;
use super::liveness::Peer;
use crate::base::ids::{CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Vouch, Vouched};

/// How long an owner has to be absent in a row, unless membership says that it is gone.
pub(super) const ABSENT: Duration = Duration::from_secs(2);
/// From when on others are asked.
const ASK_FROM: Duration = Duration::from_secs(1);
/// They are asked again after this long, and what they said holds for `HOLDS`.
const ASK_AGAIN: Duration = Duration::from_millis(200);
const HOLDS: Duration = Duration::from_secs(1);
/// So many are asked.
const WITNESSES: usize = 5;

/// An owner of notices that is absent.
#[derive(Debug)]
pub(super) struct Absence {
    pub(super) since: Instant,
    asked_at: Option<Instant>,
    /// Whether each that was asked hears it, and when that was said.
    words: SmallVec<[(MemberId, bool, Instant); WITNESSES]>,
}

impl Absence {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            asked_at: None,
            words: SmallVec::new(),
        }
    }

    /// Whether a witness finds it silent, by its latest word.
    fn is_confirmed_by(&self, witness: MemberId, now: Instant) -> bool {
        let of = |(who, ..): &&(MemberId, bool, Instant)| *who == witness;
        let word = self.words.iter().find(of);
        word.is_some_and(|(_, heard, at)| !heard && now.since(*at) < HOLDS)
    }
}

impl<H> Cluster<H> {
    /// Gone by membership's word, or by ours and that of everybody asked. `key`: one of its calls.
    pub(super) fn is_surely_absent(&mut self, owner: Peer, key: CallId, now: Instant) -> bool {
        let Some(absence) = self.births.absent.get(&owner) else {
            return false;
        };
        let absent = now.since(absence.since);
        // Those of us who are cut off all find it silent, and it may be answering right now.
        if !self.may_speak_for(owner.member, key) {
            return false;
        }
        if self.is_gone_for_good(owner) {
            return true;
        }
        let again = absence.asked_at.is_none_or(|at| now.since(at) >= ASK_AGAIN);
        let witnesses = self.witnesses(owner, key);
        if absent >= ASK_FROM && again {
            let vouch = Vouch {
                member: owner.member,
                shard: owner.shard,
            };
            for witness in &witnesses {
                self.send(*witness, key, Frame::Vouch(vouch));
            }
        }
        let Some(absence) = self.births.absent.get_mut(&owner) else {
            return false;
        };
        if absent >= ASK_FROM && again {
            absence.asked_at = Some(now);
        }
        // Where nobody can be asked, membership is given time to say it.
        let least = if witnesses.is_empty() { 2 } else { 1 };
        let mut witnesses = witnesses.into_iter();
        absent >= ABSENT * least && witnesses.all(|one| absence.is_confirmed_by(one, now))
    }

    /// Those that are asked about `owner`: the members that come after it, so that not all ask the
    /// same ones.
    fn witnesses(&self, owner: Peer, key: CallId) -> Holders {
        let others = self.view.live().map(|info| info.id);
        let able = |member: &MemberId| *member != self.me && self.is_present(*member, key);
        let mut able: Vec<MemberId> = others.filter(able).collect();
        able.sort_unstable_by_key(|member| (*member < owner.member, *member));
        able.into_iter().take(WITNESSES).collect()
    }

    /// Another member finds `vouch.member` silent: do we?
    pub(super) fn on_vouch(&mut self, from: Peer, vouch: Vouch, now: Instant) {
        let Vouch { member, shard } = vouch;
        let peer = Peer { member, shard };
        // It may be long ago that it was heard, or never: an answer is due from now on, and we are
        // asked again.
        let silent = self.view.is_gone(member) || self.liveness.is_silent(peer);
        let heard = member == self.me || !silent;
        if member != self.me && !silent {
            self.ping(peer, now);
            if !self.liveness.was_heard(peer) {
                return; // no evidence of our own yet, as after our start
            }
        }
        let vouched = Vouched {
            member,
            shard,
            heard,
        };
        self.send_shard(from, Frame::Vouched(vouched));
    }

    pub(super) fn on_vouched(&mut self, from: MemberId, vouched: Vouched, now: Instant) {
        let Vouched {
            member,
            shard,
            heard,
        } = vouched;
        let peer = Peer { member, shard };
        if let Some(absence) = self.births.absent.get_mut(&peer) {
            absence.words.retain(|(who, ..)| *who != from);
            absence.words.push((from, heard, now));
        }
    }
}
