//! The readers: connections to either engine that are shared.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::Semaphore;

use super::conn::postgres_rows;
use super::{Command, Row, SqliteConn, SqliteUse, app};
use crate::app::{AppRow, AppValue};
use crate::error::{ErrorKind, StoreError};

/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for a server, which may be away: who asks is told soon.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection to a server that nobody used for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Readers of a SQLite file.
const SQLITE_READERS: u32 = 4;

/// Connections for reading; opened when needed.
#[derive(Clone)]
pub(crate) enum Readers {
    Sqlite(SqliteReaders),
    Postgres(PgPool),
}

impl Readers {
    pub(crate) fn postgres(options: PgConnectOptions, max_connections: u32) -> Readers {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.max(1))
            .acquire_timeout(SERVER_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT);
        // A read that takes longer than this is answered as busy; one that writes is refused.
        let limits = [("statement_timeout", "30s"), ("default_transaction_read_only", "on")];
        Readers::Postgres(pool.connect_lazy_with(options.options(limits)))
    }

    /// Runs a query and collects its rows.
    pub(crate) async fn rows(&self, command: Command) -> Result<Vec<Row>, StoreError> {
        match self {
            Readers::Sqlite(readers) => readers.rows(command).await,
            Readers::Postgres(pool) => {
                postgres_rows(pool, command).await.map_err(|error| busy_or_away(pool, error))
            }
        }
    }

    /// Runs a query of an app, whose text for this engine is given, and collects at most so many rows; more are an
    /// error.
    pub(crate) async fn app_rows(
        &self,
        text: &'static str,
        values: Vec<AppValue>,
        limit: usize,
    ) -> Result<Vec<AppRow>, StoreError> {
        match self {
            Readers::Sqlite(readers) => readers.run(move |conn| conn.app_rows(text, &values, limit)).await,
            Readers::Postgres(pool) => app::postgres_rows(pool, text, &values, limit)
                .await
                .map_err(|error| busy_or_away(pool, error)),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Readers::Sqlite(readers) => readers.close().await,
            Readers::Postgres(pool) => pool.close().await,
        }
    }
}

/// A pool that could not even connect is not exhausted: the server is away.
fn busy_or_away(pool: &PgPool, error: StoreError) -> StoreError {
    let exhausted = pool.size() >= pool.options().get_max_connections();
    if error.kind() == ErrorKind::Busy && !exhausted { error.into_unavailable() } else { error }
}

/// Readers of a SQLite file. Reads run on the runtime's threads for blocking work, as many at once as there are
/// connections.
#[derive(Clone)]
pub(crate) struct SqliteReaders(Arc<Shared>);

struct Shared {
    path: PathBuf,
    purpose: SqliteUse,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    /// Open connections that are not in use.
    idle: Mutex<Vec<SqliteConn>>,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(&self, read: impl FnOnce(&mut SqliteConn) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let kept = self.idle().pop();
        let mut conn = match kept {
            Some(conn) => conn,
            None => SqliteConn::open(&self.path, self.purpose)?,
        };
        let outcome = read(&mut conn);
        // A connection to a file that fails may be one to a file that is gone.
        if !matches!(&outcome, Err(error) if error.kind() == ErrorKind::Unavailable) {
            self.idle().push(conn);
        }
        outcome
    }
}

impl SqliteReaders {
    /// `purpose` is one of reading.
    pub(crate) fn new(path: PathBuf, purpose: SqliteUse) -> Self {
        let permits = Arc::new(Semaphore::new(SQLITE_READERS as usize));
        SqliteReaders(Arc::new(Shared { path, purpose, permits, idle: Mutex::default() }))
    }

    async fn rows(&self, command: Command) -> Result<Vec<Row>, StoreError> {
        self.run(move |conn| conn.rows(&command)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut SqliteConn) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let acquired =
            tokio::time::timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.0.permits).acquire_owned()).await;
        let permit = acquired
            .map_err(|_elapsed| StoreError::new(ErrorKind::Busy, "the database has no connection free"))?
            .map_err(|_closed| StoreError::new(ErrorKind::Unavailable, "the store is closed"))?;
        let shared = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || {
            let outcome = shared.run(read);
            // Given back when the connection is, even if nobody waits for the answer any more.
            drop(permit);
            outcome
        });
        read.await.map_err(|error| StoreError::caused(ErrorKind::Internal, "a read did not end", error))?
    }

    /// Waits for reads that are running and closes the connections.
    async fn close(&self) {
        // An error means that they are closed already.
        let _all = self.0.permits.acquire_many(SQLITE_READERS).await;
        self.0.permits.close();
        self.0.idle().clear();
    }
}
