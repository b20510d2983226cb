//! What leaves: effects in order, and batches of records, formed out of all that changed since the
//! last drain.

use super::effect::Effect;
use super::engine::Cluster;
use super::entry::Role;
use super::lane::{InFlight, Lane};
use super::liveness::Peer;
use crate::base::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::base::time::Instant;
use crate::wire::{Batch, Frame};

impl<H> Cluster<H> {
    /// The next effect. Batches form here, out of all that changed since the last drain.
    pub fn poll_effect(&mut self, now: Instant) -> Option<Effect<H>> {
        if self.effects.is_empty() {
            self.flush_births();
            self.flush_lanes(now);
        }
        self.effects.pop_front()
    }

    fn flush_lanes(&mut self, now: Instant) {
        let ready: Vec<Peer> = self.lanes.keys().copied().collect();
        for peer in ready {
            while let Some(frame) = self.lanes.get_mut(&peer).and_then(Lane::poll_control) {
                self.send_shard(peer, frame);
            }
            while let Some(batch) = self.next_batch(peer, now) {
                self.liveness.stamped(peer, now);
                self.stats.batch_records.record(batch.records.len() as u64);
                self.send_shard(peer, Frame::Batch(batch));
            }
        }
    }

    fn next_batch(&mut self, peer: Peer, now: Instant) -> Option<Batch> {
        let lane = self.lanes.get_mut(&peer)?;
        let session = lane.session()?;
        let first = lane.position();
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(key) = lane.poll_key() else { break };
            // The call may have ended, moved or dropped this member since it was queued.
            let Some(Role::Owned(owned)) = self.entries.get(&key).map(|entry| &entry.role) else {
                continue;
            };
            if !owned.record.lists(peer.member) {
                continue;
            }
            let (epoch, version) = (owned.record.ballot.epoch, owned.record.version);
            lane.sent(InFlight {
                key,
                epoch,
                version,
            });
            bytes += owned.record.state.len();
            records.push(owned.aged(now));
        }
        (!records.is_empty()).then(|| Batch {
            session,
            stamp: now.as_nanos(),
            first,
            records,
        })
    }
}
