//! Running a call: its effects, its application's commands, what is written to the record, and the
//! policy table at work.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::live::LiveCall;
use super::policy::{TASK, Wait, wait};
use super::{Held, Shard};
use crate::app::{Command, Event, Reply, Scene};
use crate::base::ids::CallId;
use crate::base::limits::APP_STATE_BYTES_MAX;
use crate::base::time::{Duration, Instant};
use crate::cluster::policy::When;
use crate::sip::call::SipCall;
use crate::sip::dialog::Stage;
use crate::sip::effect::{Class, Effect, Event as SipEvent, LegId};
use crate::sip::leg::{CallError, Leg};
use crate::sip::transaction::key::TransactionKey;
use crate::wire::Ending;

/// Times that one call's timers are looked at without time going on.
const ROUNDS_MAX: u8 = 100;

/// Rounds in which a call that is settled may want something more: each sends or tells one thing.
const SETTLE_MAX: u16 = 1_000;

/// How long what only time causes waits at a member that is cut off, before it looks again.
const POSTPONE: Duration = Duration::from_secs(1);

impl Shard {
    /// Carries out everything that a call wants, writes its record, puts its outputs to the policy
    /// table. `by_timer`: nothing but time caused this, so a BYE may have to stay (see
    /// `Cluster::hold`).
    pub(super) fn settle(&mut self, key: CallId, by_timer: bool, now: Instant) {
        let mut ready: Vec<Held> = Vec::new();
        let mut touched = false;
        let mut rounds = 0_u16;
        loop {
            let Some(call) = self.calls.get_mut(&key) else {
                return;
            };
            rounds += 1;
            if rounds > SETTLE_MAX {
                tracing::error!(?key, "the call comes to no rest");
                break;
            }
            let effects = call.sip.take_effects();
            if effects.is_empty() {
                let postponed = by_timer && call.postponed.is_some();
                if call.sip.owes_bye() && !postponed && self.send_bye(key) {
                    continue;
                }
                if self.send_due(key, now) {
                    continue;
                }
                let refused = self
                    .calls
                    .get_mut(&key)
                    .map(|call| call.tasks.take_refused());
                if let Some(event) = refused.flatten() {
                    touched = true;
                    self.tell_first(key, event, now);
                    continue;
                }
                break;
            }
            for (leg, effect) in effects {
                match effect {
                    Effect::Send { flow, bytes } => self.send_sip(Some(key), flow, bytes),
                    Effect::Ready(outgoing) => ready.push(Held::Sip(leg, outgoing)),
                    Effect::Event(event) => {
                        touched = true;
                        self.tell_app(key, leg, app_event(*event), now);
                    }
                }
            }
        }
        let faulty = self.write_record(key, touched, now);
        ready.extend(self.new_tasks(key));
        for outgoing in ready {
            let unsure = self
                .calls
                .get_mut(&key)
                .and_then(|call| call.unsure.as_mut());
            match unsure {
                // SIP.md S3.1: nothing with our tag leaves before the birth is sure to stand.
                Some(unsure) => unsure.held.push((outgoing, by_timer)),
                None => self.let_out(key, outgoing, by_timer, now),
            }
        }
        if faulty {
            return self.settle(key, by_timer, now);
        }
        self.after(key, now);
    }

    /// A leg of a call that runs here.
    pub(super) fn leg(&self, key: CallId, id: LegId) -> Option<&Leg> {
        self.calls.get(&key)?.sip.leg(id)
    }

    /// As [`Shard::leg`].
    pub(super) fn leg_mut(&mut self, key: CallId, id: LegId) -> Option<&mut Leg> {
        self.calls.get_mut(&key)?.sip.leg_mut(id)
    }

    /// The eldest leg of a call that `is` so.
    pub(super) fn leg_that(&self, key: CallId, is: impl Fn(&Leg) -> bool) -> Option<LegId> {
        self.calls.get(&key)?.sip.find(is)
    }

