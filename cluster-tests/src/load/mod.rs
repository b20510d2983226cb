//! A load generator: calls that arrive at a steady rate over a few sockets, are held, asked
//! something now and then, and end by the phone's BYE or by the application's.
//!
//! | file | what lives there |
//! |---|---|
//! | this one | the pace: what is sent when, to which node |
//! | `tally` | what became of every call and request, anomalies named |
//!
//! Made of the demo's phones, which are no part of the product's core; each keeps its capture for
//! the referee. Must not know: processes, the admin interface.

mod tally;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use callring::demo::phone::{AckRule, CallNo, CallState, ExchangeNo, Phone};
use callring::proto::sip::Method;

pub use tally::{Tally, Times};

/// What the generator does by itself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Calls a second.
    pub calls_per_s: u32,
    /// INFO requests a second, each in a call that is held.
    pub infos_per_s: u32,
    /// The phone hangs up so long after its INVITE; never, if the application does.
    pub bye_after: Option<Duration>,
}

/// A call of one of the phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which phone.
    pub phone: usize,
    /// Which of its calls.
    pub call: CallNo,
    /// The node it was sent to.
    pub door: SocketAddr,
    /// When.
    pub at: Instant,
}

/// A request of one of the phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which phone.
    pub phone: usize,
    /// Which of its requests.
    pub exchange: ExchangeNo,
}

/// The generator. Dropping it ends its threads.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    phones: Vec<Phone>,
    wanted: Mutex<Wanted>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Wanted {
    pace: Pace,
    doors: Vec<SocketAddr>,
    placed: Vec<Placed>,
    /// Calls the phone is to end, oldest first.
    ends: VecDeque<Placed>,
    turn: usize,
}

impl Wanted {
    /// The next node in turn.
    fn door(&mut self) -> Option<SocketAddr> {
        self.turn = self.turn.wrapping_add(1);
        let count = self.doors.len();
        self.doors.get(self.turn.checked_rem(count)?).copied()
    }
}

