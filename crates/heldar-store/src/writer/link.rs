//! The writer's connection: taking the store over, coming back, and the frame around each group.

use std::path::PathBuf;

use heldar_base::WallTime;
use sqlx::postgres::PgConnectOptions;

use super::SEQ_BLOCK;
use crate::error::{ErrorKind, StoreError};
use crate::op::Durability;
use crate::schema;
use crate::sql::{Conn, SqliteConn, SqliteUse, args, statements};

statements! {
    /// Takes the store over and reserves event numbers. Everything below the old `next_seq` may have been given out.
    TAKE_OVER = "UPDATE writer_state SET epoch = epoch + 1, group_no = group_no + 1, next_seq = next_seq + $1
        WHERE id = 1 RETURNING epoch, group_no, next_seq";
    /// First statement of each group: holds the row to the end of the transaction, so that a second owner waits.
    FENCE = "UPDATE writer_state SET group_no = $1, next_seq = $2 WHERE id = 1 AND epoch = $3";
    /// Changes nothing but waits for whoever holds the row: a transaction of ours that was cut off, above all.
    LOOK = "UPDATE writer_state SET group_no = group_no WHERE id = 1 AND epoch = $1 RETURNING group_no";
    /// The same without writing. On SQLite nobody can still be at it: the connection that was is closed.
    PEEK = "SELECT group_no FROM writer_state WHERE id = 1 AND epoch = $1";
}

/// Where the database is.
pub(crate) enum Target {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// What taking over gave.
#[derive(Clone, Copy)]
pub(crate) struct Owned {
    epoch: i64,
    pub(super) group_no: i64,
    /// The first event number to give out.
    pub(super) next_seq: i64,
    /// First number that is not reserved.
    pub(super) reserved: i64,
}

/// A connection that may be lost, under one epoch.
pub(crate) struct Link {
    target: Target,
    conn: Option<Conn>,
    owned: Owned,
    /// What `PRAGMA synchronous` of the SQLite connection is set to.
    synchronous: Option<Durability>,
}

impl Link {
    /// Opens the database, brings its schema up to date and takes it over. On SQLite this blocks the thread.
    pub(crate) async fn open(target: Target, now: WallTime) -> Result<Link, StoreError> {
        let mut conn = match &target {
            Target::Sqlite(path) => Conn::Sqlite(SqliteConn::open(path, SqliteUse::Create)?),
            Target::Postgres(options) => Conn::postgres(options).await?,
        };
        schema::migrate(&mut conn, now).await?;
        // A single statement is its own transaction, and the connection still syncs fully.
        let row = conn.row(TAKE_OVER.with(args![SEQ_BLOCK])).await?;
        let row = row.ok_or_else(|| StoreError::corrupt("the store has no writer state"))?;
        let mut columns = row.columns();
        let (epoch, group_no, reserved) = (columns.int()?, columns.int()?, columns.int()?);
        let owned = Owned { epoch, group_no, next_seq: reserved - SEQ_BLOCK, reserved };
        Ok(Link { target, conn: Some(conn), owned, synchronous: None })
    }

    pub(super) fn owned(&self) -> Owned {
        self.owned
    }

    pub(super) fn is_up(&self) -> bool {
        self.conn.is_some()
    }

    pub(super) fn conn(&mut self) -> Result<&mut Conn, StoreError> {
        self.conn.as_mut().ok_or_else(super::lost)
    }

    /// Forgets the connection. What it had begun is rolled back when the database notices.
    pub(super) fn drop_connection(&mut self) {
        self.conn = None;
    }

    /// Connects anew; the number of the newest group that the database holds.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when the store has another owner by now.
    pub(super) async fn reconnect(&mut self) -> Result<i64, StoreError> {
        self.conn = None;
        self.synchronous = None;
        let (mut conn, look) = match &self.target {
            Target::Sqlite(path) => (Conn::Sqlite(SqliteConn::open(path, SqliteUse::Write)?), PEEK),
            Target::Postgres(options) => (Conn::postgres(options).await?, LOOK),
        };
        let row = conn.row(look.with(args![self.owned.epoch])).await?;
        let row = row.ok_or_else(super::fenced)?;
        let group_no = row.columns().int()?;
        self.conn = Some(conn);
        Ok(group_no)
    }

    /// Checks that the database takes writes: a full disk can be read.
    pub(super) async fn probe(&mut self) -> Result<(), StoreError> {
        let epoch = self.owned.epoch;
        self.conn()?.row(LOOK.with(args![epoch])).await?;
        Ok(())
    }

    /// Begins a group under our epoch.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when the store has another owner.
    pub(super) async fn begin(
        &mut self,
        durability: Durability,
        group_no: i64,
        next_seq: i64,
    ) -> Result<(), StoreError> {
        let epoch = self.owned.epoch;
        let synchronous = &mut self.synchronous;
        let conn = self.conn.as_mut().ok_or_else(super::lost)?;
        if let Conn::Sqlite(_) = conn {
            // It cannot be changed inside a transaction.
            if *synchronous != Some(durability) {
                conn.script(match durability {
                    Durability::Full => "PRAGMA synchronous = FULL",
                    Durability::Relaxed => "PRAGMA synchronous = NORMAL",
                })
                .await?;
                *synchronous = Some(durability);
            }
            conn.frame("BEGIN IMMEDIATE").await?;
        } else {
            // A server may crash while its client lives on, which would not learn that an answered group is gone: here
            // every group is durable before it is answered.
            conn.script("BEGIN").await?;
        }
        if conn.execute(FENCE.with(args![group_no, next_seq, epoch])).await? == 0 {
            return Err(super::fenced());
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.conn()?.frame("COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), StoreError> {
        match self.conn()?.script("ROLLBACK").await {
            // SQLite has rolled back by itself on some errors and then has no transaction to end.
            Err(error) if error.kind() == ErrorKind::Internal => Ok(()),
            outcome => outcome,
        }
    }

    /// The last group: gives unused event numbers back, fully synced.
    pub(super) async fn give_up(&mut self, group_no: i64, next_seq: i64) -> Result<(), StoreError> {
        self.begin(Durability::Full, group_no, next_seq).await?;
        self.commit().await
    }

    pub(super) async fn close(&mut self) {
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.close().await
        {
            tracing::debug!(?error, "the writer's connection did not close in order");
        }
    }
}
