//! Phones and faults drawn from a seed: first safety under faults, then quiet and liveness.

use rand::Rng as _;
use rand::RngExt as _;

use super::world::{Answer, END, Event, MS, World};
use crate::base::ids::CallId;
use crate::base::time::{Duration, Instant};
use crate::cluster::Sabotage;
use crate::cluster::policy::{AckPolicy, Replication};

/// Numbers of the script's wake-ups: below this phones, then restarts of nodes, then faults.
const RESTART: usize = 1_000;
const FAULT: usize = 2_000;
/// Within this a message brought in a quiet cluster must reach an owner, one member lost or not.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// What a run was like.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) violations: Vec<(CallId, String)>,
    pub(super) story: String,
    pub(super) calls: u64,
    pub(super) told: u64,
    pub(super) takeovers: u64,
    pub(super) faults: u64,
    pub(super) drains: u64,
    pub(super) handed_over: u64,
    pub(super) over_budget: u64,
    pub(super) events: u64,
    /// Slowest answer in the quiet phase after one crash.
    pub(super) slowest: Duration,
}

struct Phone {
    key: CallId,
    /// Node and life where the call was born.
    birth: usize,
    pending: Option<Pending>,
    alive: bool,
}

struct Pending {
    step: u64,
    first: Instant,
    tries: u32,
    again: Instant,
}

struct Script {
    world: World,
    phones: Vec<Phone>,
    next_step: u64,
    outcome: Outcome,
    /// Faults are drawn until then.
    until: Instant,
    /// Since when a repair is waited for.
    unrepaired: Option<Instant>,
    /// Beyond what the policy stands.
    wild: bool,
    /// The node that drains.
    drained: Option<usize>,
}

/// Runs one seed.
pub(super) fn run(seed: u64, sabotage: Sabotage, verbose: bool) -> Outcome {
    let mut draw = {
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        crate::base::rng::from_seed(bytes)
    };
    let nodes = draw.random_range(3..=5);
    let policy = Replication {
        copies: draw.random_range(2..=3),
        ack: [AckPolicy::One, AckPolicy::All][draw.random_range(0..2)],
        silence: MS * 50,
        ..Replication::default()
    };
    let mut world = World::new(nodes, policy, seed, sabotage);
    world.verbose = verbose;
    world.net.delay_max = Duration::from_micros([400, 2_000, 8_000][draw.random_range(0..3)]);
    let count = draw.random_range(2..=6);
    let until = world.now + Duration::from_secs(draw.random_range(3..12));
    let mut script = Script {
        world,
        phones: Vec::new(),
        next_step: 0,
        outcome: Outcome::default(),
        until,
        unrepaired: None,
        wild: draw.random_range(0..8) == 0,
        drained: None,
    };
    for nth in 0..count {
        script.phones.push(Phone {
            key: CallId::default(),
            birth: 0,
            pending: None,
            alive: false,
        });
        script.world.wake_script(MS * nth * 7, nth as usize);
    }
    script.world.wake_script(MS * 100, FAULT);
    script.run_to(script.until);
    if script.world.judge.violations.is_empty() {
        script.quiet_phase();
    }
    script.finish()
}

impl Script {
    fn chance(&mut self, percent: u32) -> bool {
        self.world.rng.random_range(0..100) < percent
    }

    fn millis(&mut self, range: std::ops::Range<u32>) -> Duration {
        MS * self.world.rng.random_range(range)
    }

    fn pick(&mut self, from: &[usize]) -> Option<usize> {
        if from.is_empty() {
            return None;
        }
        let at = self.world.rng.random_range(0..from.len());
        from.get(at).copied()
    }

    fn run_to(&mut self, until: Instant) {
        while self.world.judge.violations.is_empty() && self.world.step(until) {
            for nth in std::mem::take(&mut self.world.woken) {
                match nth {
                    FAULT.. => self.draw_fault(),
                    RESTART.. => {
                        let news = self.millis(1..300);
                        if self.world.nodes[nth - RESTART].cluster.is_none() {
                            self.world.start(nth - RESTART, news);
                        }
                    }
                    _ => self.phone(nth),
                }
            }
        }
        self.world.now = self.world.now.max(until);
    }

    // ---- phones ---------------------------------------------------------------------------

    fn step_id(&mut self, end: bool) -> u64 {
        self.next_step += 1;
        self.next_step | if end { END } else { 0 }
    }

    fn new_key(&mut self) -> CallId {
        CallId {
            position: self.world.rng.next_u64(),
            nonce: self.world.rng.next_u64(),
        }
    }

    fn hint(&mut self, key: CallId) -> Option<u16> {
        let nodes = self.world.nodes.len();
        let named = match self.world.rng.random_range(0..3) {
            0 => return None,
            1 => self.world.owners(key).first().copied()?,
            _ => self.world.rng.random_range(0..nodes),
        };
        u16::try_from(self.world.nodes[named].member.node.0 & 0xffff).ok()
    }

