//! Who is linked, whom control wants linked, which lives are known, when to dial again.
//!
//! Bookkeeping behind the fabric's one lock, never touched by shards. It takes the time as an
//! argument and waits for nothing. Of two links to one node, the one of the newer life and then the
//! higher session stays: both ends compare the same numbers, so they agree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use callring_proto::base::ids::{Incarnation, NodeId};
use callring_proto::base::time::Instant;
use tokio::sync::oneshot;

use super::link::Peer;

/// First pause after a failed dial; doubles up to the next.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The higher node of a pair lets the lower one dial first.
const COURTESY: Duration = Duration::from_millis(400);
/// Addresses whose dials are remembered. Above: those that are not wanted are forgotten.
const DIALS_MAX: usize = 1_024;
/// Complaints about strangers in one window.
const COMPLAINTS_MAX: u32 = 5;
const COMPLAINTS_WINDOW: Duration = Duration::from_secs(10);

/// A link as the table knows it.
pub(super) struct Entry {
    pub(super) peer: Peer,
    pub(super) session: u64,
    pub(super) connection: quinn::Connection,
    pub(super) dialled: bool,
    /// Ends when the link has said its last word to the shards.
    pub(super) ended: oneshot::Receiver<()>,
    /// Packets received when they were last looked at.
    pub(super) packets_seen: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Dial {
    under_way: bool,
    failures: u32,
    /// None: at once.
    not_before: Option<Instant>,
}

/// See the file's head.
#[derive(Default)]
pub(super) struct Table {
    /// This node's life; none until it has asked for its number.
    pub(super) life: Option<Incarnation>,
    pub(super) links: BTreeMap<NodeId, Entry>,
    lives: BTreeMap<NodeId, Incarnation>,
    floors: BTreeMap<NodeId, u64>,
    /// Which node was met at an address.
    met: BTreeMap<SocketAddr, NodeId>,
    wanted: BTreeMap<SocketAddr, NodeId>,
    dials: BTreeMap<SocketAddr, Dial>,
    complaints: Complaints,
}

/// What was written of late about strangers.
#[derive(Default)]
struct Complaints {
    since: Option<Instant>,
    written: u32,
    passed_over: u64,
}

impl Table {
    /// The newest life known of a node.
    pub(super) fn latest(&self, node: NodeId) -> Option<Incarnation> {
        self.lives.get(&node).copied()
    }

    /// Takes note of a life.
    pub(super) fn learn(&mut self, node: NodeId, life: Incarnation) {
        let known = self.lives.entry(node).or_insert(life);
        *known = (*known).max(life);
    }

    /// The highest session known with a node.
    pub(super) fn floor(&self, node: NodeId) -> u64 {
        self.floors.get(&node).copied().unwrap_or_default()
    }

    /// Takes note of a session; false if it is none to follow what is known.
    pub(super) fn raise_floor(&mut self, node: NodeId, session: u64) -> bool {
        let floor = self.floors.entry(node).or_default();
        let rises = session > *floor;
        *floor = session.max(*floor);
        rises
    }

    /// A session above all that either end knows. Its last bit says which end chose it, so that two
    /// that are chosen at once differ.
    pub(super) fn next_session(&mut self, me: NodeId, node: NodeId, theirs: u64) -> u64 {
        let above = self.floor(node).max(theirs) / 2 + 1;
        let session = above.saturating_mul(2) + u64::from(me < node);
        self.raise_floor(node, session);
        session
    }

    /// Whether a link that stands is to be preferred to one with this life and session.
    pub(super) fn has_better(&self, node: NodeId, life: Incarnation, session: u64) -> bool {
        self.links
            .get(&node)
            .is_some_and(|entry| (entry.peer.member.incarnation, entry.session) >= (life, session))
    }

    /// The link to whoever listens at `address`.
    pub(super) fn link_at(&self, address: SocketAddr) -> Option<&Entry> {
        let met = self.met.get(&address).and_then(|node| self.links.get(node));
        met.or_else(|| {
            let mut links = self.links.values();
            links.find(|entry| entry.peer.address == address)
        })
    }

    /// Takes note of who answers at an address.
    pub(super) fn meet(&mut self, address: SocketAddr, node: NodeId) {
        if self.met.len() >= DIALS_MAX {
            self.met.clear();
        }
        self.met.insert(address, node);
    }

    /// With whom links are to stand, and where they are.
    pub(super) fn set_wanted(
        &mut self,
        wanted: BTreeMap<SocketAddr, NodeId>,
        me: NodeId,
        now: Instant,
    ) {
        for (address, node) in &wanted {
            if !self.wanted.contains_key(address) && me > *node {
                let dial = self.dials.entry(*address).or_default();
                dial.not_before = dial.not_before.max(Some(now + COURTESY));
            }
        }
        self.wanted = wanted;
    }

