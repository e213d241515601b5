//! Connections to a SQLite file. Every call blocks: the writer and the checkpointer have threads of their own, reads
//! run on threads for blocking work.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags};

use super::{Arg, Command, Row, Stmt, without_nul};
use crate::error::StoreError;

/// How long a write waits for a lock on the database file that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// What a SQLite connection is for; decides its memory and whether it may make the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SqliteUse {
    /// The first one: makes the file if there is none.
    Create,
    /// The writer or the checkpointer of an existing file. A file that vanished is not made anew.
    Write,
    /// A reader.
    Read,
    /// A reader of a store that nobody may have open: leaves no file beside the database that was not there.
    Look,
}

impl SqliteUse {
    const fn reads_only(self) -> bool {
        matches!(self, SqliteUse::Read | SqliteUse::Look)
    }
}

/// True when no process has the database open and nothing waits in its log: then the file alone is all of it, and
/// opening it as one that never changes makes neither a log nor its map.
fn is_at_rest(path: &Path) -> bool {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name)
    };
    beside("-shm").is_err() && beside("-wal").map_or(true, |log| log.len() == 0)
}

/// The path as a URI that says that the file does not change (sqlite.org/uri.html).
fn immutable_uri(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(uri, "%{byte:02x}");
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// A connection to a SQLite file.
pub(crate) struct SqliteConn(Connection);

impl SqliteConn {
    /// Opens a connection.
    ///
    /// Automatic checkpoints are off on every connection: the checkpointer runs beside the commits. The log is cut to
    /// what it holds when it starts anew, so that its file length is its true size.
    pub(crate) fn open(path: &Path, purpose: SqliteUse) -> Result<Self, StoreError> {
        let access = match purpose {
            SqliteUse::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            SqliteUse::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            SqliteUse::Read | SqliteUse::Look => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        // Each connection is used by one thread at a time.
        let access = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = if purpose == SqliteUse::Look && is_at_rest(path) {
            Connection::open_with_flags(immutable_uri(path), access | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(path, access)?
        };
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // Plans do not depend on bound values, so that a prepared statement is never prepared again for new ones.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.set_prepared_statement_cache_capacity(64);
        if purpose.reads_only() {
            conn.execute_batch("PRAGMA cache_size = -512")?;
        } else {
            let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            if pages == 0 {
                // Before anything is written to a new file; on an old one it would be a write that changes nothing,
                // and fail on a full disk.
                conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
            }
            conn.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0;
                 PRAGMA journal_size_limit = 0; PRAGMA cache_size = -2048",
            )?;
        }
        Ok(SqliteConn(conn))
    }

    /// A statement that is kept prepared.
    pub(super) fn prepare_cached(&self, text: &str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.0.prepare_cached(text)?)
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) fn execute(&mut self, command: &Command) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached(&command.text)?;
        bind(&mut statement, &command.args)?;
        Ok(statement.raw_execute()? as u64)
    }

    /// Runs a statement once for each list of values. Which value goes where is looked up once.
    pub(crate) fn execute_each(
        &mut self,
        stmt: Stmt,
        rows: impl Iterator<Item = Vec<Arg>>,
    ) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached(stmt.text())?;
        let places = places(&statement)?;
        let mut changed = 0;
        for args in rows {
            bind_places(&mut statement, &places, &args)?;
            changed += statement.raw_execute()? as u64;
        }
        Ok(changed)
    }

    /// Runs a statement and collects its rows.
    pub(crate) fn rows(&mut self, command: &Command) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.0.prepare_cached(&command.text)?;
        bind(&mut statement, &command.args)?;
        let columns = statement.column_count();
        let mut found = statement.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let values: Result<Box<[Value]>, rusqlite::Error> = (0..columns).map(|at| row.get(at)).collect();
            rows.push(Row::Sqlite(values?));
        }
        Ok(rows)
    }

    /// Runs statements that have no values and whose rows are of no interest.
    pub(crate) fn script(&mut self, text: &str) -> Result<(), StoreError> {
        Ok(self.0.execute_batch(text)?)
    }

    /// Begins or ends a transaction: one statement without values and rows, kept prepared.
    pub(crate) fn frame(&mut self, text: &str) -> Result<(), StoreError> {
        self.0.prepare_cached(text)?.raw_execute()?;
        Ok(())
    }

    /// Checks that a statement is one.
    #[cfg(test)]
    pub(crate) fn prepare(&mut self, text: &str) -> Result<(), StoreError> {
        self.0.prepare(text)?;
        Ok(())
    }

    /// Ends the connection in order.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.0.close().map_err(|(_conn, error)| error.into())
    }
}

/// For each place of a statement which value it takes, by the number behind the `$`: SQLite itself numbers such places
/// by their first appearance.
pub(super) fn places(statement: &CachedStatement<'_>) -> Result<Vec<usize>, StoreError> {
    let number = |place| {
        let name = statement.parameter_name(place)?;
        name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
    };
    (1..=statement.parameter_count()).map(|place| number(place).ok_or_else(no_value)).collect()
}

pub(super) fn no_value() -> StoreError {
    StoreError::new(crate::ErrorKind::Internal, "a statement has a place that no value is given for")
}

fn bind(statement: &mut CachedStatement<'_>, args: &[Arg]) -> Result<(), StoreError> {
    let places = places(statement)?;
    bind_places(statement, &places, args)
}

fn bind_places(
    statement: &mut CachedStatement<'_>,
    places: &[usize],
    args: &[Arg],
) -> Result<(), StoreError> {
    for (at, value) in places.iter().enumerate() {
        let arg = args.get(*value).ok_or_else(no_value)?;
        if let Arg::Text(text) = arg {
            without_nul(text.as_deref())?;
        }
        statement.raw_bind_parameter(at + 1, arg)?;
    }
    Ok(())
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Arg::Int(Some(value)) => ValueRef::Integer(*value),
            Arg::Real(value) => ValueRef::Real(*value),
            Arg::Text(Some(value)) => ValueRef::Text(value.as_bytes()),
            Arg::Blob(value) => ValueRef::Blob(value),
            Arg::Int(None) | Arg::Text(None) => ValueRef::Null,
            Arg::Ints(_) | Arg::Texts(_) => {
                let why = "a SQLite statement takes no columns of values";
                return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
            }
        }))
    }
}
