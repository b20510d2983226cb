//! What a service manager is told, where one listens: ready, alive, stopping (`sd_notify(3)`).
//!
//! Knows the node's public API. A word that can't be said costs nothing: the node serves.

use std::time::Duration;

use callring::NodeHandle;
use callring::proto::io::Ask;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

/// The node serves. From now on the manager's watchdog, if it has one, is fed for as long as every
/// shard answers.
pub(super) fn ready(node: &NodeHandle) {
    say(&[NotifyState::Ready]);
    if let Some(patience) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed(node.clone(), patience));
    }
}

/// The node hands its calls over.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        warn!(%error, "the service manager can't be told");
    }
}

/// `sd_watchdog_enabled(3)`: at half the time that the manager waits.
async fn feed(node: NodeHandle, patience: Duration) {
    let mut turns = interval(patience / 2);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shards = 0;
    loop {
        turns.tick().await;
        let answers = node.ask(Ask::Summary).await.len();
        shards = shards.max(answers);
        if answers == shards {
            say(&[NotifyState::Watchdog]);
        } else {
            debug!(
                answers,
                shards, "a shard does not answer: the watchdog is not fed"
            );
        }
    }
}
