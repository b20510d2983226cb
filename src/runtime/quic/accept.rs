//! Who knocks: handshakes, refusals, greetings of the dialled side.
//!
//! A stranger gets no further than the handshake and leaves one line in the log. Knows no frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callring_proto::base::ids::{MemberId, NodeId};
use callring_proto::wire::{Greeting, Hello, HelloRefusal, VERSION_MIN};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::fabric::{Fabric, Greeted};
use super::hello::{self, HELLO_TIMEOUT, HelloError};
use super::link::{self, CloseCode, Peer};
use super::tls;

/// Handshakes under way. Above: connections are ignored; members dial again.
const HANDSHAKES_MAX: usize = 64;
/// Handshakes under way above which an address has to prove itself first.
const HANDSHAKES_TRUSTING: usize = 16;
/// How long the other end may take to close what is done with.
const LINGER: Duration = Duration::from_secs(2);

/// Accepts until the endpoint closes.
pub(super) async fn run(fabric: Arc<Fabric>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = fabric.endpoint.accept().await {
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let busy = HANDSHAKES_MAX - places.available_permits() > HANDSHAKES_TRUSTING;
        if busy && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let fabric = fabric.clone();
        tokio::spawn(async move {
            let remote = incoming.remote_address();
            let Some(connection) = handshake(&fabric, incoming).await else {
                return;
            };
            match greet(&fabric, &connection).await {
                Ok(Some(greeted)) => {
                    drop(place);
                    fabric.establish(greeted).await;
                }
                Ok(None) => {
                    let _ = timeout(LINGER, connection.closed()).await;
                }
                Err(error) => {
                    tracing::debug!(%remote, %error, "greeting refused");
                    fabric.counters.hellos_refused.one();
                    link::close(&connection, CloseCode::Refused, "refused");
                }
            }
        });
    }
}

async fn handshake(fabric: &Fabric, incoming: quinn::Incoming) -> Option<quinn::Connection> {
    let remote = incoming.remote_address();
    let accepted = match incoming.accept() {
        Ok(connecting) => timeout(HELLO_TIMEOUT, connecting).await.ok()?,
        Err(error) => Err(error),
    };
    match accepted {
        Ok(connection) => Some(connection),
        Err(error) => {
            match tls::distrust(&error) {
                Some(reason) => refuse(fabric, remote, &reason),
                // The other end went away, or this one stops.
                None => tracing::debug!(%remote, %error, "handshake not finished"),
            }
            None
        }
    }
}

fn refuse(fabric: &Fabric, remote: SocketAddr, reason: &str) {
    fabric.counters.handshakes_refused.one();
    let now = fabric.clock.now();
    if let Some(passed_over) = fabric.table().complain(now) {
        tracing::warn!(
            %remote,
            reason,
            passed_over,
            "someone who is no member of this cluster knocks at the cluster port"
        );
    }
}

/// The dialled side's greeting. `None`: a question was answered, there is to be no link.
async fn greet(
    fabric: &Fabric,
    connection: &quinn::Connection,
) -> Result<Option<Greeted>, HelloError> {
    let name = tls::peer_name(connection).ok_or(HelloError::Nameless)?;
    let node = NodeId::of(&name);
    let (mut send, mut receive) = timeout(HELLO_TIMEOUT, connection.accept_bi())
        .await
        .map_err(|_| HelloError::Late)??;
    match hello::read(&mut receive).await? {
        Greeting::WhoAmI => {
            let answer = {
                let table = fabric.table();
                Greeting::YouAre {
                    known: table.latest(node).map_or(0, |life| life.number),
                    me: table.life.map(|life| (life, fabric.address)),
                }
            };
            hello::write(&mut send, &answer).await?;
            let _ = send.finish();
            Ok(None)
        }
        Greeting::Hello(theirs) => {
            let answer = decide(fabric, &name, &theirs);
            let (greeting, life) = match answer {
                Ok(welcome) => {
                    let life = welcome.incarnation;
                    (Greeting::Welcome(welcome), life)
                }
                Err(refusal) => {
                    tracing::debug!(peer = name, ?refusal, "no link");
                    hello::write(&mut send, &Greeting::Refused(refusal)).await?;
                    let _ = send.finish();
                    fabric.counters.hellos_refused.one();
                    return Ok(None);
                }
            };
            let Greeting::Welcome(welcome) = &greeting else {
                return Err(HelloError::Unexpected);
            };
            let session = welcome.session;
            hello::write(&mut send, &greeting).await?;
            Ok(Some(Greeted {
                connection: connection.clone(),
                peer: peer(&name, &theirs),
                life,
                session,
                dialled: false,
                lane: (send, receive),
            }))
        }
        _ => Err(HelloError::Unexpected),
    }
}

fn decide(fabric: &Fabric, name: &str, theirs: &Hello) -> Result<Hello, HelloRefusal> {
    let node = NodeId::of(name);
    let mut table = fabric.table();
    hello::check(theirs, name, fabric.node, table.latest(node))?;
    let life = table.life.ok_or(HelloRefusal::NotYet)?;
    let session = table.next_session(fabric.node, node, theirs.session);
    let known = table.latest(node).map_or(0, |life| life.number);
    Ok(own_hello(fabric, life, session, known))
}

/// What this node says of itself.
pub(super) fn own_hello(
    fabric: &Fabric,
    incarnation: callring_proto::base::ids::Incarnation,
    session: u64,
    known: u32,
) -> Hello {
    Hello {
        name: fabric.name.to_string(),
        incarnation,
        address: fabric.address,
        shards: u16::try_from(fabric.ports.len()).unwrap_or(u16::MAX),
        wire_min: VERSION_MIN,
        wire_max: fabric.wire_max,
        session,
        known,
    }
}

/// Who the other end is.
pub(super) fn peer(name: &str, hello: &Hello) -> Peer {
    Peer {
        name: name.into(),
        member: MemberId {
            node: NodeId::of(name),
            incarnation: hello.incarnation,
        },
        address: hello.address,
        shards: hello.shards,
        wire: hello.wire_max,
    }
}
