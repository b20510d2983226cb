//! What must hold, looked at from outside: by what left the nodes, by what the phones saw, and by
//! the records that lie at the nodes at that moment. Names are PROTOCOL.md's.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};

use callring_proto::base::ids::{CallId, MemberId};
use callring_proto::base::time::Instant;
use callring_proto::shard::Probe;
use callring_proto::sip::{Message, Method};

/// Something that must not happen.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When, in virtual time.
    pub at: Instant,
    /// Which rule, and what was seen.
    pub what: String,
}

/// What a node let out, and who has the state behind it.
pub(super) struct Emission<'a> {
    pub(super) key: CallId,
    pub(super) message: &'a Message,
    /// The emitting owner's own record.
    pub(super) owner: &'a Probe,
    /// The records at all other living nodes.
    pub(super) others: Vec<Probe>,
}

/// Collects violations.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) violations: Vec<Violation>,
    emitters: BTreeMap<(CallId, u32), MemberId>,
    highest: BTreeMap<CallId, u32>,
    told: BTreeSet<u64>,
}

impl Judge {
    pub(super) fn blame(&mut self, at: Instant, what: String) {
        self.violations.push(Violation { at, what });
    }

    /// An owner lets a message of a call out.
    pub(super) fn on_emission(&mut self, emission: &Emission<'_>, partitioned: bool, now: Instant) {
        let Emission {
            key,
            message,
            owner,
            ..
        } = emission;
        let ballot = owner.holding.ballot;
        let first = *self
            .emitters
            .entry((*key, ballot.epoch))
            .or_insert(ballot.owner);
        if first != ballot.owner {
            let what = format!(
                "G2: {key:?} epoch {}: {first:?} and {:?}",
                ballot.epoch, ballot.owner
            );
            self.blame(now, what);
        }
        let highest = self.highest.entry(*key).or_insert(0);
        let late = ballot.epoch < *highest;
        *highest = (*highest).max(ballot.epoch);
        // A repetition of what was let out before leaves at any time (G4's second half): it
        // promises nothing new, and its copies may have died since.
        let mut hash = DefaultHasher::new();
        (key, message.bytes()).hash(&mut hash);
        let fresh = self.told.insert(hash.finish());
        if let Some(missing) = missing_state(message)
            && fresh
            && !late
            && owner.degraded_total == 0
            && !partitioned
            && !emission
                .others
                .iter()
                .any(|probe| (missing.has)(probe, message))
        {
            let line = first_line(message);
            self.blame(
                now,
                format!("G1: {key:?} {line} left, {} nowhere else", missing.what),
            );
        }
    }
}

struct Missing {
    what: &'static str,
    has: fn(&Probe, &Message) -> bool,
}

/// The state that must lie elsewhere before a message may be told; none if it tells of no state.
fn missing_state(message: &Message) -> Option<Missing> {
    if message.is_request() {
        return (*message.method() == Method::Bye).then_some(Missing {
            what: "the end",
            has: |probe, _| probe.holding.ended,
        });
    }
    let status = message.status().unwrap_or(0);
    if !(200..300).contains(&status) {
        return None;
    }
    match message.method() {
        Method::Bye => Some(Missing {
            what: "the end",
            has: |probe, _| probe.holding.ended,
        }),
        Method::Cancel => None,
        _ => Some(Missing {
            what: "the request's number",
            has: |probe, message| {
                probe.confirmed && probe.remote_seq >= Some(message.cseq_number())
            },
        }),
    }
}

pub(super) fn first_line(message: &Message) -> String {
    match message.status() {
        Some(status) => format!("{status} {}", message.cseq().method),
        None => format!("{} {}", message.method(), message.cseq_number()),
    }
}