impl Load {
    /// So many phones on loopback. Nothing is called before there is a pace.
    ///
    /// # Panics
    /// If there is no port or no thread left.
    #[must_use]
    pub fn new(phones: usize) -> Self {
        let phone = |_| Phone::bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let shared = Arc::new(Shared {
            phones: (0..phones.max(1)).map(phone).collect(),
            wanted: Mutex::new(Wanted {
                pace: Pace {
                    calls_per_s: 0,
                    infos_per_s: 0,
                    bye_after: None,
                },
                doors: Vec::new(),
                placed: Vec::new(),
                ends: VecDeque::new(),
                turn: 0,
            }),
            stop: AtomicBool::new(false),
        });
        let inner = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("load".into());
        let thread = thread.spawn(move || inner.run()).expect("a thread");
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// From now on, through these nodes in turn.
    pub fn set(&self, pace: Pace, doors: &[SocketAddr]) {
        let mut wanted = self.shared.wanted();
        wanted.pace = pace;
        wanted.doors = doors.to_vec();
    }

    /// The same pace, through other nodes.
    pub fn set_doors(&self, doors: &[SocketAddr]) {
        self.shared.wanted().doors = doors.to_vec();
    }

    /// The node at `dead` is gone: nothing more goes there, and what waits for its answer is
    /// repeated to the next of the others in turn.
    pub fn leave_out(&self, dead: SocketAddr) -> usize {
        let mut wanted = self.shared.wanted();
        wanted.doors.retain(|door| *door != dead);
        let mut moved = 0;
        for phone in &self.shared.phones {
            if let Some(next) = wanted.door() {
                moved += phone.reroute(dead, next);
            }
        }
        moved
    }

    /// No new calls and no INFOs; calls that are to be ended still are.
    pub fn quiet(&self) {
        let mut wanted = self.shared.wanted();
        wanted.pace.calls_per_s = 0;
        wanted.pace.infos_per_s = 0;
    }

    /// The phones.
    #[must_use]
    pub fn phones(&self) -> &[Phone] {
        &self.shared.phones
    }

    /// Every call so far.
    #[must_use]
    pub fn placed(&self) -> Vec<Placed> {
        self.shared.wanted().placed.clone()
    }

    /// The calls that are answered and not over.
    #[must_use]
    pub fn held(&self) -> Vec<Placed> {
        let mut placed = self.placed();
        let states: Vec<Vec<CallState>> = self.shared.phones.iter().map(states).collect();
        placed.retain(|one| states[one.phone][one.call.0] == CallState::Answered);
        placed
    }

    /// How many calls are answered and not over.
    #[must_use]
    pub fn held_count(&self) -> usize {
        let is_held = |state: &CallState| *state == CallState::Answered;
        let phones = self.shared.phones.iter();
        phones
            .map(|phone| states(phone).iter().filter(|state| is_held(state)).count())
            .sum()
    }

    /// Sends a request in a call.
    pub fn ask(&self, call: &Placed, method: Method, to: SocketAddr) -> Asked {
        let exchange = self.shared.phones[call.phone].request(call.call, method, to);
        Asked {
            phone: call.phone,
            exchange,
        }
    }

    /// Sends requests in these calls at a rate, the `n`th to `doors[n % len]`.
    #[must_use]
    pub fn ask_all(
        &self,
        calls: &[Placed],
        method: &Method,
        doors: &[SocketAddr],
        per_s: u32,
    ) -> Vec<Asked> {
        let began = Instant::now();
        let mut asked = Vec::new();
        for (call, n) in calls.iter().zip(0u32..) {
            let due = began + Duration::from_secs(1) * n / per_s;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let to = doors[n as usize % doors.len()];
            asked.push(self.ask(call, method.clone(), to));
        }
        asked
    }

    /// Waits until all these requests are answered or given up.
    pub fn settle(&self, asked: &[Asked], patience: Duration) {
        let until = Instant::now() + patience;
        for one in asked {
            let left = until.saturating_duration_since(Instant::now());
            let _ = self.shared.phones[one.phone].wait(left, |agent| {
                agent.exchange(one.exchange).outcome.as_ref().map(|_| ())
            });
        }
    }
}

fn states(phone: &Phone) -> Vec<CallState> {
    phone.look(|agent| agent.calls().iter().map(|call| call.state).collect())
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by then.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut beat = Beat::new();
        while !self.stop.load(Ordering::Relaxed) {
            let mut wanted = self.wanted();
            let Pace {
                calls_per_s,
                infos_per_s,
                bye_after,
            } = wanted.pace;
            let now = Instant::now();
            let (calls, infos) = beat.due(now, calls_per_s, infos_per_s);
            for _ in 0..calls {
                self.place(&mut wanted, now);
            }
            for _ in 0..infos {
                self.inform(&mut wanted);
            }
            if let Some(after) = bye_after {
                self.end_old(&mut wanted, now, after);
            }
            drop(wanted);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn place(&self, wanted: &mut Wanted, now: Instant) {
        let Some(door) = wanted.door() else { return };
        let phone = wanted.placed.len() % self.phones.len();
        let (call, _) = self.phones[phone].invite(door, AckRule::Source);
        let placed = Placed {
            phone,
            call,
            door,
            at: now,
        };
        wanted.placed.push(placed);
        wanted.ends.push_back(placed);
    }

    /// An INFO in a held call; which one changes from time to time.
    fn inform(&self, wanted: &mut Wanted) {
        let Some(door) = wanted.door() else { return };
        let count = wanted.ends.len();
        let Some(pick) = wanted.turn.wrapping_mul(7_919).checked_rem(count) else {
            return;
        };
        let call = wanted.ends[pick];
        if self.phones[call.phone].look(|agent| stands(agent.call(call.call).state)) {
            let _ = self.phones[call.phone].request(call.call, Method::Info, door);
        }
    }

    fn end_old(&self, wanted: &mut Wanted, now: Instant, after: Duration) {
        while let Some(call) = wanted.ends.front().copied()
            && now.saturating_duration_since(call.at) >= after
        {
            wanted.ends.pop_front();
            let Some(door) = wanted.door() else { return };
            if self.phones[call.phone].look(|agent| stands(agent.call(call.call).state)) {
                let _ = self.phones[call.phone].request(call.call, Method::Bye, door);
            }
        }
    }
}

fn stands(state: CallState) -> bool {
    state == CallState::Answered
}

/// What is due of things that come so many times a second. What was missed is made up for, but
/// not what was missed while the whole machine stood still.
#[derive(Debug)]
struct Beat {
    last: Instant,
    /// In parts of a second: `elapsed * rate`, less what was given out.
    calls: f64,
    infos: f64,
}

impl Beat {
    fn new() -> Self {
        Self {
            last: Instant::now(),
            calls: 0.0,
            infos: 0.0,
        }
    }

    fn due(&mut self, now: Instant, calls_per_s: u32, infos_per_s: u32) -> (u32, u32) {
        let passed = now
            .saturating_duration_since(self.last)
            .as_secs_f64()
            .min(1.0);
        self.last = now;
        let take = |debt: &mut f64, rate: u32| {
            *debt += passed * f64::from(rate);
            let whole = debt.trunc();
            *debt -= whole;
            // At most a second's worth.
            (0..=rate).rfind(|n| f64::from(*n) <= whole).unwrap_or(0)
        };
        (
            take(&mut self.calls, calls_per_s),
            take(&mut self.infos, infos_per_s),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beat_keeps_its_rate() {
        let mut beat = Beat::new();
        let began = beat.last;
        let mut total = 0;
        for ms in (3..=10_000).step_by(7) {
            let (calls, infos) = beat.due(began + Duration::from_millis(ms), 200, 0);
            assert_eq!(infos, 0);
            total += calls;
        }
        assert!((1_998..=2_000).contains(&total), "{total}");
    }
}
