//! One thread per shard: gathers what came in, hands it to the core, carries out what the core
//! wants, sleeps until the next input or deadline.
//!
//! No locks, nothing waits: every queue is bounded, and every way out says what happens when it is
//! full. Must not know what a SIP message or a frame says, beyond the frame's header.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;

use bytes::Bytes;
use callring_proto::base::flow::Flow;
use callring_proto::base::ids::{MemberId, NodeId};
use callring_proto::base::limits::SIP_MESSAGE_BYTES_MAX;
use callring_proto::base::time::{Duration, Instant};
use callring_proto::io::{Answer, Ask, Input, Output, stood_still};
use callring_proto::shard::Shard;
use callring_proto::wire;
use tokio::sync::{mpsc, oneshot};

use super::clock::Clock;
use super::locals::Locals;
use super::quic::LinkSender;
use super::stats::NodeCounters;
use super::task_runner::TaskRunner;
use super::udp::{Datagram, SipSocket};

mod inputs;

/// Frames and link events that wait for a shard. Full: the link's reader waits (back-pressure).
const FABRIC_QUEUE: usize = 4_096;
/// Inputs of other shards, views and asks that wait for a shard. Full: forwards are dropped.
const LOCAL_QUEUE: usize = 4_096;
/// The part of that queue which is kept for what belongs to a call that stands.
const FRESH_ROOM: usize = LOCAL_QUEUE / 4;
/// Datagrams have waited for so long without a pause: more comes in than gets done. A fifth of T1,
/// so that those who are turned away are told before they ask again (RFC 3261 17.1.1.2).
const OVERLOADED_AFTER: Duration = Duration::from_millis(100);
/// Most of each kind that one turn takes, so that none starves the others.
const FRAMES_PER_TURN: usize = 512;
const LOCALS_PER_TURN: usize = 256;
const DATAGRAMS_PER_TURN: usize = 64;
/// Turns without a pause after which the runtime looks at its sockets.
const TURNS_PER_YIELD: u32 = 2;
/// Asks that may be open; more than that were forgotten by their askers.
const ASKS_MAX: usize = 4_096;

/// The core's side of the loop. [`Shard`] is one; tests have others.
pub(crate) trait Machine {
    /// Takes one input.
    fn handle(&mut self, now: Instant, input: Input);
    /// Lets happen what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing to do.
    fn poll_output(&mut self, now: Instant) -> Option<Output>;
    /// When `handle_timeout` wants to be called.
    fn next_deadline(&self) -> Option<Instant>;
    /// Calls that run.
    fn load(&self) -> u32 {
        0
    }
}

impl Machine for Shard {
    fn handle(&mut self, now: Instant, input: Input) {
        self.handle(now, input);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }
    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        self.poll_output(now)
    }
    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }
    fn load(&self) -> u32 {
        self.load()
    }
}

/// From the fabric to a shard. One queue, so that a link's frames lie between its `Up` and `Down`.
#[derive(Debug)]
pub(crate) enum FabricInput {
    /// A link stands; `sender` is the way to it.
    Up {
        member: MemberId,
        session: u64,
        shards: u16,
        /// Highest wire version the member reads.
        wire: u8,
        sender: LinkSender,
    },
    /// It ended.
    Down { member: MemberId, session: u64 },
    /// A frame.
    Frame {
        from: MemberId,
        session: u64,
        bytes: Bytes,
    },
}

/// From within the node to a shard.
#[derive(Debug)]
pub(crate) enum LocalInput {
    /// As it is.
    Input(Input),
    /// A question and where its answer goes.
    Ask(Ask, oneshot::Sender<Answer>),
    /// The end.
    Stop,
}

/// The ways into one shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardPort {
    /// For the fabric.
    pub(crate) fabric: mpsc::Sender<FabricInput>,
    /// For everybody else.
    pub(crate) local: mpsc::Sender<LocalInput>,
}

/// The shard's ends of its port.
pub(crate) struct ShardQueues {
    fabric: mpsc::Receiver<FabricInput>,
    local: mpsc::Receiver<LocalInput>,
}

#[cfg(test)]
use callring_proto::base::task::TaskOutcome;

#[cfg(test)]
impl ShardQueues {
    /// The next word of the fabric, for tests in a shard's place.
    pub(crate) async fn next_fabric(&mut self) -> FabricInput {
        self.fabric.recv().await.expect("the fabric holds the port")
    }