    /// Addresses to dial now.
    pub(super) fn due(&self, now: Instant) -> Vec<SocketAddr> {
        let unlinked = self
            .wanted
            .iter()
            .filter(|(_, node)| !self.links.contains_key(node));
        unlinked
            .map(|(address, _)| *address)
            .filter(|address| self.may_dial(*address, now))
            .collect()
    }

    /// Whether it is time to dial an address.
    pub(super) fn may_dial(&self, address: SocketAddr, now: Instant) -> bool {
        self.life.is_some()
            && self
                .dials
                .get(&address)
                .is_none_or(|dial| !dial.under_way && dial.not_before <= Some(now))
    }

    /// A dial begins.
    pub(super) fn begin_dial(&mut self, address: SocketAddr) {
        if self.dials.len() >= DIALS_MAX {
            let wanted = &self.wanted;
            self.dials
                .retain(|address, dial| dial.under_way || wanted.contains_key(address));
        }
        self.dials.entry(address).or_default().under_way = true;
    }

    /// A dial has ended; `chance` spreads the next one.
    pub(super) fn end_dial(
        &mut self,
        address: SocketAddr,
        linked: bool,
        now: Instant,
        chance: u32,
    ) {
        let dial = self.dials.entry(address).or_default();
        dial.under_way = false;
        if linked {
            dial.failures = 0;
            return;
        }
        let pause = PAUSE_MIN
            .saturating_mul(1 << dial.failures.min(16))
            .min(PAUSE_MAX);
        dial.failures = dial.failures.saturating_add(1);
        dial.not_before = Some(now + spread(pause, chance));
    }

    /// A link has ended: the lower node dials anew soon, the higher one a little later.
    pub(super) fn after_link(&mut self, me: NodeId, peer: &Peer, now: Instant, chance: u32) {
        let dial = self.dials.entry(peer.address).or_default();
        let courtesy = if me > peer.member.node {
            COURTESY
        } else {
            Duration::ZERO
        };
        dial.not_before = Some(now + courtesy + spread(PAUSE_MIN, chance));
    }

    /// Whether to write about one more refusal, and how many were passed over since the last.
    pub(super) fn complain(&mut self, now: Instant) -> Option<u64> {
        let complaints = &mut self.complaints;
        let over = |since| now.since(since) > COMPLAINTS_WINDOW;
        if complaints.since.is_none_or(over) {
            complaints.since = Some(now);
            complaints.written = 0;
        }
        if complaints.written >= COMPLAINTS_MAX {
            complaints.passed_over += 1;
            return None;
        }
        complaints.written += 1;
        Some(std::mem::take(&mut complaints.passed_over))
    }
}

/// Between half of `pause` and all of it.
fn spread(pause: Duration, chance: u32) -> Duration {
    pause / 2 + (pause / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions rise whoever chooses them, and two chosen at once differ.
    #[test]
    fn sessions_rise_and_differ() {
        let (low, high) = (NodeId(1), NodeId(2));
        let (mut at_low, mut at_high) = (Table::default(), Table::default());
        let first = at_low.next_session(low, high, at_high.floor(low));
        let other = at_high.next_session(high, low, 0);
        assert_ne!(first, other);
        at_high.raise_floor(low, first);
        at_low.raise_floor(high, other);
        let second = at_high.next_session(high, low, at_low.floor(high));
        assert!(second > first.max(other));
        assert!(!at_high.raise_floor(low, first));
    }

    /// Dials: pauses double up to a bound; the higher node waits for the lower.
    #[test]
    fn dials_pause_longer_each_time() {
        let address = SocketAddr::from(([10, 0, 0, 1], 7060));
        let mut table = Table {
            life: Some(Incarnation { number: 1, boot: 1 }),
            ..Table::default()
        };
        table.set_wanted([(address, NodeId(2))].into(), NodeId(1), Instant::START);
        assert_eq!(table.due(Instant::START), [address]);
        let mut now = Instant::START;
        for _ in 0..12 {
            table.begin_dial(address);
            assert!(table.due(now + Duration::from_hours(1)).is_empty());
            table.end_dial(address, false, now, u32::MAX);
            assert!(table.due(now).is_empty());
            now += PAUSE_MAX;
            assert_eq!(table.due(now), [address]);
        }
        let mut table = Table {
            life: table.life,
            ..Table::default()
        };
        table.set_wanted([(address, NodeId(2))].into(), NodeId(3), now);
        assert!(table.due(now).is_empty());
        assert_eq!(table.due(now + COURTESY), [address]);
    }

    /// A burst of strangers is written about a few times, then counted.
    #[test]
    fn complaints_are_bounded() {
        let mut table = Table::default();
        let said = (0..100)
            .filter_map(|_| table.complain(Instant::START))
            .count();
        assert_eq!(said, 5);
        let later = Instant::START + COMPLAINTS_WINDOW * 2;
        assert_eq!(table.complain(later), Some(95));
    }
}
