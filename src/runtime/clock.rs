//! The only reader of the machine's clock. Everybody else is handed an instant.
//!
//! May use the core's time. Knows nothing else.

use callring_proto::base::time::{Duration, Instant};

/// A monotonic clock that starts with the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// A clock whose zero is now.
    pub(crate) fn start() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    /// Time since the node's start.
    pub(crate) fn now(&self) -> Instant {
        let since = tokio::time::Instant::now().saturating_duration_since(self.start);
        Instant::START + since
    }

    /// The point at which tokio's timers have to wake for `at`; far ahead if it is beyond
    /// reckoning.
    pub(crate) fn wake_at(&self, at: Instant) -> tokio::time::Instant {
        let since = at.since(Instant::START).min(Duration::from_hours(24 * 365));
        self.start + since
    }
}
