//! What can go wrong with the store: a closed kind to branch on and the cause behind it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The database is locked or has no connection free; the same call may succeed soon. Nothing was changed.
    Busy,
    /// The database is lost: stopped, unreachable, out of space. Nothing was changed.
    Unavailable,
    /// The id is taken, the row was changed by someone else, or the value contradicts another row.
    Conflict,
    /// What the write is about does not exist.
    NotFound,
    /// Other rows still use it.
    InUse,
    /// Another process took the store over. Final: this process must end.
    Fenced,
    /// What an app brought is refused, by the database (a constraint, a type, a text that is no statement) or before it
    /// was asked. The same call fails again.
    Rejected,
    /// The database, or a value in it, is not what this version wrote.
    Corrupt,
    /// A defect on our side.
    Internal,
}

/// A failed read or write.
#[derive(Clone)]
pub struct StoreError {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error found by our own checks.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        StoreError { kind, message: message.into(), source: None }
    }

    /// A stored value that cannot be read back.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        StoreError::new(ErrorKind::Corrupt, message)
    }

    /// A failure with its cause.
    pub(crate) fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        StoreError { kind, message: message.into(), source: Some(Arc::new(source)) }
    }

    /// The same failure of a database that is away.
    pub(crate) fn into_unavailable(self) -> Self {
        let kind = ErrorKind::Unavailable;
        StoreError { kind, message: message(kind).to_owned(), ..self }
    }

    /// The same failure, told of something that an app brought. What the database cannot do now, or no more, stays what
    /// it is; everything else is a refusal, with its reason in the text.
    pub(crate) fn of_app(self, what: impl fmt::Display) -> Self {
        match self.kind {
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Fenced | ErrorKind::Corrupt => self,
            _ => {
                let reason = self.source.as_ref().map_or_else(|| self.message.clone(), ToString::to_string);
                let message = format!("{what} was refused: {reason}");
                StoreError { kind: ErrorKind::Rejected, message, ..self }
            }
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

/// What is said of a driver's error of a kind; the details are its cause.
fn message(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Busy => "the database is busy",
        ErrorKind::Unavailable => "the database is not available",
        ErrorKind::Conflict => "the change contradicts a stored row",
        ErrorKind::Corrupt => "the database holds something unreadable",
        _ => "a database statement failed",
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Database(db) => postgres_kind(&db.code().unwrap_or_default()),
            // A peer that closes the connection in the middle of a message is reported as a protocol error.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::PoolClosed
            | sqlx::Error::Protocol(_) => ErrorKind::Unavailable,
            sqlx::Error::PoolTimedOut => ErrorKind::Busy,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
            _ => ErrorKind::Internal,
        };
        StoreError::caused(kind, message(kind), error)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => sqlite_kind(failure.extended_code),
            rusqlite::Error::SqlInputError { error, .. } => sqlite_kind(error.extended_code),
            _ => ErrorKind::Internal,
        };
        StoreError::caused(kind, message(kind), error)
    }
}

/// Kind of a SQLite result code; the low byte of an extended code is the primary one.
/// <https://www.sqlite.org/rescode.html>
fn sqlite_kind(code: i32) -> ErrorKind {
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_INTERRUPT, SQLITE_PROTOCOL (lock contention in the log)
        5 | 6 | 9 | 15 => ErrorKind::Busy,
        // SQLITE_PERM, SQLITE_NOMEM, SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN
        3 | 7 | 8 | 10 | 13 | 14 => ErrorKind::Unavailable,
        // SQLITE_CORRUPT, SQLITE_NOTADB
        11 | 26 => ErrorKind::Corrupt,
        // SQLITE_CONSTRAINT with _FOREIGNKEY, _PRIMARYKEY, _UNIQUE, _ROWID; the others mean a value that we should
        // have refused.
        19 if matches!(code >> 8, 3 | 6 | 8 | 10) => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    }
}

/// Kind of an SQLSTATE. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres_kind(code: &str) -> ErrorKind {
    match code {
        // unique_violation, foreign_key_violation
        "23505" | "23503" => ErrorKind::Conflict,
        // serialization_failure, deadlock_detected, lock_not_available, query_canceled, too_many_connections
        "40001" | "40P01" | "55P03" | "57014" | "53300" => ErrorKind::Busy,
        // read_only_sql_transaction: the server became a standby
        "25006" => ErrorKind::Unavailable,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => ErrorKind::Corrupt,
        _ => match code.get(..2) {
            // connection exceptions, authorisation, insufficient resources, operator intervention, system errors
            Some("08" | "28" | "3D" | "53" | "57" | "58") => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_codes() {
        for (code, expect) in [
            (5, ErrorKind::Busy),
            (517, ErrorKind::Busy),
            (13, ErrorKind::Unavailable),
            (778, ErrorKind::Unavailable),
            (11, ErrorKind::Corrupt),
            (2067, ErrorKind::Conflict),
            (1555, ErrorKind::Conflict),
            (787, ErrorKind::Conflict),
            (275, ErrorKind::Internal),
            (1, ErrorKind::Internal),
        ] {
            assert_eq!(sqlite_kind(code), expect, "{code}");
        }
    }

    #[test]
    fn postgres_codes() {
        for (code, expect) in [
            ("57P01", ErrorKind::Unavailable),
            ("57P03", ErrorKind::Unavailable),
            ("08006", ErrorKind::Unavailable),
            ("53100", ErrorKind::Unavailable),
            ("53300", ErrorKind::Busy),
            ("57014", ErrorKind::Busy),
            ("23505", ErrorKind::Conflict),
            ("XX001", ErrorKind::Corrupt),
            ("42601", ErrorKind::Internal),
            ("", ErrorKind::Internal),
        ] {
            assert_eq!(postgres_kind(code), expect, "{code}");
        }
    }
}
