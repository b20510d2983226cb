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

    fn draw_faults(&mut self, rng: &mut Rng) {
        let node = rng.random_range(0..self.nodes);
        let other = (node + rng.random_range(1..self.nodes)) % self.nodes;
        let at = ms(rng, 1_000, 6_000);
        let mut faults = Vec::new();
        match self.kind {
            Kind::Calm => {}
            Kind::Crash if rng.random_range(0..2) == 0 => self.trap = Some(first_trap(rng)),
            Kind::Crash => faults.push((at, crash(node, rng))),
            Kind::TwoCrashes => {
                faults.push((at, Fault::Crash { node, back: None }));
                if rng.random_range(0..2) == 0 {
                    self.trap = Some(later_trap(rng));
                } else {
                    faults.push((at + ms(rng, 0, 3_000), crash(other, rng)));
                }
            }
            Kind::Rolling => self.roll(&mut faults, rng),
            Kind::Pause => {
                let long = rng.random_range(0..4) == 0;
                let span = if long {
                    ms(rng, 2_500, 7_000)
                } else {
                    ms(rng, 30, 2_500)
                };
                faults.push((at, Fault::Pause { node, span }));
            }
            Kind::PauseThenCrash => {
                let span = ms(rng, 1_500, 7_500);
                faults.push((at, Fault::Pause { node, span }));
                // Often so that the sleeper wakes before the dead one's heir has come.
                let close = rng.random_range(0..2) == 0;
                let before = if close {
                    ms(rng, 0, 1_000)
                } else {
                    ms(rng, 0, 7_000)
                };
                let after = span.saturating_sub(before).max(Duration::from_millis(400));
                faults.push((at + after, crash(other, rng)));
            }
            Kind::Slumber => {
                let span = ms(rng, 33_000, 42_000);
                faults.push((at + ms(rng, 0, 4_000), Fault::Pause { node, span }));
            }
            Kind::OneWay => faults.push((at, cut(1 << node, 1 << other, ms(rng, 30, 4_000)))),
            Kind::Pair => {
                let span = ms(rng, 30, 3_000);
                faults.push((at, cut(1 << node, 1 << other, span)));
                faults.push((at, cut(1 << other, 1 << node, span)));
            }
            Kind::SlowNode => {
                let (delay, span) = (ms(rng, 2, 12), ms(rng, 500, 5_000));
                faults.push((at, Fault::SlowNode { node, delay, span }));
            }
            Kind::SlowLink => faults.push((at, slow_link(self.all(), self.all(), 12, rng))),
            Kind::Drain => {
                let span = ms(rng, 500, 6_000);
                faults.push((at, Fault::Drain { node, span }));
                if rng.random_range(0..2) == 0 {
                    let at = at + ms(rng, 0, 2_000);
                    faults.push((at, crash(other, rng)));
                }
            }
            Kind::Partition => {
                let (near, span) = (1 << node, ms(rng, 20, 6_000));
                faults.push((at, cut(near, self.all() & !near, span)));
                faults.push((at, cut(self.all() & !near, near, span)));
                self.budget = Budget::Split;
            }
            Kind::Sluggish => {
                let (delay, span) = (ms(rng, 20, 200), ms(rng, 500, 5_000));
                faults.push((at, Fault::SlowNode { node, delay, span }));
                let at = ms(rng, 1_000, 6_000);
                faults.push((at, slow_link(1 << other, self.all(), 300, rng)));
                self.budget = Budget::Split;
            }
            Kind::TooMany => {
                faults.push((at, Fault::Crash { node, back: None }));
                self.trap = Some(later_trap(rng));
                self.budget = Budget::Beyond;
            }
            Kind::Storm => self.storm(&mut faults, rng),
        }
        self.faults = faults;
    }

    /// Restarts with pauses that repairs have time in.
    fn roll(&self, faults: &mut Vec<(Duration, Fault)>, rng: &mut Rng) {
        let mut at = ms(rng, 500, 1_500);
        for node in 0..self.nodes.min(4) {
            let back = Some(ms(rng, 100, 2_000));
            faults.push((at, Fault::Crash { node, back }));
            at += ms(rng, 4_500, 6_000);
        }
    }

    fn storm(&mut self, faults: &mut Vec<(Duration, Fault)>, rng: &mut Rng) {
        for _ in 0..rng.random_range(3..7) {
            let at = ms(rng, 500, 8_000);
            let node = rng.random_range(0..self.nodes);
            let some = rng.random_range(1..=self.all());
            let others = rng.random_range(1..=self.all());
            let fault = match rng.random_range(0..7) {
                0 => Fault::Crash {
                    node,
                    back: Some(ms(rng, 100, 3_000)),
                },
                1 => Fault::Pause {
                    node,
                    span: ms(rng, 30, 4_000),
                },
                2 | 3 => cut(some, others, ms(rng, 30, 10_000)),
                4 => slow_link(some, others, 400, rng),
                5 => Fault::Drain {
                    node,
                    span: ms(rng, 100, 3_000),
                },
                _ => Fault::SlowNode {
                    node,
                    delay: ms(rng, 5, 200),
                    span: ms(rng, 100, 4_000),
                },
            };
            faults.push((at, fault));
        }
        self.budget = Budget::Split;
    }

    fn all(&self) -> u32 {
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

fn ms(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_micros(rng.random_range(low * 1_000..high * 1_000))
}

fn crash(node: usize, rng: &mut Rng) -> Fault {
    let again = rng.random_range(0..2) == 0;
    let back = again.then(|| ms(rng, 100, 5_000));
    Fault::Crash { node, back }
}

fn cut(from: u32, to: u32, span: Duration) -> Fault {
    Fault::Cut { from, to, span }
}

fn slow_link(from: u32, to: u32, at_most_ms: u64, rng: &mut Rng) -> Fault {
    Fault::SlowLink {
        from,
        to,
        delay: ms(rng, 1, at_most_ms),
        span: ms(rng, 200, 5_000),
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

/// A trap for a cluster that is well.
fn first_trap(rng: &mut Rng) -> Trap {
    let moment = match rng.random_range(0..6) {
        0 | 1 => Moment::Batch,
        2 => Moment::End,
        3 => Moment::Ack,
        4 => Moment::Relay,
        _ => Moment::Egress,
    };
    trap(moment, 200, rng)
}

/// A trap for a cluster that has just lost a member.
fn later_trap(rng: &mut Rng) -> Trap {
    let (moment, within) = match rng.random_range(0..6) {
        0 => (Moment::Claim, 40),
        1 => (Moment::Promise, 40),
        2 => (Moment::Activation, 40),
        3 => (Moment::Change, 60),
        4 => (Moment::Release, 40),
        _ => (Moment::Batch, 200),
    };
    trap(moment, within, rng)
}

fn trap(moment: Moment, within: u32, rng: &mut Rng) -> Trap {
    let again = rng.random_range(0..2) == 0;
    Trap {
        moment,
        nth: rng.random_range(1..within),
        sender: rng.random_range(0..3) > 0,
        after: Duration::from_micros(rng.random_range(0..3_000)),
        back: again.then(|| ms(rng, 100, 5_000)),
    }
}
