//! What lies where at one moment, when all should be well: every record of every shard, and the
//! gauges beside it.

use std::collections::BTreeSet;

use callring_proto::base::ids::{CallId, MemberId};
use callring_proto::cluster::Holding;

/// One shard of a live node.
pub(super) struct Page {
    pub(super) member: MemberId,
    pub(super) holdings: Vec<(CallId, Holding)>,
    pub(super) calls_owned: u64,
    pub(super) calls_replica: u64,
    pub(super) under_replicated: u64,
}

/// All of them.
pub(super) struct Books {
    pub(super) shards: Vec<Page>,
    /// Calls that a phone is in.
    pub(super) expected: BTreeSet<CallId>,
    /// Calls whose end a phone was told.
    pub(super) over: BTreeSet<CallId>,
    pub(super) copies: usize,
    /// Nodes that live.
    pub(super) nodes: usize,
}

impl Books {
    /// Who has a record of a call.
    pub(super) fn holders(&self, key: CallId) -> impl Iterator<Item = (MemberId, &Holding)> {
        let records = self.shards.iter().flat_map(|page| {
            let mine = page.holdings.iter().map(|one| (page.member, one));
            mine.map(|(member, (key, holding))| (member, key, holding))
        });
        let here = records.filter(move |(_, other, _)| **other == key);
        here.map(|(member, _, holding)| (member, holding))
    }

    /// Calls whose highest record has not ended. Where an end was told and nobody owns the call,
    /// that record was left behind when the end was purged (PROTOCOL.md rules 20, 21).
    pub(super) fn live(&self) -> impl Iterator<Item = CallId> {
        let keys = self.shards.iter().flat_map(|page| &page.holdings);
        let keys: BTreeSet<CallId> = keys.map(|(key, _)| *key).collect();
        keys.into_iter().filter(|key| {
            let highest = self
                .holders(*key)
                .max_by_key(|(_, one)| (one.ballot, one.version));
            let owned = self.holders(*key).any(|(_, one)| one.owned);
            highest.is_some_and(|(_, one)| !one.ended) && (owned || !self.over.contains(key))
        })
    }

    /// How many copies each call should have besides its owner's.
    pub(super) fn copies_each(&self) -> usize {
        self.copies.min(self.nodes).saturating_sub(1)
    }

    /// The listed members that live. The dead stay listed until somebody takes their place.
    pub(super) fn present<'a>(&'a self, owner: &'a Holding) -> impl Iterator<Item = MemberId> + 'a {
        let lives = |member: &MemberId| self.shards.iter().any(|page| page.member == *member);
        owner.members.iter().copied().filter(lives)
    }

    /// Copies that their owner, if there is one, knows nothing of.
    pub(super) fn strays(&self) -> impl Iterator<Item = (CallId, MemberId)> {
        self.live().flat_map(|key| {
            let owner = self.holders(key).find(|(_, one)| one.owned);
            let holders = self.holders(key).filter(|(_, one)| !one.owned);
            let listed =
                move |who: MemberId| owner.is_some_and(|(_, one)| one.members.contains(&who));
            let strays = holders.filter(move |(who, _)| !listed(*who));
            strays.map(move |(who, _)| (key, who)).collect::<Vec<_>>()
        })
    }

    /// Copies that go on of calls that have ended.
    pub(super) fn left_behind(&self) -> impl Iterator<Item = (CallId, MemberId, &Holding)> {
        let live: BTreeSet<CallId> = self.live().collect();
        let records = self.shards.iter().flat_map(|page| {
            let mine = page.holdings.iter().map(|one| (page.member, one));
            mine.map(|(member, (key, holding))| (*key, member, holding))
        });
        records.filter(move |(key, _, one)| !one.ended && !live.contains(key))
    }

    /// How many copies there should be, those of calls without one not counted.
    pub(super) fn copies_due(&self) -> u64 {
        let listed = self.live().filter_map(|key| {
            let mut owners = self.holders(key).filter(|(_, one)| one.owned);
            owners.next().map(|(_, owner)| self.present(owner).count())
        });
        listed.sum::<usize>() as u64
    }
}
