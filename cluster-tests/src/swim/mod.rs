//! Membership at scale: what SWIM costs, how soon a death is known, how often the living are taken
//! for dead. Simulated, in virtual time; run by `cluster-tests/src/bin/swim.rs`.
//!
//! Pure SWIM: nobody tells membership what the fabric has heard, which in a node puts Down off. So
//! false Downs are counted too high. Metadata is another protocol's: it is only estimated.

mod net;

use callring_proto::base::ids::MemberId;
use callring_proto::base::time::Duration;
use callring_proto::cluster::membership::MembershipConfig;

pub use self::net::{Delay, Net, Traffic};

/// A preset of membership, with the network it is for.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// As in the configuration.
    pub name: &'static str,
    /// Its periods.
    pub config: MembershipConfig,
    /// What datagrams take.
    pub delay: Delay,
}

/// All presets.
#[must_use]
pub fn presets() -> [Preset; 3] {
    let micros = Duration::from_micros;
    [
        Preset {
            name: "local",
            config: MembershipConfig::local(),
            delay: (micros(20), micros(500)),
        },
        Preset {
            name: "lan",
            config: MembershipConfig::lan(),
            delay: (micros(100), micros(3_000)),
        },
        Preset {
            name: "wan",
            config: MembershipConfig::wan(),
            delay: (micros(10_000), micros(120_000)),
        },
    ]
}

/// What to try.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many nodes.
    pub members: usize,
    /// Datagrams lost of a hundred, once all have met.
    pub loss_percent: u32,
    /// How patient.
    pub preset: Preset,
    /// For how many probe periods nothing happens but loss.
    pub quiet_periods: u32,
    /// How many nodes crash, one after the other; at most half of them do.
    pub crashes: usize,
    /// Of everything random.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all met at the start.
    pub gathered: bool,
    /// Bytes on the wire a node sends a second while nothing happens.
    pub bytes_per_second: f64,
    /// Datagrams likewise.
    pub datagrams_per_second: f64,
    /// From a crash until the first, the middle and the last of the others said Down: least,
    /// median and most over all crashes. `None`: somebody never did.
    pub detection: Option<(Duration, Duration, Duration)>,
    /// How often somebody called somebody Down who ran, while nothing happened.
    pub false_downs: usize,
    /// How often a node had to take a new number for it.
    pub renamed: u32,
    /// How long nothing happened.
    pub quiet: Duration,
}

/// Until all have met, in probe periods.
const GATHER_PERIODS: u32 = 300;
/// News of the start has gone round.
const SETTLE_PERIODS: u32 = 30;
/// Until a crash must have been noticed by all.
const NOTICE_PERIODS: u32 = 60;
/// When in a period crashes happen, in hundredths of it.
const CRASH_SHIFTS: [u32; 5] = [13, 57, 91, 34, 78];

/// Carries a plan out.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let config = plan.preset.config;
    let period = config.probe_period;
    let mut net = Net::new(plan.members, config, plan.preset.delay, plan.seed);
    let gathered = net.gather(period * GATHER_PERIODS);
    net.run_for(period * SETTLE_PERIODS);

    net.lose(plan.loss_percent);
    net.run_for(period * SETTLE_PERIODS);
    let (began, before) = (net.now(), net.traffic());
    let quiet = period * plan.quiet_periods;
    net.run_for(quiet);
    let after = net.traffic();
    let each = |sent: u64| sent as f64 / plan.members as f64 / quiet.as_secs_f64();
    let false_downs = net.called_down(began, &[]);
    let renamed = net.renamed();
    Outcome {
        gathered,
        bytes_per_second: each(after.bytes - before.bytes),
        datagrams_per_second: each(after.datagrams - before.datagrams),
        detection: crash_some(&mut net, plan),
        false_downs,
        renamed,
        quiet,
    }
}

/// Bytes of metadata gossip that a node sends a second: an estimate, from what chitchat's messages
/// hold and how often `src/runtime/metadata.rs` has them sent. What members say seldom changes, so
/// nearly all of it are digests: both ends of an exchange name every member, its life, its address
/// and three counters. Beyond its share nothing is sent.
#[must_use]
pub fn metadata_bytes_per_second(members: usize) -> f64 {
    const ROUNDS_PER_SECOND: f64 = 5.0;
    const PARTNERS: f64 = 3.0;
    const NAME: usize = 2 + 8;
    const MEMBER: usize = NAME + 8 + 7 + 3 * 8;
    const REST: f64 = 40.0;
    const SHARE: f64 = 256.0 * 1024.0;
    let digest = (2 + members * MEMBER) as f64;
    // As many exchanges are answered as begun: two digests, and a word to end it.
    SHARE.min(ROUNDS_PER_SECOND * PARTNERS * (2.0 * (digest + REST) + REST))
}

/// Crashes some, and sees how soon it is known.
fn crash_some(net: &mut Net, plan: Plan) -> Option<(Duration, Duration, Duration)> {
    let period = plan.preset.config.probe_period;
    let mut found: Vec<(Duration, Duration, Duration)> = Vec::new();
    let mut dead: Vec<MemberId> = Vec::new();
    // The last ones: the first are seeds.
    let crashes = plan.crashes.min(plan.members / 2);
    for (turn, nth) in (0..plan.members).rev().take(crashes).enumerate() {
        // Not always at the same moment of a period.
        net.run_for(period * CRASH_SHIFTS[turn % CRASH_SHIFTS.len()] / 100);
        let member = net.member(nth)?;
        dead.push(member);
        let at = net.now();
        net.crash(nth);
        let others = plan.members - dead.len();
        for _ in 0..NOTICE_PERIODS {
            net.run_for(period);
            if net.noticed(member, at).len() == others {
                break;
            }
        }
        let noticed = net.noticed(member, at);
        if noticed.len() < others {
            return None;
        }
        found.push((noticed[0], noticed[others / 2], noticed[others - 1]));
    }
    let least = found.iter().map(|one| one.0).min()?;
    let most = found.iter().map(|one| one.2).max()?;
    let mut middle: Vec<Duration> = found.iter().map(|one| one.1).collect();
    middle.sort_unstable();
    Some((least, middle[middle.len() / 2], most))
}
