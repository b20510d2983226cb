//! Finding a call's owner and bringing messages to it, from whatever member they arrived at.
//!
//! A look-up outlives its first message: it is also the route for the next ones. Nothing here makes
//! anybody an owner; at most it tells the heir (rule 9) or, if we are the heir, begins a claim.
//!
//! ```text
//!   bring -> Asking -> Relayed(to) -> idle route
//!              |  ^        | silent: heir, or ourselves
//!              v  |        v
//!           Everyone    Paused (refused, crossed claims)
//!              |
//!              v
//!           NotFound
//! ```

use smallvec::SmallVec;

use super::effect::Effect;
use super::engine::{Cluster, Wake};
use super::entry::{Brought, Queue, Role, Stage};
use crate::base::ids::{Ballot, CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{
    Frame, Locate, Located, Members, Message, NotOwner, Refusal, Refuse, Relay, SignalAnswer,
    Standing, TakeOver,
};

/// A relay that has passed this many members is dropped: somebody's records are in motion.
const HOPS_MAX: u8 = 3;
/// How long a relayed message is kept so that it can be brought again.
const RELAY_KEEP: Duration = Duration::from_millis(250);
/// A question is repeated to those that have not answered after this long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long an idle look-up stays as a route.
const ROUTE_KEEP: Duration = Duration::from_secs(64);
/// How long a look-up may last; after that its messages are dropped, not refused.
const GIVE_UP: Duration = Duration::from_secs(8);
/// Look-ups kept as routes at most; above, idle ones go early.
const LOOKUPS_MAX: usize = 65_536;
/// For how long a call that nobody knew is not looked for again.
const NEGATIVE_KEEP: Duration = Duration::from_secs(2);
/// Such calls remembered at most.
const NEGATIVE_MAX: usize = 16_384;

/// Rate limit of questions to every member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    const MAX: u32 = 100;
    const PER_SECOND: u32 = 100;

    fn take(&mut self, now: Instant) -> bool {
        let millis = u32::try_from(now.since(self.filled).as_millis()).unwrap_or(u32::MAX);
        let fresh = millis.saturating_mul(Self::PER_SECOND) / 1_000;
        if fresh > 0 {
            self.tokens = self.tokens.saturating_add(fresh).min(Self::MAX);
            self.filled = now;
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            tokens: Self::MAX,
            filled: Instant::START,
        }
    }
}

/// Where a look-up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing under way.
    Idle,
    /// The members at the position and the hinted owner have been asked.
    Asking,
    /// Everybody has been asked.
    Everyone,
    /// What waits has been sent to this member.
    Relayed(Relayed),
    /// Crossed claims or a refusal: look again then.
    Paused(Instant),
}

/// What waits is with another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Relayed {
    to: MemberId,
    /// An echo of it, in the same session, proves that the member was there to take it.
    stamp: Instant,
    /// The session it went by; none if there was no link, and so it went nowhere.
    session: Option<u64>,
}

/// What is known of a call that is owned elsewhere.
#[derive(Clone, Debug)]
struct Known {
    ballot: Ballot,
    members: Members,
}

/// A look-up, and afterwards the route it found.
#[derive(Debug)]
pub(super) struct Lookup {
    hint: Option<MemberId>,
    step: Step,
    asked: SmallVec<[MemberId; 6]>,
    asked_at: Instant,
    answered: SmallVec<[MemberId; 6]>,
    known: Option<Known>,
    /// The ballot whose owner a holder of a copy finds silent.
    reported: Option<Ballot>,
    /// Members that turned out not to own the call or not to be able to inherit it.
    excluded: SmallVec<[MemberId; 4]>,
    queue: Queue,
    since: Instant,
    used: Instant,
}

