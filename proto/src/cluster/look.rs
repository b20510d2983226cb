//! Looking in from outside: gauges and records, for the command line and for tests. Reads only.

use super::engine::Cluster;
use super::entry::{Entry, Owned, Role, Stage};
use super::stats::Stats;
use crate::base::ids::{Ballot, CallId, MemberId, NodeId, Version};
use crate::base::time::Instant;
use crate::wire::{Egress, Frame, Members, Record};

/// Present values of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Calls owned, ended ones not counted.
    pub owned: u64,
    /// Copies held for others, ended ones not counted.
    pub copies: u64,
    /// Owned calls with fewer live copies than the policy asks for.
    pub under_replicated: u64,
    /// Owned calls that are not answered yet: nobody else has them.
    pub in_setup: u64,
    /// Answered calls that would be lost if this member ended just now: owned ones of which no
    /// other present member has acknowledged all that was told, and copies of an absent owner's
    /// calls that no other present member is listed for.
    pub uncovered: u64,
    /// Outputs at the gate.
    pub held: u64,
}

/// How a record lies here: what the simulator's judges compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whether this member owns the call.
    pub owned: bool,
    /// Whether it is owned and may speak: activated, with a copy to answer for.
    pub active: bool,
    /// The record's ballot.
    pub ballot: Ballot,
    /// The highest ballot promised here.
    pub promised: Ballot,
    /// The record's version.
    pub version: Version,
    /// At its owner: up to where it may be told.
    pub committed: Version,
    /// Who should hold copies.
    pub members: Members,
    /// Who held them before the present change.
    pub old: Members,
    /// The record says that the call has ended.
    pub ended: bool,
    /// The record's owner is gone, or silent to this member.
    pub owner_absent: bool,
    /// Owned, and no other listed member is present.
    pub alone: bool,
}

/// How much a shard's cluster room keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Calls that are owned or claimed here, or held as copies.
    pub records: usize,
    /// Bare promises and marks.
    pub bare: usize,
    /// Look-ups and routes.
    pub lookups: usize,
    /// Claims that wait for evidence.
    pub claims: usize,
    /// Members with releases that they have not heard for sure.
    pub releases: usize,
}

impl<H> Cluster<H> {
    /// How the record of `key` lies here.
    #[must_use]
    pub fn holding(&self, key: CallId) -> Option<Holding> {
        let entry = self.entries.get(&key)?;
        let record = entry.record()?;
        let owned = self.owned(key);
        Some(Holding {
            owned: owned.is_some(),
            active: owned.is_some_and(|owned| owned.stage == Stage::Active),
            ballot: record.ballot,
            promised: entry.promised,
            version: record.version,
            committed: owned.map_or(0, |owned| owned.committed),
            members: record.members.clone(),
            old: record.old.clone(),
            ended: record.has_ended(),
            owner_absent: self.is_absent(record.ballot.owner, key),
            alone: owned.is_some_and(|owned| self.has_nobody_else(&owned.record)),
        })
    }

    fn has_nobody_else(&self, record: &Record) -> bool {
        let mut others = record.listed().filter(|member| *member != self.me);
        others.all(|member| self.is_absent(member, record.key))
    }

    /// How much is kept here.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let bare = |entry: &&Entry<H>| matches!(entry.role, Role::None);
        let bare = self.entries.values().filter(bare).count();
        Kept {
            records: self.entries.len() - bare,
            bare,
            lookups: self.lookups.len(),
            claims: self.pending_claims.len(),
            releases: self.releases_due(),
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Present values; looks at every call.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        for entry in self.entries.values() {
            match &entry.role {
                Role::Owned(owned) => self.gauge_owned(owned, &mut gauges),
                Role::Copy(copy) => self.gauge_copy(&copy.record, &mut gauges),
                Role::Claiming(claiming) => self.gauge_copy(&claiming.best.record, &mut gauges),
                Role::None => {}
            }
        }
        gauges
    }

    fn gauge_owned(&self, owned: &Owned<H>, gauges: &mut Gauges) {
        let record = &owned.record;
        gauges.held += owned.gate.len() as u64;
        if record.has_ended() {
            return;
        }
        gauges.owned += 1;
        // Nobody was told of an answer yet, so none can be lost.
        let untold = owned.stage == Stage::Active && owned.committed == 0;
        gauges.in_setup += u64::from(untold || owned.stage == Stage::Early);
        if owned.stage == Stage::Early {
            return;
        }
        let is_present = |member: &&MemberId| !self.is_absent(**member, record.key);
        let copies = record.members.iter().filter(is_present).count();
        gauges.under_replicated += u64::from(copies + 1 < self.policy.copies);
        let covered = record.listed().any(|member| {
            let has_told = owned.acked(member) >= Some(owned.committed.max(1));
            member != self.me && has_told && is_present(&&member)
        });
        gauges.uncovered += u64::from(!covered && !untold);
    }

