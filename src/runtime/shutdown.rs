//! The order in which a node ends: good-bye to the members, then the shards, then the fabric.
//!
//! Each step has a time limit, and all of them together; what does not end by then is left behind.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Running;
use super::control::Command;
use super::shard_loop::LocalInput;

/// How long all of it may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the good-bye may take to be said.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long QUIC is given to put the good-bye on the wire.
const FLUSH: Duration = Duration::from_millis(50);
/// How long a shard may take to finish its turn.
const SHARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends everything, within [`SHUTDOWN_TIMEOUT`].
pub(super) async fn run(running: &Running) {
    if timeout(SHUTDOWN_TIMEOUT, steps(running)).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
    tracing::info!(name = running.name(), "stopped");
}

async fn steps(running: &Running) {
    let (done, left) = oneshot::channel();
    if running.commands.send(Command::Leave(done)).await.is_ok() {
        let _ = timeout(LEAVE_TIMEOUT, left).await;
    }
    if running.fabric.is_some() {
        tokio::time::sleep(FLUSH).await;
    }
    for port in running.ports.iter() {
        let _ = timeout(SHARD_TIMEOUT, port.local.send(LocalInput::Stop)).await;
    }
    for thread in running.take_threads() {
        let joined = tokio::task::spawn_blocking(move || thread.join());
        if timeout(SHARD_TIMEOUT, joined).await.is_err() {
            tracing::error!("a shard does not stop");
        }
    }
    if let Some(fabric) = &running.fabric {
        fabric.close().await;
    }
}
