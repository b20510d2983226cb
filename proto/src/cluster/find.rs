//! Finding a call's owner and bringing messages to it, from whatever member they arrived at.
//!
//! Nothing here makes anybody an owner; at most it tells the heir (rule 9) or, if we are the heir,
//! begins a claim. Who is asked when nobody here knows is `ask`'s business.

use super::effect::Effect;
use super::engine::{Cluster, Wake};
use super::entry::{Brought, Queue, Role, Stage};
use super::lookup::{Lookup, Relayed, Step};
use crate::base::ids::{Ballot, CallId, MemberId};
use crate::base::time::{Duration, Instant};
use crate::wire::{Frame, Message, NotOwner, Relay, SignalAnswer, TakeOver};

/// A relay that has passed this many members is dropped: somebody's records are in motion.
const HOPS_MAX: u8 = 3;
/// How long a relayed message is kept so that it can be brought again.
const RELAY_KEEP: Duration = Duration::from_millis(250);
/// How long an idle look-up stays as a route.
const ROUTE_KEEP: Duration = Duration::from_secs(64);
/// How long a look-up may last; after that its messages are dropped, not refused.
const GIVE_UP: Duration = Duration::from_secs(8);
/// Look-ups kept as routes at most; above, idle ones go early.
const LOOKUPS_MAX: usize = 65_536;

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

    /// Brings `message` to the owner of `key`, which has a ballot at least this high.
    pub fn bring_to(&mut self, key: CallId, ballot: Ballot, message: Message, now: Instant) {
        let brought = Brought {
            message,
            hops: 0,
            since: now,
        };
        self.bring_later(key, vec![brought], ballot, now);
    }

    /// What was brought for `key` and has been answered, by `is_answered`'s word: it need not be
    /// brought again if the owner dies now.
    pub fn answered(&mut self, key: CallId, is_answered: impl Fn(&Message) -> bool) {
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.queue.retain(|message| !is_answered(message));
        }
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

    pub(super) fn bring_one(
        &mut self,
        key: CallId,
        hint: Option<MemberId>,
        brought: Brought,
        now: Instant,
    ) {
        let queued = match self.entries.get_mut(&key).map(|entry| &mut entry.role) {
            Some(Role::Owned(owned)) if owned.stage != Stage::Activating => {
                return self.deliver(key, brought);
            }
            Some(Role::Owned(owned)) => owned.queue.push(brought),
            Some(Role::Claiming(claiming)) => claiming.queue.push(brought),
            role @ (Some(Role::Copy(_) | Role::None) | None) => {
                let copy = matches!(role, Some(Role::Copy(_)));
                if !copy && self.negative.get(&key).is_some_and(|until| now < *until) {
                    return self.nobody_has(key, brought.message, now);
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

    pub(super) fn trim_lookups(&mut self, now: Instant) {
        if self.lookups.len() >= LOOKUPS_MAX {
            self.lookups
                .retain(|_, lookup| !lookup.is_idle() || now.since(lookup.used) < ROUTE_KEEP / 8);
        }
    }

    // ---- deciding -------------------------------------------------------------------------

    /// Looks again at what waits for the owner of `key`.
    pub(super) fn advance_lookup(&mut self, key: CallId, now: Instant) {
        if !self.lookups.contains_key(&key) {
            return;
        }
        let known = match self.entries.get(&key).map(|entry| &entry.role) {
            Some(Role::Owned(_) | Role::Claiming(_)) => {
                let lookup = self.lookups.remove(&key);
                let queue = lookup.map(|mut lookup| lookup.queue.take());
                return self.bring_all(key, queue.unwrap_or_default(), now);
            }
            Some(Role::Copy(copy)) => Some((copy.record.ballot, self.members_of(key))),
            Some(Role::None) | None => None,
        };
        let Some(lookup) = self.lookups.get_mut(&key) else {
            return;
        };
        if let Some((ballot, members)) = known {
            lookup.learn(ballot, Some(&members));
        }
        if lookup.queue.is_empty() {
            let until = lookup.used + ROUTE_KEEP;
            if now >= until {
                self.lookups.remove(&key);
            } else {
                self.wake_at(until, Wake::Key(key));
            }
            return;
        }
        if now.since(lookup.since) >= GIVE_UP {
            let dropped = lookup.queue.take().len() as u64;
            lookup.again();
            let until = lookup.used + ROUTE_KEEP;
            self.stats.dropped += dropped;
            self.wake_at(until, Wake::Key(key));
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

    pub(super) fn advance_relayed(&mut self, key: CallId, relayed: Relayed, now: Instant) {
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

    pub(super) fn decide(&mut self, key: CallId, now: Instant) {
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
            match self.handed_to(key) {
                Some(heir) if !lookup.excluded.contains(&heir) => {
                    self.relay_all(key, heir, None, now);
                }
                _ => self.reclaim(key, now),
            }
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

    /// It was ours, and this member claims it on our invitation: it owns the call, or is about to.
    fn handed_to(&self, key: CallId) -> Option<MemberId> {
        let entry = self.entries.get(&key)?;
        let heir = entry
            .handed_to
            .filter(|heir| entry.promised.owner == *heir)?;
        (!self.is_absent(heir, key)).then_some(heir)
    }

    /// It was ours, and somebody fenced us off of whom nothing more is known (rule 15).
    pub(super) fn reclaim(&mut self, key: CallId, now: Instant) {
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
    pub(super) fn inherit(&mut self, key: CallId, now: Instant) {
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
        self.start_claim(key, queue, None, now);
    }

    pub(super) fn session(&self, member: MemberId, key: CallId) -> Option<u64> {
        let lane = self.lanes.get(&self.peer(member, key));
        lane.and_then(super::lane::Lane::session)
    }

    pub(super) fn relay_all(
        &mut self,
        key: CallId,
        to: MemberId,
        heir: Option<Ballot>,
        now: Instant,
    ) {
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

    pub(super) fn relay_one(&mut self, key: CallId, to: MemberId, brought: &Brought, now: Instant) {
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

    /// Hands something on to the shard: used where a call is found to be owned here and running.
    pub(super) fn deliver(&mut self, key: CallId, brought: Brought) {
        self.effect(Effect::Deliver {
            key,
            message: brought.message,
        });
    }
}

fn relay(key: CallId, brought: &Brought) -> Relay {
    Relay {
        key,
        hops: brought.hops,
        message: brought.message.clone(),
    }
}
