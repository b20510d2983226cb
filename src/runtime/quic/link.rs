//! One link: its queues, its tasks, its end.
//!
//! ```text
//!  shards --lane queue--> lane writer ==bidirectional stream==> lane reader --> shard queue (waits)
//!  shards --short queue-> short writer ==one-way streams=====> short readers -> shard queue (waits)
//! ```
//! Frames that are no lane's are one-way messages of the core, its answers too, so they travel on
//! one-way streams, as many on one as are waiting; only the admin's requests need a way back.
//! Every queue is bounded: a full lane closes the link, because a gap in a lane can't be repaired
//! and a new session resends present state; a full short queue drops. Any byte that is no frame
//! closes the link. Frames are read no further than their header.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use callring_proto::base::ids::MemberId;
use callring_proto::wire;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::fabric::{Fabric, FabricEvent};
use super::service;
use crate::runtime::shard_loop::FabricInput;
use crate::runtime::stats::FabricCounters;

/// Lane frames that wait to be written. Full: the peer does not keep up, and the link is closed.
const LANE_QUEUE: usize = 16_384;
/// Other frames that wait. Full: the newest is dropped; they are asked for again.
const SHORT_QUEUE: usize = 4_096;
/// Frames written at once.
const FRAMES_PER_WRITE: usize = 256;
/// Bytes taken from a stream at once.
const READ_BYTES: usize = 256 << 10;
/// First byte of a one-way stream: frames follow.
const STREAM_FRAMES: u8 = 1;
/// First byte of a one-way stream: one chitchat message follows.
const STREAM_METADATA: u8 = 2;
/// chitchat keeps its messages below a datagram's size.
pub(super) const METADATA_BYTES_MAX: usize = 65_536;

/// Why a link was closed, as its other end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseCode {
    /// This node stops.
    Stopping = 1,
    /// A newer link, or a newer life, takes its place.
    Replaced = 2,
    /// Bytes that are no frames.
    Garbage = 3,
    /// The other end does not keep up.
    Overflow = 4,
    /// A stream ended that must not.
    Stream = 5,
    /// There is to be no link.
    Refused = 6,
}

pub(super) fn close(connection: &quinn::Connection, code: CloseCode, why: &str) {
    connection.close(quinn::VarInt::from_u32(code as u32), why.as_bytes());
}

/// What a shard holds of a link. Never waits.
#[derive(Clone)]
pub(crate) struct LinkSender {
    lane: mpsc::Sender<Bytes>,
    short: mpsc::Sender<Bytes>,
    connection: quinn::Connection,
    counters: Arc<FabricCounters>,
}

impl std::fmt::Debug for LinkSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSender(..)")
    }
}

impl LinkSender {
    /// Queues a frame of the lane, in order.
    pub(crate) fn send_lane(&self, frame: Bytes) {
        let full = matches!(
            self.lane.try_send(frame),
            Err(mpsc::error::TrySendError::Full(_))
        );
        if full && self.connection.close_reason().is_none() {
            self.counters.lane_overflows.one();
            close(&self.connection, CloseCode::Overflow, "lane overflow");
        }
    }

    /// Queues any other frame.
    pub(crate) fn send_short(&self, frame: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.short.try_send(frame) {
            self.counters.short_frames_dropped.one();
        }
    }
}

/// Who is at a link's other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// From its certificate.
    pub(crate) name: Arc<str>,
    /// The node and its life.
    pub(crate) member: MemberId,
    /// Where it says members reach it.
    pub(crate) address: SocketAddr,
    /// How many shards it runs.
    pub(crate) shards: u16,
    /// Highest wire version it reads.
    pub(crate) wire: u8,
}

/// A link whose greetings are done.
pub(super) struct Link {
    pub(super) fabric: Arc<Fabric>,
    pub(super) connection: quinn::Connection,
    pub(super) peer: Peer,
    pub(super) session: u64,
    pub(super) lane_out: quinn::SendStream,
    pub(super) lane_in: quinn::RecvStream,
}

