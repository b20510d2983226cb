//! Answers to whoever looks inside: counters, lists of calls, one call.

use super::counts::histogram;
use super::live::{call_state, read_state};
use super::{ASK_TIMEOUT, PendingAsk, Shard};
use crate::base::ids::CallId;
use crate::base::time::{Instant, millis};
use crate::io::{Answer, Ask, CallDetail, CallFilter, CallState, CallSummary, Output, Summary};
use crate::sip::dialog::Dialog;
use crate::sip::header::NameAddr;
use crate::wire::{Message, Record};

impl Shard {
    pub(super) fn on_ask(&mut self, ask: u64, request: Ask, now: Instant) {
        let answer = match request {
            Ask::Summary => Answer::Summary(Box::new(self.summary())),
            Ask::Calls(filter) => Answer::Calls(self.list(&filter, now)),
            Ask::Call(key) => Answer::Call(self.detail(key, now).map(Box::new)),
            Ask::Signal { key, body } => {
                let asker = self.view.me;
                self.asks.insert(
                    ask,
                    PendingAsk {
                        until: now + ASK_TIMEOUT,
                    },
                );
                let message = Message::Signal {
                    asker,
                    shard: self.shard,
                    ask,
                    body,
                };
                self.cluster.bring(key, None, message, now);
                return;
            }
        };
        self.outputs.push_back(Output::Answer { ask, answer });
    }

    fn summary(&self) -> Summary {
        let gauges = self.cluster.gauges();
        let stats = self.cluster.stats();
        Summary {
            calls_owned: gauges.owned,
            calls_replica: gauges.copies,
            under_replicated: gauges.under_replicated,
            in_setup: gauges.in_setup,
            uncovered: gauges.uncovered,
            in_minority: u64::from(self.cluster.is_in_minority()),
            held: gauges.held,
            transactions: self
                .calls
                .values()
                .map(|call| call.sip.transactions() as u64)
                .sum(),
            births: self.cluster.births_held(),
            degraded_total: stats.degraded,
            takeovers_total: stats.takeovers,
            claimed_total: stats.claimed,
            adopted_total: stats.adopted,
            invited_total: stats.invited,
            handed_over_total: stats.handed_over,
            repaired_total: stats.repaired,
            gaps_total: stats.gaps,
            claims_refused_total: stats.claims_refused,
            relayed_total: stats.relayed,
            submitted_total: stats.submitted,
            resubmitted_total: stats.resubmitted,
            births_ended_total: stats.births_ended,
            fenced_total: stats.fenced,
            sip_in: self.counts.sip_in.list(),
            sip_out: self.counts.sip_out.list(),
            sip_rejected: self.counts.rejected.list(),
            frames_bad_total: self.counts.frames_bad,
            gate_released_total: stats.released,
            gate_hold: histogram(&stats.gate_hold),
            takeover: histogram(&self.counts.takeover),
            batch_records: histogram(&stats.batch_records),
            silent: self.cluster.silent_members(),
            rtt_us: self.cluster.round_trips(),
        }
    }

    fn list(&self, filter: &CallFilter, now: Instant) -> Vec<CallSummary> {
        let mut found: Vec<CallSummary> = Vec::new();
        for (key, record, owned) in self.cluster.records() {
            if found.len() >= filter.limit {
                break;
            }
            // A copy is shown only where its owner is gone and we would inherit it.
            if !owned && !self.cluster.is_orphan_of_ours(key) {
                continue;
            }
            if filter
                .owner
                .is_some_and(|owner| owner != record.ballot.owner.node)
            {
                continue;
            }
            let Some(line) = self.line(key, record, owned, now) else {
                continue;
            };
            let wanted = filter.state.is_none_or(|state| state == line.state)
                && filter
                    .from
                    .as_ref()
                    .is_none_or(|from| line.from.contains(from.as_str()))
                && filter
                    .to
                    .as_ref()
                    .is_none_or(|to| line.to.contains(to.as_str()));
            if wanted {
                found.push(line);
            }
        }
        found
    }

