//! Silence: whether a member's shard owes an answer for too long (PROTOCOL.md, Terms).
//!
//! *Silent* = no frame for `silence` while something was due. Pings make something due; the shard's
//! own thread answers them, so a hung shard under a live connection is silent too. This is
//! evidence, not membership: a member that is silent to one may be heard by another, and comes back
//! by being heard. Nothing here decides who is a member, and nothing here sends: it says when to
//! ping.
//!
//! An echo is the other half (rule 6): a stamp of ours that came back proves that the peer heard us
//! after that stamp, and so can't have found us silent since.

use std::collections::BTreeMap;

use crate::base::ids::MemberId;
use crate::base::time::{Duration, Instant};

/// A shard of a member: what owns, holds copies and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The member.
    pub member: MemberId,
    /// Which of its shards.
    pub shard: u16,
}

/// Highest power of two that repeated false alarms multiply `silence` by.
const BACKOFF_MAX: u32 = 4;
/// A false alarm is forgotten after this long without another.
const BACKOFF_DECAY: Duration = Duration::from_secs(10);
/// How many times `floor` a peer has that was never heard: links come up one after another when a
/// node starts, and whoever takes all for silent serves alone.
const UNHEARD: u32 = 20;
/// Two asks within this span share one ping.
const PING_SPACING: Duration = Duration::from_millis(1);
/// How often in a row a late wake-up of our own is forgiven before the peer is found silent.
const LATE_MAX: u8 = 3;

#[derive(Clone, Debug)]
struct Pulse {
    /// Latest frame.
    heard: Option<Instant>,
    /// The oldest ask that no echo has covered.
    asked: Option<Instant>,
    /// Latest ping.
    pinged: Option<Instant>,
    /// Latest stamp of ours that came back.
    echo: Option<Instant>,
    /// From this stamp to `echo` the peer can't have found us silent: no gap was long enough.
    unbroken: Instant,
    silent: bool,
    rtt: Option<Duration>,
    alarms: u32,
    alarm_at: Instant,
    late: u8,
}

/// What changed by hearing something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The peer had been silent.
    pub was_silent: bool,
}

/// The pulses of all peers.
#[derive(Debug)]
pub struct Liveness {
    floor: Duration,
    pulses: BTreeMap<Peer, Pulse>,
}

impl Liveness {
    /// Nobody is known yet; `floor` is the least `silence`.
    #[must_use]
    pub fn new(floor: Duration) -> Self {
        Self {
            floor,
            pulses: BTreeMap::new(),
        }
    }

    fn pulse(&mut self, peer: Peer) -> &mut Pulse {
        self.pulses.entry(peer).or_insert(Pulse {
            heard: None,
            asked: None,
            pinged: None,
            echo: None,
            unbroken: Instant::START,
            silent: false,
            rtt: None,
            alarms: 0,
            alarm_at: Instant::START,
            late: 0,
        })
    }

    /// `max(floor, 8 x smoothed RTT)`: what both ends of a link agree on, near enough.
    fn base(&self, pulse: &Pulse) -> Duration {
        self.floor.max(pulse.rtt.unwrap_or_default() * 8)
    }

    fn silence(&self, pulse: &Pulse) -> Duration {
        if pulse.heard.is_none() {
            return self.floor * UNHEARD;
        }
        self.base(pulse) * (1 << pulse.alarms.min(BACKOFF_MAX))
    }

    /// Something is due from `peer` from now on. Returns the stamp to wait for the echo of, and
    /// whether a ping with that stamp must be sent.
    pub fn ask(&mut self, peer: Peer, now: Instant) -> (Instant, bool) {
        let pulse = self.pulse(peer);
        if let Some(pinged) = pulse.pinged
            && now.since(pinged) < PING_SPACING
            && pulse.asked.is_some()
        {
            return (pinged, false);
        }
        pulse.pinged = Some(now);
        pulse.asked.get_or_insert(now);
        (now, true)
    }

    /// A frame came: a sign of life, whatever it says.
    pub fn heard(&mut self, peer: Peer, now: Instant) -> Heard {
        let pulse = self.pulse(peer);
        pulse.heard = Some(now);
        let was_silent = std::mem::take(&mut pulse.silent);
        if was_silent {
            pulse.alarms = (pulse.alarms + 1).min(BACKOFF_MAX);
            pulse.alarm_at = now;
        } else if pulse.alarms > 0 && now.since(pulse.alarm_at) > BACKOFF_DECAY {
            pulse.alarms -= 1;
            pulse.alarm_at = now;
        }
        Heard { was_silent }
    }