impl Lookup {
    fn new(hint: Option<MemberId>, now: Instant) -> Self {
        Self {
            hint,
            step: Step::Idle,
            asked: SmallVec::new(),
            asked_at: now,
            answered: SmallVec::new(),
            known: None,
            reported: None,
            excluded: SmallVec::new(),
            queue: Queue::default(),
            since: now,
            used: now,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn learn(&mut self, ballot: Ballot, members: Option<&Members>) {
        match &mut self.known {
            Some(known) if known.ballot > ballot => {}
            Some(known) if known.ballot == ballot => {
                if let Some(members) = members {
                    known.members = members.clone();
                }
            }
            known => {
                let members = members.cloned().unwrap_or_default();
                *known = Some(Known { ballot, members });
            }
        }
    }

    fn again(&mut self) {
        self.step = Step::Idle;
        self.asked.clear();
        self.answered.clear();
    }
}

impl<H> Cluster<H> {
    /// Brings `message` to the owner of `key`, wherever that is. `hint` is the owner that the
    /// message's locator names.
    pub fn bring(&mut self, key: CallId, hint: Option<u16>, message: Message, now: Instant) {
        let hint = hint.and_then(|hint| self.view.by_hint(hint));
        self.bring_one(
            key,
            hint,
            Brought {
                message,
                hops: 0,
                since: now,
            },
            now,
        );
    }

    pub(super) fn bring_all(&mut self, key: CallId, queue: Vec<Brought>, now: Instant) {
        for brought in queue {
            self.bring_one(key, None, brought, now);
        }
    }

    /// As `bring_all`, after a short random pause: two claimants must not meet again at once.
    pub(super) fn bring_later(
        &mut self,
        key: CallId,
        queue: Vec<Brought>,
        ballot: Ballot,
        now: Instant,
    ) {
        if queue.is_empty() && !self.lookups.contains_key(&key) {
            return;
        }
        use rand::RngExt as _;
        let pause = Duration::from_micros(self.rng.random_range(2_000..12_000));
        let me = self.me;
        let lookup = self
            .lookups
            .entry(key)
            .or_insert_with(|| Lookup::new(None, now));
        if ballot.owner != me {
            lookup.learn(ballot, None);
        }
        lookup.again();
        lookup.step = Step::Paused(now + pause);
        for brought in queue {
            if !lookup.queue.push(brought) {
                self.stats.dropped += 1;
            }
        }
        self.wake_at(now + pause, Wake::Key(key));
    }

    fn bring_one(&mut self, key: CallId, hint: Option<MemberId>, brought: Brought, now: Instant) {
        let queued = match self.entries.get_mut(&key).map(|entry| &mut entry.role) {
            Some(Role::Owned(owned)) if owned.stage != Stage::Activating => {
                return self.deliver(key, brought);
            }
            Some(Role::Owned(owned)) => owned.queue.push(brought),
            Some(Role::Claiming(claiming)) => claiming.queue.push(brought),
            role @ (Some(Role::Copy(_) | Role::None) | None) => {
                let copy = matches!(role, Some(Role::Copy(_)));
                if !copy && self.negative.get(&key).is_some_and(|until| now < *until) {
                    return self.effect(Effect::NotFound {
                        key,
                        message: brought.message,
                    });
                }
                self.trim_lookups(now);
                let lookup = self
                    .lookups
                    .entry(key)
                    .or_insert_with(|| Lookup::new(hint, now));
                if lookup.queue.is_empty() {
                    lookup.since = now;
                    lookup.excluded.clear();
                    if !matches!(lookup.step, Step::Relayed(..) | Step::Paused(_)) {
                        lookup.again();
                    }
                }
                lookup.used = now;
                let pushed = lookup.queue.push(brought.clone());
                if let Step::Relayed(relayed) = lookup.step {
                    if pushed {
                        self.relay_one(key, relayed.to, &brought, now);
                    }
                } else {
                    self.advance_lookup(key, now);
                }
                pushed
            }
        };
        if !queued {
            self.stats.dropped += 1;
        }
    }

    fn trim_lookups(&mut self, now: Instant) {
        if self.lookups.len() >= LOOKUPS_MAX {
            self.lookups
                .retain(|_, lookup| !lookup.is_idle() || now.since(lookup.used) < ROUTE_KEEP / 8);
        }
    }

    // ---- deciding -------------------------------------------------------------------------

    /// Looks again at what waits for the owner of `key`.
    pub(super) fn advance_lookup(&mut self, key: CallId, now: Instant) {
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        match self.entries.get_mut(&key).map(|entry| &mut entry.role) {
            Some(Role::Owned(_) | Role::Claiming(_)) => {
                let queue = lookup.queue.take();
                self.lookups.remove(&key);
                self.bring_all(key, queue, now);
                return;
            }
            Some(Role::Copy(copy)) => {
                let members: Members = copy.record.listed().collect();
                lookup.learn(copy.record.ballot, Some(&members));
            }
            Some(Role::None) | None => {}
        }
        if lookup.queue.is_empty() {
            if now.since(lookup.used) >= ROUTE_KEEP {
                self.lookups.remove(&key);
            }
            return;
        }
        if now.since(lookup.since) >= GIVE_UP {
            let dropped = lookup.queue.take().len() as u64;
            self.stats.dropped += dropped;
            lookup.again();
            return;
        }
        match lookup.step {
            Step::Paused(until) if now < until => {}
            Step::Relayed(relayed) => self.advance_relayed(key, relayed, now),
            Step::Paused(_) | Step::Idle | Step::Asking | Step::Everyone => {
                self.decide(key, now);
            }
        }
    }

    fn advance_relayed(&mut self, key: CallId, relayed: Relayed, now: Instant) {
        let Relayed { to, stamp, session } = relayed;
        if self.is_absent(to, key) {
            // Rule 9, and SIP.md S3.6: what was not answered is brought to the next owner.
            let Some(lookup) = self.lookups.get_mut(&key) else {
                return;
            };
            lookup.again();
            if lookup
                .known
                .as_ref()
                .is_some_and(|known| known.ballot.owner != to)
            {
                lookup.excluded.push(to);
            }
            self.decide(key, now);
        } else if self.session(to, key) != session {
            // What was under way may have been lost with the link.
            if let Some(lookup) = self.lookups.get_mut(&key) {
                lookup.again();
            }
            self.decide(key, now);
        } else if self.liveness.echoed_since(self.peer(to, key), stamp) {
            if now.since(stamp) >= RELAY_KEEP {
                let Some(lookup) = self.lookups.get_mut(&key) else {
                    return;
                };
                lookup.queue.take();
                lookup.step = Step::Idle;
                self.wake_at(now + ROUTE_KEEP, Wake::Key(key));
            } else {
                self.wake_at(stamp + RELAY_KEEP, Wake::Key(key));
            }
        } else {
            self.watch(to, key);
            self.wake_at(now + RELAY_KEEP, Wake::Key(key));
        }
    }

    fn decide(&mut self, key: CallId, now: Instant) {
        let Some(lookup) = self.lookups.get(&key) else {
            return;
        };
        let Some(known) = lookup.known.clone() else {
            self.ask_around(key, now);
            return;
        };
        // A holder trusts its own evidence only (rule 11).
        let holder = matches!(
            self.entries.get(&key).map(|entry| &entry.role),
            Some(Role::Copy(_))
        );
        let owner = known.ballot.owner;
        if holder && owner == self.me {
            self.reclaim(key, now);
            return;
        }
        let excluded = lookup.excluded.clone();
        let reported = !holder && lookup.reported == Some(known.ballot);
        let present = !reported && !self.is_absent(owner, key);
        if owner != self.me && !excluded.contains(&owner) && present {
            self.relay_all(key, owner, None, now);
            return;
        }
        if known.members.is_empty() {
            // Only the owner's name is known, and it is silent: somebody must hold a copy.
            self.ask_around(key, now);
            return;
        }
        // Rule 9: the first listed member that is not silent, in the record's order.
        let heir = known
            .members
            .iter()
            .copied()
            .find(|member| !excluded.contains(member) && !self.is_absent(*member, key));
        match heir {
            Some(heir) if heir == self.me => self.inherit(key, now),
            Some(heir) => self.relay_all(key, heir, Some(known.ballot), now),
            None => self.ask_around(key, now),
        }
    }

    /// It was ours, and somebody fenced us off of whom nothing more is known (rule 15).
    fn reclaim(&mut self, key: CallId, now: Instant) {
        let since = self.entries.get(&key).map_or(now, |entry| entry.since);
        let until = since + self.orphan_after();
        if now >= until {
            self.inherit(key, now);
        } else if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.again();
            lookup.step = Step::Paused(until);
            self.wake_at(until, Wake::Key(key));
        }
    }

    /// What waits here goes by way of `via`, which hears the owner that is silent to us.
    pub(super) fn relay_via(&mut self, key: CallId, via: MemberId, now: Instant) {
        let waiting = self
            .lookups
            .get(&key)
            .is_some_and(|lookup| !lookup.is_idle());
        if waiting {
            self.relay_all(key, via, None, now);
        }
    }

    /// We are the heir. Only a copy can claim.
    fn inherit(&mut self, key: CallId, now: Instant) {
        let has_copy = matches!(
            self.entries.get(&key).map(|entry| &entry.role),
            Some(Role::Copy(_))
        );
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        if !has_copy {
            lookup.excluded.push(self.me);
            self.ask_around(key, now);
            return;
        }
        let mut queue = Queue::default();
        for brought in lookup.queue.take() {
            queue.push(brought);
        }
        self.lookups.remove(&key);
        self.start_claim(key, queue, now);
    }

    fn session(&self, member: MemberId, key: CallId) -> Option<u64> {
        let lane = self.lanes.get(&self.peer(member, key));
        lane.and_then(super::lane::Lane::session)
    }

    fn relay_all(&mut self, key: CallId, to: MemberId, heir: Option<Ballot>, now: Instant) {
        if let Some(ballot) = heir {
            self.send(to, key, Frame::TakeOver(TakeOver { key, ballot }));
        }
        let stamp = self.ask_life(to, key, now);
        let session = self.session(to, key);
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        lookup.step = Step::Relayed(Relayed { to, stamp, session });
        let relays: Vec<Relay> = lookup
            .queue
            .iter()
            .map(|brought| relay(key, brought))
            .collect();
        for relay in relays {
            self.stats.relayed += 1;
            self.send(to, key, Frame::Relay(relay));
        }
        self.wake_at(now + RELAY_KEEP, Wake::Key(key));
    }

    fn relay_one(&mut self, key: CallId, to: MemberId, brought: &Brought, now: Instant) {
        if self.is_absent(to, key) {
            self.advance_lookup(key, now);
            return;
        }
        let stamp = self.ask_life(to, key, now);
        let session = self.session(to, key);
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        lookup.step = Step::Relayed(Relayed { to, stamp, session });
        self.stats.relayed += 1;
        self.send(to, key, Frame::Relay(relay(key, brought)));
        self.wake_at(now + RELAY_KEEP, Wake::Key(key));
    }

    // ---- asking ---------------------------------------------------------------------------

    /// Asks the next circle of members, or concludes that nobody knows.
    fn ask_around(&mut self, key: CallId, now: Instant) {
        let Some(lookup) = self.lookups.get(&key) else {
            return;
        };
        let unanswered = lookup.asked.iter().copied();
        let pending: SmallVec<[MemberId; 6]> = unanswered
            .filter(|member| !lookup.answered.contains(member) && !self.is_absent(*member, key))
            .collect();
        if !pending.is_empty() {
            // Questions and answers can be lost with a link.
            let again = now.since(lookup.asked_at) >= ASK_AGAIN;
            for member in pending {
                self.watch(member, key);
                if again {
                    self.ask_life(member, key, now);
                    self.send(member, key, Frame::Locate(Locate { key }));
                }
            }
            if let Some(lookup) = self.lookups.get_mut(&key).filter(|_| again) {
                lookup.asked_at = now;
                self.wake_at(now + ASK_AGAIN, Wake::Key(key));
            }
            return;
        }
        let (step, hint) = (lookup.step, lookup.hint);
        let copies = self.policy.copies.max(2);
        let circle: SmallVec<[MemberId; 6]> = match step {
            Step::Everyone => return self.not_found(key, now),
            Step::Asking => {
                if !self.everyone_tokens.take(now) {
                    return self.look_later(key, now);
                }
                self.view.live().map(|info| info.id).collect()
            }
            Step::Idle | Step::Paused(_) | Step::Relayed(..) => {
                let present = self.view.holders(key.position, copies);
                let previous = self.previous.holders(key.position, copies);
                present.into_iter().chain(previous).chain(hint).collect()
            }
        };
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        lookup.step = if step == Step::Asking {
            Step::Everyone
        } else {
            Step::Asking
        };
        let mut fresh: SmallVec<[MemberId; 6]> = SmallVec::new();
        for member in circle {
            let known = fresh.contains(&member) || lookup.asked.contains(&member);
            if member != self.me && !known && !self.view.is_gone(member) {
                fresh.push(member);
            }
        }
        lookup.asked_at = now;
        // Those that are silent already are asked in vain, most likely, and not waited for.
        let absent = |member: &MemberId| self.is_absent(*member, key);
        let waited: SmallVec<[MemberId; 6]> =
            fresh.iter().copied().filter(|m| !absent(m)).collect();
        for member in &fresh {
            self.ask_life(*member, key, now);
            self.send(*member, key, Frame::Locate(Locate { key }));
        }
        let nobody = waited.is_empty();
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.asked.extend(waited);
        }
        if nobody {
            self.ask_around(key, now);
        } else {
            self.wake_at(now + ASK_AGAIN, Wake::Key(key));
        }
    }