    /// Puts an output to the policy table.
    pub(super) fn let_out(&mut self, key: CallId, held: Held, by_timer: bool, now: Instant) {
        if !self.cluster.is_active(key) {
            return; // fenced since; the effect that says so is under way
        }
        let (waits, acts) = match &held {
            Held::Sip(_, outgoing) => {
                let class = outgoing.class;
                let recorded = !self.cluster.is_early(key);
                (wait(class, recorded), class == Class::Request)
            }
            Held::Task(_) => (TASK, true),
        };
        match waits {
            Wait::InOrder if !self.cluster.is_holding(key) => self.emit(key, held, now),
            Wait::InOrder | Wait::Replicated => {
                let by_timer = by_timer && acts;
                self.cluster.hold(key, held, by_timer, now);
            }
        }
    }

    /// A call runs here from now on.
    pub(super) fn put_call(&mut self, key: CallId, mut call: LiveCall) {
        if call.sip.ended().is_none() {
            call.counted = true;
            *self.positions.entry(key.position).or_insert(0) += 1;
            self.live = self.live.saturating_add(1);
        }
        self.calls.insert(key, call);
    }

    fn uncount(&mut self, key: CallId) {
        self.live = self.live.saturating_sub(1);
        if let Some(calls) = self.positions.get_mut(&key.position) {
            *calls = calls.saturating_sub(1);
            if *calls == 0 {
                self.positions.remove(&key.position);
            }
        }
    }