    fn send(&mut self, key: CallId, step: u64) {
        let up = self.world.up();
        if let Some(at) = self.pick(&up) {
            let hint = self.hint(key);
            self.world.event(at, MS, Event::Bring(key, step, hint));
        }
    }

    fn phone(&mut self, nth: usize) {
        let now = self.world.now;
        let poll = self.millis(3..12);
        let phone = &mut self.phones[nth];
        let Some(pending) = &mut phone.pending else {
            if now >= self.until {
                return;
            }
            let end = self.chance(7);
            let alive = self.phones[nth].alive;
            let step = self.step_id(end && alive);
            self.phones[nth].pending = Some(Pending {
                step,
                first: now,
                tries: 0,
                again: now + MS * 500,
            });
            if alive {
                self.send(self.phones[nth].key, step);
            } else {
                self.outcome.calls += 1;
                let key = self.new_key();
                let up = self.world.up();
                self.phones[nth].key = key;
                if let Some(at) = self.pick(&up) {
                    self.phones[nth].birth = at;
                    self.world.birth(at, key, step);
                }
            }
            self.world.wake_script(poll, nth);
            return;
        };
        let key = phone.key;
        match self.world.answers.get(&pending.step) {
            Some((answer, _)) => {
                phone.alive = *answer == Answer::Told && pending.step & END == 0;
                phone.pending = None;
                let pause = if self.chance(30) {
                    MS
                } else {
                    self.millis(1..400)
                };
                self.world.wake_script(pause, nth);
                return;
            }
            None if now.since(pending.first) > Duration::from_secs(32) => {
                let step = pending.step;
                phone.pending = None;
                let lost = phone.alive;
                phone.alive = false;
                if lost {
                    let what = format!("liveness: no answer to {step:x} in 32 s");
                    self.world.judge.accuse(key, what);
                }
            }
            None if now >= pending.again => {
                pending.tries += 1;
                pending.again = now + MS * 500 * (1 << pending.tries.min(3));
                let (step, alive) = (pending.step, phone.alive);
                if alive {
                    self.send(key, step);
                } else if self.world.is_up(phone.birth) {
                    let at = phone.birth;
                    self.world.event(at, MS, Event::Bring(key, step, None));
                } else {
                    // It died before anything was told: no promise was made.
                    phone.pending = None;
                }
            }
            None => {}
        }
        self.world.wake_script(poll, nth);
    }

    // ---- faults ---------------------------------------------------------------------------

    /// Calls whose owner died are not taken over before somebody asks for them.
    fn poke(&mut self) {
        for key in self.world.judge.living() {
            if self.world.owners(key).is_empty() {
                let step = self.step_id(false);
                self.send(key, step);
            }
        }
    }

    fn draw_fault(&mut self) {
        if self.world.now >= self.until {
            return;
        }
        if !self.world.faults.is_empty() && !self.world.is_repaired() {
            let since = *self.unrepaired.get_or_insert(self.world.now);
            if self.world.now.since(since) > Duration::from_secs(40) {
                self.accuse_unrepaired();
                return;
            }
            if self.chance(30) {
                self.poke();
            }
            if !self.wild {
                self.world.wake_script(MS * 100, FAULT);
                return;
            }
        } else {
            self.unrepaired = None;
            self.world.faults.clear();
            self.outcome.over_budget += u64::from(self.world.judge.over_budget);
            self.world.judge.forgive();
        }
        if self.chance(25) {
            self.toggle_drain();
        }
        let rounds = if self.wild { 2 } else { self.world.budget() };
        for _ in 0..rounds {
            self.outcome.faults += 1;
            self.one_fault();
        }
        let next = self.millis(20..900);
        self.world.wake_script(next, FAULT);
    }

    /// One node at a time drains, and takes it back: no fault, and nothing may be lost by it.
    fn toggle_drain(&mut self) {
        if let Some(nth) = self.drained.take() {
            return self.world.drain_node(nth, false);
        }
        let up = self.world.up();
        self.drained = self.pick(&up);
        if let Some(nth) = self.drained {
            self.outcome.drains += 1;
            self.world.drain_node(nth, true);
        }
    }