    /// Number, epoch and outcome of the next task that comes back.
    pub(crate) async fn next_task(&mut self) -> ((u32, u32), TaskOutcome) {
        match self.local.recv().await {
            Some(LocalInput::Input(Input::TaskDone {
                number,
                epoch,
                outcome,
                ..
            })) => ((number, epoch), outcome),
            other => panic!("{other:?}"),
        }
    }
}

/// A port and its other end.
pub(crate) fn port() -> (ShardPort, ShardQueues) {
    let (fabric, fabric_end) = mpsc::channel(FABRIC_QUEUE);
    let (local, local_end) = mpsc::channel(LOCAL_QUEUE);
    let queues = ShardQueues {
        fabric: fabric_end,
        local: local_end,
    };
    (ShardPort { fabric, local }, queues)
}

/// What a shard's thread is given.
pub(crate) struct ShardThread {
    /// Which shard.
    pub(crate) shard: u16,
    /// The node.
    pub(crate) node: NodeId,
    /// Its clock.
    pub(crate) clock: Clock,
    /// This shard's sockets, in the order of the listeners.
    pub(crate) sockets: Vec<(std::net::UdpSocket, Arc<str>)>,
    /// Numbers of local addresses.
    pub(super) locals: Arc<Locals>,
    /// Its own queues.
    pub(crate) queues: ShardQueues,
    /// All shards' ports, by number.
    pub(crate) ports: Arc<[ShardPort]>,
    /// Counters of the node.
    pub(crate) counters: Arc<NodeCounters>,
    /// Where durable tasks run.
    pub(crate) tasks: TaskRunner,
}

impl ShardThread {
    /// Starts the thread; `build` makes the machine there. `ended` is told how it went: nothing for
    /// a stop that was asked for, otherwise why.
    pub(crate) fn spawn<M: Machine>(
        self,
        build: impl FnOnce() -> M + Send + 'static,
        ended: impl FnOnce(Option<String>) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let name = format!("callring-{}", self.shard);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        std::thread::Builder::new().name(name).spawn(move || {
            let shard = self.shard;
            let run = std::panic::AssertUnwindSafe(|| {
                runtime.block_on(async {
                    match Loop::new(self, build()) {
                        Ok(mut shard) => {
                            shard.run().await;
                            None
                        }
                        Err(error) => Some(error.to_string()),
                    }
                })
            });
            let outcome = std::panic::catch_unwind(run)
                .unwrap_or_else(|_| Some("the core stopped on a broken assertion".into()));
            if let Some(reason) = &outcome {
                tracing::error!(shard, reason, "shard ended");
            }
            ended(outcome);
        })
    }
}

struct Loop<M> {
    machine: M,
    node: NodeId,
    shard: u16,
    clock: Clock,
    sockets: Vec<SipSocket>,
    locals: Arc<Locals>,
    queues: ShardQueues,
    ports: Arc<[ShardPort]>,
    counters: Arc<NodeCounters>,
    tasks: TaskRunner,
    links: HashMap<MemberId, (u64, LinkSender)>,
    asks: HashMap<u64, oneshot::Sender<Answer>>,
    next_ask: u64,
    fabric_inputs: Vec<FabricInput>,
    local_inputs: Vec<LocalInput>,
    scratch: Vec<u8>,
    /// The machine's calls as counted last.
    load: u32,
    stopping: bool,
    /// Since when there have been more datagrams than each turn took.
    behind: Option<Instant>,
    /// The machine was told that it is so.
    overloaded: bool,
}

