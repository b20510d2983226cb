//! What a shard takes in: datagrams from its sockets, frames from its links, words of other shards.
//!
//! May touch: the sockets and queues of its shard. Must not know: what any of it means.

use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::flow::{Flow, Transport};
use callring_proto::base::time::Instant;
use callring_proto::io::Input;

use super::{
    ASKS_MAX, DATAGRAMS_PER_TURN, FabricInput, LocalInput, Loop, Machine, OVERLOADED_AFTER,
    SipSocket,
};

impl<M: Machine> Loop<M> {
    /// This process has stood still: what waits at its sockets is of another time. Whoever still
    /// wants something says it again.
    pub(super) fn forget_datagrams(&mut self, late: Duration) {
        let forgotten: usize = self.sockets.iter_mut().map(SipSocket::discard).sum();
        tracing::warn!(
            ?late,
            forgotten,
            "stood still; datagrams that waited are dropped"
        );
    }

    pub(super) fn take_locals(&mut self, now: Instant) {
        for local in self.local_inputs.drain(..) {
            match local {
                LocalInput::Input(input) => self.machine.handle(now, input),
                LocalInput::Ask(request, reply) => {
                    if self.asks.len() >= ASKS_MAX {
                        self.asks.retain(|_, reply| !reply.is_closed());
                    }
                    self.next_ask += 1;
                    let ask = self.next_ask;
                    self.asks.insert(ask, reply);
                    self.machine.handle(now, Input::Ask { ask, request });
                }
                LocalInput::Stop => self.stopping = true,
            }
        }
    }

    pub(super) fn take_fabric(&mut self, now: Instant) {
        for fabric in self.fabric_inputs.drain(..) {
            let input = match fabric {
                FabricInput::Frame {
                    from,
                    session,
                    bytes,
                } => {
                    // A reader that was being ended may have had one more in its hands.
                    if self.links.get(&from).is_none_or(|link| link.0 != session) {
                        continue;
                    }
                    Input::Frame {
                        from,
                        session,
                        bytes,
                    }
                }
                FabricInput::Up {
                    member,
                    session,
                    shards,
                    wire,
                    sender,
                } => {
                    self.links.insert(member, (session, sender));
                    Input::LinkUp {
                        member,
                        session,
                        shards,
                        wire,
                    }
                }
                FabricInput::Down { member, session } => {
                    if self
                        .links
                        .get(&member)
                        .is_some_and(|link| link.0 == session)
                    {
                        self.links.remove(&member);
                    }
                    Input::LinkDown { member, session }
                }
            };
            self.machine.handle(now, input);
        }
    }

    pub(super) fn take_datagrams(&mut self, now: Instant) {
        let mut behind = false;
        for socket in &mut self.sockets {
            let mut taken = 0;
            while taken < DATAGRAMS_PER_TURN {
                let Some((remote, length, listener)) =
                    socket.receive(&mut self.scratch, &self.counters)
                else {
                    break;
                };
                taken += 1;
                let flow = Flow {
                    transport: Transport::Udp,
                    ingress: self.node,
                    listener,
                    remote,
                    advertise: socket.advertise.clone(),
                };
                let bytes = Bytes::copy_from_slice(self.scratch.get(..length).unwrap_or_default());
                self.machine.handle(now, Input::Sip { flow, bytes });
            }
            behind |= taken == DATAGRAMS_PER_TURN;
        }
        self.note_backlog(behind, now);
    }

    /// Tells the machine when datagrams begin to wait, and when they don't any more.
    fn note_backlog(&mut self, behind: bool, now: Instant) {
        self.behind = behind.then(|| self.behind.unwrap_or(now));
        let since = self.behind.map(|since| now.since(since));
        let overloaded = since.is_some_and(|span| span >= OVERLOADED_AFTER);
        if overloaded != self.overloaded {
            self.overloaded = overloaded;
            self.machine.handle(now, Input::Overloaded(overloaded));
        }
    }
}
