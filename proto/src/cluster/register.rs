//! The register of birth notices that lie at this member: which call an INVITE transaction belongs
//! to before any tag is known (SIP.md S3.1), and what others may ask of it. State only; `births`
//! and `ends` decide.
//!
//! It knows hashes and opaque bytes, and every step costs the same however many notices there are:
//! whoever repeats one Call-ID starves nobody.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::engine::Cluster;
use super::liveness::Peer;
use super::policy::MergedPolicy;
use crate::base::ids::{CallId, MemberId};
use crate::base::limits::BIRTHS_MAX;
use crate::base::map::{KeyedState, Map};
use crate::base::time::Instant;
use crate::wire::{Birth, Outcome};

/// A notice, and what has become of it.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) key: CallId,
    pub(super) owner: Peer,
    attempt: (u64, u64),
    /// What to send if the owner dies; empty once it is of no use.
    pub(super) end: Bytes,
    pub(super) outcome: Option<Outcome>,
    /// When a record of the call was looked for last, the owner being absent.
    pub(super) sought_at: Option<Instant>,
    /// Since when the end record has been sent, and how often.
    pub(super) ended: Option<(Instant, u8)>,
    number: u64,
}

/// The notices of one shard.
#[derive(Debug)]
pub(super) struct Register {
    notices: Map<u128, Notice>,
    keys: Map<CallId, u128>,
    /// The newest transaction of each attempt at each target.
    attempts: Map<(u64, u64), u128>,
    owners: BTreeMap<Peer, BTreeSet<u128>>,
    /// Oldest first.
    order: BTreeMap<u64, u128>,
    next: u64,
}

impl Register {
    pub(super) fn new(hasher: KeyedState) -> Self {
        Self {
            notices: Map::with_hasher(hasher),
            keys: Map::with_hasher(hasher),
            attempts: Map::with_hasher(hasher),
            owners: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    pub(super) fn get(&self, transaction: u128) -> Option<&Notice> {
        self.notices.get(&transaction)
    }

    pub(super) fn by_key(&self, key: CallId) -> Option<&Notice> {
        self.notices.get(self.keys.get(&key)?)
    }

    pub(super) fn by_key_mut(&mut self, key: CallId) -> Option<&mut Notice> {
        let transaction = self.keys.get(&key)?;
        self.notices.get_mut(transaction)
    }

    /// The newest other attempt at the same request by another way.
    pub(super) fn rival(&self, birth: &Birth) -> Option<&Notice> {
        let transaction = self.attempts.get(&(birth.attempt, birth.target))?;
        let rival = self.notices.get(transaction)?;
        (*transaction != birth.transaction).then_some(rival)
    }

    /// Puts a notice in, in place of any earlier one of its transaction. Full: the oldest goes.
    pub(super) fn insert(&mut self, owner: Peer, birth: Birth) {
        let transaction = birth.transaction;
        let (attempt, end) = ((birth.attempt, birth.target), birth.end);
        if let Some(known) = self.notices.get_mut(&transaction)
            && known.key == birth.key
        {
            if known.outcome.is_none() {
                known.end = end;
            }
            return;
        }
        self.remove(transaction);
        if self.notices.len() >= BIRTHS_MAX
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            self.remove(*oldest);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.keys.insert(birth.key, transaction);
        self.attempts.insert(attempt, transaction);
        self.owners.entry(owner).or_default().insert(transaction);
        self.order.insert(number, transaction);
        let notice = Notice {
            key: birth.key,
            owner,
            attempt,
            end,
            outcome: None,
            sought_at: None,
            ended: None,
            number,
        };
        self.notices.insert(transaction, notice);
    }

    pub(super) fn remove(&mut self, transaction: u128) {
        let Some(notice) = self.notices.remove(&transaction) else {
            return;
        };
        self.keys.remove(&notice.key);
        self.order.remove(&notice.number);
        if self.attempts.get(&notice.attempt) == Some(&transaction) {
            self.attempts.remove(&notice.attempt);
        }
        if let Some(of_owner) = self.owners.get_mut(&notice.owner) {
            of_owner.remove(&transaction);
            if of_owner.is_empty() {
                self.owners.remove(&notice.owner);
            }
        }
    }

    /// What the owner, or its heir, says of a birth.
    pub(super) fn settle(&mut self, key: CallId, outcome: Outcome) {
        if outcome == Outcome::Over {
            if let Some(transaction) = self.keys.get(&key).copied() {
                self.remove(transaction);
            }
        } else if let Some(notice) = self.by_key_mut(key) {
            notice.outcome = Some(outcome);
            notice.end = Bytes::new();
        }
    }

    /// Whose notices lie here.
    pub(super) fn owners(&self) -> impl Iterator<Item = Peer> + '_ {
        self.owners.keys().copied()
    }

    /// The transactions of an owner's notices.
    pub(super) fn of(&self, owner: Peer) -> impl Iterator<Item = u128> + '_ {
        self.owners.get(&owner).into_iter().flatten().copied()
    }

