//! The functions that durable tasks run, by name: an embedder's, or the product's own. They wait,
//! open connections, ask clocks, as the core must not.
//!
//! Must not know calls beyond their identity: what comes of a run goes back to the core as bytes.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use callring_proto::app::TaskRun;

/// What a run returns: bytes for [`callring_proto::app::Event::Task`], or why there are none.
pub type TaskResult = Result<Bytes, String>;

type Function = dyn Fn(TaskRun) -> Pin<Box<dyn Future<Output = TaskResult> + Send>> + Send + Sync;

/// Functions by name.
#[derive(Clone, Default)]
pub struct Tasks {
    functions: HashMap<String, Arc<Function>>,
}

impl Tasks {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more; it takes the place of another of the same name. Each run is a task of its own
    /// on the node's runtime and is aborted when its time is over. At least one run of each durable
    /// task is begun, sometimes two: [`TaskRun::number`] and [`TaskRun::epoch`] tell them apart.
    #[must_use]
    pub fn with<R>(
        mut self,
        name: &str,
        function: impl Fn(TaskRun) -> R + Send + Sync + 'static,
    ) -> Self
    where
        R: Future<Output = TaskResult> + Send + 'static,
    {
        let function: Arc<Function> = Arc::new(move |run| Box::pin(function(run)));
        self.functions.insert(name.to_owned(), function);
        self
    }

    /// The future of one run; none if nothing has that name.
    pub(crate) fn begin(
        &self,
        run: TaskRun,
    ) -> Option<impl Future<Output = TaskResult> + Send + use<>> {
        let function = self.functions.get(&run.task.name)?;
        Some(function(run))
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&String> = self.functions.keys().collect();
        names.sort();
        f.debug_list().entries(names).finish()
    }
}
