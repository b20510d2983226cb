//! Bad weather between nodes: a UDP relay on loopback that delays, loses and cuts what members send
//! each other, by a seed.
//!
//! A node advertises the relay's address in its place (its front). For each pair of a sender and a
//! front there is a socket of the relay's own, so that answers find their way back, through the
//! same weather. One thread. Must not know: what is in a datagram.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest the relay sleeps: so late it sees a new front.
const NAP: Duration = Duration::from_millis(5);
/// Datagrams taken from one socket in a row.
const BURST: usize = 64;

/// What becomes of datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Each is this late.
    pub delay: Duration,
    /// And up to this much more.
    pub jitter: Duration,
    /// Of a thousand so many are lost.
    pub loss_per_mille: u32,
}

impl Weather {
    /// Delay in milliseconds, loss in percent.
    #[must_use]
    pub const fn new(delay_ms: u64, loss_percent: u32) -> Self {
        Self {
            delay: Duration::from_millis(delay_ms),
            jitter: Duration::ZERO,
            loss_per_mille: loss_percent * 10,
        }
    }
}

/// The relay. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Rules>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Rules {
    weather: Weather,
    cuts: HashSet<(IpAddr, IpAddr)>,
    /// Fronts the thread has not taken over yet.
    new: Vec<Port>,
    carried: u64,
    lost: u64,
}

/// A socket of the relay's and what becomes of what comes to it.
#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// To the node at this address, through a socket for each sender.
    In(SocketAddr),
    /// What this node answers a sender: back to the sender, from the front with this number.
    Back {
        node: SocketAddr,
        sender: SocketAddr,
        front: usize,
    },
}

/// A datagram under way: when it is due, in which order it came, from which socket, where to.
type Waiting = Reverse<(Instant, u64, usize, SocketAddr, Vec<u8>)>;

impl Relay {
    /// A relay without fronts, in fine weather.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn start(seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || Worker::new(inner, seed).run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Takes what comes to `front` to the node at `home`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn add(&self, front: SocketAddr, home: SocketAddr) -> io::Result<()> {
        let socket = open(front)?;
        let way = Way::In(home);
        self.rules().new.push(Port { socket, way });
        Ok(())
    }

    /// From now on.
    pub fn set_weather(&self, weather: Weather) {
        self.rules().weather = weather;
    }

    /// Drops all that these two groups send each other. Earlier cuts stay.
    pub fn cut(&self, one: &[IpAddr], other: &[IpAddr]) {
        let mut rules = self.rules();
        for a in one {
            for b in other {
                rules.cuts.insert((*a, *b));
                rules.cuts.insert((*b, *a));
            }
        }
    }

    /// Undoes all cuts.
    pub fn heal(&self) {
        self.rules().cuts.clear();
    }

    /// Datagrams carried and lost so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let rules = self.rules();
        (rules.carried, rules.lost)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.shared.rules)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by then.
            let _ = thread.join();
        }
    }
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Best effort: a burst of a few thousand datagrams.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20);
    Ok(socket)
}

/// The thread's own.
struct Worker {
    shared: Arc<Shared>,
    ports: Vec<Port>,
    /// By sender and front.
    ways: HashMap<(SocketAddr, usize), usize>,
    waiting: BinaryHeap<Waiting>,
    order: u64,
    chance: ChaCha8Rng,
}

