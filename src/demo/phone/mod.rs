//! A small SIP user agent over UDP, for the demo and for tests: thousands of calls on one socket,
//! every datagram kept.
//!
//! | file | what lives there |
//! |---|---|
//! | `agent` | the phone without its socket: verbs in, datagrams out, timers |
//! | `client`, `server` | what responses and requests do to it |
//! | `call`, `exchange` | a call; a request and what became of it |
//! | `text` | the messages it writes |
//! | this one | the socket, the thread that reads it, waiting |
//!
//! Unlike a real phone it sends a request to whatever node it is told to, not to the Contact: that
//! is how a test asks another node. No media is sent. Must not know: nodes, processes, clusters.

mod agent;
mod call;
mod client;
mod exchange;
mod server;
mod text;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::capture::{Capture, Direction, Packet};
use crate::proto::base::limits::SIP_MESSAGE_BYTES_MAX;
use crate::proto::sip::Method;

pub use agent::{Agent, Outgoing};
pub use call::{AckRule, Adopted, Call, CallNo, CallState, End, Incoming};
pub use exchange::{Exchange, ExchangeNo, Final, GIVE_UP, Outcome, T1, T2};

/// The longest the reading thread sleeps: so late a timer may be that was armed meanwhile.
const NAP: Duration = Duration::from_millis(10);
/// A few thousand datagrams.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A user agent with its own socket and thread. Dropping it closes both.
#[derive(Debug)]
pub struct Phone {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    local: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    agent: Agent,
    capture: Capture,
}

impl Phone {
    /// A phone at `local`; port 0 lets the system choose.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        // Best effort: with thousands of calls, bursts are larger than the default holds.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let local = socket.local_addr()?;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seed = format!("{:x}p{}", since.as_nanos(), local.port());
        let shared = Arc::new(Shared {
            socket,
            local,
            state: Mutex::new(State {
                agent: Agent::new(local, &seed),
                capture: Capture::new(),
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let reader = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("phone".into())
            .spawn(move || reader.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Its address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// Calls `answer` at the node `to`.
    pub fn invite(&self, to: SocketAddr, ack: AckRule) -> (CallNo, ExchangeNo) {
        self.act(|agent, now| agent.invite(now, to, "answer", ack))
    }

    /// From now on it answers calls that come.
    pub fn accept_calls(&self) {
        self.act(|agent, _| agent.accept_calls());
    }

    /// Carries on a dialog that another user agent on this address has set up.
    pub fn adopt(&self, dialog: Adopted) -> CallNo {
        self.act(|agent, now| agent.adopt(now, dialog))
    }

    /// Sends a request in a call to the node `to`.
    pub fn request(&self, call: CallNo, method: Method, to: SocketAddr) -> ExchangeNo {
        self.act(|agent, now| agent.request(now, call, method, to))
    }

    /// Sends the ACK that a call with [`AckRule::Wait`] waits for.
    pub fn ack(&self, call: CallNo, to: SocketAddr) {
        self.act(|agent, _| agent.ack(call, to));
    }

    /// What still waits for an answer from `dead` is from now on repeated to `next`. How many.
    pub fn reroute(&self, dead: SocketAddr, next: SocketAddr) -> usize {
        self.act(|agent, _| agent.reroute(dead, next))
    }

    /// A call, as it stands.
    #[must_use]
    pub fn call(&self, call: CallNo) -> Call {
        self.lock().agent.call(call).clone()
    }

    /// A request, as it stands.
    #[must_use]
    pub fn exchange(&self, exchange: ExchangeNo) -> Exchange {
        self.lock().agent.exchange(exchange).clone()
    }

    /// Looks at all of it.
    pub fn look<T>(&self, look: impl FnOnce(&Agent) -> T) -> T {
        look(&self.lock().agent)
    }

    /// Waits until `look` finds something, for at most `patience`.
    pub fn wait<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&Agent) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state.agent) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .map_or_else(|broken| broken.into_inner().0, |(state, _)| state);
        }
    }

    /// Waits for the final response to a request; none if it timed out or patience ran out.
    #[must_use]
    pub fn wait_final(&self, exchange: ExchangeNo, patience: Duration) -> Option<Final> {
        let outcome = self.wait(patience, |agent| agent.exchange(exchange).outcome.clone());
        match outcome {
            Some(Outcome::Answered(answer)) => Some(*answer),
            Some(Outcome::TimedOut(_)) | None => None,
        }
    }

    /// Waits until a call is over.
    #[must_use]
    pub fn wait_end(&self, call: CallNo, patience: Duration) -> Option<End> {
        self.wait(patience, |agent| match agent.call(call).state {
            CallState::Ended(end) => Some(end),
            CallState::Calling | CallState::Ringing | CallState::Answered => None,
        })
    }

    /// What was sent and received so far.
    #[must_use]
    pub fn capture(&self) -> Capture {
        self.lock().capture.clone()
    }

    /// What the times of calls, requests and packets count from.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.lock().capture.epoch
    }

    fn act<T>(&self, verb: impl FnOnce(&mut Agent, Duration) -> T) -> T {
        let mut state = self.lock();
        let now = state.capture.epoch.elapsed();
        let result = verb(&mut state.agent, now);
        self.shared.flush(&mut state);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the reader has been printed by then.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn run(&self) {
        let mut buffer = vec![0; SIP_MESSAGE_BYTES_MAX];
        while !self.stop.load(Ordering::Relaxed) {
            let pause = {
                let state = self.lock();
                let now = state.capture.epoch.elapsed();
                let due = state.agent.deadline().map(|at| at.saturating_sub(now));
                due.unwrap_or(NAP).clamp(Duration::from_millis(1), NAP)
            };
            // A refused port (ICMP of an earlier datagram to a dead node) is no reason to stop.
            let read = self
                .socket
                .set_read_timeout(Some(pause))
                .and_then(|()| self.socket.recv_from(&mut buffer));
            let mut state = self.lock();
            let now = state.capture.epoch.elapsed();
            if let Ok((length, source)) = read {
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                let call = state.agent.on_datagram(now, source, bytes.clone());
                state.capture.packets.push(Packet {
                    at: now,
                    direction: Direction::Received,
                    local: self.local,
                    remote: source,
                    bytes,
                    call,
                });
            }
            state.agent.on_time(now);
            self.flush(&mut state);
            drop(state);
            self.changed.notify_all();
        }
    }

    fn flush(&self, state: &mut State) {
        while let Some(Outgoing { to, bytes, call }) = state.agent.poll_send() {
            // UDP promises nothing: what the system refuses now is lost, and sent again in time.
            let _ = self.socket.send_to(&bytes, to);
            state.capture.packets.push(Packet {
                at: state.capture.epoch.elapsed(),
                direction: Direction::Sent,
                local: self.local,
                remote: to,
                bytes,
                call,
            });
        }
    }
}

#[cfg(test)]
mod tests;
