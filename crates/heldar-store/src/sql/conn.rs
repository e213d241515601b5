//! A connection to either engine, and how each is set up.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode,
};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor, Postgres, Sqlite};

use super::{Arg, Command, Row};
use crate::error::{ErrorKind, StoreError};

/// How long a write waits for a lock on the database file that another process holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one statement may take on PostgreSQL before its connection counts as lost; a network that swallows packets
/// tells nothing.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

/// What a SQLite connection is for; decides its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SqliteUse {
    /// The first one: may create the file.
    Create,
    /// The writer or the checkpointer of an existing file. A file that vanished is not made anew.
    Write,
    /// A reader.
    Read,
}

/// Options of a SQLite connection.
///
/// Automatic checkpoints are off on every connection: the checkpointer runs beside the commits. The log is cut to what
/// it holds at each restart, so that its file length is its true size.
pub(crate) fn sqlite_options(path: &Path, purpose: SqliteUse) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .create_if_missing(purpose == SqliteUse::Create)
        .disable_statement_logging();
    match purpose {
        SqliteUse::Read => options
            .read_only(true)
            .pragma("cache_size", "-512")
            .statement_cache_capacity(32)
            .row_buffer_size(256)
            .thread_name(|_| "store-reader".to_owned()),
        SqliteUse::Create | SqliteUse::Write => options
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", "0")
            .pragma("cache_size", "-2048")
            .statement_cache_capacity(64)
            .thread_name(|_| "store-writer".to_owned()),
    }
}

/// Options of a PostgreSQL connection. Compiling plans costs more than any of our statements.
///
/// # Errors
/// A URL that cannot be read.
pub(crate) fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|_| StoreError::new(ErrorKind::Internal, "the database URL cannot be read"))?;
    Ok(options
        .application_name("heldar")
        .options([("jit", "off"), ("synchronous_commit", "on")])
        .statement_cache_capacity(128)
        .disable_statement_logging())
}

/// A connection of its own, outside of any pool.
pub(crate) enum Conn {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

impl Conn {
    pub(crate) async fn sqlite(options: &SqliteConnectOptions) -> Result<Conn, StoreError> {
        Ok(Conn::Sqlite(Box::new(options.connect().await?)))
    }

    pub(crate) async fn postgres(options: &PgConnectOptions) -> Result<Conn, StoreError> {
        let connected = limited(options.connect()).await?;
        Ok(Conn::Postgres(Box::new(connected)))
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) async fn execute(&mut self, command: Command) -> Result<u64, StoreError> {
        match self {
            Conn::Sqlite(conn) => {
                let query = sqlx::query_with(AssertSqlSafe(command.text), sqlite_arguments(command.args)?);
                Ok(query.execute(&mut **conn).await?.rows_affected())
            }
            Conn::Postgres(conn) => {
                let query = sqlx::query_with(AssertSqlSafe(command.text), postgres_arguments(command.args)?);
                Ok(limited(query.execute(&mut **conn)).await?.rows_affected())
            }
        }
    }

    /// Runs a statement and collects its rows.
    pub(crate) async fn rows(&mut self, command: Command) -> Result<Vec<Row>, StoreError> {
        match self {
            Conn::Sqlite(conn) => sqlite_rows(&mut **conn, command).await,
            Conn::Postgres(conn) => limited(postgres_rows(&mut **conn, command)).await,
        }
    }

    /// Runs a statement that has at most one row.
    pub(crate) async fn row(&mut self, command: Command) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(command).await?.into_iter().next())
    }

    /// Runs statements that have no values and no rows.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            Conn::Sqlite(conn) => {
                sqlx::raw_sql(text).execute(&mut **conn).await?;
            }
            Conn::Postgres(conn) => {
                limited(sqlx::raw_sql(text).execute(&mut **conn)).await?;
            }
        }
        Ok(())
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Conn::Sqlite(conn) => Ok(conn.close().await?),
            Conn::Postgres(conn) => Ok(limited(conn.close()).await?),
        }
    }
}

/// Bounds the time of one exchange with a server.
async fn limited<T, E>(exchange: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
where
    StoreError: From<E>,
{
    match tokio::time::timeout(STATEMENT_LIMIT, exchange).await {
        Ok(outcome) => Ok(outcome?),
        Err(_elapsed) => {
            Err(StoreError::new(ErrorKind::Unavailable, "the database server did not answer in time"))
        }
    }
}

/// Rows from a SQLite connection or pool.
pub(crate) async fn sqlite_rows<'e, E>(executor: E, command: Command) -> Result<Vec<Row>, StoreError>
where
    E: Executor<'e, Database = Sqlite>,
{
    let query = sqlx::query_with(AssertSqlSafe(command.text), sqlite_arguments(command.args)?);
    let rows = query.fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

/// Rows from a PostgreSQL connection or pool.
pub(crate) async fn postgres_rows<'e, E>(executor: E, command: Command) -> Result<Vec<Row>, StoreError>
where
    E: Executor<'e, Database = Postgres>,
{
    let query = sqlx::query_with(AssertSqlSafe(command.text), postgres_arguments(command.args)?);
    let rows = query.fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

/// PostgreSQL stores no NUL in text; refused on both engines, so that both behave the same.
fn without_nul(text: Option<String>) -> Result<Option<String>, StoreError> {
    match text {
        Some(text) if text.contains('\0') => {
            Err(StoreError::new(ErrorKind::Internal, "text with a NUL character cannot be stored"))
        }
        text => Ok(text),
    }
}

fn sqlite_arguments(args: Vec<Arg>) -> Result<SqliteArguments, StoreError> {
    let mut out = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Int(value) => out.add(value),
            Arg::Text(value) => out.add(without_nul(value)?),
            Arg::Blob(value) => out.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(out)
}

fn postgres_arguments(args: Vec<Arg>) -> Result<PgArguments, StoreError> {
    let mut out = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Int(value) => out.add(value),
            Arg::Text(value) => out.add(without_nul(value)?),
            Arg::Blob(value) => out.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(out)
}
