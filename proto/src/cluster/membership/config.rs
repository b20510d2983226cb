//! How patient membership is. Durations only; nothing here knows members or messages.

use std::num::{NonZeroU8, NonZeroUsize};

use crate::base::time::Duration;

/// Largest gossip datagram, bytes: what fits a QUIC datagram at the smallest path MTU. The same
/// everywhere: it bounds what is accepted as well as what is sent.
pub const GOSSIP_BYTES_MAX: usize = 1_178;
/// A suspect has at least this many probe periods to refute.
const SUSPICION_PERIODS_MIN: u32 = 5;
/// Members asked to probe on one's behalf. They cost nothing while direct probes succeed; where one
/// datagram in five is lost, three would leave one probe in fourteen unanswered, eight one in 200.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// How often each node passes an update on. With one datagram in five lost, a hundred members and
/// ten times, a refutation misses somebody so often that the living are called Down within minutes.
const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(20).unwrap();

/// The periods of membership. Choose a preset; all nodes of a cluster use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipConfig {
    /// One other member is probed each period.
    pub probe_period: Duration,
    /// How long a direct answer may take before others are asked to probe; well above the
    /// round-trip time, below a third of `probe_period`.
    pub probe_rtt: Duration,
    /// From suspicion to Down; raised to five probe periods if it is less.
    pub suspicion: Duration,
    /// How often news is passed on apart from probes.
    pub gossip_period: Duration,
    /// How often a random member is asked for all it knows, and seeds nobody has seen are called.
    pub announce_period: Duration,
    /// How often members that are Down are called: partitions re-merge after two or three of these.
    pub announce_down_period: Duration,
    /// How often seeds and remembered members are called while there is no other live member.
    pub join_period: Duration,
}

impl MembershipConfig {
    /// One site: Down 5 to 8 seconds after a crash, mostly 6 to 7. The default. Few members probe
    /// one of them seldom, so the period is short; the suspicion is what a standstill may last.
    #[must_use]
    pub const fn lan() -> Self {
        Self {
            probe_period: Duration::from_millis(500),
            probe_rtt: Duration::from_millis(150),
            suspicion: Duration::from_millis(5_000),
            gossip_period: Duration::from_millis(200),
            announce_period: Duration::from_secs(10),
            announce_down_period: Duration::from_secs(10),
            join_period: Duration::from_secs(1),
        }
    }

    /// Several sites: Down 16 to 30 seconds after a crash, mostly about 20.
    #[must_use]
    pub const fn wan() -> Self {
        Self {
            probe_period: Duration::from_millis(3_000),
            probe_rtt: Duration::from_millis(900),
            suspicion: Duration::from_millis(15_000),
            gossip_period: Duration::from_millis(500),
            announce_period: Duration::from_secs(30),
            announce_down_period: Duration::from_secs(30),
            join_period: Duration::from_secs(3),
        }
    }

    /// One host, for demonstrations and tests: Down about 2 seconds after a crash.
    #[must_use]
    pub const fn local() -> Self {
        Self {
            probe_period: Duration::from_millis(300),
            probe_rtt: Duration::from_millis(100),
            suspicion: Duration::from_millis(1_500),
            gossip_period: Duration::from_millis(100),
            announce_period: Duration::from_secs(3),
            announce_down_period: Duration::from_secs(3),
            join_period: Duration::from_millis(300),
        }
    }

    /// From suspicion to Down, as it is applied.
    #[must_use]
    pub fn suspicion_applied(&self) -> Duration {
        self.suspicion
            .max(self.probe_period * SUSPICION_PERIODS_MIN)
    }

    /// How long ago the fabric may have heard a suspect for Down to be put off.
    pub(super) fn heard_within(&self) -> Duration {
        self.suspicion_applied() / SUSPICION_PERIODS_MIN
    }

    /// The same in foca's words, for packets of at most `packet_bytes`.
    pub(super) fn to_foca(self, packet_bytes: NonZeroUsize) -> foca::Config {
        let periodic = |frequency, members| {
            let num_members = NonZeroUsize::new(members).expect("a literal above zero");
            Some(foca::PeriodicParams {
                frequency,
                num_members,
            })
        };
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_rtt,
            num_indirect_probes: INDIRECT_PROBES,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: self.suspicion_applied(),
            // The roster decides what is forgotten, so that both remember the same.
            remove_down_after: None,
            max_packet_size: packet_bytes,
            notify_down_members: true,
            // None of these can be switched on later; without them partitions do not re-merge.
            periodic_announce: periodic(self.announce_period, 1),
            periodic_announce_to_down_members: periodic(self.announce_down_period, 2),
            periodic_gossip: periodic(self.gossip_period, 3),
        }
    }
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self::lan()
    }
}
