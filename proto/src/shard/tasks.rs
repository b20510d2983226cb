//! The durable tasks of a call: which there are, which run, what has become of them. PROTOCOL.md
//! rule 24: a task is an output, its outcome is taken once. Must not know what a task does.

use serde::{Deserialize, Serialize};

use super::{Held, Shard};
use crate::app::Event;
use crate::base::ids::CallId;
use crate::base::limits::{TASK_BYTES_MAX, TASKS_PER_CALL_MAX};
use crate::base::task::{Task, TaskError, TaskId, TaskOutcome, TaskRun};
use crate::base::time::{Duration, Instant, millis};
use crate::io::Output;

/// How long past its time the core waits for the shell's word that a run was not done in it.
const GRACE: Duration = Duration::from_secs(1);

/// How far a task has come at this owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not in a record yet.
    New,
    /// Its record is under way.
    Held,
    /// It runs, until then at most.
    Running(Instant),
}

#[derive(Debug)]
struct Open {
    number: u32,
    id: TaskId,
    task: Task,
    stage: Stage,
}

/// The tasks of one call that have not come back.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    next: u32,
    open: Vec<Open>,
    /// What could not even begin, until the application hears of it.
    refused: Vec<(TaskId, TaskError)>,
}

/// The same in a record: each to be begun anew by whoever brings it to life.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct TasksImage {
    next: u32,
    open: Vec<TaskImage>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TaskImage {
    number: u32,
    id: TaskId,
    name: String,
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    timeout_ms: u32,
}

impl TasksImage {
    /// Number and function of each.
    pub(super) fn names(&self) -> Vec<(u32, String)> {
        let each = self.open.iter();
        each.map(|one| (one.number, one.name.clone())).collect()
    }
}

impl Tasks {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Number and function of each.
    pub(super) fn names(&self) -> Vec<(u32, String)> {
        let each = self.open.iter();
        each.map(|one| (one.number, one.task.name.clone()))
            .collect()
    }

    pub(super) fn image(&self) -> TasksImage {
        let open = self.open.iter().map(|one| TaskImage {
            number: one.number,
            id: one.id,
            name: one.task.name.clone(),
            payload: one.task.payload.to_vec(),
            timeout_ms: millis(one.task.timeout),
        });
        TasksImage {
            next: self.next,
            open: open.collect(),
        }
    }

    pub(super) fn restore(image: TasksImage) -> Self {
        let open = image.open.into_iter().map(|one| Open {
            number: one.number,
            id: one.id,
            task: Task {
                name: one.name,
                payload: one.payload.into(),
                timeout: Duration::from_millis(u64::from(one.timeout_ms)),
            },
            stage: Stage::New,
        });
        Self {
            next: image.next,
            open: open.collect(),
            refused: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, id: TaskId, task: Task) {
        self.cancel(id);
        if self.open.len() >= TASKS_PER_CALL_MAX {
            self.refused.push((id, TaskError::TooMany));
        } else if task.size() > TASK_BYTES_MAX {
            self.refused.push((id, TaskError::TooLarge));
        } else {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            let stage = Stage::New;
            self.open.push(Open {
                number,
                id,
                task,
                stage,
            });
        }
    }

    pub(super) fn cancel(&mut self, id: TaskId) {
        self.open.retain(|one| one.id != id);
        self.refused.retain(|(other, _)| *other != id);
    }

    /// None is left, and none is numbered as one before was.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.refused.clear();
    }

    /// What could not begin and the application has not heard of.
    pub(super) fn take_refused(&mut self) -> Option<Event> {
        let (id, why) = self.refused.pop()?;
        let outcome = Err(why);
        Some(Event::Task { id, outcome })
    }

    /// The tasks whose record has just been written.
    pub(super) fn take_new(&mut self) -> Vec<u32> {
        let new = self.open.iter_mut().filter(|one| one.stage == Stage::New);
        new.map(|one| {
            one.stage = Stage::Held;
            one.number
        })
        .collect()
    }

    fn begin(&mut self, number: u32, now: Instant) -> Option<Task> {
        let mut open = self.open.iter_mut();
        let one = open.find(|one| one.number == number && one.stage == Stage::Held)?;
        one.stage = Stage::Running(until(now, one.task.timeout));
        Some(one.task.clone())
    }

    fn finish(&mut self, number: u32, outcome: TaskOutcome) -> Option<Event> {
        let runs = |one: &Open| one.number == number && matches!(one.stage, Stage::Running(_));
        let place = self.open.iter().position(runs)?;
        let Open { id, .. } = self.open.remove(place);
        let large = |bytes: &bytes::Bytes| bytes.len() > TASK_BYTES_MAX;
        let outcome = if outcome.as_ref().is_ok_and(large) {
            Err(TaskError::TooLarge)
        } else {
            outcome
        };
        Some(Event::Task { id, outcome })
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let each = self.open.iter();
        each.filter_map(|one| match one.stage {
            Stage::Running(until) => Some(until),
            Stage::New | Stage::Held => None,
        })
        .min()
    }

    /// The runs that nobody has heard of in their time.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<Event> {
        let late = |one: &Open| matches!(one.stage, Stage::Running(until) if until <= now);
        let taken = self.open.extract_if(.., |one| late(one));
        taken
            .map(|Open { id, .. }| Event::Task {
                id,
                outcome: Err(TaskError::TimedOut),
            })
            .collect()
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "Instant saturates")]
fn until(now: Instant, timeout: Duration) -> Instant {
    now + timeout + GRACE
}

impl Shard {
    /// The gate has let a task out.
    pub(super) fn begin_task(&mut self, key: CallId, number: u32, now: Instant) {
        let epoch = self.cluster.epoch(key);
        let call = self.calls.get_mut(&key);
        let task = call.and_then(|call| call.tasks.begin(number, now));
        // Taken back meanwhile, there is nothing to do.
        if let (Some(task), Some(epoch)) = (task, epoch) {
            self.outputs.push_back(Output::Task(TaskRun {
                key,
                number,
                epoch,
                task,
            }));
            self.after(key, now);
        }
    }

    /// A task has come back.
    pub(super) fn on_task_done(
        &mut self,
        key: CallId,
        (number, epoch): (u32, u32),
        outcome: TaskOutcome,
        now: Instant,
    ) {
        // Begun by an owner that is none any more: whoever is will run it itself.
        if !self.cluster.is_active(key) || self.cluster.epoch(key) != Some(epoch) {
            return;
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let over = call.sip.ended().is_some();
        let Some(event) = call.tasks.finish(number, outcome) else {
            return;
        };
        let leg = call.sip.first_name();
        if !over {
            self.tell_app(key, leg, event, now);
        }
        self.touch(key, now);
        self.settle(key, false, now);
    }

    /// Tasks whose record has been written go to the gate.
    pub(super) fn new_tasks(&mut self, key: CallId) -> Vec<Held> {
        let call = self.calls.get_mut(&key);
        let numbers = call.map(|call| call.tasks.take_new()).unwrap_or_default();
        numbers.into_iter().map(Held::Task).collect()
    }
}
