//! Ends: what holders of a birth notice do when the owner is gone before the call has a record
//! (SIP.md S3.3). The caller is told a final response, so nobody waits for ever; if there is a
//! record, its heir is woken instead.

use super::births::Holders;
use super::effect::Effect;
use super::engine::Cluster;
use super::entry::Brought;
use super::liveness::Peer;
use super::vouch::{ABSENT, Absence};
use crate::base::flow::{Flow, Transport};
use crate::base::ids::{CallId, MemberId, NodeId};
use crate::base::limits::T1_X64;
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Message, Outcome, Settled};

/// By how much each holder lets the one before it go first.
const RANK: Duration = Duration::from_secs(1);
/// A record is looked for again after this long.
const SEEK_AGAIN: Duration = Duration::from_secs(4);
/// Look-ups that begin in one turn.
const SEEKS_PER_TURN: usize = 64;
/// The final response is sent at these times; its ACK may go anywhere.
const SENDS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1_500),
];

/// What is brought to a call so that it has an owner, and for nothing else.
fn nudge() -> Message {
    Message::Sip {
        flow: Flow {
            transport: Transport::Udp,
            ingress: NodeId(0),
            listener: 0,
            remote: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
            advertise: "".into(),
        },
        bytes: bytes::Bytes::new(),
    }
}

fn is_nudge(message: &Message) -> bool {
    matches!(message, Message::Sip { bytes, .. } if bytes.is_empty())
}

impl<H> Cluster<H> {
    /// Looks at the owners of the notices that lie here.
    pub(super) fn look_after_orphans(&mut self, now: Instant) {
        let owners: Vec<Peer> = self.births.register.owners().collect();
        self.births.absent.retain(|peer, _| owners.contains(peer));
        let me = self.me;
        for owner in owners.into_iter().filter(|owner| owner.member != me) {
            let gone = self.is_gone_for_good(owner);
            if !gone && !self.liveness.is_silent(owner) {
                self.births.absent.remove(&owner);
                continue;
            }
            let absence = self.births.absent.entry(owner);
            let since = absence.or_insert_with(|| Absence::new(now)).since;
            let absent = now.since(since);
            let key = self.births.register.key_of(owner);
            if key.is_some_and(|key| self.is_surely_absent(owner, key, now)) {
                let late = if gone { absent } else { absent - ABSENT };
                self.look_after(owner, late, gone && absent >= T1_X64, now);
            }
        }
    }

    /// By membership's word, or membership has forgotten it.
    pub(super) fn is_gone_for_good(&self, owner: Peer) -> bool {
        let lane = self.lanes.get(&owner);
        let linked = lane.is_some_and(|lane| lane.session().is_some());
        let forgotten = self.view.node(owner.member.node).is_none() && !linked;
        forgotten || self.view.is_gone(owner.member)
    }

    fn look_after(&mut self, owner: Peer, late: Duration, forget: bool, now: Instant) {
        let transactions: Vec<u128> = self.births.register.of(owner).collect();
        let mut begun = 0;
        for transaction in transactions {
            let Some(notice) = self.births.register.get(transaction) else {
                continue;
            };
            let key = notice.key;
            if forget {
                self.births.register.remove(transaction);
                continue;
            }
            if let Some((since, sent)) = notice.ended {
                let next = SENDS.get(usize::from(sent));
                if next.is_some_and(|after| now.since(since) >= *after) {
                    self.send_end(key, now);
                }
                continue;
            }
            let sought = notice
                .sought_at
                .is_some_and(|at| now.since(at) < SEEK_AGAIN);
            let of_use = notice.outcome.is_none() && !sought && begun < SEEKS_PER_TURN;
            if !of_use || self.rank(key).is_none_or(|rank| late < RANK * rank) {
                continue;
            }
            begun += 1;
            if let Some(notice) = self.births.register.by_key_mut(key) {
                notice.sought_at = Some(now);
            }
            self.seek_record(key, owner.member, now);
        }
    }

    /// How many present holders go before us; none if we are no holder by any view.
    fn rank(&self, key: CallId) -> Option<u32> {
        let copies = self.policy.copies;
        let mut holders: Holders = self.view.holders(key.position, copies);
        holders.extend(self.previous.holders(key.position, copies));
        let at = holders.iter().position(|one| *one == self.me)?;
        let before = holders.iter().take(at);
        let present = before.filter(|one| self.is_present(**one, key));
        u32::try_from(present.count()).ok()
    }

    /// Makes sure that nobody has a record of the call: an ordinary look-up. Whoever has one takes
    /// the call over, for its owner is silent.
    fn seek_record(&mut self, key: CallId, owner: MemberId, now: Instant) {
        let brought = Brought {
            message: nudge(),
            hops: 0,
            since: now,
        };
        self.bring_one(key, Some(owner), brought, now);
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.paced = true;
        }
    }

    /// Nobody has a record of `key`.
    pub(super) fn nobody_has(&mut self, key: CallId, message: Message, now: Instant) {
        if !is_nudge(&message) {
            return self.effect(Effect::NotFound { key, message });
        }
        let (view, me) = (&self.view, self.me);
        let copies = self.policy.copies;
        let holders = view.holders(key.position, copies);
        let present = |one: &MemberId| *one != me && self.is_present(*one, key);
        let others: Holders = holders.into_iter().filter(present).collect();
        let Some(notice) = self.births.register.by_key(key) else {
            return;
        };
        // It may have been settled while we looked, or its owner heard again.
        let owner = notice.owner;
        if notice.outcome.is_some() || notice.ended.is_some() {
            return;
        }
        if !self.is_surely_absent(owner, key, now) {
            return;
        }
        if let Some(notice) = self.births.register.by_key_mut(key) {
            notice.ended = Some((now, 0));
        }
        self.stats.births_ended += 1;
        self.send_end(key, now);
        for member in others {
            let calls = vec![(key, Outcome::Over)];
            self.send(member, key, Frame::Settled(Settled { calls }));
        }
    }

    /// Sends the end record of a call that nobody has.
    pub(super) fn send_end(&mut self, key: CallId, _now: Instant) {
        let Some(notice) = self.births.register.by_key_mut(key) else {
            return;
        };
        let Some((_, sent)) = &mut notice.ended else {
            return;
        };
        *sent = sent.saturating_add(1);
        let end = notice.end.clone();
        self.effect(Effect::End { key, end });
    }
}