    /// Whether nobody can know the call: those that did not say so are few enough to have been
    /// covered by others' copies, and fell silent in front of us. A member that was never heard (we
    /// have just started, or our links are not up) proves nothing; neither does asking in vain.
    fn is_conclusive(&self, key: CallId) -> bool {
        let Some(lookup) = self.lookups.get(&key) else {
            return false;
        };
        let others = self.view.live().map(|info| info.id);
        let (answered, unanswered): (SmallVec<[MemberId; 6]>, SmallVec<[MemberId; 6]>) = others
            .filter(|member| *member != self.me)
            .partition(|member| lookup.answered.contains(member));
        // Whoever fell silent while we asked may just have given a copy to one that had said no.
        if unanswered
            .iter()
            .any(|member| lookup.asked.contains(member))
        {
            return false;
        }
        let heard = |member: &MemberId| self.liveness.was_heard(self.peer(*member, key));
        unanswered.is_empty()
            || (!answered.is_empty()
                && unanswered.len() < self.policy.copies
                && unanswered.iter().all(heard))
    }

    /// Quiet is safer than a 481: the phone asks again, and so do we.
    fn look_later(&mut self, key: CallId, now: Instant) {
        let until = now + self.policy.silence;
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.again();
            lookup.excluded.clear();
            lookup.step = Step::Paused(until);
            self.wake_at(until, Wake::Key(key));
        }
    }

    fn not_found(&mut self, key: CallId, now: Instant) {
        // Somebody knew it once, so it may be on the move; or too few have spoken.
        let known = self
            .lookups
            .get(&key)
            .is_some_and(|lookup| lookup.known.is_some());
        if known || !self.is_conclusive(key) {
            return self.look_later(key, now);
        }
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        let queue = lookup.queue.take();
        self.lookups.remove(&key);
        if self.negative.len() >= NEGATIVE_MAX {
            self.negative.retain(|_, until| now < *until);
        }
        if self.negative.len() < NEGATIVE_MAX {
            self.negative.insert(key, now + NEGATIVE_KEEP);
        }
        for brought in queue {
            self.effect(Effect::NotFound {
                key,
                message: brought.message,
            });
        }
    }

    // ---- answers --------------------------------------------------------------------------

    pub(super) fn on_located(&mut self, from: MemberId, located: Located, now: Instant) {
        let key = located.key;
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        if !lookup.answered.contains(&from) {
            lookup.answered.push(from);
        }
        match located.standing {
            Standing::Owner { ballot } => {
                lookup.excluded.retain(|member| *member != from);
                lookup.reported = None;
                lookup.learn(ballot, None);
            }
            Standing::Copy {
                ballot,
                members,
                owner_silent,
            } => {
                lookup.learn(ballot, Some(&members));
                let known = lookup.known.as_ref().map(|known| known.ballot);
                if owner_silent && known == Some(ballot) {
                    // The holder's evidence decides the claim, so there is no need to gather ours.
                    lookup.reported = Some(ballot);
                }
            }
            Standing::Unknown { .. } => {}
        }
        if matches!(lookup.step, Step::Asking | Step::Everyone) {
            self.advance_lookup(key, now);
        }
    }

    pub(super) fn on_not_owner(&mut self, from: MemberId, not_owner: &NotOwner, now: Instant) {
        let key = not_owner.key;
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        if !matches!(lookup.step, Step::Relayed(relayed) if relayed.to == from) {
            return;
        }
        lookup.again();
        lookup.excluded.push(from);
        let owner = lookup.known.as_ref().map(|known| known.ballot.owner);
        match not_owner.ballot {
            Some(ballot) if ballot.owner != from => lookup.learn(ballot, None),
            // It forgot the call altogether: what we took for knowledge is obsolete.
            _ if owner == Some(from) => lookup.known = None,
            _ => {}
        }
        self.advance_lookup(key, now);
    }

    /// A take-over that we asked for was turned down.
    pub(super) fn lookup_refused(
        &mut self,
        key: CallId,
        from: MemberId,
        refuse: &Refuse,
        now: Instant,
    ) {
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        match refuse.refusal {
            Refusal::Owner { ballot } => lookup.learn(ballot, None),
            Refusal::Promised { ballot } | Refusal::Alive { ballot } => {
                lookup.learn(ballot, None);
                let queue = lookup.queue.take();
                self.bring_later(key, queue, ballot, now);
            }
            Refusal::NoCopy => {
                lookup.excluded.push(from);
                lookup.again();
                self.advance_lookup(key, now);
            }
        }
    }

    // ---- the other end --------------------------------------------------------------------

    pub(super) fn on_relay(&mut self, from: MemberId, relay: Relay, now: Instant) {
        let key = relay.key;
        let hops = relay.hops.saturating_add(1);
        let role = self.entries.get(&key).map(|entry| &entry.role);
        let knows = matches!(role, Some(Role::Owned(_) | Role::Claiming(_)))
            || (matches!(role, Some(Role::Copy(_))) && hops <= HOPS_MAX);
        if knows {
            let brought = Brought {
                message: relay.message,
                hops,
                since: now,
            };
            self.bring_one(key, None, brought, now);
        } else {
            let ballot = self.entries.get(&key).map(super::entry::Entry::ballot);
            self.send(from, key, Frame::NotOwner(NotOwner { key, ballot }));
        }
    }

    /// Answers a signal at the member that sent it; `shard` is the one that asked.
    pub fn answer_signal(&mut self, asker: MemberId, shard: u16, answer: SignalAnswer) {
        let peer = super::liveness::Peer {
            member: asker,
            shard,
        };
        self.send_shard(peer, Frame::SignalAnswer(answer));
    }
}

fn relay(key: CallId, brought: &Brought) -> Relay {
    Relay {
        key,
        hops: brought.hops,
        message: brought.message.clone(),
    }
}