impl Link {
    /// Lives until the connection ends or something about it is wrong. Between its first and last
    /// word to the shards lie all of its frames.
    pub(super) async fn run(self) {
        let Self {
            fabric,
            connection,
            peer,
            session,
            lane_out,
            lane_in,
        } = self;
        let member = peer.member;
        let counters = fabric.counters.clone();
        let (lane, lane_queue) = mpsc::channel(LANE_QUEUE);
        let (short, short_queue) = mpsc::channel(SHORT_QUEUE);
        let sender = LinkSender {
            lane,
            short,
            connection: connection.clone(),
            counters: counters.clone(),
        };
        counters.links_up.one();
        tracing::info!(peer = %peer.name, ?member, session, "link up");
        for port in fabric.ports.iter() {
            let up = FabricInput::Up {
                member,
                session,
                shards: peer.shards,
                wire: peer.wire,
                sender: sender.clone(),
            };
            let _ = port.fabric.send(up).await;
        }
        drop(sender);
        let up = FabricEvent::LinkUp(peer.clone());
        let _ = fabric.events.send(up).await;

        let inbound = Inbound {
            fabric: fabric.clone(),
            member,
            address: peer.address,
            session,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(write_lane(lane_out, lane_queue, counters.clone()));
        tasks.spawn(read_lane(lane_in, inbound.clone()));
        tasks.spawn(write_short(
            connection.clone(),
            short_queue,
            counters.clone(),
        ));
        tasks.spawn(accept_short(connection.clone(), inbound));
        tasks.spawn(service::accept(
            fabric.clone(),
            connection.clone(),
            member.node,
        ));
        tasks.spawn(read_datagrams(fabric.clone(), connection.clone(), member));
        let (code, why) = match tasks.join_next().await {
            Some(Ok(End(code, why))) => (code, why),
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(%error, "a task of a link stopped on a broken assertion");
                (CloseCode::Stream, "internal".into())
            }
            Some(Err(_)) | None => (CloseCode::Stream, "ended".into()),
        };
        if code == CloseCode::Garbage && connection.close_reason().is_none() {
            counters.garbage.one();
            tracing::warn!(peer = %peer.name, why, "link closed: the member sent what is no frame");
        }
        close(&connection, code, &why);
        tasks.shutdown().await;
        let reason = connection.close_reason().map(|reason| reason.to_string());
        tracing::info!(peer = %peer.name, ?member, session, reason, "link down");
        counters.links_down.one();
        for port in fabric.ports.iter() {
            let _ = port
                .fabric
                .send(FabricInput::Down { member, session })
                .await;
        }
        let _ = fabric.events.send(FabricEvent::LinkDown(peer)).await;
    }
}

/// Why a task of a link ended; the first one ends the link.
pub(super) struct End(pub(super) CloseCode, pub(super) String);

impl End {
    pub(super) fn stream(error: impl std::fmt::Display) -> Self {
        Self(CloseCode::Stream, error.to_string())
    }

    pub(super) fn garbage(error: impl std::fmt::Display) -> Self {
        Self(CloseCode::Garbage, error.to_string())
    }
}

async fn write_lane(
    mut stream: quinn::SendStream,
    mut queue: mpsc::Receiver<Bytes>,
    counters: Arc<FabricCounters>,
) -> End {
    let mut frames = Vec::with_capacity(FRAMES_PER_WRITE);
    while queue.recv_many(&mut frames, FRAMES_PER_WRITE).await > 0 {
        counters.lane_frames_out.add(frames.len() as u64);
        if let Err(error) = stream.write_all_chunks(&mut frames).await {
            return End::stream(error);
        }
        frames.clear();
    }
    // Every shard has let go of the link: the node stops.
    End(CloseCode::Stopping, "stopping".into())
}

async fn write_short(
    connection: quinn::Connection,
    mut queue: mpsc::Receiver<Bytes>,
    counters: Arc<FabricCounters>,
) -> End {
    let mut frames = Vec::with_capacity(FRAMES_PER_WRITE + 1);
    loop {
        frames.push(Bytes::from_static(&[STREAM_FRAMES]));
        let count = queue.recv_many(&mut frames, FRAMES_PER_WRITE).await;
        if count == 0 {
            return End(CloseCode::Stopping, "stopping".into());
        }
        let sent = async {
            let mut stream = connection.open_uni().await.map_err(|e| e.to_string())?;
            let all = stream.write_all_chunks(&mut frames).await;
            all.map_err(|error| error.to_string())?;
            stream.finish().map_err(|error| error.to_string())
        };
        if let Err(error) = sent.await {
            return End::stream(error);
        }
        counters.short_frames_out.add(count as u64);
        frames.clear();
    }
}

