//! A call while this shard owns it: its SIP side, its application and its timers, and the way into
//! and out of a record's opaque state.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::births::Unsure;
use super::tasks::{Tasks, TasksImage};
use crate::app::{AnyApp, AppStateError, Command, Event, TimerId};
use crate::base::time::{Duration, Instant, millis};
use crate::io::CallState;
use crate::sip::call::{MoreLegs, SipCall};
use crate::sip::dialog::Stage;
use crate::sip::effect::{LegId, RequestId};
use crate::sip::leg::{LegImage, LegMore};
use crate::sip::transaction::key::TransactionKey;
use crate::wire::Outcome;

/// Version of the state's layout, its first byte. A reader takes this and the one before; a writer
/// uses the older one while a linked member may know no other.
const STATE_VERSION: u8 = 2;

/// Timers of one application and call. Above: the newest is not set.
const TIMERS_MAX: usize = 32;

/// A call that is owned and running here.
pub(super) struct LiveCall {
    pub(super) sip: SipCall,
    pub(super) app: Arc<dyn AnyApp>,
    pub(super) state: Box<dyn Any + Send>,
    pub(super) timers: Vec<(TimerId, Instant)>,
    pub(super) tasks: Tasks,
    pub(super) born: Instant,
    /// Own CSeq numbers start above this (PROTOCOL.md rule 23).
    pub(super) cseq_floor: u32,
    /// The deadline that stands for this call in the shard's table.
    pub(super) deadline: Option<Instant>,
    /// Until then nothing that only time causes may happen, for this member is cut off from most
    /// others.
    pub(super) postponed: Option<Instant>,
    /// While the INVITE's transaction lives: what finds this call by it.
    pub(super) invite: Option<TransactionKey>,
    /// What the holders of its birth notice were told of that transaction.
    pub(super) told: Option<Outcome>,
    /// Until it is known that the birth stands.
    pub(super) unsure: Option<Box<Unsure>>,
    /// Whose set-up it counts as.
    pub(super) source: Option<IpAddr>,
    /// It counts at its position.
    pub(super) counted: bool,
    /// What the application has kept of the requests that an owner before left open.
    pub(super) kept: Vec<(LegId, RequestId)>,
    /// The time at which its timers were looked at last, and how often.
    pub(super) looked: (Instant, u8),
    /// Its application has panicked, and hears no more of it.
    pub(super) broken: bool,
    /// Own requests that wait for their CSeq lease.
    pub(super) deferred: Vec<(LegId, Command)>,
    /// When the first message for the orphan came, until the first output tells.
    pub(super) asked: Option<Instant>,
}

/// The record's state of version 1. Frozen.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StateV1 {
    pub(super) sip: LegImage,
    pub(super) app: String,
    #[serde(with = "serde_bytes")]
    pub(super) app_state: Vec<u8>,
    pub(super) timers: Vec<(TimerId, u32)>,
    pub(super) age_ms: u32,
}

/// The record's state, as owners read and write it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StateV2 {
    pub(super) base: StateV1,
    pub(super) more: LegMore,
    pub(super) legs: MoreLegs,
    /// Version of the application's state.
    pub(super) app_version: u16,
    pub(super) tasks: TasksImage,
}

impl From<StateV1> for StateV2 {
    fn from(base: StateV1) -> Self {
        Self {
            base,
            more: LegMore::default(),
            legs: MoreLegs::default(),
            app_version: 1,
            tasks: TasksImage::default(),
        }
    }
}

