//! The transaction of a group, as its operations see it.

use super::numbers::Numbers;
use crate::app::AppStatement;
use crate::error::{ErrorKind, StoreError};
use crate::size::Engine;
use crate::sql::{Arg, Command, Conn, Row, Stmt, args, statements};

statements! {
    TOTALS_MOVE = "UPDATE perception_total SET batches = batches + $1, detections = detections + $2 WHERE id = 1";
}

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
    /// What the writer remembers.
    pub(super) numbers: &'c mut Numbers,
    /// By how much batches and detections became more.
    batches: i64,
    detections: i64,
    /// Rows changed by the operation that is running.
    changed: u64,
    /// It ran what an app brought, which may change more than is counted: a trigger may have changed what it did not.
    ran_app: bool,
    /// Rows changed by those before it.
    before: u64,
    /// Audit rows among them all.
    audited: u64,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(conn: &'c mut Conn, next_seq: &'c mut i64, numbers: &'c mut Numbers) -> Self {
        Tx {
            conn,
            next_seq,
            numbers,
            batches: 0,
            detections: 0,
            changed: 0,
            ran_app: false,
            before: 0,
            audited: 0,
        }
    }

    /// Begins to count the changes of the next operation.
    pub(crate) fn begin_op(&mut self) {
        self.before += self.changed;
        self.changed = 0;
        self.ran_app = false;
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

    /// True when the running operation has changed something, or may have.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed > 0 || self.ran_app
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) async fn run(&mut self, stmt: Stmt, args: Vec<Arg>) -> Result<u64, StoreError> {
        self.execute(stmt.with(args)).await
    }

    /// Runs a statement that changes rows and tells about them.
    pub(crate) async fn run_returning(&mut self, stmt: Stmt, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        let rows = self.conn.rows(stmt.with(args)).await?;
        self.changed += rows.len() as u64;
        Ok(rows)
    }

    /// Runs a statement of an app that was checked; the number of rows that it changed.
    pub(crate) async fn run_app(&mut self, statement: &AppStatement) -> Result<u64, StoreError> {
        self.ran_app = true;
        let rows = self.conn.run_app(statement).await?;
        self.changed += rows;
        Ok(rows)
    }

    /// Runs the text of a schema step of an app.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        self.ran_app = true;
        self.conn.script(text).await
    }

    /// Runs a statement; the number of rows that it changed.
    pub(crate) async fn execute(&mut self, command: Command) -> Result<u64, StoreError> {
        let rows = self.conn.execute(command).await?;
        self.changed += rows;
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

    /// Runs a statement for each list of values, on SQLite; elsewhere it is for one list of columns.
    pub(crate) fn run_each_sqlite(
        &mut self,
        stmt: Stmt,
        rows: impl Iterator<Item = Vec<Arg>>,
    ) -> Result<(), StoreError> {
        if let Conn::Sqlite(conn) = &mut *self.conn {
            self.changed += conn.execute_each(stmt, rows)?;
        }
        Ok(())
    }

    /// The engine.
    pub(crate) fn engine(&self) -> Engine {
        if self.is_postgres() { Engine::Postgres } else { Engine::Sqlite }
    }

    /// True on PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.conn, Conn::Postgres(_))
    }

    /// Batches and detections were added.
    pub(crate) fn count_batches(&mut self, batches: i64, detections: usize) {
        self.batches += batches;
        self.detections += i64::try_from(detections).unwrap_or(i64::MAX);
    }

    /// Batches and detections were removed.
    pub(crate) fn uncount_batches(&mut self, batches: u64, detections: u64) {
        self.batches -= i64::try_from(batches).unwrap_or(i64::MAX);
        self.detections -= i64::try_from(detections).unwrap_or(i64::MAX);
    }

    /// Moves stored totals by what all operations counted; the last statement of a group.
    pub(crate) async fn store_totals(&mut self) -> Result<(), StoreError> {
        if (self.batches, self.detections) != (0, 0) {
            self.conn.execute(TOTALS_MOVE.with(args![self.batches, self.detections])).await?;
        }
        Ok(())
    }

    /// What is remembered of numbers may no longer be so.
    pub(crate) fn forget_numbers(&mut self) {
        self.numbers.forget();
    }

    /// The number that the next event or batch gets.
    pub(crate) fn next_seq(&self) -> i64 {
        *self.next_seq
    }

    /// Takes the next number of an event or batch.
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
