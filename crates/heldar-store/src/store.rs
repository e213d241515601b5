//! The handle of the store: open, write, read, close.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use heldar_base::WallTime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{ErrorKind, StoreError};
use crate::inspect::{Schema, schema_of};
use crate::model::{AuditEntry, CodecParams, CommittedTo, NewEvent};
use crate::observe::{Observed, Observer, Work};
use crate::op::{AppendAudit, AppendEvents, Operation, Outcome, WriteOp};
use crate::sql::{Command, Readers, Row, SqliteReaders, SqliteUse, postgres_options};
use crate::url::DatabaseUrl;
use crate::writer::{
    Checkpointer, Condition, Health, Link, QUEUE, Request, Target, Told, Writer, committed_to,
};

/// How to open the store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Which database.
    pub url: DatabaseUrl,
    /// Connections to PostgreSQL, the writer's among them; at least 2. SQLite has its own small number.
    pub max_connections: u32,
    /// Now; the time at which new schema steps are recorded.
    pub now: WallTime,
}

/// The store. Cheap to clone; all clones are one store. It closes when the last one is dropped, or by
/// [`Store::close`].
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    readers: Readers,
    writes: mpsc::Sender<Request>,
    health: watch::Receiver<Health>,
    committed: watch::Receiver<CommittedTo>,
    observed: Observed,
    /// Codec parameters by number; rows that never change.
    params: Mutex<HashMap<i64, Arc<CodecParams>>>,
}

/// What is written in the same commit as a management write.
#[derive(Clone, Debug, Default)]
pub struct Attached {
    /// The audit row of the change.
    pub audit: Option<AuditEntry>,
    /// Events that the change raises.
    pub events: Vec<NewEvent>,
}

/// The result of a write with what was attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// The result of the write.
    pub value: T,
    /// Numbers of the attached events.
    pub seqs: Vec<i64>,
}

impl Store {
    /// Opens the database, creates or updates its schema, and takes it over from whoever had it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it cannot be reached, [`ErrorKind::Corrupt`] when its schema is not one of this
    /// version.
    pub async fn open(config: StoreConfig) -> Result<Store, StoreError> {
        let (writes, queue) = mpsc::channel(QUEUE);
        let (told, health, committed) = telling();
        let observed = Observed::default();
        let readers = match config.url {
            DatabaseUrl::Sqlite(path) => {
                open_sqlite(path.clone(), config.now, queue, told, observed.clone()).await?;
                Readers::Sqlite(SqliteReaders::new(path, SqliteUse::Read))
            }
            DatabaseUrl::Postgres(url) => {
                let options = postgres_options(url.expose())?;
                let link = Link::open(Target::Postgres(Box::new(options.clone())), config.now).await?;
                tokio::spawn(Writer::new(link, queue, told, None, observed.clone()).run());
                Readers::postgres(options, config.max_connections.saturating_sub(1))
            }
        };
        let params = Mutex::default();
        Ok(Store { inner: Arc::new(Inner { readers, writes, health, committed, observed, params }) })
    }

    /// Opens the database for reading alone: takes nothing over, changes nothing, and works beside the server that has
    /// it. Every write is refused with [`ErrorKind::Unavailable`].
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it cannot be reached, [`ErrorKind::NotFound`] when there is no store in it,
    /// [`ErrorKind::Corrupt`] when its schema is not that of this version.
    pub async fn open_read_only(config: StoreConfig) -> Result<Store, StoreError> {
        match schema_of(&config.url).await? {
            Schema::Current { .. } => {}
            Schema::Missing => return Err(StoreError::new(ErrorKind::NotFound, "there is no store here")),
            other => return Err(StoreError::corrupt(format!("the database {other}"))),
        }
        let readers = match config.url {
            DatabaseUrl::Sqlite(path) => Readers::Sqlite(SqliteReaders::new(path, SqliteUse::Look)),
            DatabaseUrl::Postgres(url) => {
                Readers::postgres(postgres_options(url.expose())?, config.max_connections)
            }
        };
        // Nobody takes writes from this queue: they are refused as those of a closed store.
        let (writes, _nobody) = mpsc::channel(1);
        let (_unchanging, health, committed) = telling();
        let (observed, params) = (Observed::default(), Mutex::default());
        Ok(Store { inner: Arc::new(Inner { readers, writes, health, committed, observed, params }) })
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.inner.readers
    }

    pub(crate) fn params_cache(&self) -> &Mutex<HashMap<i64, Arc<CodecParams>>> {
        &self.inner.params
    }