/// A record's state that this build can't bring to life. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("state of version {0}, this build reads up to {STATE_VERSION}")]
    Version(u8),
    #[error("state does not decode: {0}")]
    Body(#[from] postcard::Error),
    #[error("legs of one name, or too many")]
    Legs,
    #[error("no application called {0} here")]
    App(String),
    #[error(transparent)]
    AppState(#[from] AppStateError),
}

/// Reads a record's state without bringing it to life.
pub(super) fn read_state(state: &[u8]) -> Result<StateV2, StateError> {
    match state.split_first() {
        Some((&1, body)) => Ok(postcard::from_bytes::<StateV1>(body)?.into()),
        Some((&STATE_VERSION, body)) => Ok(postcard::from_bytes(body)?),
        Some((other, _)) => Err(StateError::Version(*other)),
        None => Err(StateError::Version(0)),
    }
}

impl LiveCall {
    pub(super) fn new(sip: SipCall, app: Arc<dyn AnyApp>, now: Instant) -> Self {
        Self {
            sip,
            state: app.fresh(),
            app,
            timers: Vec::new(),
            tasks: Tasks::default(),
            born: now,
            cseq_floor: 0,
            deadline: None,
            postponed: None,
            invite: None,
            told: None,
            unsure: None,
            source: None,
            counted: false,
            kept: Vec::new(),
            looked: (now, 0),
            broken: false,
            deferred: Vec::new(),
            asked: None,
        }
    }

    /// What the application keeps, for [`LiveCall::encode`].
    pub(super) fn app_state(&self) -> Vec<u8> {
        self.app.encode(self.state.as_ref())
    }

    /// The call as its record's state, in the layout that goes with a wire version. What version 1
    /// has no words for is not said; of a call with legs of ours, or a subscription, that is too
    /// much, so only members that read version 2 can take it over.
    pub(super) fn encode(&self, wire: u8, app_state: Vec<u8>, now: Instant) -> Bytes {
        let base = StateV1 {
            sip: self.sip.first().image(now),
            app: self.app.name().to_owned(),
            app_state,
            timers: self
                .timers
                .iter()
                .map(|(id, at)| (*id, millis(at.since(now))))
                .collect(),
            age_ms: millis(now.since(self.born)),
        };
        let mut out = Vec::with_capacity(1_024);
        let app_version = self.app.state_version();
        let plain = self.sip.is_plain() && !self.sip.is_subscription();
        let version = if plain && self.tasks.is_empty() && app_version == 1 {
            wire.min(STATE_VERSION)
        } else {
            STATE_VERSION
        };
        out.push(version);
        let written = if version < STATE_VERSION {
            postcard::to_extend(&base, out)
        } else {
            let more = self.sip.first().more(now);
            let whole = StateV2 {
                base,
                more,
                legs: self.sip.more_legs(now),
                app_version,
                tasks: self.tasks.image(),
            };
            postcard::to_extend(&whole, out)
        };
        Bytes::from(written.expect("a Vec takes any state"))
    }

    /// The call back from a record's state that was written `age` ago.
    pub(super) fn decode(
        state: &[u8],
        age: Duration,
        app: &Arc<dyn AnyApp>,
        now: Instant,
    ) -> Result<Self, StateError> {
        let StateV2 {
            base: state,
            more,
            legs,
            app_version,
            tasks,
        } = read_state(state)?;
        if !legs.is_sound() {
            return Err(StateError::Legs);
        }
        if state.app != app.name() {
            return Err(StateError::App(state.app));
        }
        let written = now - age;
        let span = |ms: u32| Duration::from_millis(u64::from(ms));
        Ok(Self {
            sip: SipCall::restore(state.sip, more, legs, written),
            state: app.decode(app_version, &state.app_state)?,
            app: Arc::clone(app),
            tasks: Tasks::restore(tasks),
            timers: state
                .timers
                .into_iter()
                .map(|(id, ms)| (id, written + span(ms)))
                .collect(),
            born: written - span(state.age_ms),
            cseq_floor: 0,
            deadline: None,
            postponed: None,
            invite: None,
            told: None,
            unsure: None,
            source: None,
            counted: false,
            kept: Vec::new(),
            looked: (now, 0),
            broken: false,
            deferred: Vec::new(),
            asked: None,
        })
    }

    pub(super) fn set_timer(&mut self, id: TimerId, at: Instant) {
        self.timers.retain(|(other, _)| *other != id);
        if self.timers.len() < TIMERS_MAX {
            self.timers.push((id, at));
        }
    }

    /// Whether a timer of the application is due, or a task late.
    pub(super) fn has_due(&self, now: Instant) -> bool {
        let late = self.tasks.next_deadline().is_some_and(|at| at <= now);
        late || self.timers.iter().any(|(_, at)| *at <= now)
    }

    /// Takes the timers that are due, earliest first, and tasks that are late: each goes off once.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Event> {
        let mut due: Vec<(Instant, TimerId)> = self
            .timers
            .iter()
            .filter(|(_, at)| *at <= now)
            .map(|(id, at)| (*at, *id))
            .collect();
        self.timers.retain(|(_, at)| *at > now);
        due.sort_unstable();
        let timers = due.into_iter().map(|(_, id)| Event::Timer(id));
        timers.chain(self.tasks.take_late(now)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let timers = self.timers.iter().map(|(_, at)| *at);
        let timer = timers.chain(self.tasks.next_deadline()).min();
        let timer = timer.map(|at| self.postponed.map_or(at, |until| at.max(until)));
        let bye = self.postponed.filter(|_| self.sip.owes_bye());
        [timer, bye, self.sip.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Where a call stands, for people.
pub(super) fn call_state(stage: Stage, unacked: bool) -> CallState {
    match stage {
        Stage::Early => CallState::Early,
        Stage::Confirmed if unacked => CallState::Answered,
        Stage::Confirmed => CallState::Confirmed,
        Stage::Ended => CallState::Ending,
    }
}
