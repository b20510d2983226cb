//! The world: one heap of events, one clock, one generator; it carries a plan out in phases:
//! forming, faults, healing, the books, and, if the plan says so, the last trace.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::Hasher as _;
use std::sync::Arc;

use bytes::Bytes;
use callring_proto::base::ids::{CallId, MemberId};
use callring_proto::base::rng::{Rng, from_seed};
use callring_proto::base::time::{Duration, Instant};
use callring_proto::cluster::Sabotage;
use callring_proto::sip::locator::Sealer;
use rand::RngExt as _;

use super::eprintln_line;
use super::exercise::Exercise;
use super::invariants::{Invariant, Violation, answered};
use super::judge::Judge;
use super::log;
use super::net::{Net, micros};
use super::node::{Inbound, Life, sealer};
use super::phone::{Phone, Stage};
use super::plan::{Fault, Kind, Plan};

/// The cluster gets this long to come together before the first call.
const FORMING: Duration = Duration::from_secs(4);
/// A run ends this long after its books, whatever happens.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the last call's end: 64*T1 twice, for tombstones and then for the routes to them, and the
/// pauses between two looks.
const LAST_TRACE: Duration = Duration::from_secs(32 + 4 + 64 + 10);

#[derive(Clone, Debug)]
pub(super) enum Event {
    Node(usize, MemberId, Box<Inbound>),
    /// What a slow node is late with.
    Late(usize, MemberId, Box<Inbound>),
    Phone(usize, usize, Bytes),
    PhoneTime(usize),
    LinkUp(MemberId, MemberId),
    LinkDown(MemberId, MemberId, u64),
    Fault(Fault),
    Undrain(usize),
    Restart(usize),
    Resume(usize, MemberId),
    /// All is well from now on.
    Well,
    Books,
}

pub(super) struct Entry {
    at: Instant,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order)) // a max-heap: earliest on top
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What it was about.
    pub kind: Kind,
    /// What happened, counted.
    pub exercise: Exercise,
    /// In-dialog requests refused for now (491, 500).
    pub refused: u32,
    /// Everything that must not happen and did.
    pub violations: Vec<Violation>,
    /// A hash of everything that happened, in order: equal for equal seeds.
    pub trace: u64,
}

/// A node: how many lives it has begun, the present one, whether it says that it drains.
pub(super) struct Node {
    pub(super) lives: u32,
    pub(super) life: Option<Life>,
    pub(super) draining: bool,
}

/// A run under way.
pub struct World {
    pub(super) plan: Plan,
    pub(super) sabotage: Sabotage,
    pub(super) verbose: bool,
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) net: Net,
    heap: BinaryHeap<Entry>,
    order: u64,
    pub(super) sealer: Arc<Sealer>,
    pub(super) nodes: Vec<Node>,
    /// The dead, as they were.
    pub(super) graves: Vec<(Instant, Life)>,
    pub(super) sessions: BTreeMap<(MemberId, MemberId), u64>,
    pub(super) phones: Vec<Phone>,
    pub(super) judge: Judge,
    pub(super) trace: DefaultHasher,
    pub(super) exercise: Exercise,
    /// How often the trap's moment has come; none once it has sprung.
    pub(super) trap: Option<u32>,
    pub(super) well: bool,
    /// How often the books were looked at anew.
    pub(super) books_again: u8,
    pub(super) asks: BTreeMap<u64, (usize, CallId)>,
    pub(super) next_ask: u64,
}