    /// Health of the writer, now and at each change.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.clone()
    }

    /// Up to which number of the sequence of events and batches everything is committed, now and after each commit of
    /// such. A reader that goes up to there misses nothing that comes to have a lower number. Of a store that was opened
    /// for reading alone nothing is told.
    pub fn committed(&self) -> watch::Receiver<CommittedTo> {
        self.inner.committed.clone()
    }

    /// Names who hears of the store's work; the first one stays.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observed.set(observer);
    }

    /// Runs a query of the readers.
    pub(crate) async fn rows(&self, command: Command) -> Result<Vec<Row>, StoreError> {
        self.read(self.inner.readers.rows(command)).await
    }

    /// Does a read with the readers.
    pub(crate) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.inner.observed.time(Work::Read, read).await
    }

    /// Writes that wait for the writer.
    pub fn queued_writes(&self) -> usize {
        self.inner.writes.max_capacity() - self.inner.writes.capacity()
    }

    async fn submit(&self, op: WriteOp) -> Result<Outcome, StoreError> {
        let work = if matches!(op, WriteOp::Maintenance(_)) { Work::Maintenance } else { Work::Write };
        self.inner.observed.time(work, self.hand_over(op)).await
    }

    async fn hand_over(&self, op: WriteOp) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.inner.writes.send(Request::Write { op, reply }).await.is_err() {
            return Err(StoreError::new(ErrorKind::Unavailable, "the store is closed"));
        }
        match answer.await {
            Ok(result) => result,
            Err(_dropped) => Err(StoreError::new(ErrorKind::Unavailable, "the writer has ended")),
        }
    }

    /// Writes, and answers after the commit.
    ///
    /// Once the write is queued it runs to its end, even if this future is dropped.
    ///
    /// # Errors
    /// What the operation refuses itself with, or why it could not be committed. Nothing of it is stored then, unless
    /// the store was taken over or closed in the moment between its commit and the answer of the database.
    pub async fn write<O: Operation>(&self, op: O) -> Result<O::Output, StoreError> {
        self.submit(op.into()).await?.of::<O>()
    }

    /// Writes several operations in one commit, in this order, or none of them; a result for each.
    ///
    /// # Errors
    /// As [`Store::write`], of the first operation that failed.
    pub async fn write_all(&self, ops: Vec<WriteOp>) -> Result<Vec<Outcome>, StoreError> {
        self.submit(WriteOp::All(ops)).await?.list()
    }

    /// A management write with its audit row and its events, in one commit.
    ///
    /// # Errors
    /// As [`Store::write`]; then neither audit row nor events are written.
    pub async fn manage<O: Operation>(
        &self,
        op: O,
        attached: Attached,
    ) -> Result<Committed<O::Output>, StoreError> {
        let mut ops = vec![op.into()];
        ops.extend(attached.audit.map(|entry| WriteOp::from(AppendAudit { entry })));
        ops.push(AppendEvents { events: attached.events }.into());
        let mut outcomes = self.write_all(ops).await?.into_iter();
        let missing = || StoreError::new(ErrorKind::Internal, "a write has no result");
        let value = outcomes.next().ok_or_else(missing)?.of::<O>()?;
        let seqs = outcomes.next_back().ok_or_else(missing)?.of::<AppendEvents>()?;
        Ok(Committed { value, seqs })
    }

    /// Ends the store in order: what is queued is written, nothing more is accepted, connections are closed.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        let (done, ended) = oneshot::channel();
        if self.inner.writes.send(Request::Close { done }).await.is_ok() {
            // An error means that the writer has ended already.
            let _ended = ended.await;
        }
    }
}

/// What a writer tells, and where it is heard.
fn telling() -> (Told, watch::Receiver<Health>, watch::Receiver<CommittedTo>) {
    let (health, on_health) = watch::channel(Health { condition: Condition::Up, lost_groups: 0 });
    let (committed, on_commit) = watch::channel(committed_to(1));
    (Told { health, committed }, on_health, on_commit)
}

/// Opens a SQLite file and starts its writer, on a thread of its own: the driver blocks.
async fn open_sqlite(
    path: PathBuf,
    now: WallTime,
    queue: mpsc::Receiver<Request>,
    told: Told,
    observed: Observed,
) -> Result<(), StoreError> {
    let fail =
        |error| StoreError::caused(ErrorKind::Unavailable, "the database file cannot be opened", error);
    let (opened_tx, opened) = oneshot::channel();
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || {
            let begin = || {
                // A runtime of its own, so that the writer ends in order whatever becomes of that of its callers.
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(fail)?;
                prepare_file(&path).map_err(fail)?;
                let link = runtime.block_on(Link::open(Target::Sqlite(path.clone()), now))?;
                let checkpointer = Checkpointer::start(&path).map_err(fail)?;
                Ok((runtime, Writer::new(link, queue, told, Some(checkpointer), observed)))
            };
            match begin() {
                Ok((runtime, writer)) => {
                    // Whoever opens it and goes away drops its handle, which ends the writer.
                    let _gone = opened_tx.send(Ok(()));
                    runtime.block_on(writer.run());
                }
                Err(error) => {
                    let _gone = opened_tx.send(Err(error));
                }
            }
        })
        .map_err(fail)?;
    opened.await.unwrap_or_else(|_| Err(StoreError::new(ErrorKind::Internal, "the writer did not start")))
}

/// Makes the folder of a SQLite file, and the file itself readable by its owner alone: it holds credentials.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?;
    Ok(())
}
