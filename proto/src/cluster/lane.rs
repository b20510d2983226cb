//! Lanes: the replication log from this shard to one shard of one member.
//!
//! What waits is a set of *keys*, not of records: a record is written out when the window has room,
//! at the version the call then has. So a slow member costs memory by calls, never by changes, and
//! a new session resends present states, never old frames (PROTOCOL.md rule 18). Records that
//! become due while others are in flight share a batch; an idle lane sends at once.

use std::collections::{BTreeSet, VecDeque};

use crate::base::ids::{CallId, Version};
use crate::base::limits::LANE_WINDOW_RECORDS;
use crate::wire::Frame;

/// A record on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Which call.
    pub key: CallId,
    /// At which epoch it was sent; an ack counts for no other (rule 5).
    pub epoch: u32,
    /// At which version.
    pub version: Version,
}

/// One lane.
#[derive(Debug, Default)]
pub struct Lane {
    /// The link's session; none while there is no link.
    session: Option<u64>,
    /// Position of the next record.
    next: u64,
    /// Positions `next - in_flight.len() .. next`.
    in_flight: VecDeque<InFlight>,
    /// Keys whose latest version the peer should get, first come first.
    queue: VecDeque<CallId>,
    queued: BTreeSet<CallId>,
    /// Acks, pings, pongs, releases; they go before records.
    control: VecDeque<Frame>,
}

impl Lane {
    /// The link's session.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        self.session
    }

    /// A link stands. What was in flight is due again.
    pub fn up(&mut self, session: u64) {
        self.down();
        self.session = Some(session);
        self.next = 0;
    }

    /// The link is gone: nothing in flight counts any more.
    pub fn down(&mut self) {
        self.session = None;
        self.control.clear();
        for sent in std::mem::take(&mut self.in_flight) {
            self.want(sent.key);
        }
    }

    /// The peer should get the latest version of `key`.
    pub fn want(&mut self, key: CallId) {
        if self.queued.insert(key) {
            self.queue.push_back(key);
        }
    }

    /// Queues a lane frame other than a batch. Without a link it is dropped.
    pub fn say(&mut self, frame: Frame) {
        if self.session.is_some() {
            self.control.push_back(frame);
        }
    }

    /// The next such frame.
    pub fn poll_control(&mut self) -> Option<Frame> {
        self.control.pop_front()
    }

    /// Whether records could be sent now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.session.is_some()
            && !self.queue.is_empty()
            && self.in_flight.len() < LANE_WINDOW_RECORDS
    }

    /// The next key to write out.
    pub fn poll_key(&mut self) -> Option<CallId> {
        if !self.is_ready() {
            return None;
        }
        let key = self.queue.pop_front()?;
        self.queued.remove(&key);
        Some(key)
    }

    /// Position that the next record sent will have.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// A record was put into a batch.
    pub fn sent(&mut self, sent: InFlight) {
        self.in_flight.push_back(sent);
        self.next += 1;
    }

    /// Everything below `upto` was applied; returns what that was.
    pub fn acked(&mut self, upto: u64) -> Vec<InFlight> {
        let first = self.next - self.in_flight.len() as u64;
        let count = upto.min(self.next).saturating_sub(first);
        self.in_flight
            .drain(..usize::try_from(count).unwrap_or(0))
            .collect()
    }
}

/// The receiving end: how far a lane of another shard has been applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applied {
    /// Next position expected.
    pub next: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(nonce: u64) -> CallId {
        CallId { position: 0, nonce }
    }

    fn sent(nonce: u64) -> InFlight {
        InFlight {
            key: key(nonce),
            epoch: 1,
            version: 1,
        }
    }

    #[test]
    fn changes_of_one_call_share_one_place() {
        let mut lane = Lane::default();
        lane.up(1);
        lane.want(key(1));
        lane.want(key(2));
        lane.want(key(1));
        assert_eq!(lane.poll_key(), Some(key(1)));
        assert_eq!(lane.poll_key(), Some(key(2)));
        assert_eq!(lane.poll_key(), None);
    }

    #[test]
    fn acks_are_cumulative_and_a_repeated_one_is_harmless() {
        let mut lane = Lane::default();
        lane.up(1);
        for nonce in 0..3 {
            lane.sent(sent(nonce));
        }
        assert_eq!(lane.acked(2), vec![sent(0), sent(1)]);
        assert_eq!(lane.acked(2), vec![]);
        assert_eq!(lane.acked(99), vec![sent(2)]);
    }

    #[test]
    fn a_new_session_owes_what_was_in_flight() {
        let mut lane = Lane::default();
        lane.up(1);
        lane.sent(sent(7));
        lane.down();
        assert_eq!(lane.poll_key(), None);
        lane.up(2);
        assert_eq!((lane.position(), lane.poll_key()), (0, Some(key(7))));
    }
}