impl World {
    /// The world of a plan, before anything has happened.
    #[must_use]
    pub fn new(plan: Plan, sabotage: Sabotage, verbose: bool) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&plan.seed.to_le_bytes());
        bytes[8] = 2;
        let node = |_| Node {
            lives: 0,
            life: None,
            draining: false,
        };
        Self {
            sabotage,
            verbose,
            now: Instant::START,
            rng: from_seed(bytes),
            net: Net::new(&plan),
            heap: BinaryHeap::new(),
            order: 0,
            sealer: sealer(),
            nodes: (0..plan.nodes).map(node).collect(),
            graves: Vec::new(),
            sessions: BTreeMap::new(),
            phones: Vec::new(),
            judge: Judge::new(&plan),
            trace: DefaultHasher::new(),
            exercise: Exercise::default(),
            trap: plan.trap.map(|_| 0),
            well: false,
            books_again: 0,
            asks: BTreeMap::new(),
            next_ask: 0,
            plan,
        }
    }

    /// When the first call may begin.
    pub(super) fn start() -> Instant {
        Instant::START + FORMING
    }

    /// Carries the plan out.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        for node in 0..self.plan.nodes {
            self.begin(node);
        }
        let start = Self::start();
        for index in 0..self.plan.calls {
            let within = u64::try_from(Plan::CALLS_WITHIN.as_micros()).expect("some seconds");
            let at = start + micros(self.rng.random_range(0..within));
            let books = start + self.plan.books_at();
            let phone = Phone::new(index, at, books, &self.plan, &mut self.rng);
            self.phones.push(phone);
            self.push(at, Event::PhoneTime(index));
        }
        for (at, fault) in self.plan.faults.clone() {
            self.push(start + at, Event::Fault(fault));
        }
        self.push(start + self.plan.well_at, Event::Well);
        self.push(start + self.plan.books_at(), Event::Books);
        let end = start + self.plan.books_at() + PATIENCE;
        self.proceed(end, |world| world.phones.iter().all(Phone::is_done));
        if self.plan.to_the_last {
            let end = self.now + LAST_TRACE;
            self.proceed(end, |_| false);
            self.look_for_traces();
        }
        self.close()
    }

    /// Lets everything happen until `end`, or until `enough`.
    fn proceed(&mut self, end: Instant, enough: impl Fn(&Self) -> bool) {
        while let Some(entry) = self.heap.peek() {
            if entry.at > end || (self.exercise.books > 0 && enough(self)) {
                break;
            }
            let Some(entry) = self.heap.pop() else { break };
            self.now = entry.at;
            self.happen(entry.event);
            for error in log::take_errors() {
                self.judge.blame(self.now, Invariant::NoError, error);
            }
        }
    }

    fn close(mut self) -> Outcome {
        for (index, phone) in self.phones.iter().enumerate() {
            let lost = phone.key.is_some_and(|key| self.is_lost(key));
            if let Some(what) = answered::was_served(phone, &self.plan).filter(|_| !lost) {
                let what = format!("phone {index}: {what}");
                self.judge.blame(self.now, Invariant::AnsweredKept, what);
            }
        }
        for node in 0..self.nodes.len() {
            self.harvest(node);
        }
        self.exercise.calls = self.phones.len() as u64;
        let answered = self.phones.iter().filter(|phone| phone.answered.is_some());
        self.exercise.answered = answered.count() as u64;
        self.exercise.swapped = self.net.swapped;
        self.exercise.told_alone = self.judge.told_alone;
        Outcome {
            seed: self.plan.seed,
            kind: self.plan.kind,
            exercise: self.exercise,
            refused: self.phones.iter().map(|phone| phone.refused).sum(),
            violations: self.judge.violations,
            trace: self.trace.finish(),
        }
    }

    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            order: self.order,
            event,
        });
    }

    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            eprintln_line(&format!("{:?} {}", self.now, line()));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Node(node, life, inbound) => self.at_node(node, life, *inbound),
            Event::Late(node, life, inbound) => self.handled(node, life, *inbound),
            Event::Phone(index, from, bytes) => self.at_phone(index, from, bytes),
            Event::PhoneTime(index) => self.phone_time(index),
            Event::LinkUp(one, other) => self.link_up(one, other),
            Event::LinkDown(at, from, session) => self.link_down(at, from, session),
            Event::Fault(fault) => self.fault(fault),
            Event::Undrain(node) => self.set_draining(node, false),
            Event::Restart(node) => self.begin(node),
            Event::Resume(node, life) => self.resume(node, life),
            Event::Well => self.all_well(),
            Event::Books => self.balance(),
        }
    }

    /// Phones that may be said to be in a call.
    pub(super) fn in_call(&self) -> impl Iterator<Item = CallId> + '_ {
        let up = self.phones.iter().filter(|phone| phone.stage == Stage::Up);
        up.filter(|phone| !phone.is_ending())
            .filter_map(|phone| phone.key)
    }
}