/// Sends one chitchat message.
pub(super) async fn write_metadata(
    connection: &quinn::Connection,
    message: Bytes,
) -> Result<(), String> {
    let mut stream = connection.open_uni().await.map_err(|e| e.to_string())?;
    let mut chunks = [Bytes::from_static(&[STREAM_METADATA]), message];
    let all = stream.write_all_chunks(&mut chunks).await;
    all.map_err(|error| error.to_string())?;
    stream.finish().map_err(|error| error.to_string())
}

/// The way of frames from a link to the shards.
#[derive(Clone)]
struct Inbound {
    fabric: Arc<Fabric>,
    member: MemberId,
    address: SocketAddr,
    session: u64,
}

impl Inbound {
    /// Hands on every whole frame in `buffer`. Waits for a shard that is behind. How many.
    async fn deliver(&self, buffer: &mut BytesMut, lane: bool) -> Result<u64, End> {
        let mut count = 0;
        while let Some((header, bytes)) = wire::split(buffer).map_err(End::garbage)? {
            if header.is_lane() != lane {
                return Err(End::garbage("a frame on the wrong kind of stream"));
            }
            let shard = usize::from(header.address.to_shard);
            let Some(port) = self.fabric.ports.get(shard) else {
                return Err(End::garbage(format!("a frame for shard {shard}")));
            };
            let frame = FabricInput::Frame {
                from: self.member,
                session: self.session,
                bytes,
            };
            if port.fabric.send(frame).await.is_err() {
                return Err(End(CloseCode::Stopping, "stopping".into()));
            }
            count += 1;
        }
        Ok(count)
    }
}

async fn read_lane(mut stream: quinn::RecvStream, inbound: Inbound) -> End {
    let mut buffer = BytesMut::new();
    loop {
        match stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) => return End::stream("the lane ended"),
            Err(error) => return End::stream(error),
        }
        match inbound.deliver(&mut buffer, true).await {
            Ok(count) => inbound.fabric.counters.lane_frames_in.add(count),
            Err(end) => return end,
        }
    }
}

async fn accept_short(connection: quinn::Connection, inbound: Inbound) -> End {
    // As many as the transport lets be open at once.
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => { readers.spawn(read_short(stream, inbound.clone())); }
                Err(error) => return End::stream(error),
            },
            Some(ended) = readers.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(end)) => return end,
                Err(error) => return End::stream(error),
            },
        }
    }
}

async fn read_short(mut stream: quinn::RecvStream, inbound: Inbound) -> Result<(), End> {
    let mut kind = [0];
    if stream.read_exact(&mut kind).await.is_err() {
        return Ok(());
    }
    match kind {
        [STREAM_FRAMES] => {}
        [STREAM_METADATA] => {
            let message = stream.read_to_end(METADATA_BYTES_MAX).await;
            let message = message.map_err(End::garbage)?;
            inbound
                .fabric
                .take_metadata(inbound.address, message.into());
            return Ok(());
        }
        [other] => return Err(End::garbage(format!("a stream of kind {other}"))),
    }
    let mut buffer = BytesMut::new();
    loop {
        match stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) if buffer.is_empty() => return Ok(()),
            Ok(None) => return Err(End::garbage("a frame cut short")),
            // The connection's end; its other tasks say why.
            Err(_) => return Ok(()),
        }
        let count = inbound.deliver(&mut buffer, false).await?;
        inbound.fabric.counters.short_frames_in.add(count);
    }
}

async fn read_datagrams(
    fabric: Arc<Fabric>,
    connection: quinn::Connection,
    member: MemberId,
) -> End {
    loop {
        match connection.read_datagram().await {
            Ok(bytes) => {
                fabric.counters.datagrams_in.one();
                let event = FabricEvent::Gossip(member.node, bytes);
                if fabric.events.try_send(event).is_err() {
                    fabric.counters.datagrams_dropped.one();
                }
            }
            Err(error) => return End::stream(error),
        }
    }
}