    /// A stamp of ours came back.
    pub fn echoed(&mut self, peer: Peer, stamp: Instant, now: Instant) {
        let floor = self.floor;
        let base = self
            .pulses
            .get(&peer)
            .map_or(floor, |pulse| self.base(pulse));
        let pulse = self.pulse(peer);
        if pulse.echo.is_some_and(|echo| echo >= stamp) || stamp > now {
            return;
        }
        // The peer heard us at `before` at the earliest and at `now` at the latest; had it found us
        // silent in between, that took it a `silence` of its own, which is near enough ours.
        let unbroken = pulse
            .echo
            .is_some_and(|before| now.since(before) < base / 4 * 3);
        if !unbroken {
            pulse.unbroken = stamp;
        }
        pulse.echo = Some(stamp);
        pulse.late = 0;
        if pulse.asked.is_some_and(|asked| asked <= stamp) {
            pulse.asked = pulse.pinged.filter(|pinged| *pinged > stamp);
        }
        // A stall of either end is no round trip: it must not stretch `silence`, nor what counts as
        // fresh beyond what the other end calls silent.
        let sample = now.since(stamp);
        pulse.rtt = Some(match pulse.rtt {
            None => sample.min(floor),
            Some(rtt) => (rtt * 7 + sample.min(rtt * 2)) / 8,
        });
    }

    /// A batch was sent with this stamp; its ack will echo it.
    pub fn stamped(&mut self, peer: Peer, now: Instant) {
        let pulse = self.pulse(peer);
        pulse.pinged = Some(now);
        pulse.asked.get_or_insert(now);
    }

    /// Whether `peer` is silent just now.
    #[must_use]
    pub fn is_silent(&self, peer: Peer) -> bool {
        self.pulses.get(&peer).is_some_and(|pulse| pulse.silent)
    }

    /// Whether `peer` was ever heard.
    #[must_use]
    pub fn was_heard(&self, peer: Peer) -> bool {
        let pulse = self.pulses.get(&peer);
        pulse.is_some_and(|pulse| pulse.heard.is_some())
    }

    /// Whether `peer` has echoed a stamp at or after `since`.
    #[must_use]
    pub fn echoed_since(&self, peer: Peer, since: Instant) -> bool {
        self.pulses
            .get(&peer)
            .and_then(|pulse| pulse.echo)
            .is_some_and(|echo| echo >= since)
    }

    /// Rule 6: whether the latest echo is younger than half of `silence`, back-off not counted, for
    /// the peer measures us by its own.
    #[must_use]
    pub fn is_fresh(&self, peer: Peer, now: Instant) -> bool {
        self.pulses.get(&peer).is_some_and(|pulse| {
            pulse
                .echo
                .is_some_and(|echo| now.since(echo) < self.base(pulse) / 2)
        })
    }

    /// Rule 6: whether what the peer acknowledged at `stamp` still stands: it can't have found us
    /// silent, and so promised anything to anybody, between then and now.
    #[must_use]
    pub fn attests(&self, peer: Peer, stamp: Instant, now: Instant) -> bool {
        let pulse = self.pulses.get(&peer);
        self.is_fresh(peer, now) && pulse.is_some_and(|pulse| stamp >= pulse.unbroken)
    }

    /// When a ping was last sent to `peer`.
    #[must_use]
    pub fn pinged(&self, peer: Peer) -> Option<Instant> {
        self.pulses.get(&peer).and_then(|pulse| pulse.pinged)
    }

    /// Smoothed round-trip time to `peer`.
    #[must_use]
    pub fn rtt(&self, peer: Peer) -> Option<Duration> {
        self.pulses.get(&peer).and_then(|pulse| pulse.rtt)
    }

