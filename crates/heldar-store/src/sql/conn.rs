//! A connection to either engine, as the writer uses it.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor, Postgres};

use super::{Arg, Command, Row, SqliteConn, without_nul};
use crate::error::{ErrorKind, StoreError};

/// How long one statement may take on PostgreSQL before its connection counts as lost; a network that swallows packets
/// tells nothing.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

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

/// A connection of its own, outside of any pool. On SQLite every call blocks the thread.
pub(crate) enum Conn {
    Sqlite(SqliteConn),
    Postgres(Box<PgConnection>),
}

impl Conn {
    pub(crate) async fn postgres(options: &PgConnectOptions) -> Result<Conn, StoreError> {
        let connected = limited(options.connect()).await?;
        Ok(Conn::Postgres(Box::new(connected)))
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) async fn execute(&mut self, command: Command) -> Result<u64, StoreError> {
        match self {
            Conn::Sqlite(conn) => conn.execute(&command),
            Conn::Postgres(conn) => {
                let query = sqlx::query_with(AssertSqlSafe(command.text), postgres_arguments(command.args)?);
                Ok(limited(query.execute(&mut **conn)).await?.rows_affected())
            }
        }
    }

    /// Runs a statement and collects its rows.
    pub(crate) async fn rows(&mut self, command: Command) -> Result<Vec<Row>, StoreError> {
        match self {
            Conn::Sqlite(conn) => conn.rows(&command),
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
            Conn::Sqlite(conn) => conn.script(text),
            Conn::Postgres(conn) => {
                limited(sqlx::raw_sql(text).execute(&mut **conn)).await?;
                Ok(())
            }
        }
    }

    /// Begins or ends a transaction.
    pub(crate) async fn frame(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            Conn::Sqlite(conn) => conn.frame(text),
            Conn::Postgres(_) => self.script(text).await,
        }
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Conn::Sqlite(conn) => conn.close(),
            Conn::Postgres(conn) => limited(conn.close()).await,
        }
    }
}

/// Bounds the time of one exchange with a server.
pub(super) async fn limited<T, E>(exchange: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
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

/// Rows from a PostgreSQL connection or pool.
pub(crate) async fn postgres_rows<'e, E>(executor: E, command: Command) -> Result<Vec<Row>, StoreError>
where
    E: Executor<'e, Database = Postgres>,
{
    let query = sqlx::query_with(AssertSqlSafe(command.text), postgres_arguments(command.args)?);
    let rows = query.fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

fn postgres_arguments(args: Vec<Arg>) -> Result<PgArguments, StoreError> {
    let mut out = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Int(value) => out.add(value),
            Arg::Real(value) => out.add(value),
            Arg::Text(value) => {
                without_nul(value.as_deref())?;
                out.add(value)
            }
            Arg::Blob(value) => out.add(value),
            Arg::Ints(values) => out.add(values),
            Arg::Texts(values) => {
                values.iter().try_for_each(|value| without_nul(value.as_deref()))?;
                out.add(values)
            }
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(out)
}
