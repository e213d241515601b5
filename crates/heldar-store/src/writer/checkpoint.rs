//! Checkpoints of the SQLite log, beside the commits.
//!
//! Automatic checkpoints are off. A thread with a connection of its own copies the log into the database passively,
//! which holds neither readers nor the writer up. When the log is copied whole and no reader is in it, SQLite starts it
//! anew by itself; a log that never gets there because writes do not pause is restarted by the writer between two
//! groups. SQLite lets one connection checkpoint at a time and refuses a second at once; so the two take turns here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::sql::{Conn, SqliteConn, SqliteUse, statements};

statements! {
    SQLITE_COPY = "PRAGMA wal_checkpoint(PASSIVE)";
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

/// What the thread is to do.
#[derive(Default)]
struct Orders {
    /// There is something to copy.
    committed: bool,
    /// There is much to copy.
    large: bool,
    /// The thread is to end.
    stop: bool,
}

/// What the writer and the thread share.
#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    /// Rings when an order is new.
    bell: Condvar,
    /// Held by whoever checkpoints.
    turn: Mutex<()>,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to copy, and then a while for more; false when the thread is to end.
    fn wait(&self) -> bool {
        let mut orders = self.orders();
        while !orders.committed && !orders.stop {
            orders = self.bell.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.bell.wait_timeout_while(orders, CALM, |orders| !orders.large && !orders.stop);
        let (mut orders, _timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        orders.committed = false;
        orders.large = false;
        !orders.stop
    }
}

/// The writer's side of checkpointing.
pub(crate) struct Checkpointer {
    log: PathBuf,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    next_restart: Instant,
}

impl Checkpointer {
    /// Starts the thread for a database file.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start(database: &Path) -> std::io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let shared = Arc::new(Shared::default());
        let (path, orders) = (database.to_owned(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || copy_log(&path, &orders))?;
        Ok(Checkpointer { log: log.into(), shared, thread, next_restart: Instant::now() })
    }

    /// Called by the writer between groups. May wait for a checkpoint that is running, when the log is long.
    pub(super) fn committed(&mut self, conn: &mut Conn) {
        // The log is cut when it starts anew, so that its length is what it holds. One system call.
        let length = std::fs::metadata(&self.log).map_or(0, |meta| meta.len());
        {
            let mut orders = self.shared.orders();
            let large = length > LARGE_BYTES;
            if !orders.committed || (large && !orders.large) {
                orders.committed = true;
                orders.large |= large;
                self.shared.bell.notify_one();
            }
        }
        if length > LIMIT_BYTES
            && Instant::now() >= self.next_restart
            && let Conn::Sqlite(conn) = conn
        {
            let _turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let restarted = restart_log(conn);
            if !matches!(restarted, Ok(true)) {
                tracing::warn!(?restarted, length, "the database log could not be restarted");
                self.next_restart = Instant::now() + RESTART_PAUSE;
            }
        }
    }

    /// Ends the thread after what it is doing.
    pub(super) fn stop(self) {
        self.shared.orders().stop = true;
        self.shared.bell.notify_one();
        // A thread that panicked has ended as well.
        let _ended = self.thread.join();
    }
}

/// Copies what is left, so that the log starts anew with the next group; false when a reader kept it. Waits for
/// readers, but not long: reads are short.
fn restart_log(conn: &mut SqliteConn) -> Result<bool, StoreError> {
    conn.script("PRAGMA busy_timeout = 100")?;
    let outcome = conn.rows(&SQLITE_RESTART.with(Vec::new()));
    conn.script("PRAGMA busy_timeout = 15000")?;
    // The first column tells whether something was in the way.
    outcome?.first().map_or(Ok(false), |row| Ok(row.columns().int()? == 0))
}

/// Copies the log when told to, and once at the beginning. The connection stays open after a failure: while there is
/// one, a writer that lost its own finds the shared memory of the log, which cannot be made anew on a full disk.
fn copy_log(database: &Path, shared: &Shared) {
    let mut conn = None;
    loop {
        {
            let _turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = copy_once(database, &mut conn) {
                tracing::debug!(?error, "checkpoint failed");
            }
        }
        if !shared.wait() {
            return;
        }
    }
}

fn copy_once(database: &Path, conn: &mut Option<SqliteConn>) -> Result<(), StoreError> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(SqliteConn::open(database, SqliteUse::Write)?),
    };
    conn.rows(&SQLITE_COPY.with(Vec::new()))?;
    Ok(())
}