    /// The peers that are silent just now.
    pub fn silent(&self) -> impl Iterator<Item = Peer> + '_ {
        self.pulses
            .iter()
            .filter(|(_, pulse)| pulse.silent)
            .map(|(peer, _)| *peer)
    }

    fn due(&self, pulse: &Pulse) -> Option<Instant> {
        let asked = pulse.asked.filter(|_| !pulse.silent)?;
        Some(asked.max(pulse.heard.unwrap_or(asked)) + self.silence(pulse))
    }

    /// When somebody may become silent.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pulses
            .values()
            .filter_map(|pulse| self.due(pulse))
            .min()
    }

    /// The peers that became silent by `now`. A peer whose time ran out while *we* were not running
    /// (stopped, starved) is asked again instead: it is in the second list.
    pub fn expire(&mut self, now: Instant) -> (Vec<Peer>, Vec<Peer>) {
        let (mut silent, mut again) = (Vec::new(), Vec::new());
        let due: Vec<(Peer, Instant, Duration)> = self
            .pulses
            .iter()
            .filter_map(|(peer, pulse)| Some((*peer, self.due(pulse)?, self.silence(pulse))))
            .filter(|(_, due, _)| *due <= now)
            .collect();
        for (peer, due, silence) in due {
            let pulse = self.pulse(peer);
            if now.since(due) > silence / 4 && pulse.late < LATE_MAX {
                pulse.late += 1;
                pulse.asked = Some(now);
                pulse.pinged = Some(now);
                again.push(peer);
            } else {
                pulse.silent = true;
                silent.push(peer);
            }
        }
        (silent, again)
    }

    /// As if the peer had just run out of time.
    #[cfg(test)]
    pub(in crate::cluster) fn set_silent(&mut self, peer: Peer) {
        self.pulse(peer).silent = true;
    }

    /// Forgets a member that is gone for good.
    pub fn forget(&mut self, member: MemberId) {
        self.pulses.retain(|peer, _| peer.member != member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn peer() -> Peer {
        Peer {
            member: MemberId::default(),
            shard: 0,
        }
    }

    fn heard_at_start() -> Liveness {
        let mut liveness = Liveness::new(MS * 50);
        liveness.heard(peer(), at(0));
        liveness
    }

    fn at(ms: u32) -> Instant {
        Instant::START + MS * ms
    }

    #[test]
    fn nobody_is_silent_who_owes_nothing() {
        let mut liveness = Liveness::new(MS * 50);
        liveness.heard(peer(), at(0));
        assert_eq!(liveness.next_deadline(), None);
        assert_eq!(liveness.expire(at(10_000)), (vec![], vec![]));
    }

    #[test]
    fn an_unanswered_ask_makes_silent_and_being_heard_ends_it() {
        let mut liveness = heard_at_start();
        assert_eq!(liveness.ask(peer(), at(100)), (at(100), true));
        assert_eq!(liveness.expire(at(149)), (vec![], vec![]));
        assert_eq!(liveness.expire(at(150)), (vec![peer()], vec![]));
        assert!(liveness.is_silent(peer()));
        assert!(liveness.heard(peer(), at(160)).was_silent);
        assert!(!liveness.is_silent(peer()));
        // The false alarm doubled what it takes.
        liveness.echoed(peer(), at(100), at(160));
        liveness.ask(peer(), at(1000));
        assert!(liveness.next_deadline() >= Some(at(1100)));
    }

    #[test]
    fn any_frame_counts_as_life_but_only_an_echo_pays_the_debt() {
        let mut liveness = Liveness::new(MS * 50);
        liveness.ask(peer(), at(0));
        liveness.heard(peer(), at(40));
        assert_eq!(liveness.next_deadline(), Some(at(90)));
        liveness.echoed(peer(), at(0), at(41));
        assert_eq!(liveness.next_deadline(), None);
    }

    #[test]
    fn a_peer_never_heard_is_given_time() {
        let mut liveness = Liveness::new(MS * 50);
        liveness.ask(peer(), at(0));
        assert_eq!(liveness.next_deadline(), Some(at(1_000)));
        assert!(!liveness.was_heard(peer()));
    }

    #[test]
    fn a_stall_is_no_round_trip() {
        let mut liveness = Liveness::new(MS * 50);
        for ms in 0..20 {
            liveness.ask(peer(), at(ms * 10));
            liveness.echoed(peer(), at(ms * 10), at(ms * 10 + 1));
        }
        liveness.ask(peer(), at(1_000));
        liveness.echoed(peer(), at(1_000), at(3_000));
        assert!(liveness.rtt(peer()) < Some(MS * 2));
    }

    #[test]
    fn our_own_stall_is_not_held_against_a_peer() {
        let mut liveness = heard_at_start();
        liveness.ask(peer(), at(0));
        assert_eq!(liveness.expire(at(2_000)), (vec![], vec![peer()]));
        assert!(!liveness.is_silent(peer()));
        assert_eq!(liveness.expire(at(2_050)), (vec![peer()], vec![]));
    }

    #[test]
    fn what_was_acknowledged_before_a_gap_does_not_stand_after_it() {
        let mut liveness = Liveness::new(MS * 50);
        for ms in [0, 20, 40] {
            liveness.ask(peer(), at(ms));
            liveness.echoed(peer(), at(ms), at(ms + 1));
        }
        assert!(liveness.attests(peer(), at(0), at(50)));
        liveness.ask(peer(), at(90));
        liveness.echoed(peer(), at(90), at(91));
        assert!(liveness.is_fresh(peer(), at(92)));
        assert!(!liveness.attests(peer(), at(40), at(92)));
        assert!(liveness.attests(peer(), at(90), at(92)));
    }

    #[test]
    fn an_echo_is_fresh_for_half_of_silence() {
        let mut liveness = Liveness::new(MS * 50);
        liveness.ask(peer(), at(0));
        liveness.echoed(peer(), at(0), at(1));
        assert!(liveness.is_fresh(peer(), at(24)));
        assert!(!liveness.is_fresh(peer(), at(25)));
    }
}
