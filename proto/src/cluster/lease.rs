//! The lease of own CSeq numbers (PROTOCOL.md rule 23): a block of numbers lies in the record
//! before any of them is used, so that an heir begins above all that may have been.

use super::engine::Cluster;
use crate::base::ids::CallId;
use crate::base::limits::CSEQ_LEASE;

impl<H> Cluster<H> {
    /// The highest own CSeq number that may be used, and whether all live listed members know of
    /// the lease (rule 23).
    #[must_use]
    pub fn lease(&self, key: CallId) -> (u32, bool) {
        let Some(owned) = self.owned(key) else {
            return (0, false);
        };
        let record = &owned.record;
        let known = record
            .listed()
            .filter(|member| *member != self.me && !self.is_absent(*member, key))
            .all(|member| owned.acked(member).is_some());
        (record.lease, known)
    }

    /// Leases another block, with the next change.
    pub fn extend_lease(&mut self, key: CallId) {
        if let Some(owned) = self.owned_mut(key) {
            owned.record.lease = owned.record.lease.saturating_add(CSEQ_LEASE);
        }
    }
}
