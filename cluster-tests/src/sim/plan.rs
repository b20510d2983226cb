//! What a seed means: size of the cluster, policy, weather, calls, and what goes wrong. Pure.

use std::time::Duration;

use callring_proto::base::rng::{Rng, from_seed};
use callring_proto::cluster::policy::AckPolicy;
use rand::RngExt as _;

use super::clock::EVEN;
use super::open;

/// Something that goes wrong, or that an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node dies and loses its memory; it may come back as a new life after a while.
    Crash {
        /// Which node.
        node: usize,
        /// After how long it starts again.
        back: Option<Duration>,
    },
    /// The node stands still: nothing in it runs, its clock goes on.
    Pause {
        /// Which node.
        node: usize,
        /// For how long.
        span: Duration,
    },
    /// Nothing passes from some nodes to others; phones reach all. Bit i: node i.
    Cut {
        /// From these
        from: u32,
        /// to those.
        to: u32,
        /// For how long.
        span: Duration,
    },
    /// What passes from some nodes to others is late.
    SlowLink {
        /// From these
        from: u32,
        /// to those.
        to: u32,
        /// By up to this much.
        delay: Duration,
        /// For how long.
        span: Duration,
    },
    /// The node handles everything late.
    SlowNode {
        /// Which node.
        node: usize,
        /// By this much.
        delay: Duration,
        /// For how long.
        span: Duration,
    },
    /// The node says of itself that it is draining.
    Drain {
        /// Which node.
        node: usize,
        /// And that it no longer is, after this long.
        span: Duration,
    },
}

/// A moment that a cluster is most easily hurt at: a frame of this kind has just been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A record of any kind.
    Batch,
    /// A record of an ended call.
    End,
    /// A record with old members.
    Change,
    /// A record at a higher epoch than the first.
    Activation,
    /// An acknowledgement.
    Ack,
    /// A claim.
    Claim,
    /// A promise.
    Promise,
    /// A release.
    Release,
    /// A message brought to an owner.
    Relay,
    /// A message that leaves by another node.
    Egress,
}

/// A fault that waits for its moment.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// Which.
    pub moment: Moment,
    /// The how many-th of its kind, once trouble may begin.
    pub nth: u32,
    /// Whether it hits the sender; else the receiver.
    pub sender: bool,
    /// This long after the frame was sent.
    pub after: Duration,
    /// When the node that dies comes back.
    pub back: Option<Duration>,
}

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing goes wrong but the weather.
    Calm,
    /// One node dies.
    Crash,
    /// Two nodes die, together or shortly after one another: `copies = 3, ack = all`.
    TwoCrashes,
    /// Node after node is restarted, with time for repairs in between.
    Rolling,
    /// A node stands still for a while.
    Pause,
    /// A node stands still; once its copies have been replaced, another one dies.
    PauseThenCrash,
    /// A node stands still for longer than ended calls are remembered.
    Slumber,
    /// One node can't hear one other.
    OneWay,
    /// Two nodes can't hear each other: `copies = 3, ack = all`.
    Pair,
    /// A node is slow, a little.
    SlowNode,
    /// Links are slow, a little.
    SlowLink,
    /// A node is drained and taken back.
    Drain,
    /// The members fall into two groups that don't hear each other.
    Partition,
    /// A node is so slow that others think it dead, and links are so slow that members are lost.
    Sluggish,
    /// Owner and the one who acknowledged die: more than `ack = one` survives.
    TooMany,
    /// Everything at once.
    Storm,
}

/// How many faults a run has, measured by what its policy promises (PROTOCOL.md section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// As many as are survived: G1 to G4 hold.
    Within,
    /// More crashes than are survived: what was told may be lost.
    Beyond,
    /// Members that live hold each other for silent: both sides may serve (PROTOCOL.md section 4).
    Split,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// What it is about.
    pub kind: Kind,
    /// What may be expected of it.
    pub budget: Budget,
    /// Nodes.
    pub nodes: usize,
    /// Shards per node.
    pub shards: u16,
    /// `copies`.
    pub copies: usize,
    /// `ack`.
    pub ack: AckPolicy,
    /// Calls, begun within the first [`Plan::CALLS_WITHIN`].
    pub calls: usize,
    /// Loss of SIP datagrams, per mille.
    pub loss: u32,
    /// Duplication of SIP datagrams, per mille.
    pub duplication: u32,
    /// Mean one-way delay between members, microseconds.
    pub delay_us: u64,
    /// Frames between members that need a second attempt, per mille.
    pub frame_loss: u32,
    /// Frames outside the lanes that arrive twice, per mille.
    pub frame_duplication: u32,
    /// Nodes that speak the earlier wire version only; bit i: node i.
    pub old_wire: u32,
    /// How much faster or slower than the world's a node's clock may run, parts per million.
    pub skew_ppm: u64,
    /// What goes wrong, and when after the first call may begin.
    pub faults: Vec<(Duration, Fault)>,
    /// What goes wrong at a moment of its own.
    pub trap: Option<Trap>,
    /// When everything is well again, after the first call may begin.
    pub well_at: Duration,
    /// Whether the run goes on until nothing may be left of any call.
    pub to_the_last: bool,
}

impl Plan {
    /// Calls begin within this time after the cluster stands.
    pub const CALLS_WITHIN: Duration = Duration::from_secs(8);
    /// From when on all is well until the books must balance.
    pub const SETTLING: Duration = Duration::from_secs(6);
    /// From answer to the application's BYE, later than the books by this much.
    const TIMER_AFTER: Duration = Duration::from_secs(4);