    fn one_fault(&mut self) {
        let up = self.world.up();
        let living = self.world.judge.living();
        let mut victim = self.pick(&up);
        if self.chance(60) && !living.is_empty() {
            let at = self.world.rng.random_range(0..living.len());
            victim = self.world.owners(living[at]).first().copied().or(victim);
        }
        let (Some(victim), Some(other)) = (victim, self.pick(&up)) else {
            return;
        };
        match self.world.rng.random_range(0..100) {
            0..40 if up.len() > 1 => {
                let down = self.millis(100..4_000);
                let back = self.millis(50..6_000);
                self.world.crash(victim, down);
                self.world.wake_script(back, RESTART + victim);
            }
            0..60 => {
                let span = self.millis(20..2_000);
                self.world.pause(victim, span);
            }
            60..75 if victim != other => self.world.reset(victim, other),
            75..85 => {
                for peer in 0..self.world.nodes.len() {
                    if peer != victim {
                        self.world.reset(victim, peer);
                    }
                }
            }
            85..95 if victim != other => {
                let span = self.millis(10..300);
                self.world.cut(victim, other, span);
            }
            _ if self.wild => {
                let span = self.millis(100..3_000);
                for peer in up {
                    if peer != victim {
                        self.world.cut(victim, peer, span);
                        self.world.cut(peer, victim, span);
                    }
                }
            }
            _ => {}
        }
    }

    fn accuse_unrepaired(&mut self) {
        let unsettled = self.world.judge.living();
        let key = unsettled
            .into_iter()
            .find(|key| !self.world.is_settled(*key) && !self.world.judge.is_tainted(*key));
        if let Some(key) = key {
            let story = self.world.describe(key);
            let what = format!(
                "liveness: not repaired, owners {:?}\n{story}",
                self.world.owners(key)
            );
            self.world.judge.accuse(key, what);
        }
    }

    // ---- quiet ----------------------------------------------------------------------------

    fn quiet_phase(&mut self) {
        // Phones finish what they began, everything comes back.
        if let Some(nth) = self.drained.take() {
            self.world.drain_node(nth, false);
        }
        for nth in 0..self.world.nodes.len() {
            self.world.wake_script(MS * 200, RESTART + nth);
        }
        let until = self.world.now + Duration::from_secs(40);
        while self.world.now < until && !(self.world.is_repaired() && self.phones_rest()) {
            self.poke();
            let next = self.world.now + MS * 200;
            self.run_to(next);
            if !self.world.judge.violations.is_empty() {
                return;
            }
        }
        self.world.faults.clear();
        if !self.world.is_repaired() {
            self.accuse_unrepaired();
        }
        self.world.judge.forgive();
        self.all_are_served(Duration::ZERO);
        self.strangers_are_not_found(true);
        // Any one crash: everything told is served by somebody else, soon, at the first try.
        let up = self.world.up();
        if let Some(victim) = self.pick(&up) {
            self.world.crash(victim, Duration::from_secs(5));
            let after = self.millis(0..200);
            self.all_are_served(after);
            self.strangers_are_not_found(false);
        }
    }

    fn phones_rest(&self) -> bool {
        self.phones.iter().all(|phone| phone.pending.is_none())
    }

    fn all_are_served(&mut self, after: Duration) {
        self.run_to(self.world.now + after);
        let mut sent = Vec::new();
        for key in self.world.judge.living() {
            if !self.world.judge.is_tainted(key) {
                let step = self.step_id(false);
                self.send(key, step);
                sent.push((key, step));
            }
        }
        let start = self.world.now;
        self.run_to(start + SOON);
        for (key, step) in sent {
            match self.world.answers.get(&step) {
                Some((Answer::Told, at)) => {
                    self.outcome.slowest = self.outcome.slowest.max(at.since(start));
                }
                other => {
                    let what = format!("liveness: {other:?} to {step:x} in the quiet");
                    self.world.judge.accuse(key, what);
                }
            }
        }
    }

    /// Nobody answers for a call that was never born. While a member may only be silent, quiet is
    /// as good as the news that nobody knows it.
    fn strangers_are_not_found(&mut self, surely: bool) {
        let mut sent = Vec::new();
        for _ in 0..3 {
            let (key, step) = (self.new_key(), self.step_id(false));
            self.send(key, step);
            sent.push((key, step));
        }
        self.run_to(self.world.now + SOON);
        for (key, step) in sent {
            let answer = self.world.answers.get(&step).map(|(answer, _)| *answer);
            if answer != Some(Answer::NotFound) && (surely || answer.is_some()) {
                let what = format!("a call never born: {answer:?} to {step:x}");
                self.world.judge.accuse(key, what);
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.outcome.told = self.world.judge.told;
        self.outcome.events = self.world.events;
        for node in &self.world.nodes {
            let stats = node.cluster.as_ref().map(|cluster| &cluster.stats);
            self.outcome.takeovers += stats.map_or(0, |stats| stats.takeovers);
            self.outcome.handed_over += stats.map_or(0, |stats| stats.handed_over);
        }
        self.outcome.violations = std::mem::take(&mut self.world.judge.violations);
        let key = self.outcome.violations.first().map(|(key, _)| *key);
        self.outcome.story = self.world.story(key);
        self.outcome
    }
}
