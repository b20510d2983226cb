//! The judge: puts what happens before the invariants and writes down what does not hold.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use callring_proto::base::ids::{Ballot, CallId, MemberId};
use callring_proto::base::time::Instant;
use callring_proto::cluster::Holding;
use callring_proto::shard::Probe;
use callring_proto::sip::{HeaderName, Message};
use callring_proto::wire::{Claim, Promise, Record};

use super::invariants::{
    Invariant, Violation, emitter, leader, order, promises, resurrection, tags, timers,
};
use super::model::{Emission, Told};
use super::plan::{Budget, Plan};

/// Collects violations.
pub(super) struct Judge {
    budget: Budget,
    pub(super) violations: Vec<Violation>,
    pub(super) told: BTreeMap<CallId, Told>,
    tags: tags::Tags,
    promised: promises::Promised,
    /// Outputs told alone, as each life counts them per shard; and when the count last rose.
    alone: BTreeMap<(MemberId, usize), (u64, Instant)>,
    /// Messages told alone.
    pub(super) told_alone: u64,
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            budget: plan.budget,
            violations: Vec::new(),
            told: BTreeMap::new(),
            tags: tags::Tags::new(),
            promised: promises::Promised::new(),
            alone: BTreeMap::new(),
            told_alone: 0,
        }
    }

    pub(super) fn blame(&mut self, at: Instant, invariant: Invariant, what: String) {
        let violation = Violation {
            at,
            invariant,
            what,
        };
        self.violations.push(violation);
    }

    /// The same, if what the policy promises to survive was not exceeded.
    pub(super) fn blame_within(&mut self, at: Instant, invariant: Invariant, what: String) {
        if self.budget == Budget::Within {
            self.blame(at, invariant, what);
        }
    }

    /// A node sends a SIP message, itself or through another one; `wire` is the latest it speaks.
    pub(super) fn on_message(&mut self, message: &Message, wire: u8, at: Instant) {
        let tag = tags::one_tag(message, wire >= 2, &mut self.tags);
        if let Some(what) = tag {
            self.blame_within(at, Invariant::OneTag, what);
        }
    }

    /// A node lets a message of a call out. `shard`: at which of its shards the call lives. Whether
    /// an heir repeats with it what its predecessor said.
    pub(super) fn on_emission(
        &mut self,
        (key, message): (CallId, &Message),
        (member, shard, speaker): (MemberId, usize, Option<&Probe>),
        at: Instant,
        elsewhere: impl FnOnce() -> Vec<Probe>,
    ) -> bool {
        let hash = identity(message);
        let mut told = self.told.remove(&key).unwrap_or_default();
        let fresh = told.said.insert(hash);
        let alone = self.is_alone((member, shard), speaker, at) && fresh;
        let emission = Emission {
            at,
            message,
            speaker,
            fresh,
            alone,
        };
        let mut found = Vec::new();
        let mut look = |invariant: Invariant, what: Option<String>| {
            found.extend(what.map(|what| (invariant, what)));
        };
        if self.budget == Budget::Within {
            look(Invariant::OneEmitter, emitter::only_an_owner(&emission));
            look(
                Invariant::NoResurrection,
                resurrection::stays_ended(&emission, &told),
            );
            look(
                Invariant::RealTimeOrder,
                order::nothing_new_below(&emission, &told),
            );
            look(
                Invariant::RealTimeOrder,
                order::numbers_rise(&emission, &told),
            );
            look(
                Invariant::LeaderCompleteness,
                leader::knows(&emission, &told),
            );
            let kept = leader::is_kept(&emission, &told, elsewhere);
            look(Invariant::LeaderCompleteness, kept);
        }
        if self.budget != Budget::Split {
            look(
                Invariant::OneEmitter,
                emitter::one_per_epoch(&emission, &told),
            );
            look(Invariant::TimersOnce, timers::once(&emission, &told));
            look(
                Invariant::RealTimeOrder,
                order::numbers_differ(&emission, &told),
            );
        }
        let epoch = emission
            .owner()
            .map_or(0, |owner| owner.holding.ballot.epoch);
        let replayed = !fresh && epoch > told.epoch();
        told.hear(&emission);
        self.told.insert(key, told);
        for (invariant, what) in found {
            self.blame(
                at,
                invariant,
                format!("{key:?} {}: {what}", first_line(message)),
            );
        }
        replayed
    }

    /// Whether this output may be one of those that its shard has just counted as told alone. What
    /// it knew from a copy isn't counted: that may be told again with nobody else left.
    fn is_alone(&mut self, who: (MemberId, usize), speaker: Option<&Probe>, at: Instant) -> bool {
        let Some(probe) = speaker.filter(|probe| probe.holding.owned) else {
            return false;
        };
        let (counted, rose) = self.alone.entry(who).or_insert((0, Instant::START));
        if probe.degraded_total > *counted {
            self.told_alone += probe.degraded_total - *counted;
            (*counted, *rose) = (probe.degraded_total, at);
        }
        *rose == at || probe.holding.alone
    }

    pub(super) fn on_promise(
        &mut self,
        from: MemberId,
        promise: &Promise,
        (holding, owner): (Option<&Holding>, Option<&Holding>),
        at: Instant,
    ) {
        if let Some(what) = promises::has_evidence(promise, holding, owner) {
            self.blame(
                at,
                Invariant::Promises,
                format!("{:?}: {what}", promise.key),
            );
        }
        self.remember(from, promise.key, promise.ballot);
    }

    pub(super) fn on_claim(&mut self, from: MemberId, claim: &Claim, at: Instant) {
        if let Some(what) = promises::is_above_all(claim, from, &self.promised) {
            self.blame(at, Invariant::Promises, format!("{:?}: {what}", claim.key));
        }
        self.remember(from, claim.key, claim.ballot);
    }

    fn remember(&mut self, who: MemberId, key: CallId, ballot: Ballot) {
        let known = self.promised.entry((who, key)).or_default();
        *known = ballot.max(*known);
    }

    pub(super) fn on_record(&mut self, record: &Record, holding: Option<&Holding>, at: Instant) {
        if let Some(what) = promises::may_send(record, holding) {
            self.blame(at, Invariant::Promises, format!("{:?}: {what}", record.key));
        }
    }
}

pub(super) fn first_line(message: &Message) -> String {
    match message.status() {
        Some(status) => format!("{status} {}", message.cseq().method),
        None => format!("{} {}", message.method(), message.cseq_number()),
    }
}

/// The same for a message and its repetitions. SIP.md S1.1: an heir that repeats a 2xx names itself
/// in Contact.
fn identity(message: &Message) -> u64 {
    let mut hash = DefaultHasher::new();
    if message.is_request() {
        message.bytes().hash(&mut hash);
        return hash.finish();
    }
    (message.status(), message.body()).hash(&mut hash);
    for field in message.fields() {
        if field.name != HeaderName::Contact {
            (field.name_text, field.value).hash(&mut hash);
        }
    }
    hash.finish()
}