    fn line(&self, key: CallId, record: &Record, owned: bool, now: Instant) -> Option<CallSummary> {
        let line = |dialog: &Dialog, state: CallState, app: &str, legs: usize, age_s| CallSummary {
            key,
            call_id: dialog.call_id.clone(),
            owner: record.ballot.owner,
            replicas: record.members.to_vec(),
            epoch: record.ballot.epoch,
            version: record.version,
            state,
            app: app.to_owned(),
            legs,
            age_s,
            from: uri_of(&dialog.remote_uri),
            to: uri_of(&dialog.local_uri),
            degraded: record.degraded,
        };
        if owned && let Some(call) = self.calls.get(&key) {
            let dialog = call.sip.first().dialog();
            let state = call_state(dialog.stage, call.sip.is_unacked());
            return Some(line(
                dialog,
                state,
                call.app.name(),
                call.sip.legs().count(),
                now.since(call.born).as_secs(),
            ));
        }
        let whole = read_state(&record.state).ok()?;
        let (state, legs) = (&whole.base, whole.legs.len().saturating_add(1));
        let dialog = state.sip.dialog();
        let stage = call_state(dialog.stage, state.sip.is_unacked());
        // At a holder of a copy the call has gone on ageing since its state was written.
        let age_s = (state.age_ms / 1_000).saturating_add(self.cluster.copy_age_s(key, now));
        Some(line(dialog, stage, &state.app, legs, u64::from(age_s)))
    }

    fn detail(&self, key: CallId, now: Instant) -> Option<CallDetail> {
        let (record, owned) = self.cluster.record(key)?;
        let summary = self.line(key, record, owned, now)?;
        let call = self.calls.get(&key).filter(|_| owned);
        let stored = read_state(&record.state).ok();
        let lines = call.map(|call| call.sip.legs().map(|(_, leg)| describe(leg.dialog())));
        let legs = match (lines, &stored) {
            (Some(lines), _) => lines.collect(),
            (None, Some(state)) => {
                let first = std::iter::once(state.base.sip.dialog());
                first.chain(state.legs.dialogs()).map(describe).collect()
            }
            (None, None) => Vec::new(),
        };
        let app_state = match (call, &stored) {
            (Some(call), _) => call.app.describe(call.state.as_ref()),
            (None, Some(state)) => self
                .app
                .decode(state.app_version, &state.base.app_state)
                .map(|decoded| self.app.describe(decoded.as_ref()))
                .unwrap_or_default(),
            (None, None) => String::new(),
        };
        let (timers, tasks) = match (call, &stored) {
            (Some(call), _) => {
                let left = |at: &Instant| u64::from(millis(at.since(now)));
                let timers = call.timers.iter().map(|(id, at)| (*id, left(at)));
                (timers.collect(), call.tasks.names())
            }
            (None, Some(state)) => {
                let age = u64::from(record.age_ms)
                    .saturating_add(1_000 * u64::from(self.cluster.copy_age_s(key, now)));
                let timers = state.base.timers.iter();
                let left = |ms: u32| u64::from(ms).saturating_sub(age);
                let timers = timers.map(|(id, ms)| (*id, left(*ms)));
                (timers.collect(), state.tasks.names())
            }
            (None, None) => (Vec::new(), Vec::new()),
        };
        Some(CallDetail {
            timers,
            tasks,
            owned,
            legs,
            app_state,
            held: self.cluster.held(key),
            record_bytes: record.state.len(),
            summary,
        })
    }
}

fn uri_of(value: &str) -> String {
    NameAddr::parse(value).map_or_else(|_| value.to_owned(), |name| name.uri.as_str().to_owned())
}

fn describe(dialog: &Dialog) -> String {
    format!(
        "{:?} {:?} local {} tag={} seq={} remote {} tag={} seq={:?} target {} routes {:?} via {}",
        dialog.orientation,
        dialog.stage,
        dialog.local_uri,
        dialog.local_tag,
        dialog.local_seq,
        dialog.remote_uri,
        dialog.remote_tag,
        dialog.remote_seq,
        dialog.remote_target,
        dialog.route_set,
        dialog.flow.remote,
    )
}
