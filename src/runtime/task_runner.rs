//! Runs durable tasks beside the shards' threads, each in its time, so many at once at most. What
//! has become of one goes to the shard that asked, whether it waits for it or not.

use std::sync::Arc;

use callring_proto::base::task::{TaskError, TaskOutcome, TaskRun};
use callring_proto::io::Input;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::shard_loop::{LocalInput, ShardPort};
use super::stats::NodeCounters;
use crate::tasks::Tasks;

/// Runs at once at one node. Above: [`TaskError::Busy`].
const RUNS_MAX: usize = 4_096;

/// Where tasks run.
#[derive(Clone, Debug)]
pub(crate) struct TaskRunner {
    tasks: Tasks,
    runtime: Handle,
    room: Arc<Semaphore>,
    counters: Arc<NodeCounters>,
}

impl TaskRunner {
    /// On the runtime that this is called on.
    pub(crate) fn new(tasks: Tasks, counters: Arc<NodeCounters>) -> Self {
        Self {
            tasks,
            runtime: Handle::current(),
            room: Arc::new(Semaphore::new(RUNS_MAX)),
            counters,
        }
    }

    /// Begins a run; its outcome goes to `port`.
    pub(crate) fn begin(&self, run: TaskRun, port: &ShardPort) {
        self.counters.tasks.one();
        let room = Arc::clone(&self.room).try_acquire_owned();
        let (runner, local) = (self.clone(), port.local.clone());
        self.runtime.spawn(async move {
            let (key, number, epoch) = (run.key, run.number, run.epoch);
            let name = run.task.name.clone();
            let outcome = runner.outcome(run, room).await;
            if let Err(error) = &outcome {
                runner.counters.tasks_failed.one();
                tracing::debug!(?key, name, %error, "task without a result");
            }
            let input = Input::TaskDone {
                key,
                number,
                epoch,
                outcome,
            };
            // The node may be stopping.
            let _ = local.send(LocalInput::Input(input)).await;
        });
    }

    async fn outcome(
        &self,
        run: TaskRun,
        room: Result<OwnedSemaphorePermit, TryAcquireError>,
    ) -> TaskOutcome {
        let _room = room.map_err(|_| TaskError::Busy)?;
        let span = run.task.timeout;
        let future = self.tasks.begin(run).ok_or(TaskError::Unknown)?;
        let mut running = self.runtime.spawn(future); // a panic in it ends there
        let Ok(ended) = timeout(span, &mut running).await else {
            running.abort();
            return Err(TaskError::TimedOut);
        };
        let result = ended.map_err(|_| TaskError::Failed("the task's function panicked".into()))?;
        result.map_err(TaskError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use callring_proto::app::Task;
    use callring_proto::base::ids::CallId;

    use super::super::shard_loop::port;
    use super::*;

    fn run(name: &str) -> TaskRun {
        TaskRun {
            key: CallId {
                position: 1,
                nonce: 2,
            },
            number: 3,
            epoch: 4,
            task: Task::new(name, "asked").timeout(Duration::from_millis(50)),
        }
    }

    /// Goal: every run comes back to the shard that asked, once, whatever its function does.
    /// Method: functions that return, fail, panic, never end, are not there.
    #[tokio::test]
    async fn every_run_comes_back_once() {
        let tasks = Tasks::new()
            .with("echo", |run| async move { Ok(run.task.payload) })
            .with("fails", |_| async { Err("why".to_owned()) })
            .with("panics", |_| async { panic!("as asked") })
            .with("hangs", |_| std::future::pending());
        let counters = Arc::new(NodeCounters::default());
        let runner = TaskRunner::new(tasks, Arc::clone(&counters));
        let (port, mut queues) = port();
        let mut check = async |name: &str, expected: TaskOutcome| {
            runner.begin(run(name), &port);
            let (ids, outcome) = queues.next_task().await;
            assert_eq!((ids, outcome), ((3, 4), expected), "{name}");
        };
        check("echo", Ok(Bytes::from_static(b"asked"))).await;
        check("fails", Err(TaskError::Failed("why".into()))).await;
        let panicked = TaskError::Failed("the task's function panicked".into());
        check("panics", Err(panicked)).await;
        check("hangs", Err(TaskError::TimedOut)).await;
        check("unheard of", Err(TaskError::Unknown)).await;
        let full = Arc::clone(&runner.room)
            .acquire_many_owned(4_096)
            .await
            .expect("all is back");
        check("echo", Err(TaskError::Busy)).await;
        drop(full);
        let shown = counters.show();
        assert_eq!((shown.tasks, shown.tasks_failed), (6, 5));
    }
}
