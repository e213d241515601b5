//! The readers: a pool of connections to either engine.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::conn::{postgres_rows, sqlite_rows};
use super::{Command, Row};
use crate::error::StoreError;

/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that nobody used for so long gives its memory back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Readers of a SQLite file.
const SQLITE_READERS: u32 = 4;

/// Connections for reading; opened when needed.
#[derive(Clone)]
pub(crate) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Readers {
    pub(crate) fn sqlite(options: SqliteConnectOptions) -> Readers {
        let pool = SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            // A file does not hang up.
            .test_before_acquire(false);
        Readers::Sqlite(pool.connect_lazy_with(options))
    }

    pub(crate) fn postgres(options: PgConnectOptions, max_connections: u32) -> Readers {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT);
        // A read that takes longer than this is answered as busy.
        Readers::Postgres(pool.connect_lazy_with(options.options([("statement_timeout", "30s")])))
    }

    /// Runs a query and collects its rows.
    pub(crate) async fn rows(&self, command: Command) -> Result<Vec<Row>, StoreError> {
        match self {
            Readers::Sqlite(pool) => sqlite_rows(pool, command).await,
            Readers::Postgres(pool) => postgres_rows(pool, command).await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Readers::Sqlite(pool) => pool.close().await,
            Readers::Postgres(pool) => pool.close().await,
        }
    }
}
