//! Looking in from outside: gauges and records, for the command line and for tests. Reads only.

use super::engine::Cluster;
use super::entry::{Entry, Role};
use super::stats::Stats;
use crate::base::ids::{CallId, MemberId, NodeId};
use crate::base::time::Instant;
use crate::wire::{Egress, Frame, Record};

/// Present values of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Calls owned, ended ones not counted.
    pub owned: u64,
    /// Copies held for others, ended ones not counted.
    pub copies: u64,
    /// Owned calls with fewer live copies than the policy asks for.
    pub under_replicated: u64,
    /// Outputs at the gate.
    pub held: u64,
}

impl<H> Cluster<H> {
    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Present values; looks at every call.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        for (key, entry) in &self.entries {
            match &entry.role {
                Role::Owned(owned) => {
                    gauges.held += owned.gate.len() as u64;
                    if !owned.record.has_ended() {
                        gauges.owned += 1;
                        let early = owned.stage == super::entry::Stage::Early;
                        let copies = owned
                            .record
                            .members
                            .iter()
                            .filter(|member| !self.is_absent(**member, *key))
                            .count();
                        let lacking = !early && copies + 1 < self.policy.copies;
                        gauges.under_replicated += u64::from(lacking);
                    }
                }
                Role::Copy(copy) => gauges.copies += u64::from(!copy.record.has_ended()),
                Role::Claiming(claiming) => {
                    gauges.copies += u64::from(!claiming.best.record.has_ended());
                }
                Role::None => {}
            }
        }
        gauges
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

    /// Whether a copy's owner is absent and this member is first in line for it.
    #[must_use]
    pub fn is_orphan_of_ours(&self, key: CallId) -> bool {
        let Some(record) = self.entries.get(&key).and_then(Entry::record) else {
            return false;
        };
        let heir = record.listed().find(|member| !self.is_absent(*member, key));
        self.is_absent(record.ballot.owner, key) && heir == Some(self.me)
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

    /// The live member with this node id, if it is linked and not silent.
    #[must_use]
    pub fn reachable(&self, node: NodeId) -> Option<MemberId> {
        let member = self.view.node(node)?.id;
        let peer = super::liveness::Peer { member, shard: 0 };
        let linked = self
            .lanes
            .get(&peer)
            .is_some_and(|lane| lane.session().is_some());
        let live = self.view.is_live(member) && linked && !self.liveness.is_silent(peer);
        live.then_some(member)
    }

    /// Lets a SIP message leave from another member's socket. It goes to the shard that has to do
    /// with `key`: that one may have brought the request.
    pub fn send_egress(&mut self, member: MemberId, key: Option<CallId>, egress: Egress) {
        let first = super::liveness::Peer { member, shard: 0 };
        let peer = key.map_or(first, |key| self.peer(member, key));
        self.send_shard(peer, Frame::Egress(egress));
    }
}