impl<M: Machine> Loop<M> {
    fn new(thread: ShardThread, machine: M) -> io::Result<Self> {
        let locals = &thread.locals;
        let sockets = (0..)
            .zip(thread.sockets)
            .map(|(listener, (socket, name))| SipSocket::new(socket, listener, name, locals))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            machine,
            node: thread.node,
            shard: thread.shard,
            clock: thread.clock,
            sockets,
            locals: thread.locals,
            queues: thread.queues,
            ports: thread.ports,
            counters: thread.counters,
            tasks: thread.tasks,
            links: HashMap::new(),
            asks: HashMap::new(),
            next_ask: 0,
            fabric_inputs: Vec::with_capacity(FRAMES_PER_TURN),
            local_inputs: Vec::with_capacity(LOCALS_PER_TURN),
            scratch: vec![0; SIP_MESSAGE_BYTES_MAX],
            load: 0,
            stopping: false,
            behind: None,
            overloaded: false,
        })
    }

    async fn run(&mut self) {
        let mut sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut turns_at_once = 0;
        while !self.stopping {
            let paused = self.wait(sleep.as_mut()).await;
            turns_at_once = if paused { 0 } else { turns_at_once + 1 };
            if turns_at_once >= TURNS_PER_YIELD {
                // Sockets and timers are looked at only while this task yields.
                tokio::task::yield_now().await;
                turns_at_once = 0;
            }
            self.turn();
        }
    }

    /// Waits until there is something to do. Whether it had to wait at all.
    async fn wait(&mut self, mut sleep: Pin<&mut tokio::time::Sleep>) -> bool {
        let deadline = self
            .machine
            .next_deadline()
            .unwrap_or(self.clock.now() + Duration::from_hours(1));
        let wake = self.clock.wake_at(deadline);
        if sleep.deadline() != wake || sleep.is_elapsed() {
            sleep.as_mut().reset(wake);
        }
        let mut paused = false;
        poll_fn(|cx| {
            let queues = &mut self.queues;
            let mut ready = sleep.as_mut().poll(cx).is_ready();
            ready |= queues
                .fabric
                .poll_recv_many(cx, &mut self.fabric_inputs, FRAMES_PER_TURN)
                .is_ready();
            ready |= queues
                .local
                .poll_recv_many(cx, &mut self.local_inputs, LOCALS_PER_TURN)
                .is_ready();
            for socket in &self.sockets {
                ready |= socket.poll_ready(cx).is_ready();
            }
            if ready {
                return Poll::Ready(());
            }
            paused = true;
            Poll::Pending
        })
        .await;
        paused
    }

    /// Takes what is there, up to the budget, then carries out what follows from it.
    fn turn(&mut self) {
        self.counters.turns.one();
        let now = self.clock.now();
        if let Some(due) = self.machine.next_deadline().filter(|due| *due <= now) {
            self.machine.handle_timeout(now);
            if stood_still(due, now) {
                self.forget_datagrams(now.since(due));
            }
        }
        self.take_locals(now);
        self.take_fabric(now);
        self.take_datagrams(now);
        let now = self.clock.now();
        while let Some(output) = self.machine.poll_output(now) {
            self.carry_out(output);
        }
        for socket in &mut self.sockets {
            socket.flush(&self.counters);
        }
        let load = self.machine.load();
        let (more, less) = (
            load.saturating_sub(self.load),
            self.load.saturating_sub(load),
        );
        self.load = load;
        self.counters.calls_begun.add(u64::from(more));
        self.counters.calls_left.add(u64::from(less));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Sip { flow, bytes } => self.send_datagram(&flow, bytes),
            Output::Frame { to, bytes } => self.send_frame(to, bytes),
            Output::Forward {
                shard,
                input,
                fresh,
            } => {
                let port = self.ports.get(usize::from(shard));
                debug_assert!(
                    port.is_some() && shard != self.shard,
                    "a shard of this node"
                );
                // What may begin a call leaves room for what belongs to one.
                let room = if fresh { FRESH_ROOM } else { 0 };
                let port = port.filter(|port| port.local.capacity() > room);
                let sent = port.map(|port| port.local.try_send(LocalInput::Input(input)));
                match sent {
                    Some(Ok(())) => self.counters.forwarded.one(),
                    Some(Err(_)) | None => self.counters.forwards_dropped.one(),
                }
            }
            Output::Task(run) => {
                if let Some(port) = self.ports.get(usize::from(self.shard)) {
                    self.tasks.begin(run, port);
                }
            }
            Output::Answer { ask, answer } => {
                if let Some(reply) = self.asks.remove(&ask) {
                    // The asker may have given up.
                    let _ = reply.send(answer);
                }
            }
        }
    }

    fn send_datagram(&mut self, flow: &Flow, bytes: Bytes) {
        let listener = usize::from(self.locals.listener(flow.listener));
        let Some(socket) = self.sockets.get_mut(listener) else {
            debug_assert!(false, "a node has a listener");
            return;
        };
        let datagram = Datagram {
            remote: flow.remote,
            bytes,
            local: self.locals.address(flow.listener),
        };
        socket.send(datagram, &self.counters);
    }

    fn send_frame(&mut self, to: MemberId, bytes: Bytes) {
        let Some((_, sender)) = self.links.get(&to) else {
            self.counters.frames_unrouted.one();
            return;
        };
        match wire::peek(&bytes) {
            Ok(header) if header.is_lane() => sender.send_lane(bytes),
            Ok(_) => sender.send_short(bytes),
            Err(error) => tracing::error!(%error, "the core wrote something that is no frame"),
        }
    }
}
