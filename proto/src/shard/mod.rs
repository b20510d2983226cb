//! The switchboard: joins `sip`, `cluster` and `app`, and applies the policy table. Routing only;
//! what a message means is decided in the rooms.
//!
//! ```text
//!   Input::Sip ──> front ──> call (sip) ──> app ──> commands ──> call
//!                    │          │ changed            │ ready
//!                    │          ▼                    ▼
//!                    │   cluster.changed(state) ── policy ── cluster.hold ─┐
//!                    │                                  └─ emit now        │
//!                    └─ not ours: cluster.bring        emit <── Release ───┘
//! ```
//!
//! The loop of whoever runs a shard: hand over inputs, drain [`Shard::poll_output`] until it is
//! empty, sleep until [`Shard::next_deadline`] or the next input; at the deadline call
//! [`Shard::handle_timeout`] and drain again.

mod answers;
mod births;
mod counts;
mod dial;
mod effects;
mod front;
mod joining;
mod live;
pub mod policy;
mod probe;
mod refresh;
mod requests;
mod run;
mod setups;
mod tagless;
mod tasks;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use crate::app::AnyApp;
use crate::base::flow::Transport;
use crate::base::ids::{CallId, MemberId};
use crate::base::map::{KeyedState, Map};
use crate::base::rng::{self, Rng, Seed};
use crate::base::time::{Duration, Instant};
use crate::cluster::policy::Replication;
use crate::cluster::view::View;
use crate::cluster::{Cluster, Sabotage};
use crate::io::{Answer, Input, Output};
use crate::sip::effect::{LegId, Outgoing};
use crate::sip::locator::Sealer;
use crate::sip::transaction::key::TransactionKey;
use counts::Counts;
use live::LiveCall;
pub use probe::{Probe, Residue};
use setups::Setups;

/// How long the address that a listener advertises lives (SIP.md S1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// It outlives a node and never changes at a takeover.
    Cluster,
    /// It dies with the node: an heir has to tell the phone its own.
    #[default]
    Node,
}

/// A listener of this node, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// `host[:port]` for Contact and Via sent-by (SIP.md S1.1).
    pub advertise: Arc<str>,
    /// How long that address lives.
    pub scope: Scope,
}

/// What a shard is told at birth.
#[derive(Clone)]
pub struct ShardConfig {
    /// Which shard of the node this is.
    pub shard: u16,
    /// How many the node has.
    pub shards: u16,
    /// The node's SIP listeners. A [`crate::base::flow::Flow`] names one by its place here, modulo
    /// their number: the shell tells the local addresses of a listener apart by what is above
    /// (SIP.md S1.3).
    pub listeners: Vec<Listener>,
    /// Replication policy.
    pub replication: Replication,
    /// Seals and opens locators, and places Call-IDs.
    pub sealer: Arc<Sealer>,
    /// The application.
    pub app: Arc<dyn AnyApp>,
    /// Members as known now; its `me` is this member.
    pub view: Arc<View>,
    /// This shard's own seed.
    pub seed: Seed,
    /// Highest wire version to speak; [`crate::wire::VERSION`] unless held back.
    pub wire_max: u8,
    /// Other members are known to be there: until links with them are up, or until then, SIP is
    /// left to be repeated.
    pub joined_by: Option<Instant>,
}

/// A signal that somebody here waits for the outcome of.
#[derive(Clone, Copy, Debug)]
struct PendingAsk {
    until: Instant,
}

/// How long a signal may look for its call.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// An output that waits.
enum Held {
    /// A message, and whose it is.
    Sip(LegId, Outgoing),
    /// A task of the call's, by its number.
    Task(u32),
}

/// One shard of a node.
pub struct Shard {
    shard: u16,
    shards: u16,
    listeners: Vec<Listener>,
    sealer: Arc<Sealer>,
    app: Arc<dyn AnyApp>,
    policy: Replication,
    view: Arc<View>,
    cluster: Cluster<Held>,
    calls: Map<CallId, LiveCall>,
    /// INVITE transactions by key: what a tagless repetition or CANCEL finds its call by.
    invites: Map<TransactionKey, CallId>,
    /// How many calls that have not ended lie at each position.
    positions: Map<u64, u32>,
    /// How many there are in all.
    live: u32,
    setups: Setups,
    deadlines: BTreeSet<(Instant, CallId)>,
    asks: BTreeMap<u64, PendingAsk>,
    /// When the next refresh of a phone's target may go.
    next_refresh: Instant,
    outputs: VecDeque<Output>,
    /// Until then it waits for the others; none once they are linked.
    joined_by: Option<Instant>,
    /// More comes in than gets done.
    overloaded: bool,
    wire_max: u8,
    /// The wire version to speak with each linked member.
    wires: BTreeMap<MemberId, u8>,
    rng: Rng,
    counts: Counts,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Shard {} of {:?}, {} calls",
            self.shard,
            self.view.me,
            self.calls.len()
        )
    }
}