impl Worker {
    fn new(shared: Arc<Shared>, seed: u64) -> Self {
        Self {
            shared,
            ports: Vec::new(),
            ways: HashMap::new(),
            waiting: BinaryHeap::new(),
            order: 0,
            chance: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn run(mut self) {
        let mut buffer = vec![0; 65_535];
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.ports.append(&mut lock(&self.shared.rules).new);
            for at in self.readable() {
                for _ in 0..BURST {
                    let Ok((length, from)) = self.ports[at].socket.recv_from(&mut buffer) else {
                        break;
                    };
                    self.take(at, from, &buffer[..length]);
                }
            }
            self.send_due();
        }
    }

    /// The sockets that have something, after waiting for that or for what is due.
    fn readable(&self) -> Vec<usize> {
        let now = Instant::now();
        let due = self.waiting.peek().map(|Reverse((due, ..))| *due);
        let nap = due.map_or(NAP, |due| due.saturating_duration_since(now).min(NAP));
        let nap = Timespec {
            tv_sec: 0,
            tv_nsec: nap.subsec_nanos().into(),
        };
        let ports = self.ports.iter();
        let mut polled: Vec<PollFd<'_>> = ports
            .map(|port| PollFd::new(&port.socket, PollFlags::IN))
            .collect();
        if poll(&mut polled, Some(&nap)).is_err() {
            return Vec::new();
        }
        let ready = polled.iter().enumerate();
        let ready = ready.filter(|(_, fd)| !fd.revents().is_empty());
        ready.map(|(at, _)| at).collect()
    }

    fn take(&mut self, at: usize, from: SocketAddr, bytes: &[u8]) {
        let (pair, out, to) = match self.ports[at].way {
            Way::In(node) => {
                let Ok(out) = self.way_of(at, from, node) else {
                    return;
                };
                ((from.ip(), node.ip()), out, node)
            }
            Way::Back {
                node,
                sender,
                front,
            } => ((node.ip(), sender.ip()), front, sender),
        };
        let mut rules = lock(&self.shared.rules);
        let weather = rules.weather;
        let lost = self.chance.random_range(0..1_000) < weather.loss_per_mille;
        if lost || rules.cuts.contains(&pair) {
            rules.lost += 1;
            return;
        }
        rules.carried += 1;
        drop(rules);
        let jitter = weather.jitter.mul_f64(self.chance.random_range(0.0..1.0));
        let due = Instant::now() + weather.delay + jitter;
        self.order += 1;
        let waiting = (due, self.order, out, to, bytes.to_vec());
        self.waiting.push(Reverse(waiting));
    }

    /// The socket through which `sender` reaches the node behind the front `front`.
    fn way_of(&mut self, front: usize, sender: SocketAddr, node: SocketAddr) -> io::Result<usize> {
        if let Some(known) = self.ways.get(&(sender, front)) {
            return Ok(*known);
        }
        let home = self.ports[front].socket.local_addr()?.ip();
        let way = Way::Back {
            node,
            sender,
            front,
        };
        let socket = open(SocketAddr::new(home, 0))?;
        self.ports.push(Port { socket, way });
        self.ways.insert((sender, front), self.ports.len() - 1);
        Ok(self.ports.len() - 1)
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, ..))) = self.waiting.peek()
            && *due <= now
            && let Some(Reverse((_, _, out, to, bytes))) = self.waiting.pop()
        {
            // What the system refuses is lost, as in a network.
            let _ = self.ports[out].socket.send_to(&bytes, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_and_cuts_cut() {
        let relay = Relay::start(1).unwrap();
        let bind = |ip: &str| UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let (asker, node) = (bind("127.0.0.1"), bind("127.0.0.2"));
        let front = bind("127.0.0.3").local_addr().unwrap();
        relay.add(front, node.local_addr().unwrap()).unwrap();
        relay.set_weather(Weather::new(20, 0));
        let long = Some(Duration::from_secs(10));
        asker.set_read_timeout(long).unwrap();
        node.set_read_timeout(long).unwrap();
        let mut buffer = [0; 100];
        let began = Instant::now();
        asker.send_to(b"question", front).unwrap();
        let (_, from) = node.recv_from(&mut buffer).unwrap();
        node.send_to(b"answer", from).unwrap();
        let (length, from) = asker.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], front));
        assert!(began.elapsed() >= Duration::from_millis(40));
        relay.cut(
            &[asker.local_addr().unwrap().ip()],
            &[node.local_addr().unwrap().ip()],
        );
        asker.send_to(b"lost", front).unwrap();
        while relay.counts() != (2, 1) {
            std::thread::yield_now();
        }
        relay.heal();
        asker.send_to(b"heard", front).unwrap();
        let (length, _) = node.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"heard");
    }
}
