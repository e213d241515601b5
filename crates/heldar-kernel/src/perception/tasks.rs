//! AI tasks: made, changed and deleted, in the store and in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use heldar_base::{CameraId, Clock as _, PublicId, Scope, WallTime};
use heldar_perception::task::{NewTask, TaskDefaults, TaskPatch, TaskSpec};
use heldar_perception::{Refused, TaskId};
use heldar_store::op::{CreateTask, DeleteTask, OnTaken, UpdateTask};
use heldar_store::{AiTask, Attached, ErrorKind, Store, StoreError, TaskOrigin};
use serde_json::json;

use super::{KnownTask, fields, known, motion};
use crate::engine::journal::random_bits;
use crate::kernel::Kernel;
use crate::registry::{Author, Target};

/// A task cannot be changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A field that is not acceptable.
    #[error("{0}")]
    Refused(Refused),
    /// There is no such task, or no such camera in use.
    #[error("no such task")]
    NotFound,
    /// Another task of the camera has that type and profile.
    #[error("the camera has such a task already")]
    Taken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a task that was asked for.
#[derive(Clone, Debug)]
pub enum TaskChange {
    /// It is new.
    Made(Arc<KnownTask>),
    /// There was one with this camera, type and profile.
    WasThere(Arc<KnownTask>),
}

/// Every stored task.
pub(super) async fn load(store: &Store) -> Result<BTreeMap<TaskId, Arc<KnownTask>>, StoreError> {
    let mut tasks = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.tasks(&Scope::All, after, heldar_store::PAGE_LIMIT).await?;
        for row in page.rows {
            let task = known(row);
            tasks.insert(task.task.id, Arc::new(task));
        }
        after = page.next;
        if after.is_none() {
            return Ok(tasks);
        }
    }
}

fn public(id: TaskId) -> PublicId {
    PublicId::new(AiTask::PREFIX, id.bits())
}

impl Kernel {
    fn task_defaults(&self) -> TaskDefaults {
        let settings = &self.settings.perception;
        TaskDefaults { fps: settings.default_fps, width: i64::from(settings.default_width) }
    }

    fn keep(&self, row: AiTask) -> Arc<KnownTask> {
        let task = Arc::new(known(row));
        let mut tasks = self.perception.tasks.write().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(task.task.id, task.clone());
        task
    }

    /// The task that a new camera begins with, if the server looks for motion.
    pub(crate) fn first_task(&self, camera: &CameraId, now: WallTime) -> Option<CreateTask> {
        let settings = &self.settings.perception;
        (settings.enabled && settings.motion).then(|| CreateTask {
            id: public(TaskId::new(random_bits())),
            camera: camera.clone(),
            fields: motion::first_task(),
            origin: TaskOrigin::Server,
            on_taken: OnTaken::Answer,
            now,
        })
    }

    /// It was made with its camera.
    pub(crate) fn keep_first_task(&self, row: AiTask) {
        self.keep(row);
        self.perception.sampler.wake();
    }

    /// Makes a task of a camera, or answers with the one that has its place; a new plan of sampling is in force then.
    ///
    /// # Errors
    /// [`TaskError`].
    pub async fn create_task(
        &self,
        author: &Author,
        camera: &CameraId,
        body: NewTask,
    ) -> Result<TaskChange, TaskError> {
        let spec = body.check(&self.task_defaults()).map_err(TaskError::Refused)?;
        let _turn = self.perception.changing.lock().await;
        let is_it = |known: &Arc<KnownTask>| {
            let (task, other) = (&known.task, &spec);
            task.camera == *camera
                && task.spec.task_type == other.task_type
                && task.spec.profile == other.profile
        };
        if let Some(there) = self.perception.tasks().into_iter().find(is_it) {
            return Ok(TaskChange::WasThere(there));
        }
        let now = self.clock.wall();
        let id = TaskId::new(random_bits());
        let detail = json!({ "camera_id": camera, "task_type": spec.task_type });
        let text = id.to_string();
        let audit = author.did(now, "create_ai_task", Target { kind: "ai_task", id: &text }, detail);
        let create = CreateTask {
            id: public(id),
            camera: camera.clone(),
            fields: fields(&spec),
            origin: TaskOrigin::Person,
            on_taken: OnTaken::Refuse,
            now,
        };
        let attached = Attached { audit: Some(audit), events: Vec::new() };
        let made = self.store.manage(create, attached).await.map_err(task_error)?;
        let task = self.keep(made.value.task);
        self.replan().await;
        Ok(TaskChange::Made(task))
    }

    /// Changes a task; a new plan of sampling is in force then.
    ///
    /// # Errors
    /// [`TaskError`].
    pub async fn change_task(
        &self,
        author: &Author,
        id: TaskId,
        patch: TaskPatch,
    ) -> Result<Arc<KnownTask>, TaskError> {
        let _turn = self.perception.changing.lock().await;
        let before = self.perception.task(id).ok_or(TaskError::NotFound)?;
        let mut spec: TaskSpec = before.task.spec.clone();
        patch.apply(&mut spec).map_err(TaskError::Refused)?;
        let now = self.clock.wall();
        let text = id.to_string();
        let detail = json!({ "camera_id": before.task.camera, "task_type": spec.task_type });
        let audit = author.did(now, "update_ai_task", Target { kind: "ai_task", id: &text }, detail);
        let update = UpdateTask { id: public(id), fields: fields(&spec), revision: before.revision, now };
        let attached = Attached { audit: Some(audit), events: Vec::new() };
        let changed = self.store.manage(update, attached).await.map_err(task_error)?;
        let task = self.keep(changed.value);
        self.replan().await;
        Ok(task)
    }

    /// Deletes a task, and its lease with it.
    ///
    /// # Errors
    /// [`TaskError`].
    pub async fn delete_task(&self, author: &Author, id: TaskId) -> Result<(), TaskError> {
        let _turn = self.perception.changing.lock().await;
        let before = self.perception.task(id).ok_or(TaskError::NotFound)?;
        let text = id.to_string();
        let detail = json!({ "camera_id": before.task.camera, "task_type": before.task.spec.task_type });
        let target = Target { kind: "ai_task", id: &text };
        let audit = author.did(self.clock.wall(), "delete_ai_task", target, detail);
        let attached = Attached { audit: Some(audit), events: Vec::new() };
        self.store.manage(DeleteTask { id: public(id) }, attached).await.map_err(task_error)?;
        self.perception.tasks.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.perception.forget_task(id);
        self.replan().await;
        Ok(())
    }

    /// The tasks of a camera that was deleted are gone with it.
    pub(crate) fn forget_tasks_of(&self, camera: &CameraId) {
        let mut gone = Vec::new();
        let mut tasks = self.perception.tasks.write().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|id, known| {
            let stays = known.task.camera != *camera;
            if !stays {
                gone.push(*id);
            }
            stays
        });
        drop(tasks);
        gone.into_iter().for_each(|id| self.perception.forget_task(id));
        self.camera_is_active(camera, false);
    }

    /// Whether tasks of a camera are worked on from now on.
    pub(crate) fn camera_is_active(&self, camera: &CameraId, is_active: bool) {
        let mut active = self.perception.active.write().unwrap_or_else(PoisonError::into_inner);
        let changed = if is_active { active.insert(camera.clone()) } else { active.remove(camera) };
        drop(active);
        if changed {
            self.perception.sampler.wake();
        }
    }
}

fn task_error(error: StoreError) -> TaskError {
    match error.kind() {
        ErrorKind::NotFound => TaskError::NotFound,
        ErrorKind::Conflict => TaskError::Taken,
        _ => TaskError::Store(error),
    }
}
