//! What became of a load: every call and every request counted once, every anomaly named.
//!
//! Looks at phones only. Must not know: nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use callring::demo::figures::Figures;
use callring::demo::phone::{Agent, Call, CallState, End, Exchange, Outcome};
use callring::proto::sip::Method;

use super::{Asked, Load};

/// The calls.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// INVITEs that began a call.
    pub placed: usize,
    /// Got a 2xx.
    pub answered: usize,
    /// Refused, by status.
    pub refused: BTreeMap<u16, usize>,
    /// When each of them was sent, and how long the refusal took.
    pub refusals: Vec<(Instant, Duration)>,
    /// Got no final response in 64*T1.
    pub unreachable: usize,
    /// Still without an answer.
    pub pending: usize,
    /// Answered and not over.
    pub held: usize,
    /// Ended by our BYE.
    pub ended_here: usize,
    /// Ended by the other side's BYE.
    pub ended_there: usize,
    /// Answered, and then denied or silent for good: Call-IDs.
    pub lost: Vec<String>,
    /// Ended by more than one BYE of the other side, each a transaction of its own: Call-IDs.
    pub twice: Vec<String>,
    /// The other side's BYEs that came again as the same transaction.
    pub bye_repeats: u32,
    /// Other statuses to requests in dialogs, by method and status; 0 is none in 64*T1.
    pub odd: BTreeMap<(String, u16), usize>,
    /// INVITE to 2xx.
    pub setup: Times,
    /// BYE to 200.
    pub byes: Times,
    /// INFO to 200.
    pub infos: Times,
    /// Answer to the other side's BYE.
    pub talked: Vec<Duration>,
}

/// How long requests took, and how many were sent more than once.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// From first transmission to final response.
    pub figures: Figures,
    /// Sent more than once.
    pub repeated: usize,
    /// Without a 2xx.
    pub failed: usize,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            figures,
            repeated,
            failed,
        } = self;
        let count = figures.count();
        write!(
            f,
            "{figures} of {count}; {repeated} repeated, {failed} failed"
        )
    }
}

impl Times {
    fn of<'a>(exchanges: impl Iterator<Item = &'a Exchange> + Clone) -> Self {
        let ok = |one: &&Exchange| one.status().is_some_and(|status| status < 300);
        Self {
            figures: exchanges.clone().filter_map(Exchange::took).collect(),
            repeated: exchanges
                .clone()
                .filter(|one| one.transmissions > 1)
                .count(),
            failed: exchanges
                .filter(|one| one.outcome.is_some() && !ok(one))
                .count(),
        }
    }
}

impl Load {
    /// Counts everything so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let mut exchanges = Vec::new();
        for phone in self.phones() {
            let epoch = phone.epoch();
            phone.look(|agent| {
                for call in agent.calls() {
                    tally.count(call);
                }
                exchanges.extend(agent.exchanges().iter().cloned());
                for refused in agent
                    .exchanges()
                    .iter()
                    .filter(|one| one.cseq == 1 && one.status().is_some_and(|status| status >= 300))
                {
                    let sent = epoch + refused.sent_at;
                    tally
                        .refusals
                        .push((sent, refused.took().unwrap_or_default()));
                }
                tally.note_odd(agent);
            });
        }
        let of = |method: Method, starts: bool| {
            let chosen = exchanges.iter();
            Times::of(chosen.filter(move |one| {
                one.method == method && (one.cseq == 1) == starts && one.outcome.is_some()
            }))
        };
        tally.setup = of(Method::Invite, true);
        tally.byes = of(Method::Bye, false);
        tally.infos = of(Method::Info, false);
        tally
    }

    /// How long these requests took.
    #[must_use]
    pub fn times(&self, asked: &[Asked]) -> Times {
        let exchanges: Vec<Exchange> = asked
            .iter()
            .map(|one| self.phones()[one.phone].exchange(one.exchange))
            .collect();
        let mut times = Times::of(exchanges.iter());
        let unanswered = exchanges.iter().filter(|one| one.outcome.is_none());
        times.failed += unanswered.count();
        times
    }

    /// The slowest of these requests and when each was sent, after `since`.
    #[must_use]
    pub fn slowest(&self, asked: &[Asked], count: usize) -> Vec<(Duration, Duration, String)> {
        let mut all: Vec<_> = asked
            .iter()
            .map(|one| {
                let phone = &self.phones()[one.phone];
                let exchange = phone.exchange(one.exchange);
                let took = exchange.took().unwrap_or(Duration::MAX);
                (took, exchange.sent_at, phone.call(exchange.call).call_id)
            })
            .collect();
        all.sort_by_key(|(took, ..)| std::cmp::Reverse(*took));
        all.truncate(count);
        all
    }
}

impl Tally {
    fn count(&mut self, call: &Call) {
        self.placed += 1;
        self.answered += usize::from(call.was_answered());
        match call.state {
            CallState::Calling | CallState::Ringing => self.pending += 1,
            CallState::Answered => self.held += 1,
            CallState::Ended(End::Local) => self.ended_here += 1,
            CallState::Ended(End::Remote) => self.ended_there += 1,
            CallState::Ended(End::Refused(status)) => {
                *self.refused.entry(status).or_default() += 1;
            }
            CallState::Ended(End::Unreachable) => self.unreachable += 1,
            CallState::Ended(End::Lost(_)) => self.lost.push(call.call_id.clone()),
        }
        let mut byes = 0;
        for bye in call.incoming_with(&Method::Bye) {
            byes += 1;
            self.bye_repeats += bye.repeats;
            if let Some((answered, _)) = call.answered {
                self.talked.push(bye.at.saturating_sub(answered));
            }
        }
        if byes > 1 {
            self.twice.push(call.call_id.clone());
        }
    }

    fn note_odd(&mut self, agent: &Agent) {
        for exchange in agent.exchanges() {
            let status = match &exchange.outcome {
                Some(Outcome::Answered(answer)) if answer.status >= 300 => answer.status,
                Some(Outcome::TimedOut(_)) => 0,
                Some(Outcome::Answered(_)) | None => continue,
            };
            if exchange.cseq > 1 {
                let key = (exchange.method.to_string(), status);
                *self.odd.entry(key).or_default() += 1;
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            placed,
            answered,
            refused,
            unreachable,
            pending,
            held,
            ended_here,
            ended_there,
            lost,
            twice,
            bye_repeats,
            odd,
            ..
        } = self;
        let (lost, twice) = (lost.len(), twice.len());
        write!(
            f,
            "{placed} calls, {answered} answered, {ended_here} ended by the phone, \
             {ended_there} by \
             the application, {held} held, {pending} pending; LOST {lost}, refused {refused:?}, \
             unreachable {unreachable}, hung up twice {twice}, BYEs repeated {bye_repeats}, odd \
             answers {odd:?}\nset-up {}",
            self.setup
        )?;
        for (name, times) in [("BYE", &self.byes), ("INFO", &self.infos)] {
            if times.figures.count() + times.failed > 0 {
                write!(f, "\n{name} {times}")?;
            }
        }
        Ok(())
    }
}
