//! A member that membership gave up while it lived, and that goes on under a new name with all it
//! had (PROTOCOL.md rules 15 and 22).

use super::engine::Cluster;
use super::entry::{Queue, Role};
use crate::base::ids::MemberId;
use crate::base::time::Instant;

impl<H> Cluster<H> {
    /// This member, for an earlier life of its node: records may list that one, and its copies are
    /// ours.
    pub(super) fn living(&self, member: MemberId) -> MemberId {
        let ours = self.renamed_at.is_some() && member.node == self.me.node;
        if ours { self.me } else { member }
    }

    /// Membership declared us down while we lived: what we owned is claimed anew under the new
    /// life.
    pub fn on_renamed(&mut self, me: MemberId, now: Instant) {
        let runs = |role: &Role<H>| matches!(role, Role::Owned(_) | Role::Claiming(_));
        let owned = self.keys_where(|_, entry| runs(&entry.role));
        self.me = me;
        self.renamed_at = Some(now);
        for key in owned {
            let Some(ballot) = self.entries.get(&key).map(|entry| entry.promised) else {
                continue;
            };
            if self.is_early(key) {
                // Nobody else has heard of it: it goes on under the new name.
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.promised.owner = me;
                }
                if let Some(owned) = self.owned_mut(key) {
                    owned.record.ballot.owner = me;
                }
                continue;
            }
            self.abort_claim(key, ballot, now);
            self.yield_to(key, ballot, now);
            self.start_claim(key, Queue::default(), None, now);
        }
    }
}
