//! Durable tasks: work outside the core whose payload lies in a call's record, so that whoever owns
//! the call next begins it anew. Plain data; who runs them, and how, is the shell's.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ids::CallId;
use super::limits::{TASK_BYTES_MAX, TASKS_PER_CALL_MAX};

/// How long one run may take if nobody says otherwise: a little more than a caller hears nothing
/// from us without repeating its INVITE often.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Names an application's task within one call.
pub type TaskId = u16;

/// What an application wants done outside the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The name that the embedder has given the function to run.
    pub name: String,
    /// What it is given.
    pub payload: Bytes,
    /// How long one run may take; an owner that begins it anew gives it the whole time again.
    pub timeout: Duration,
}

impl Task {
    /// A run of the function `name`, which may take five seconds.
    #[must_use]
    pub fn new(name: &str, payload: impl Into<Bytes>) -> Self {
        Self {
            name: name.to_owned(),
            payload: payload.into(),
            timeout: TIMEOUT,
        }
    }

    /// May take so long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bytes of it in a record.
    #[must_use]
    pub fn size(&self) -> usize {
        self.name.len().saturating_add(self.payload.len())
    }
}

/// One run of a task, for the shell to begin.
///
/// At least one run of each task is begun, and several may be at once: an owner that was cut off
/// does not know that its call has another. What it does outside can be fenced by `number` and
/// `epoch` (PROTOCOL.md rule 24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRun {
    /// Of which call.
    pub key: CallId,
    /// The task's number in its call: the same at every owner, never used twice.
    pub number: u32,
    /// The owner's: of two runs of one task the higher counts.
    pub epoch: u32,
    /// What to run.
    pub task: Task,
}

/// What has become of a task: what its function returned, or why there is nothing.
pub type TaskOutcome = Result<Bytes, TaskError>;

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TaskError {
    /// The function has returned an error, or panicked.
    #[error("{0}")]
    Failed(String),
    /// A run was not done in its time.
    #[error("not done in time")]
    TimedOut,
    /// The member that owns the call has no function of that name.
    #[error("no function of that name here")]
    Unknown,
    /// The call has too many tasks already.
    #[error("the call has {TASKS_PER_CALL_MAX} tasks already")]
    TooMany,
    /// Name and payload, or the result, are too large.
    #[error("more than {TASK_BYTES_MAX} bytes")]
    TooLarge,
    /// The node runs too many already.
    #[error("the node runs too many tasks already")]
    Busy,
}