    /// Lets an output out.
    pub(super) fn emit(&mut self, key: CallId, held: Held, now: Instant) {
        let (leg, outgoing) = match held {
            Held::Sip(leg, outgoing) => (leg, outgoing),
            Held::Task(number) => return self.begin_task(key, number, now),
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let Some(leg) = call.sip.leg_mut(leg) {
            leg.emit(outgoing, now);
        }
        if let Some(asked) = call.asked.take() {
            let micros = u64::try_from(now.since(asked).as_micros()).unwrap_or(u64::MAX);
            self.counts.takeover.record(micros);
        }
        for (_, effect) in call.sip.take_effects() {
            if let Effect::Send { flow, bytes } = effect {
                self.send_sip(Some(key), flow, bytes);
            }
        }
        self.after(key, now);
    }

    /// Keeps the shard's tables in step with a call that has just run.
    pub(super) fn after(&mut self, key: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let first = call.sip.first();
        let standing = first.dialog().stage != Stage::Early && !first.is_unacked();
        if standing && let Some(source) = call.source.take() {
            self.setups.end(source);
        }
        if call.counted && call.sip.ended().is_some() {
            call.counted = false;
            self.uncount(key);
        }
        self.tell_outcome(key, now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.sip.is_over() && self.cluster.is_early(key) {
            self.cluster.forget(key);
            self.drop_call(key);
            return;
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let next = call.next_deadline().map(|at| at.max(now));
        // A timer that is due for ever is a fault of ours; it must not cost the others their shard.
        let stuck = call.looked.0 == now && call.looked.1 >= ROUNDS_MAX;
        let next = next.map(|at| if stuck { at.max(now + POSTPONE) } else { at });
        if call.deadline != next {
            if let Some(old) = call.deadline {
                self.deadlines.remove(&(old, key));
            }
            if let Some(next) = next {
                self.deadlines.insert((next, key));
            }
            call.deadline = next;
        }
    }

    /// Forgets a call that this shard does not run any more.
    pub(super) fn drop_call(&mut self, key: CallId) {
        let Some(call) = self.calls.remove(&key) else {
            return;
        };
        if let Some(at) = call.deadline {
            self.deadlines.remove(&(at, key));
        }
        if call.counted {
            self.uncount(key);
        }
        if let Some(source) = call.source {
            self.setups.end(source);
        }
        self.drop_invite(key, call.invite);
    }

    /// The INVITE's transaction is over: its repetitions and CANCEL find nothing any more.
    pub(super) fn drop_invite(&mut self, key: CallId, invite: Option<TransactionKey>) {
        let Some(transaction) = invite else {
            return;
        };
        // Another call may have taken the place.
        if self.invites.get(&transaction) == Some(&key) {
            self.invites.remove(&transaction);
        }
    }

    /// Whether the application's state could not be written, and the call has to end.
    fn write_record(&mut self, key: CallId, touched: bool, now: Instant) -> bool {
        self.record(key, touched, false, now)
    }

    /// A call that rings gets a record all the same, if it is sure to stand.
    pub(super) fn expose(&mut self, key: CallId, now: Instant) {
        if self
            .calls
            .get(&key)
            .is_some_and(|call| call.unsure.is_none())
            && self.record(key, true, true, now)
        {
            self.settle(key, false, now);
        }
    }

    fn record(&mut self, key: CallId, touched: bool, expose: bool, now: Instant) -> bool {
        let wire = self.common_wire();
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let changed = call.sip.take_changed() || touched;
        // What has a record keeps it true; `when` governs only who gets one (SIP.md S4).
        let recorded = self.policy.when == When::Early || !self.cluster.is_early(key);
        // Whoever answers for the caller must know whose phone rings for it.
        let answered = call.sip.is_confirmed() || !call.sip.is_plain() || !call.tasks.is_empty();
        if !changed || !(recorded || answered || expose) {
            return false;
        }
        let mut app_state = call.app_state();
        let faulty = app_state.len() > APP_STATE_BYTES_MAX;
        if faulty {
            let (bytes, most) = (app_state.len(), APP_STATE_BYTES_MAX);
            tracing::error!(?key, bytes, most, "application's state is too large");
            self.on_app_fault(key, "app_state");
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        if faulty {
            app_state = call.app_state();
        }
        let end = ending(&call.sip);
        let state = call.encode(wire, app_state, now);
        self.cluster.changed(key, state, end, now);
        faulty
    }

    /// Tells what is of the whole call.
    pub(super) fn tell_first(&mut self, key: CallId, event: Event, now: Instant) {
        if let Some(leg) = self.calls.get(&key).map(|call| call.sip.first_name()) {
            self.tell_app(key, leg, event, now);
        }
    }

    pub(super) fn tell_app(&mut self, key: CallId, leg: LegId, event: Event, now: Instant) {
        let Some(call) = self.calls.get_mut(&key).filter(|call| !call.broken) else {
            return;
        };
        let mut commands = Vec::new();
        let app = std::sync::Arc::clone(&call.app);
        let scene = Scene {
            id: key,
            leg,
            legs: &call.sip,
        };
        let state = call.state.as_mut();
        // What a panic has left half changed is the state of a call that ends now.
        let told = AssertUnwindSafe(|| app.on_event(scene, state, &mut commands, event));
        if catch_unwind(told).is_err() {
            tracing::error!(?key, "application panicked");
            return self.on_app_fault(key, "app_panic");
        }
        for (leg, command) in commands {
            self.obey(key, leg, command, now);
        }
    }

    /// The application has panicked, or keeps too much: it costs the call, and nothing else. What
    /// the peers wait for is refused with 500, what stands is hung up on when the call settles.
    fn on_app_fault(&mut self, key: CallId, why: &'static str) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        self.counts.rejected.count(why);
        call.broken = true;
        call.state = call.app.fresh(); // nothing half changed, and nothing large
        call.timers.clear();
        call.tasks.clear();
        call.deferred.clear();
        for leg in call.sip.legs_mut() {
            for (id, _) in leg.open_requests() {
                let _ = leg.respond(id, &Reply::new(500)); // it is open, and the reply bare
            }
        }
        call.sip.hang_up_all();
    }

    pub(super) fn obey(&mut self, key: CallId, id: LegId, command: Command, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let outcome = match command {
            Command::Keep(request) => {
                call.kept.push((id, request));
                Ok(())
            }
            Command::Dial(dial) => return self.dial(key, id, &dial, now),
            Command::HangUp => {
                call.sip.hang_up(id); // the BYE, if due, is sent when the call settles
                Ok(())
            }
            Command::HangUpAll => {
                call.sip.hang_up_all();
                Ok(())
            }
            Command::SetTimer(id, after) => {
                call.set_timer(id, now + after);
                Ok(())
            }
            Command::CancelTimer(id) => {
                call.timers.retain(|(other, _)| *other != id);
                Ok(())
            }
            Command::RunTask(id, task) => {
                call.tasks.add(id, task);
                Ok(())
            }
            Command::CancelTask(id) => {
                call.tasks.cancel(id);
                Ok(())
            }
            Command::Request(mark, draft) => self.own_request(key, id, mark, draft),
            Command::Respond(..)
            | Command::Notify(..)
            | Command::Answer(_)
            | Command::AwaitAnswer
            | Command::Publish(..) => {
                let leg = call.sip.leg_mut(id);
                leg.map_or(Err(CallError::Ended), |leg| tell_leg(leg, command))
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(?key, %error, "application's command refused");
        }
    }

    /// Lets what is due in a call happen.
    pub(super) fn on_call_deadline(&mut self, key: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.deadline = None;
        let (before, rounds) = call.looked;
        let rounds = if before == now {
            rounds.saturating_add(1)
        } else {
            0
        };
        call.looked = (now, rounds);
        if rounds == ROUNDS_MAX {
            tracing::error!(?key, "a timer of the call is due for ever");
        }
        call.sip.on_timeout(now);
        let ends = call.has_due(now) || call.sip.owes_bye();
        let postponed = ends && !self.cluster.holds_majority(key);
        call.postponed = postponed.then(|| now + POSTPONE);
        let events = if postponed {
            Vec::new()
        } else {
            call.take_due(now)
        };
        let touched = !events.is_empty();
        for event in events {
            self.tell_first(key, event, now);
        }
        self.retry_deferred(key, now);
        if touched {
            self.touch(key, now);
        }
        self.settle(key, true, now);
    }

    /// The application's state or timers changed outside an event of the SIP side.
    pub(super) fn touch(&mut self, key: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        // A change that also ends the call is written once, when the call settles.
        if call.sip.ended().is_none() && !call.sip.owes_bye() {
            self.write_record(key, true, now);
        }
    }
}

/// What a command asks of one leg.
fn tell_leg(leg: &mut Leg, command: Command) -> Result<(), CallError> {
    match command {
        Command::Respond(id, reply) => leg.respond(id, &reply),
        Command::Notify(refer, line, last) => {
            leg.notify(refer, &line, last);
            Ok(())
        }
        Command::AwaitAnswer => {
            leg.await_answer();
            Ok(())
        }
        Command::Publish(content_type, body) => leg.publish(&content_type, body),
        Command::Answer(description) => {
            leg.answer_offer(description);
            Ok(())
        }
        _ => Ok(()), // no leg's
    }
}

/// On whose word a call is over (PROTOCOL.md rule 22).
fn ending(call: &SipCall) -> Ending {
    match (call.ended(), call.is_end_shared()) {
        (None, _) => Ending::No,
        (Some(_), false) => Ending::ByTime,
        (Some(_), true) => Ending::ByPhone,
    }
}

fn app_event(event: SipEvent) -> Event {
    match event {
        SipEvent::Request {
            id,
            message,
            initial,
        } => Event::Request {
            id,
            message,
            initial,
        },
        SipEvent::Ack { message } => Event::Ack { message },
        SipEvent::Progress { mark, message } => Event::Progress { mark, message },
        SipEvent::Response {
            mark,
            method,
            message,
        } => Event::Response {
            mark,
            method,
            message,
        },
        SipEvent::Ended(cause) => Event::Ended(cause),
    }
}
