//! Dialling: handshakes and greetings of the dialling side, always in the background.
//!
//! Whoever answers is identified by its certificate only; the address is where it was looked for.

use std::net::SocketAddr;
use std::sync::Arc;

use callring_proto::base::ids::NodeId;
use callring_proto::wire::{Greeting, HelloRefusal};
use tokio::time::timeout;

use super::accept::{own_hello, peer};
use super::fabric::{Fabric, FabricEvent, Greeted, YouAre, chance};
use super::hello::{self, HELLO_TIMEOUT, HelloError};
use super::link::{self, CloseCode};
use super::tls::{self, ANY_NAME};

/// Dials, and lives with the link that comes of it.
pub(super) async fn run(fabric: Arc<Fabric>, address: SocketAddr) {
    let greeted = greet(&fabric, address).await;
    let now = fabric.clock.now();
    fabric
        .table()
        .end_dial(address, greeted.is_ok(), now, chance());
    match greeted {
        Ok(greeted) => fabric.establish(greeted).await,
        Err(HelloError::Linked) => {}
        Err(error) => {
            fabric.counters.dials_failed.one();
            tracing::debug!(%address, %error, "dialled in vain");
            match error {
                HelloError::Refused(HelloRefusal::Superseded { by }) => {
                    let _ = fabric.events.send(FabricEvent::Superseded(by)).await;
                }
                HelloError::Distrust(reason) => complain(&fabric, address, &reason),
                _ => {}
            }
        }
    }
}

fn complain(fabric: &Fabric, address: SocketAddr, reason: &str) {
    let now = fabric.clock.now();
    if let Some(passed_over) = fabric.table().complain(now) {
        tracing::warn!(
            %address,
            reason,
            passed_over,
            "whoever listens there is no member of this node's cluster"
        );
    }
}

async fn connect(fabric: &Fabric, address: SocketAddr) -> Result<quinn::Connection, HelloError> {
    let client = fabric.client.clone();
    let connecting = fabric
        .endpoint
        .connect_with(client, address, ANY_NAME)
        .map_err(|error| HelloError::Connection(error.to_string()))?;
    timeout(HELLO_TIMEOUT, connecting)
        .await
        .map_err(|_| HelloError::Late)?
        .map_err(HelloError::from)
}

async fn greet(fabric: &Fabric, address: SocketAddr) -> Result<Greeted, HelloError> {
    let connection = connect(fabric, address).await?;
    let greeted = greet_on(fabric, address, &connection).await;
    greeted.map_err(|error| {
        let error = explain(&connection, error);
        link::close(&connection, CloseCode::Refused, "no link");
        error
    })
}

/// In TLS 1.3 the dialling side is done before the other has looked at its certificate, so a refusal
/// shows up only as a greeting that comes to nothing.
fn explain(connection: &quinn::Connection, error: HelloError) -> HelloError {
    let reason = connection.close_reason();
    let distrust = reason.as_ref().and_then(tls::distrust);
    distrust.map_or(error, HelloError::Distrust)
}

async fn greet_on(
    fabric: &Fabric,
    address: SocketAddr,
    connection: &quinn::Connection,
) -> Result<Greeted, HelloError> {
    let name = tls::peer_name(connection).ok_or(HelloError::Nameless)?;
    let node = NodeId::of(&name);
    let (life, ours) = {
        let mut table = fabric.table();
        table.meet(address, node);
        if node == fabric.node {
            return Err(HelloError::Refused(HelloRefusal::Yourself));
        }
        if table.links.contains_key(&node) {
            return Err(HelloError::Linked);
        }
        let life = table
            .life
            .ok_or(HelloError::Refused(HelloRefusal::NotYet))?;
        let known = table.latest(node).map_or(0, |life| life.number);
        (life, own_hello(fabric, life, table.floor(node), known))
    };
    let (mut send, mut receive) = connection.open_bi().await?;
    hello::write(&mut send, &Greeting::Hello(ours)).await?;
    let theirs = match hello::read(&mut receive).await? {
        Greeting::Welcome(hello) => hello,
        Greeting::Refused(refusal) => return Err(HelloError::Refused(refusal)),
        _ => return Err(HelloError::Unexpected),
    };
    let mut table = fabric.table();
    hello::check(&theirs, &name, fabric.node, table.latest(node)).map_err(HelloError::Refused)?;
    if !table.raise_floor(node, theirs.session) {
        return Err(HelloError::Linked);
    }
    Ok(Greeted {
        connection: connection.clone(),
        peer: peer(&name, &theirs),
        life,
        session: theirs.session,
        dialled: true,
        lane: (send, receive),
    })
}

/// Asks what is known of this node's name.
pub(super) async fn who_am_i(fabric: &Fabric, address: SocketAddr) -> Result<YouAre, HelloError> {
    let connection = connect(fabric, address).await?;
    let asked = async {
        let name = tls::peer_name(&connection).ok_or(HelloError::Nameless)?;
        if NodeId::of(&name) == fabric.node {
            return Err(HelloError::Refused(HelloRefusal::Yourself));
        }
        let (mut send, mut receive) = connection.open_bi().await?;
        hello::write(&mut send, &Greeting::WhoAmI).await?;
        match hello::read(&mut receive).await? {
            Greeting::YouAre { known, me } => Ok(YouAre {
                known,
                lives: me.is_some(),
            }),
            _ => Err(HelloError::Unexpected),
        }
    };
    let known = asked.await.map_err(|error| explain(&connection, error));
    link::close(&connection, CloseCode::Refused, "thanks");
    known
}
