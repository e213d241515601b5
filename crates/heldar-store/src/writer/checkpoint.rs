//! Checkpoints of the SQLite log, beside the commits.
//!
//! Automatic checkpoints are off. A connection of its own copies the log into the database passively, which holds
//! neither readers nor the writer up. When the log is copied whole and no reader is in it, SQLite starts it anew by
//! itself; a log that never gets there because writes do not pause is restarted by the writer between two groups.
//! SQLite lets one connection checkpoint at a time and refuses a second at once; so the two take turns here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Link;
use crate::error::StoreError;
use crate::sql::{Conn, SqliteUse, sqlite_options, statements};

statements! {
    SQLITE_RESTART = "PRAGMA wal_checkpoint(RESTART)";
}

/// Length of the log from which it is copied without waiting.
const LARGE_BYTES: u64 = 4 << 20;
/// Length of the log above which the writer restarts it.
const LIMIT_BYTES: u64 = 32 << 20;
/// How long a commit stays in the log alone when little is written.
const CALM: Duration = Duration::from_secs(10);
/// Pause after an attempt to restart the log that failed.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What the writer and the checkpointing task share.
#[derive(Default)]
struct Shared {
    /// There is something to copy.
    committed: Notify,
    /// There is much to copy.
    large: Notify,
    /// Held by whoever checkpoints.
    turn: Mutex<()>,
}

/// The writer's side of checkpointing.
pub(crate) struct Checkpointer {
    log: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    next_restart: Instant,
}

impl Checkpointer {
    /// Starts the checkpointing task for a database file.
    pub(crate) fn start(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(copy_log(database.to_owned(), Arc::clone(&shared)));
        Checkpointer { log: log.into(), shared, task, next_restart: Instant::now() }
    }

    /// Called by the writer between groups.
    pub(super) async fn committed(&mut self, link: &mut Link) {
        self.shared.committed.notify_one();
        // The log is cut when it starts anew, so that its length is what it holds. One system call.
        let length = std::fs::metadata(&self.log).map_or(0, |meta| meta.len());
        if length > LARGE_BYTES {
            self.shared.large.notify_one();
        }
        if length > LIMIT_BYTES && Instant::now() >= self.next_restart {
            let _turn = self.shared.turn.lock().await;
            let Ok(conn) = link.conn() else { return };
            let restarted = restart_log(conn).await;
            if !matches!(restarted, Ok(true)) {
                tracing::warn!(?restarted, length, "the database log could not be restarted");
                self.next_restart = Instant::now() + RESTART_PAUSE;
            }
        }
    }

    /// Ends the task.
    pub(super) async fn stop(self) {
        self.task.abort();
        // Its end is all that is of interest.
        let _aborted = self.task.await;
    }
}

/// Copies what is left, so that the log starts anew with the next group; false when a reader kept it. Waits for
/// readers, but not long: reads are short.
async fn restart_log(conn: &mut Conn) -> Result<bool, StoreError> {
    conn.script("PRAGMA busy_timeout = 100").await?;
    let outcome = conn.row(SQLITE_RESTART.with(Vec::new())).await;
    conn.script("PRAGMA busy_timeout = 15000").await?;
    // The first column tells whether something was in the way.
    outcome?.map_or(Ok(false), |row| Ok(row.columns().int()? == 0))
}

async fn copy_log(database: PathBuf, shared: Arc<Shared>) {
    let mut conn = None;
    loop {
        shared.committed.notified().await;
        // Many commits are copied at once, unless there is much to copy.
        let _early = tokio::time::timeout(CALM, shared.large.notified()).await;
        let _turn = shared.turn.lock().await;
        if let Err(error) = copy_once(&database, &mut conn).await {
            tracing::debug!(?error, "checkpoint failed");
            conn = None;
        }
    }
}

async fn copy_once(database: &Path, conn: &mut Option<Conn>) -> Result<(), StoreError> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(Conn::sqlite(&sqlite_options(database, SqliteUse::Write)).await?),
    };
    conn.script("PRAGMA wal_checkpoint(PASSIVE)").await
}
