//! What makes a batch the same as one before (perception.md 8.5).

use std::fmt;
use std::sync::Arc;

use heldar_base::CameraId;

use super::Batch;
use crate::TaskId;

/// What a batch counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskKey {
    /// A task.
    Task(TaskId),
    /// All that comes for a type of one camera without naming a task.
    Type(Arc<str>),
}

impl TaskKey {
    /// The task, if it is one.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            TaskKey::Task(task) => Some(*task),
            TaskKey::Type(_) => None,
        }
    }
}

impl fmt::Display for TaskKey {
    /// As stored: the id of the task, or `t:` and the type, which no id begins with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskKey::Task(task) => task.fmt(f),
            TaskKey::Type(task_type) => write!(f, "t:{task_type}"),
        }
    }
}

/// What must be unique for as long as the batch is kept. A batch without frame id has none: it is never a duplicate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// The camera.
    pub camera: CameraId,
    /// What it counts for.
    pub task: TaskKey,
    /// The picture, with its namespace ([`frame_key`]).
    pub frame: String,
    /// The part.
    pub part: u8,
}

/// The batch names a task that is missing, or not of its camera and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task_id is not a task of this camera and type")]
pub struct TaskMismatch;

/// The frame id of a worker in the namespace of workers.
pub fn frame_key(frame_id: &str) -> String {
    format!("w:{frame_id}")
}

/// What a batch counts for: the task of its ticket, else the one that it names, else the one that its frame id begins
/// with, else its type alone. `is_of_slot` tells whether a task exists and is of the batch's camera and type.
///
/// # Errors
/// [`TaskMismatch`], a conflict.
pub fn task_key(batch: &Batch, is_of_slot: impl Fn(TaskId) -> bool) -> Result<TaskKey, TaskMismatch> {
    if let Some(task) = batch.ticket_task {
        return Ok(TaskKey::Task(task));
    }
    if let Some(text) = &batch.task_id {
        let named = TaskId::parse(text.trim()).ok().filter(|task| is_of_slot(*task));
        return named.map(TaskKey::Task).ok_or(TaskMismatch);
    }
    let prefix = batch.frame_id.as_deref().and_then(|id| id.split_once(':')).map(|(prefix, _)| prefix);
    let conventional = prefix.and_then(|text| TaskId::parse(text).ok()).filter(|task| is_of_slot(*task));
    Ok(conventional.map_or_else(|| TaskKey::Type(batch.task_type.as_str().into()), TaskKey::Task))
}
