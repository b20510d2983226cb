//! Waiting for a draining node to own nothing. What becomes of its calls is the core's matter; this
//! only looks.

use std::time::Duration;

use callring_proto::io::{Answer, Ask};
use tokio::time::{Instant, sleep};

use super::Running;
use crate::node::Undrained;

/// How often a draining node is looked at. A look goes through every call.
const LOOK: Duration = Duration::from_millis(250);

impl Running {
    pub(crate) async fn drain(&self, limit: Duration) -> Result<(), Undrained> {
        let until = Instant::now() + limit;
        self.set_draining(true).await;
        let first = self.left().await;
        let mut left = first;
        while left != Undrained::default() {
            if Instant::now() >= until {
                return Err(left);
            }
            sleep(LOOK.min(until - Instant::now())).await;
            left = self.left().await;
        }
        if first != left {
            tracing::info!(calls = first.calls, "drained");
            // Whatever came for them a moment ago is still being passed on.
            sleep(LOOK.min(until - Instant::now())).await;
        }
        Ok(())
    }

    /// What the node owns just now.
    async fn left(&self) -> Undrained {
        let answers = self.ask(Ask::Summary).await;
        let mut left = Undrained {
            shards_mute: self.ports.len().saturating_sub(answers.len()),
            ..Undrained::default()
        };
        for answer in answers {
            if let Answer::Summary(summary) = answer {
                left.calls += summary.calls_owned;
                left.in_setup += summary.in_setup;
            }
        }
        left
    }
}
