//! Requests between members and their answers: one short bidirectional stream each.
//!
//! Bytes in, bytes out; what they say is the admin service's. Knows nothing of frames.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::ids::NodeId;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fabric::Fabric;
use super::link::End;
use crate::runtime::FabricError;

/// How long a request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest request, bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest answer, bytes: a long list of calls.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// First byte of an answer: the answer follows.
const ANSWER: &[u8] = &[1];
/// First byte of an answer: nobody here answers requests.
const NO_SERVICE: &[u8] = &[0];

/// Asks the member at the other end.
pub(super) async fn request(
    connection: &quinn::Connection,
    request: &[u8],
) -> Result<Bytes, FabricError> {
    let exchange = async {
        let link = |error: &dyn std::fmt::Display| FabricError::Link(error.to_string());
        let (mut send, mut receive) = connection.open_bi().await.map_err(|e| link(&e))?;
        send.write_all(request).await.map_err(|e| link(&e))?;
        send.finish().map_err(|e| link(&e))?;
        let answer = receive.read_to_end(ANSWER_BYTES_MAX).await;
        let mut answer = Bytes::from(answer.map_err(|error| match error {
            quinn::ReadToEndError::TooLong => FabricError::TooLarge(ANSWER_BYTES_MAX),
            quinn::ReadToEndError::Read(error) => link(&error),
        })?);
        let kind = answer.split_to(answer.len().min(1));
        match &*kind {
            ANSWER => Ok(answer),
            NO_SERVICE => Err(FabricError::NoService),
            _ => Err(FabricError::Link("an answer that is none".into())),
        }
    };
    if request.len() > REQUEST_BYTES_MAX {
        return Err(FabricError::TooLarge(REQUEST_BYTES_MAX));
    }
    let millis = u64::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    timeout(REQUEST_TIMEOUT, exchange)
        .await
        .unwrap_or(Err(FabricError::Timeout(millis)))
}

/// Answers the other end's requests for as long as the connection stands.
pub(super) async fn accept(
    fabric: Arc<Fabric>,
    connection: quinn::Connection,
    from: NodeId,
) -> End {
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let work = answer(fabric.clone(), send, receive, from);
                    answers.spawn(timeout(REQUEST_TIMEOUT, work));
                }
                Err(error) => return End::stream(error),
            },
            Some(done) = answers.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!(%error, "the admin service stopped on a broken assertion");
                }
            }
        }
    }
}

async fn answer(
    fabric: Arc<Fabric>,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    from: NodeId,
) {
    let Ok(request) = receive.read_to_end(REQUEST_BYTES_MAX).await else {
        return;
    };
    let mut chunks = match fabric.admin_service() {
        None => vec![Bytes::from_static(NO_SERVICE)],
        Some(service) => vec![
            Bytes::from_static(ANSWER),
            service(from, request.into()).await,
        ],
    };
    // The asker may be gone; its loss.
    if send.write_all_chunks(&mut chunks).await.is_ok() && send.finish().is_ok() {
        fabric.counters.requests_served.one();
    }
}
