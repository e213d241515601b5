//! AI tasks, the workers that take them, and who holds which.

use heldar_base::{CameraId, PublicId, StreamKind, WallTime};

use super::words;

words! {
    /// Who asked for a task.
    TaskOrigin {
        /// A person or program, through the API.
        Person = "person",
        /// The server, for a new camera.
        Server = "server",
    }
    /// How a worker gets its tasks.
    Transport {
        /// It reads the list of tasks.
        Discovery = "discovery",
        /// It leases tasks.
        Lease = "lease",
        /// It holds a socket.
        Stream = "stream",
    }
}

/// What can be set of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct AiTaskFields {
    /// What is to be done; any text that is not empty.
    pub task_type: String,
    /// Whether it is to be done now.
    pub enabled: bool,
    /// Which stream the pictures are of. With camera and type it is taken once.
    pub stream_profile: StreamKind,
    /// Pictures per second that are asked for, 0.02 to 30.
    pub fps: f64,
    /// Their width in pixels, 160 to 3840.
    pub width: u32,
    /// For the worker.
    pub config: serde_json::Value,
    /// Whether pictures are decoded also when nobody asks for them.
    pub warm: bool,
}

/// What is to be analysed of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct AiTask {
    /// Its id, with the prefix [`AiTask::PREFIX`].
    pub id: PublicId,
    /// Whose pictures.
    pub camera: CameraId,
    /// What can be set.
    pub fields: AiTaskFields,
    /// Who asked for it.
    pub origin: TaskOrigin,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts changes.
    pub revision: i64,
}

impl AiTask {
    /// Prefix of ids.
    pub const PREFIX: &'static str = "ai";
}

/// Names a worker: the id that it chose is its own only under its credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey {
    /// Id of the API key, or `system`; 1 to 128 characters.
    pub credential: String,
    /// As the worker calls itself; 1 to 256 characters.
    pub worker: String,
}

/// A worker as it last told.
#[derive(Clone, Debug, PartialEq)]
pub struct AiWorker {
    /// Which.
    pub key: WorkerKey,
    /// Its last heartbeat.
    pub last_seen: WallTime,
    /// First instant at which it counts as gone.
    pub live_until: WallTime,
    /// How it gets its tasks.
    pub transport: Transport,
    /// The types that it takes; `None`: any.
    pub task_types: Option<Vec<String>>,
    /// Strength relative to other workers, 0.01 to 100.
    pub capacity: f64,
    /// Tasks that it takes at most, 1 to 512.
    pub max_tasks: u32,
    /// The id of its leases, with the prefix [`TaskLease::PREFIX`].
    pub lease_id: Option<PublicId>,
}

/// Who holds a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLease {
    /// Which task.
    pub task: PublicId,
    /// The worker's id for all that it holds, with the prefix [`TaskLease::PREFIX`].
    pub lease_id: PublicId,
    /// Who.
    pub holder: WorkerKey,
    /// When it got the task.
    pub acquired_at: WallTime,
    /// When it last renewed it.
    pub renewed_at: WallTime,
    /// First instant at which it holds it no more.
    pub expires_at: WallTime,
}

impl TaskLease {
    /// Prefix of lease ids.
    pub const PREFIX: &'static str = "lse";
}
