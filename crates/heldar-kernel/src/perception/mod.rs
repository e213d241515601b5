//! Perception: tasks, who works on them, the frames they get and the results they bring.
//!
//! Owns: the truth in memory that pulls and results are checked against, kept true by the writes that change it. Every
//! change commits first. Never: decides what the pure crate `heldar-perception` decides; SQL; HTTP.

pub(crate) mod fanout;
mod frames;
mod ingest;
mod leases;
mod meters;
pub(crate) mod motion;
mod narrow;
mod sampler;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use heldar_base::{CameraId, WallTime};
use heldar_perception::leases::LeaseBook;
use heldar_perception::task::{Task, TaskSpec};
use heldar_perception::{TaskId, ticket};
use heldar_store::{AiTask, AiTaskFields, Store};

pub use fanout::ConsumerView;
pub use frames::{FrameError, FrameReply, Wanted};
pub use ingest::{IngestError, Ingested, Outcome, Room};
pub use leases::credential_name;
pub use leases::{Held, LeaseError, LeaseView, WorkerView};
pub use narrow::narrower;
pub use sampler::{SamplerView, TaskDelivery};
pub(crate) use sampler::{mirror, run};
pub use tasks::{TaskChange, TaskError};

use crate::apps::DetectionConsumer;
use crate::secrets::{Sealer, SecretError};

/// A task with what only its owner sees of it.
#[derive(Clone, Debug)]
pub struct KnownTask {
    /// As the decisions see it.
    pub task: Task,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts changes.
    pub revision: i64,
}

/// Everything that perception keeps in memory.
pub struct Perception {
    tasks: RwLock<BTreeMap<TaskId, Arc<KnownTask>>>,
    /// Cameras whose tasks are worked on: those that are enabled and not removed.
    active: RwLock<std::collections::BTreeSet<CameraId>>,
    book: RwLock<LeaseBook>,
    /// One plan of leases at a time, from the look at the book to the commit.
    leasing: tokio::sync::Mutex<()>,
    /// One change of tasks at a time.
    changing: tokio::sync::Mutex<()>,
    keys: RwLock<ticket::Keys>,
    intake: ingest::Intake,
    pub(crate) fanout: fanout::Fanout,
    motion: motion::Motion,
    pub(crate) sampler: sampler::Sampler,
    meters: meters::Meters,
}

impl Perception {
    /// With what is stored.
    ///
    /// # Errors
    /// The store cannot be read, or the key of tickets not opened.
    pub async fn open(
        settings: &heldar_config::Settings,
        store: &Store,
        sealer: &Sealer,
        now: WallTime,
        consumers: Vec<Arc<dyn DetectionConsumer>>,
        metrics: &heldar_http::metrics::Registry,
    ) -> Result<Self, SecretError> {
        let tasks = tasks::load(store).await?;
        let book = leases::load(store, &tasks).await?;
        Ok(Perception {
            tasks: RwLock::new(tasks),
            active: RwLock::default(),
            book: RwLock::new(book),
            leasing: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            keys: RwLock::new(frames::open_keys(store, sealer, now).await?),
            intake: ingest::Intake::open(settings, store).await?,
            fanout: fanout::Fanout::new(consumers),
            motion: motion::Motion::new(settings),
            sampler: sampler::Sampler::new(settings),
            meters: meters::Meters::new(metrics),
        })
    }

    /// A task, enabled or not.
    pub fn task(&self, id: TaskId) -> Option<Arc<KnownTask>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> Vec<Arc<KnownTask>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether a camera is enabled and not removed.
    pub fn is_active(&self, camera: &CameraId) -> bool {
        self.active.read().unwrap_or_else(PoisonError::into_inner).contains(camera)
    }

    /// Enabled tasks on enabled cameras that workers share, by id: all but what the server works on itself.
    fn shared_tasks(&self) -> Vec<Arc<KnownTask>> {
        let mut tasks = self.active_tasks();
        tasks.retain(|known| !self.motion.serves(&known.task));
        tasks
    }

    /// Enabled tasks on enabled cameras, by id.
    pub fn active_tasks(&self) -> Vec<Arc<KnownTask>> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut tasks = self.tasks();
        tasks.retain(|known| known.task.spec.enabled && active.contains(&known.task.camera));
        tasks
    }
}

/// A stored task as the decisions see it.
fn known(row: AiTask) -> KnownTask {
    let AiTask { id, camera, fields, created_at, updated_at, revision, .. } = row;
    let spec = TaskSpec {
        task_type: fields.task_type,
        profile: fields.stream_profile,
        fps: fields.fps,
        width: fields.width,
        config: fields.config,
        enabled: fields.enabled,
        warm: fields.warm,
    };
    KnownTask { task: Task { id: TaskId::new(id.bits()), camera, spec }, created_at, updated_at, revision }
}

/// A task as it is stored.
fn fields(spec: &TaskSpec) -> AiTaskFields {
    AiTaskFields {
        task_type: spec.task_type.clone(),
        enabled: spec.enabled,
        stream_profile: spec.profile,
        fps: spec.fps,
        width: spec.width,
        config: spec.config.clone(),
        warm: spec.warm,
    }
}
