//! What goes wrong in a run, by what the run is about. Pure.

use std::time::Duration;

use callring_proto::base::rng::Rng;
use callring_proto::cluster::policy::AckPolicy;
use rand::RngExt as _;

use super::plan::{Budget, Fault, Kind, Moment, Plan, Trap};

/// When a trap may spring in a cluster that nothing has happened to.
const SOON: Duration = Duration::from_secs(1);

impl Plan {
    /// Draws what goes wrong, and what may be expected all the same.
    pub(super) fn draw_faults(&mut self, rng: &mut Rng) {
        let node = rng.random_range(0..self.nodes);
        let other = (node + rng.random_range(1..self.nodes)) % self.nodes;
        let at = ms(rng, 1_000, 6_000);
        let mut faults = Vec::new();
        match self.kind {
            Kind::Calm => {}
            Kind::Crash | Kind::TwoCrashes | Kind::TooMany | Kind::Rolling => {
                self.deaths((node, other, at), &mut faults, rng);
            }
            Kind::Pause | Kind::PauseThenCrash | Kind::Slumber => {
                self.pauses((node, other, at), &mut faults, rng);
            }
            Kind::Storm => self.storm(&mut faults, rng),
            _ => self.hindrances((node, other, at), &mut faults, rng),
        }
        self.faults = faults;
    }

    /// Nodes die.
    fn deaths(
        &mut self,
        (node, other, at): (usize, usize, Duration),
        faults: &mut Vec<(Duration, Fault)>,
        rng: &mut Rng,
    ) {
        match self.kind {
            Kind::Crash if rng.random_range(0..2) == 0 => self.trap = Some(first_trap(SOON, rng)),
            Kind::Crash => faults.push((at, crash(node, rng))),
            Kind::TwoCrashes => {
                faults.push((at, Fault::Crash { node, back: None }));
                if rng.random_range(0..2) == 0 {
                    self.trap = Some(later_trap(at, rng));
                } else {
                    faults.push((at + ms(rng, 0, 3_000), crash(other, rng)));
                }
            }
            Kind::TooMany => {
                faults.push((at, Fault::Crash { node, back: None }));
                self.trap = Some(later_trap(at, rng));
                self.budget = Budget::Beyond;
            }
            Kind::Rolling => self.roll(faults, rng),
            _ => {}
        }
    }

    /// Nodes stand still.
    fn pauses(
        &mut self,
        (node, other, at): (usize, usize, Duration),
        faults: &mut Vec<(Duration, Fault)>,
        rng: &mut Rng,
    ) {
        match self.kind {
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
                // Not before the sleeper has been given up and its calls have found heirs: until
                // then two faults would meet.
                let after = span
                    .saturating_sub(before)
                    .max(Duration::from_millis(3_500));
                if rng.random_range(0..2) == 0 {
                    // Whoever took the sleeper's place is on no ring's list.
                    self.trap = Some(first_trap(at + after, rng));
                    (self.copies, self.ack) = (3, AckPolicy::One);
                } else {
                    faults.push((at + after, crash(other, rng)));
                }
            }
            Kind::Slumber => {
                let span = ms(rng, 33_000, 42_000);
                faults.push((at + ms(rng, 0, 4_000), Fault::Pause { node, span }));
            }
            _ => {}
        }
    }

    /// Nodes and links do less than they should.
    fn hindrances(
        &mut self,
        (node, other, at): (usize, usize, Duration),
        faults: &mut Vec<(Duration, Fault)>,
        rng: &mut Rng,
    ) {
        match self.kind {
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
            _ => {}
        }
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

/// A trap for a cluster that is well.
fn first_trap(from: Duration, rng: &mut Rng) -> Trap {
    let moment = match rng.random_range(0..8) {
        0 | 1 => Moment::Batch,
        2 => Moment::End,
        3..=5 => Moment::Ack,
        6 => Moment::Relay,
        _ => Moment::Egress,
    };
    let trap = trap(moment, 200, from, rng);
    if moment == Moment::Ack {
        // An owner that has just become able to tell something, or is just about to be.
        let sender = rng.random_range(0..4) == 0;
        return Trap { sender, ..trap };
    }
    trap
}

/// A trap for a cluster that has just lost a member.
fn later_trap(from: Duration, rng: &mut Rng) -> Trap {
    let (moment, within) = match rng.random_range(0..6) {
        0 => (Moment::Claim, 40),
        1 => (Moment::Promise, 40),
        2 => (Moment::Activation, 40),
        3 => (Moment::Change, 60),
        4 => (Moment::Release, 40),
        _ => (Moment::Batch, 200),
    };
    trap(moment, within, from, rng)
}

fn trap(moment: Moment, within: u32, from: Duration, rng: &mut Rng) -> Trap {
    let again = rng.random_range(0..2) == 0;
    let most = if rng.random_range(0..2) == 0 {
        3_000
    } else {
        300
    };
    Trap {
        from,
        moment,
        nth: rng.random_range(1..within),
        sender: rng.random_range(0..3) > 0,
        after: Duration::from_micros(rng.random_range(0..most)),
        back: again.then(|| ms(rng, 100, 5_000)),
    }
}