impl Shard {
    /// A shard that owns nothing yet.
    #[must_use]
    pub fn new(config: ShardConfig) -> Self {
        use rand::Rng as _;
        let mut rng = rng::from_seed(config.seed);
        let hasher = KeyedState::new(rng.next_u64(), rng.next_u64());
        let cluster = Cluster::new(
            Arc::clone(&config.view),
            config.shard,
            config.replication.clone(),
            rng::fork(&mut rng),
        );
        Self {
            shard: config.shard,
            shards: config.shards.max(1),
            listeners: config.listeners,
            sealer: config.sealer,
            app: config.app,
            policy: config.replication,
            view: config.view,
            cluster,
            calls: Map::with_hasher(hasher),
            invites: Map::with_hasher(hasher),
            positions: Map::with_hasher(hasher),
            live: 0,
            setups: Setups::new(hasher),
            deadlines: BTreeSet::new(),
            asks: BTreeMap::new(),
            next_refresh: Instant::START,
            outputs: VecDeque::new(),
            joined_by: config.joined_by,
            overloaded: false,
            wire_max: config.wire_max,
            wires: BTreeMap::new(),
            rng,
            counts: Counts::default(),
        }
    }

    /// Breaks rules on purpose; for tests of the tests.
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.cluster.sabotage(sabotage);
    }

    /// Which member this is.
    #[must_use]
    pub fn me(&self) -> MemberId {
        self.view.me
    }

    /// Calls that run here and have not ended.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.live
    }

    /// Takes one input. Others may follow before outputs are asked for.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Sip { flow, bytes } => self.on_sip(flow, bytes, now),
            Input::Frame {
                from,
                session,
                bytes,
            } => match crate::wire::decode(&bytes, self.wire_max) {
                Ok((address, frame)) => self.cluster.on_frame(from, session, address, frame, now),
                Err(error) => {
                    self.counts.frames_bad += 1;
                    tracing::warn!(?from, %error, "frame dropped");
                }
            },
            Input::View(view) => {
                self.view = Arc::clone(&view);
                self.wires.retain(|member, _| !view.is_gone(*member));
                self.cluster.on_view(view, now);
            }
            Input::LinkUp {
                member,
                session,
                shards,
                wire,
            } => {
                let wire = wire.min(self.wire_max);
                self.cluster.on_wire(member, wire);
                self.cluster.on_link_up(member, session, shards, now);
                self.wires.insert(member, wire);
            }
            Input::LinkDown { member, session } => {
                self.cluster.on_link_down(member, session, now);
            }
            Input::Overloaded(overloaded) => self.overloaded = overloaded,
            Input::Renamed(me) => self.cluster.on_renamed(me, now),
            Input::TaskDone {
                key,
                number,
                epoch,
                outcome,
            } => self.on_task_done(key, (number, epoch), outcome, now),
            Input::Ask { ask, request } => self.on_ask(ask, request, now),
        }
    }

    /// Lets everything that is due by `now` happen.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cluster.on_timeout(now);
        while let Some((at, key)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.on_call_deadline(key, now);
        }
        let late = self.asks.iter().filter(|(_, ask)| ask.until <= now);
        for ask in late.map(|(ask, _)| *ask).collect::<Vec<_>>() {
            self.answer_ask(ask, Err("no owner answered in time".to_owned()));
        }
    }

    /// The next thing the shell is to do.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let effect = self.cluster.poll_effect(now)?;
            self.on_effect(effect, now);
        }
    }

    /// When [`Shard::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let call = self.deadlines.first().map(|(at, _)| *at);
        let ask = self.asks.values().map(|ask| ask.until).min();
        [call, ask, self.cluster.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The wire version that every linked member reads: records are written for it.
    fn common_wire(&self) -> u8 {
        let linked = self.wires.values().copied().min();
        linked.unwrap_or(self.wire_max).min(self.wire_max)
    }

    /// The listener that a flow of this node names.
    fn listener(&self, place: u16) -> Option<&Listener> {
        let place = usize::from(place).checked_rem(self.listeners.len())?;
        self.listeners.get(place)
    }

    fn answer_ask(&mut self, ask: u64, answer: Result<(), String>) {
        if self.asks.remove(&ask).is_some() {
            self.outputs.push_back(Output::Answer {
                ask,
                answer: Answer::Signal(answer),
            });
        }
    }
}
