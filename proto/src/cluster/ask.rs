//! Asking around: who is asked for a call that nobody here knows, what their answers mean, and when
//! it may be said that nobody has it. Rate-limited: only requests whose seal verifies come here.

use smallvec::SmallVec;

use super::engine::{Cluster, Wake};
use super::lookup::Step;
use crate::base::ids::{CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Locate, Located, NotOwner, Refusal, Refuse, Standing};

/// A question is repeated to those that have not answered after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// For how long a call that nobody knew is not looked for again.
const NEGATIVE_KEEP: Duration = Duration::from_secs(2);
/// A member that has known no other for this long believes that there is none.
const LONELY: Duration = Duration::from_secs(10);
/// Such calls remembered at most.
const NEGATIVE_MAX: usize = 16_384;

impl<H> Cluster<H> {
    /// Waits for those that were asked, asking `again` if it was long ago.
    fn wait_for_answers(&mut self, key: CallId, whom: &[MemberId], again: bool, now: Instant) {
        for member in whom {
            self.watch(*member, key);
            if again {
                self.ask_life(*member, key, now);
                self.send(*member, key, Frame::Locate(Locate { key }));
            }
        }
        if let Some(lookup) = self.lookups.get_mut(&key).filter(|_| again) {
            lookup.asked_at = now;
            self.wake_at(now + ASK_AGAIN, Wake::Key(key));
        }
    }

