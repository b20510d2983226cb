//! Seeking a transaction: a CANCEL or ACK without a tag of ours that came to a member which has
//! never seen its INVITE (SIP.md S3.2). The holders of the position are asked. It costs anybody
//! nothing to send such a request, so the rate is limited and what waits is bounded.

use smallvec::SmallVec;

use super::births::Holders;
use super::effect::Effect;
use super::engine::Cluster;
use super::entry::Brought;
use super::liveness::Peer;
use super::lookup::Bucket;
use crate::base::ids::{CallId, MemberId};
use crate::base::limits::SEEKS_MAX;
use crate::base::map::{KeyedState, Map};
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Message, Seek, Sought};

/// The question is repeated after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// After this long what waits is dropped: the client asks again.
const GIVE_UP: Duration = Duration::from_secs(1);
/// Requests of one transaction that wait at once.
const WAITING_MAX: usize = 4;

#[derive(Debug)]
struct Seeking {
    position: u64,
    waiting: Holders,
    messages: SmallVec<[Message; 1]>,
    since: Instant,
    asked_at: Instant,
}

/// The transactions that are looked for.
#[derive(Debug)]
pub(super) struct Seeks {
    open: Map<u128, Seeking>,
    tokens: Bucket,
}

impl Seeks {
    pub(super) fn new(hasher: KeyedState) -> Self {
        Self {
            open: Map::with_hasher(hasher),
            tokens: Bucket::new(1_000, 2_000),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl<H> Cluster<H> {
    /// Brings a request to the owner of its INVITE transaction; [`Effect::Nowhere`] if nobody has a
    /// notice of it.
    pub fn seek(&mut self, position: u64, transaction: u128, message: Message, now: Instant) {
        if let Some((key, owner)) = self.birth_of(transaction) {
            return self.bring_towards(key, owner, message, now);
        }
        if let Some(seeking) = self.births.seeks.open.get_mut(&transaction) {
            if seeking.messages.len() < WAITING_MAX && !seeking.messages.contains(&message) {
                seeking.messages.push(message);
            }
            return;
        }
        let key = of(position);
        let copies = self.policy.copies;
        let present = self.view.holders(position, copies);
        let previous = self.previous.holders(position, copies);
        let mut waiting = Holders::new();
        for member in present.into_iter().chain(previous) {
            let new = member != self.me && !waiting.contains(&member);
            if new && self.is_present(member, key) {
                waiting.push(member);
            }
        }
        if waiting.is_empty() {
            return self.effect(Effect::Nowhere { message });
        }
        let seeks = &mut self.births.seeks;
        if seeks.open.len() >= SEEKS_MAX || !seeks.tokens.take(now) {
            self.stats.dropped += 1;
            return;
        }
        let seeking = Seeking {
            position,
            waiting,
            messages: SmallVec::from_iter([message]),
            since: now,
            asked_at: now,
        };
        self.ask_for(transaction, &seeking);
        self.births.seeks.open.insert(transaction, seeking);
        self.start_ticking(now);
    }

    fn ask_for(&mut self, transaction: u128, seeking: &Seeking) {
        let position = seeking.position;
        for member in &seeking.waiting {
            let seek = Seek {
                position,
                transaction,
            };
            self.send(*member, of(position), Frame::Seek(seek));
        }
    }

    pub(super) fn on_seek(&mut self, from: Peer, seek: &Seek) {
        let transaction = seek.transaction;
        let found = self.birth_of(transaction);
        let sought = Sought { transaction, found };
        self.send_shard(from, Frame::Sought(sought));
    }

    pub(super) fn on_sought(&mut self, from: MemberId, sought: &Sought, now: Instant) {
        let transaction = sought.transaction;
        let Some(seeking) = self.births.seeks.open.get_mut(&transaction) else {
            return;
        };
        let Some((key, owner)) = sought.found else {
            seeking.waiting.retain(|member| *member != from);
            return self.conclude_seek(transaction);
        };
        let seeking = self.births.seeks.open.remove(&transaction);
        for message in seeking.into_iter().flat_map(|seeking| seeking.messages) {
            self.bring_towards(key, owner, message, now);
        }
    }

    /// Everybody who could know has said no.
    fn conclude_seek(&mut self, transaction: u128) {
        let seeks = &mut self.births.seeks.open;
        if seeks
            .get(&transaction)
            .is_none_or(|seeking| !seeking.waiting.is_empty())
        {
            return;
        }
        let seeking = seeks.remove(&transaction);
        for message in seeking.into_iter().flat_map(|seeking| seeking.messages) {
            self.effect(Effect::Nowhere { message });
        }
    }

    pub(super) fn advance_seeks(&mut self, now: Instant) {
        if self.births.seeks.is_empty() {
            return;
        }
        let mut open: Vec<u128> = self.births.seeks.open.keys().copied().collect();
        open.sort_unstable();
        for transaction in open {
            let Some(mut seeking) = self.births.seeks.open.remove(&transaction) else {
                continue;
            };
            if now.since(seeking.since) >= GIVE_UP {
                self.stats.dropped += seeking.messages.len() as u64;
                continue;
            }
            let key = of(seeking.position);
            seeking.waiting.retain(|one| self.is_present(*one, key));
            if now.since(seeking.asked_at) >= ASK_AGAIN {
                seeking.asked_at = now;
                self.ask_for(transaction, &seeking);
            }
            self.births.seeks.open.insert(transaction, seeking);
            self.conclude_seek(transaction);
        }
    }

    /// As [`Cluster::bring`], to a call whose owner is known for sure.
    pub fn bring_towards(&mut self, key: CallId, owner: MemberId, message: Message, now: Instant) {
        let brought = Brought {
            message,
            hops: 0,
            since: now,
        };
        let hint = Some(owner).filter(|owner| *owner != self.me);
        self.bring_one(key, hint, brought, now);
    }
}

/// What stands for a call at `position` that has no name yet.
pub(super) fn of(position: u64) -> CallId {
    CallId { position, nonce: 0 }
}