    fn gauge_copy(&self, record: &Record, gauges: &mut Gauges) {
        if record.has_ended() {
            return;
        }
        gauges.copies += 1;
        let orphaned = self.is_absent(record.ballot.owner, record.key);
        let last = || {
            let mut others = record.listed().filter(|member| *member != self.me);
            others.all(|member| self.is_absent(member, record.key))
        };
        gauges.uncovered += u64::from(orphaned && last());
    }

    /// Every record here, and whether it is owned here.
    pub fn records(&self) -> impl Iterator<Item = (CallId, &Record, bool)> + '_ {
        self.entries.iter().filter_map(|(key, entry)| {
            let owned = matches!(entry.role, Role::Owned(_));
            entry.record().map(|record| (*key, record, owned))
        })
    }

    /// The record of one call, and whether it is owned here.
    #[must_use]
    pub fn record(&self, key: CallId) -> Option<(&Record, bool)> {
        let entry = self.entries.get(&key)?;
        let owned = matches!(entry.role, Role::Owned(_));
        entry.record().map(|record| (record, owned))
    }

    /// Seconds since the state of a copy was written.
    #[must_use]
    pub fn copy_age_s(&self, key: CallId, now: Instant) -> u32 {
        match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Copy(copy)) => copy.aged(now).age_ms / 1_000,
            _ => 0,
        }
    }

    /// How many outputs of a call are held.
    #[must_use]
    pub fn held(&self, key: CallId) -> usize {
        self.owned(key).map_or(0, |owned| owned.gate.len())
    }

    /// Outputs that wait for replicas, of all calls.
    #[must_use]
    pub fn held_in_all(&self) -> usize {
        self.held
    }

    /// Whether a copy's owner is absent and this member is first in line for it.
    #[must_use]
    pub fn is_orphan_of_ours(&self, key: CallId) -> bool {
        let Some(record) = self.entries.get(&key).and_then(Entry::record) else {
            return false;
        };
        let mut listed = record.listed().map(|member| self.living(member));
        let heir = listed.find(|member| !self.is_absent(*member, key));
        self.is_absent(record.ballot.owner, key) && heir == Some(self.me)
    }

    /// The calls whose entry is as `wanted`, in the order of their keys: what is done to them is
    /// the same in every run.
    pub(super) fn keys_where(&self, wanted: impl Fn(CallId, &Entry<H>) -> bool) -> Vec<CallId> {
        let entries = self.entries.iter();
        let wanted = entries.filter(|(key, entry)| wanted(**key, entry));
        let mut keys: Vec<CallId> = wanted.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }

    /// Members with a silent shard.
    #[must_use]
    pub fn silent_members(&self) -> Vec<MemberId> {
        let mut members: Vec<MemberId> = self.liveness.silent().map(|peer| peer.member).collect();
        members.dedup();
        members
    }

    /// Smoothed round-trip times, microseconds.
    #[must_use]
    pub fn round_trips(&self) -> Vec<(MemberId, u64)> {
        let mut trips: Vec<(MemberId, u64)> = self
            .lanes
            .keys()
            .filter_map(|peer| {
                let rtt = self.liveness.rtt(*peer)?;
                Some((
                    peer.member,
                    u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX),
                ))
            })
            .collect();
        trips.dedup_by_key(|(member, _)| *member);
        trips
    }

    /// The live member with this node id, if it is linked and not silent: neither its first shard
    /// nor the one that has to do with `key`, which may be the only one that is listened for.
    #[must_use]
    pub fn reachable(&self, node: NodeId, key: Option<CallId>) -> Option<MemberId> {
        let member = self.view.node(node)?.id;
        let first = super::liveness::Peer { member, shard: 0 };
        let linked = self
            .lanes
            .get(&first)
            .is_some_and(|lane| lane.session().is_some());
        let peer = key.map_or(first, |key| self.peer(member, key));
        let silent = self.liveness.is_silent(first) || self.liveness.is_silent(peer);
        (self.view.is_live(member) && linked && !silent).then_some(member)
    }

    /// Lets a SIP message leave from another member's socket. It goes to the shard that has to do
    /// with `key`: that one may have brought the request.
    pub fn send_egress(&mut self, member: MemberId, key: Option<CallId>, egress: Egress) {
        let first = super::liveness::Peer { member, shard: 0 };
        let peer = key.map_or(first, |key| self.peer(member, key));
        self.send_shard(peer, Frame::Egress(egress));
    }
}