    /// Asks the next circle of members, or concludes that nobody knows.
    pub(super) fn ask_around(&mut self, key: CallId, now: Instant) {
        let Some(lookup) = self.lookups.get(&key) else {
            return;
        };
        let unanswered = lookup.asked.iter().copied();
        let pending: SmallVec<[MemberId; 6]> = unanswered
            .filter(|member| !lookup.answered.contains(member) && !self.is_absent(*member, key))
            .collect();
        if !pending.is_empty() {
            // Questions and answers can be lost with a link.
            let again = now.since(lookup.asked_at) >= ASK_AGAIN;
            return self.wait_for_answers(key, &pending, again, now);
        }
        let (step, hint) = (lookup.step, lookup.hint);
        let copies = self.policy.copies.max(2);
        let circle: SmallVec<[MemberId; 6]> = match step {
            Step::Everyone => return self.not_found(key, now),
            Step::Asking => {
                let paced = self.lookups.get(&key).is_some_and(|lookup| lookup.paced);
                if !paced && !self.everyone_tokens.take(now) {
                    return self.look_later(key, now);
                }
                self.view.live().map(|info| info.id).collect()
            }
            Step::Idle | Step::Paused(_) | Step::Relayed(..) => {
                let present = self.view.holders(key.position, copies);
                let previous = self.previous.holders(key.position, copies);
                present.into_iter().chain(previous).chain(hint).collect()
            }
        };
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        lookup.step = if step == Step::Asking {
            Step::Everyone
        } else {
            Step::Asking
        };
        let mut fresh: SmallVec<[MemberId; 6]> = SmallVec::new();
        for member in circle {
            let known = fresh.contains(&member) || lookup.asked.contains(&member);
            if member != self.me && !known && !self.view.is_gone(member) {
                fresh.push(member);
            }
        }
        lookup.asked_at = now;
        // Those that are silent already are asked in vain, most likely, and not waited for.
        let mut waited = fresh.clone();
        waited.retain(|member| !self.is_absent(*member, key));
        for member in &fresh {
            self.ask_life(*member, key, now);
            self.send(*member, key, Frame::Locate(Locate { key }));
        }
        let nobody = waited.is_empty();
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.asked.extend(waited);
        }
        if nobody {
            self.ask_around(key, now);
        } else {
            self.wake_at(now + ASK_AGAIN, Wake::Key(key));
        }
    }

    /// Whether nobody can know the call: those that did not say so are few enough to have been
    /// covered by others' copies, and fell silent in front of us. A member that was never heard (we
    /// have just started, or our links are not up) proves nothing; neither does asking in vain.
    pub(super) fn is_conclusive(&self, key: CallId, now: Instant) -> bool {
        let Some(lookup) = self.lookups.get(&key) else {
            return false;
        };
        let others = self.view.live().map(|info| info.id);
        let (answered, unanswered): (SmallVec<[MemberId; 6]>, SmallVec<[MemberId; 6]>) = others
            .filter(|member| *member != self.me)
            .partition(|member| lookup.answered.contains(member));
        // Whoever fell silent while we asked may just have given a copy to one that had said no.
        let mut lost = unanswered.iter();
        if lost.any(|member| lookup.asked.contains(member)) {
            return false;
        }
        let heard = |member: &MemberId| self.liveness.was_heard(self.peer(*member, key));
        if answered.is_empty() && unanswered.is_empty() {
            // Nobody else, or nobody yet: a node that has just started knows no one.
            let lonely = |since| now.since(since) >= LONELY;
            return self.policy.copies <= 1 || self.lonely_since.is_some_and(lonely);
        }
        unanswered.is_empty()
            || (!answered.is_empty()
                && unanswered.len() < self.policy.copies
                && unanswered.iter().all(heard))
    }

    /// Quiet is safer than a 481: the phone asks again, and so do we.
    pub(super) fn look_later(&mut self, key: CallId, now: Instant) {
        let until = now + self.policy.silence;
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.again();
            lookup.excluded.clear();
            lookup.step = Step::Paused(until);
            self.wake_at(until, Wake::Key(key));
        }
    }

    pub(super) fn not_found(&mut self, key: CallId, now: Instant) {
        // Somebody knew it once, so it may be on the move; or too few have spoken.
        let known = self
            .lookups
            .get(&key)
            .is_some_and(|lookup| lookup.known.is_some());
        if known || !self.is_conclusive(key, now) {
            self.doubt_hearsay(key);
            return self.look_later(key, now);
        }
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        let queue = lookup.queue.take();
        self.lookups.remove(&key);
        if self.negative.len() >= NEGATIVE_MAX {
            self.negative.retain(|_, until| now < *until);
        }
        if self.negative.len() < NEGATIVE_MAX {
            self.negative.insert(key, now + NEGATIVE_KEEP);
        }
        for brought in queue {
            self.nobody_has(key, brought.message, now);
        }
    }

    /// An absent owner's own word is all that is known of the call: it may have died before there
    /// was a copy. What the others say is heard once more, without that word.
    fn doubt_hearsay(&mut self, key: CallId) {
        let known = self
            .lookups
            .get(&key)
            .and_then(|lookup| lookup.known.as_ref());
        let hearsay = known.is_some_and(|known| {
            known.members.is_empty() && self.is_absent(known.ballot.owner, key)
        });
        if let Some(lookup) = self.lookups.get_mut(&key).filter(|_| hearsay) {
            lookup.known = None;
        }
    }

    // ---- answers --------------------------------------------------------------------------

    pub(super) fn on_located(&mut self, from: MemberId, located: Located, now: Instant) {
        let key = located.key;
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        if !lookup.answered.contains(&from) {
            lookup.answered.push(from);
        }
        match located.standing {
            Standing::Owner { ballot } => {
                lookup.excluded.retain(|member| *member != from);
                lookup.reported = None;
                lookup.learn(ballot, None);
            }
            Standing::Copy {
                ballot,
                members,
                owner_silent,
            } => {
                lookup.learn(ballot, Some(&members));
                let known = lookup.known.as_ref().map(|known| known.ballot);
                if owner_silent && known == Some(ballot) {
                    // The holder's evidence decides the claim, so there is no need to gather ours.
                    lookup.reported = Some(ballot);
                }
            }
            Standing::Unknown { .. } => {}
        }
        if matches!(lookup.step, Step::Asking | Step::Everyone) {
            self.advance_lookup(key, now);
        }
    }

    pub(super) fn on_not_owner(&mut self, from: MemberId, not_owner: &NotOwner, now: Instant) {
        let key = not_owner.key;
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        if !matches!(lookup.step, Step::Relayed(relayed) if relayed.to == from) {
            return;
        }
        lookup.again();
        lookup.excluded.push(from);
        let owner = lookup.known.as_ref().map(|known| known.ballot.owner);
        match not_owner.ballot {
            Some(ballot) if ballot.owner != from => lookup.learn(ballot, None),
            // It forgot the call altogether: what we took for knowledge is obsolete.
            _ if owner == Some(from) => lookup.known = None,
            _ => {}
        }
        self.advance_lookup(key, now);
    }

    /// A take-over that we asked for was turned down.
    pub(super) fn lookup_refused(
        &mut self,
        key: CallId,
        from: MemberId,
        refuse: &Refuse,
        now: Instant,
    ) {
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        match refuse.refusal {
            Refusal::Owner { ballot } => lookup.learn(ballot, None),
            Refusal::Promised { ballot } | Refusal::Alive { ballot } => {
                lookup.learn(ballot, None);
                let queue = lookup.queue.take();
                self.bring_later(key, queue, ballot, now);
            }
            Refusal::NoCopy => {
                lookup.excluded.push(from);
                lookup.again();
                self.advance_lookup(key, now);
            }
        }
    }
}