    /// One of an owner's calls.
    pub(super) fn key_of(&self, owner: Peer) -> Option<CallId> {
        let transaction = self.of(owner).next()?;
        Some(self.notices.get(&transaction)?.key)
    }

    /// Who gave birth to a call.
    pub(super) fn owner_of(&self, transaction: u128) -> Option<(CallId, MemberId)> {
        let notice = self.notices.get(&transaction)?;
        Some((notice.key, notice.owner.member))
    }
}

impl<H> Cluster<H> {
    /// Whose a transaction is, by the notices that lie here.
    #[must_use]
    pub fn birth_of(&self, transaction: u128) -> Option<(CallId, MemberId)> {
        let register = self.births.register.owner_of(transaction);
        register.or_else(|| self.births.kept.call(transaction))
    }

    /// Notices that lie here.
    #[must_use]
    pub fn births_held(&self) -> u64 {
        self.births.register.len() as u64
    }

    /// Whether the same request by another way is being served here (RFC 3261 8.2.2.2).
    #[must_use]
    pub fn is_merged_here(&self, birth: &Birth) -> bool {
        let rival = self.births.register.rival(birth);
        self.policy.merged == MergedPolicy::Reject
            && rival.is_some_and(|rival| {
                rival.owner.member == self.me && rival.outcome != Some(Outcome::Refused)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Incarnation, NodeId};

    fn owner(node: u64) -> Peer {
        let incarnation = Incarnation { number: 1, boot: 1 };
        Peer {
            member: MemberId {
                node: NodeId(node),
                incarnation,
            },
            shard: 0,
        }
    }

    fn birth(nonce: u64, transaction: u128) -> Birth {
        Birth {
            key: CallId { position: 7, nonce },
            transaction,
            attempt: 1,
            target: 2,
            instead: None,
            end: Bytes::from_static(b"end"),
        }
    }

    // Goal: the tables agree with each other whatever goes in and out. Method: seeded births,
    // settlements and removals of few transactions; all tables compared after each.
    #[test]
    fn tables_agree() {
        use rand::RngExt as _;
        let mut rng = crate::base::rng::from_seed([3; 32]);
        let mut register = Register::new(KeyedState::default());
        for nonce in 0..5_000 {
            let transaction = rng.random_range(0..20_u128);
            match rng.random_range(0..4) {
                0 => register.remove(transaction),
                1 => {
                    let key = register.owner_of(transaction).map(|(key, _)| key);
                    let outcome = [Outcome::Answered, Outcome::Refused, Outcome::Over];
                    let outcome = outcome[rng.random_range(0..3)];
                    register.settle(key.unwrap_or_default(), outcome);
                }
                _ => register.insert(owner(rng.random_range(0..3)), birth(nonce, transaction)),
            }
            let count = register.notices.len();
            assert_eq!((register.keys.len(), register.order.len()), (count, count));
            assert_eq!(
                register.owners.values().map(BTreeSet::len).sum::<usize>(),
                count
            );
            assert!(register.attempts.len() <= 1);
            assert_eq!(register.is_empty(), register.owners().next().is_none());
        }
    }

    // Goal: bounded. Method: one more than fit, all of one Call-ID; the first is gone, in no more
    // time than one birth takes.
    #[test]
    fn the_oldest_goes() {
        let mut register = Register::new(KeyedState::default());
        for n in 0..=BIRTHS_MAX as u64 {
            register.insert(owner(1), birth(n, u128::from(n)));
        }
        assert_eq!(register.notices.len(), BIRTHS_MAX);
        assert!(register.get(0).is_none() && register.get(1).is_some());
    }
}