    /// The run that `seed` stands for.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = 1;
        let mut rng = from_seed(bytes);
        let kind = draw_kind(&mut rng);
        let (copies, ack) = match (kind, rng.random_range(0..4)) {
            (Kind::TwoCrashes | Kind::Pair, _) => (3, AckPolicy::All),
            (Kind::TooMany, _) => (3, AckPolicy::One),
            (_, 0) => (2, AckPolicy::One),
            (_, 1) => (3, AckPolicy::One),
            (_, 2) => (3, AckPolicy::All),
            _ => (2, AckPolicy::All),
        };
        // Of four, two are no majority, and adopt nothing.
        let fewest = if kind == Kind::TwoCrashes { 5 } else { 3 };
        let lossy = rng.random_range(0..3) == 0;
        let skewed = rng.random_range(0..2) == 0;
        let mut plan = Self {
            seed,
            kind,
            budget: Budget::Within,
            nodes: rng.random_range(fewest..=6),
            shards: rng.random_range(1..=2),
            copies,
            ack,
            calls: rng.random_range(70..=170),
            loss: if lossy { rng.random_range(0..150) } else { 0 },
            duplication: if lossy { rng.random_range(0..100) } else { 0 },
            delay_us: rng.random_range(50..2_000),
            frame_loss: rng.random_range(0..20),
            frame_duplication: rng.random_range(0..50),
            skew_ppm: if skewed { EVEN / 10 } else { 0 },
            old_wire: 0,
            faults: Vec::new(),
            trap: None,
            well_at: Duration::ZERO,
            to_the_last: rng.random_range(0..12) == 0,
        };
        if rng.random_range(0..5) == 0 {
            plan.old_wire = rng.random_range(1..=plan.all());
        }
        plan.draw_faults(&mut rng);
        let ends = plan.faults.iter().map(|(at, fault)| *at + span(fault));
        let trapped = if plan.trap.is_some() { 10_000 } else { 0 };
        plan.well_at = ends
            .chain([Plan::CALLS_WITHIN, Duration::from_millis(trapped)])
            .max()
            .expect("not empty");
        plan
    }

    /// When the books must balance, after the first call may begin.
    #[must_use]
    pub fn books_at(&self) -> Duration {
        self.well_at + Self::SETTLING
    }

    /// From answer to the application's own BYE.
    #[must_use]
    pub fn hang_up_after(&self) -> Duration {
        self.books_at() + Self::TIMER_AFTER
    }

    pub(super) fn all(&self) -> u32 {
        (1 << self.nodes) - 1
    }

    /// Whether a living node may be declared down, and so be renamed.
    #[must_use]
    pub fn may_rename(&self) -> bool {
        let long = Duration::from_secs(1);
        let mut faults = self.faults.iter().map(|(_, fault)| fault);
        faults.any(|fault| matches!(fault, Fault::Pause { span, .. } if *span > long))
    }

    /// The latest that the application's timer may go off by the slowest clock, after the books.
    #[must_use]
    pub fn skewed_timer(&self) -> Duration {
        let after = self.hang_up_after() + Self::CALLS_WITHIN - self.books_at();
        after + self.hang_up_after() / 8
    }

    /// How long a node may do nothing while it owns a call.
    #[must_use]
    pub fn longest_standstill(&self) -> Duration {
        let faults = self.faults.iter().map(|(_, fault)| match fault {
            Fault::Pause { span, .. } => *span,
            Fault::SlowNode { delay, .. } => *delay,
            _ => Duration::ZERO,
        });
        faults.max().unwrap_or_default()
    }

    /// Whether one INVITE makes one call, whatever happens to its node.
    #[must_use]
    pub fn keeps_births(&self) -> bool {
        let mut faults = self.faults.iter().map(|(_, fault)| fault);
        open::NOTICES || !faults.any(|fault| matches!(fault, Fault::Drain { .. }))
    }

    /// Whether nodes die.
    #[must_use]
    pub fn crashes(&self) -> bool {
        let mut faults = self.faults.iter().map(|(_, fault)| fault);
        self.trap.is_some() || faults.any(|fault| matches!(fault, Fault::Crash { .. }))
    }
}

/// How long a fault lasts, a restart included.
fn span(fault: &Fault) -> Duration {
    match fault {
        Fault::Crash { back, .. } => back.unwrap_or_default(),
        Fault::Pause { span, .. }
        | Fault::Cut { span, .. }
        | Fault::SlowLink { span, .. }
        | Fault::SlowNode { span, .. }
        | Fault::Drain { span, .. } => *span,
    }
}

fn draw_kind(rng: &mut Rng) -> Kind {
    match rng.random_range(0..100) {
        0..4 => Kind::Calm,
        4..26 => Kind::Crash,
        26..38 => Kind::TwoCrashes,
        38..44 => Kind::Rolling,
        44..56 => Kind::Pause,
        56..63 => Kind::PauseThenCrash,
        63..65 => Kind::Slumber,
        65..72 => Kind::OneWay,
        72..75 => Kind::Pair,
        75..78 => Kind::SlowNode,
        78..81 => Kind::SlowLink,
        81..87 => Kind::Drain,
        87..91 => Kind::Partition,
        91..93 => Kind::Sluggish,
        93..96 => Kind::TooMany,
        _ => Kind::Storm,
    }
}
