//! The first stream of a connection: who is there, in which life, and is there to be a link.
//!
//! Reads and writes greetings within a time limit, and holds the rule of who is turned away. May use
//! the wire. Does not keep links.

use std::time::Duration;

use callring_proto::base::ids::{Incarnation, NodeId};
use callring_proto::wire::{Greeting, HELLO_HEAD_BYTES, Hello, HelloRefusal, VERSION, VERSION_MIN};
use tokio::time::timeout;

use super::tls;

/// How long an exchange of greetings may take.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// Why greetings came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    #[error("no greeting in time")]
    Late,
    #[error("greeting: {0}")]
    Stream(String),
    #[error("refused: {0:?}")]
    Refused(HelloRefusal),
    #[error("an answer that answers nothing")]
    Unexpected,
    #[error("the certificate names no node")]
    Nameless,
    #[error("a link stands already")]
    Linked,
    #[error("connection: {0}")]
    Connection(String),
    #[error("no trust: {0}")]
    Distrust(String),
}

impl From<quinn::ConnectionError> for HelloError {
    fn from(error: quinn::ConnectionError) -> Self {
        match tls::distrust(&error) {
            Some(reason) => Self::Distrust(reason),
            None => Self::Connection(error.to_string()),
        }
    }
}

pub(super) async fn write(
    stream: &mut quinn::SendStream,
    greeting: &Greeting,
) -> Result<(), HelloError> {
    let bytes = greeting.encode();
    match timeout(HELLO_TIMEOUT, stream.write_all(&bytes)).await {
        Err(_) => Err(HelloError::Late),
        Ok(result) => result.map_err(|error| HelloError::Stream(error.to_string())),
    }
}

pub(super) async fn read(stream: &mut quinn::RecvStream) -> Result<Greeting, HelloError> {
    let stream_error = |error: quinn::ReadExactError| HelloError::Stream(error.to_string());
    let bad = |error: callring_proto::wire::DecodeError| HelloError::Stream(error.to_string());
    timeout(HELLO_TIMEOUT, async {
        let mut head = [0; HELLO_HEAD_BYTES];
        stream.read_exact(&mut head).await.map_err(stream_error)?;
        let mut body = vec![0; Greeting::body_length(&head).map_err(bad)?];
        stream.read_exact(&mut body).await.map_err(stream_error)?;
        Greeting::decode_body(&body).map_err(bad)
    })
    .await
    .map_err(|_| HelloError::Late)?
}

/// Whether `hello` of the node called `name` by its certificate may become a link of node `me`, of
/// which `latest` is the newest life known.
pub(super) fn check(
    hello: &Hello,
    name: &str,
    me: NodeId,
    latest: Option<Incarnation>,
) -> Result<(), HelloRefusal> {
    if hello.name != name || hello.incarnation.number == 0 || hello.shards == 0 {
        return Err(HelloRefusal::Nonsense);
    }
    if NodeId::of(name) == me {
        return Err(HelloRefusal::Yourself);
    }
    if !hello.speaks_with_us() {
        return Err(HelloRefusal::Version {
            min: VERSION_MIN,
            max: VERSION,
        });
    }
    match latest {
        Some(by) if by > hello.incarnation => Err(HelloRefusal::Superseded { by }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal by the one field that earns it.
    #[test]
    fn turns_away_whom_it_must() {
        let good = Hello {
            name: "b".into(),
            incarnation: Incarnation { number: 2, boot: 1 },
            address: ([127, 0, 0, 1], 1).into(),
            shards: 1,
            wire_min: VERSION_MIN,
            wire_max: VERSION,
            session: 0,
            known: 0,
        };
        let me = NodeId::of("a");
        let check = |hello: &Hello, latest| check(hello, "b", me, latest);
        assert_eq!(check(&good, None), Ok(()));
        assert_eq!(check(&good, Some(good.incarnation)), Ok(()));
        let by = Incarnation { number: 3, boot: 0 };
        assert_eq!(check(&good, Some(by)), Err(HelloRefusal::Superseded { by }));
        let renamed = Hello {
            name: "c".into(),
            ..good.clone()
        };
        assert_eq!(check(&renamed, None), Err(HelloRefusal::Nonsense));
        let future = Hello {
            wire_min: VERSION + 1,
            wire_max: VERSION + 1,
            ..good.clone()
        };
        assert!(matches!(
            check(&future, None),
            Err(HelloRefusal::Version { .. })
        ));
        let own = super::check(&good, "b", NodeId::of("b"), None);
        assert_eq!(own, Err(HelloRefusal::Yourself));
    }
}
