//! The transaction of a group, as its operations see it.

use crate::error::{ErrorKind, StoreError};
use crate::sql::{Arg, Command, Conn, Row, Stmt};

/// Why an operation did not happen.
#[derive(Debug)]
pub(crate) enum OpError {
    /// It refused itself, as its description says; the rest of the group is not concerned.
    Refused(StoreError),
    /// Something failed that it did not foresee; the state of the transaction is unknown.
    Failed(StoreError),
}

impl From<StoreError> for OpError {
    fn from(error: StoreError) -> Self {
        OpError::Failed(error)
    }
}

/// Refuses an operation.
pub(crate) fn refused(kind: ErrorKind, message: impl Into<String>) -> OpError {
    OpError::Refused(StoreError::new(kind, message))
}

/// Refuses an operation that contradicts what is stored.
pub(crate) fn conflict(message: impl Into<String>) -> OpError {
    refused(ErrorKind::Conflict, message)
}

/// Refuses an operation on something that does not exist.
pub(crate) fn not_found(what: &str) -> OpError {
    refused(ErrorKind::NotFound, format!("no such {what}"))
}

/// What an operation may do: run statements, take event numbers.
pub(crate) struct Tx<'c> {
    conn: &'c mut Conn,
    /// The next event number; the group has reserved as many as its operations append.
    next_seq: &'c mut i64,
    /// Rows changed by the operation that is running.
    changed: u64,
    /// Rows changed by those before it.
    before: u64,
    /// Audit rows among them all.
    audited: u64,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(conn: &'c mut Conn, next_seq: &'c mut i64) -> Self {
        Tx { conn, next_seq, changed: 0, before: 0, audited: 0 }
    }

    /// Begins to count the changes of the next operation.
    pub(crate) fn begin_op(&mut self) {
        self.before += self.changed;
        self.changed = 0;
    }

    /// Rows changed by all operations.
    pub(crate) fn changed_in_all(&self) -> u64 {
        self.before + self.changed
    }

    /// An audit row was added.
    pub(crate) fn audit_row(&mut self) {
        self.audited += 1;
    }

    /// Audit rows that were added.
    pub(crate) fn audited(&self) -> u64 {
        self.audited
    }

    /// True when the running operation has changed something.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed > 0
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) async fn run(&mut self, stmt: Stmt, args: Vec<Arg>) -> Result<u64, StoreError> {
        let rows = self.conn.execute(stmt.with(args)).await?;
        self.changed += rows;
        Ok(rows)
    }

    /// Runs a statement that changes rows and tells about them.
    pub(crate) async fn run_returning(&mut self, stmt: Stmt, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        let rows = self.conn.rows(stmt.with(args)).await?;
        self.changed += rows.len() as u64;
        Ok(rows)
    }

    /// Runs a query.
    pub(crate) async fn rows(&mut self, command: Command) -> Result<Vec<Row>, StoreError> {
        self.conn.rows(command).await
    }

    /// Runs a query for at most one row.
    pub(crate) async fn row(&mut self, stmt: Stmt, args: Vec<Arg>) -> Result<Option<Row>, StoreError> {
        self.conn.row(stmt.with(args)).await
    }

    /// Takes the next event number.
    pub(crate) fn take_seq(&mut self) -> i64 {
        let seq = *self.next_seq;
        *self.next_seq += 1;
        seq
    }

    /// Gives free pages of a SQLite file back to the file system; PostgreSQL does that by itself.
    pub(crate) async fn return_free_pages(&mut self, sqlite: Stmt) -> Result<(), StoreError> {
        if matches!(self.conn, Conn::Sqlite(_)) {
            // It answers with a row without columns for each page.
            self.conn.rows(sqlite.with(Vec::new())).await?;
        }
        Ok(())
    }
}
