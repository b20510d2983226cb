//! What a seed means: size of the cluster, policy, weather, calls, faults. Pure.

use std::time::Duration;

use callring_proto::base::rng::{Rng, from_seed};
use callring_proto::cluster::policy::AckPolicy;
use rand::RngExt as _;

/// Something that goes wrong, at a time after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node dies and loses its memory; it may come back as a new life.
    Crash {
        /// Which node.
        node: usize,
        /// When.
        at: Duration,
        /// When it starts again.
        back: Option<Duration>,
    },
    /// The node stands still: nothing in it runs, its clock goes on.
    Pause {
        /// Which node.
        node: usize,
        /// From when.
        at: Duration,
        /// For how long.
        span: Duration,
    },
    /// The members fall into two groups that don't hear each other. Phones reach all.
    Partition {
        /// Bit i: node i is on the far side.
        far: u32,
        /// From when.
        at: Duration,
        /// For how long.
        span: Duration,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
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
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Calls begin within this time after the cluster stands.
    pub const CALLS_WITHIN: Duration = Duration::from_secs(8);

    /// The run that `seed` stands for.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = 1;
        let mut rng = from_seed(bytes);
        let nodes = rng.random_range(3..=6);
        let (copies, ack) = match rng.random_range(0..4) {
            0 => (2, AckPolicy::One),
            1 => (3, AckPolicy::One),
            2 => (3, AckPolicy::All),
            _ => (2, AckPolicy::All),
        };
        let lossy = rng.random_range(0..3) == 0;
        let mut plan = Self {
            seed,
            nodes,
            shards: rng.random_range(1..=2),
            copies,
            ack,
            calls: rng.random_range(40..=120),
            loss: if lossy { rng.random_range(0..150) } else { 0 },
            duplication: if lossy { rng.random_range(0..100) } else { 0 },
            delay_us: rng.random_range(50..2_000),
            faults: Vec::new(),
        };
        plan.faults = plan.draw_faults(&mut rng);
        plan
    }

    /// Faults within what the policy promises to survive: PROTOCOL.md section 1.
    fn draw_faults(&self, rng: &mut Rng) -> Vec<Fault> {
        let ms =
            |rng: &mut Rng, low: u64, high: u64| Duration::from_millis(rng.random_range(low..high));
        let node = rng.random_range(0..self.nodes);
        let at = ms(rng, 1_000, 7_000);
        match rng.random_range(0..10) {
            0 => Vec::new(),
            1..=5 => {
                let again = rng.random_range(0..2) == 0;
                let back = again.then(|| at + ms(rng, 300, 6_000));
                let mut faults = vec![Fault::Crash { node, at, back }];
                if self.copies == 3 && self.ack == AckPolicy::All && self.nodes > 3 {
                    let second = (node + 1 + rng.random_range(0..self.nodes - 1)) % self.nodes;
                    let at = at + ms(rng, 0, 3_000);
                    if second != node && back.is_none() {
                        faults.push(Fault::Crash {
                            node: second,
                            at,
                            back: None,
                        });
                    }
                }
                faults
            }
            6..=8 => vec![Fault::Pause {
                node,
                at,
                span: ms(rng, 30, 2_500),
            }],
            _ => {
                let far = 1 << node;
                vec![Fault::Partition {
                    far,
                    at,
                    span: ms(rng, 20, 1_200),
                }]
            }
        }
    }

    /// Whether messages between members may be kept from each other: then two sides may serve, and
    /// what one of them told can be lost at heal (PROTOCOL.md section 4).
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| matches!(fault, Fault::Partition { .. }))
    }

    /// Whether a living node may be declared down, and so be renamed.
    #[must_use]
    pub fn may_rename(&self) -> bool {
        let long = Duration::from_secs(1);
        self.faults
            .iter()
            .any(|fault| matches!(fault, Fault::Pause { span, .. } if *span > long))
    }
}
