//! The real store, and what a crash leaves of it.
//!
//! After each write that the world waits for, the database file and its log are copied. A killed process leaves the
//! newest copy. A power cut leaves any copy since the last write that was fully synced: with `synchronous = NORMAL` SQLite
//! does not sync its log at each commit, so that commits are lost from the end of the log, whole groups at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use heldar_base::WallTime;
use heldar_store::{DatabaseUrl, Store, StoreConfig};
use heldar_testkit::sim::Dice;

/// The files of a database at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    database: Vec<u8>,
    log: Vec<u8>,
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

impl Copy {
    fn of(path: &Path) -> Copy {
        // The database first: what is copied into it meanwhile is in the log as well.
        let database = std::fs::read(path).unwrap();
        Copy { database, log: std::fs::read(log_of(path)).unwrap_or_default() }
    }

    fn put(&self, path: &Path) {
        std::fs::write(path, &self.database).unwrap();
        if !self.log.is_empty() {
            std::fs::write(log_of(path), &self.log).unwrap();
        }
    }
}

/// How sure a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// A power cut may undo it.
    Relaxed,
    /// It was synced with all before it.
    Full,
}

/// One process's store.
pub(crate) struct SimStore {
    pub(crate) store: Store,
    path: PathBuf,
    /// What a power cut may leave, oldest first.
    copies: Vec<Copy>,
    /// What was there when everything ended.
    at_end: Arc<Mutex<Option<Copy>>>,
}

impl SimStore {
    /// Opens what an earlier process left in a folder of its own.
    pub(crate) async fn open(folder: &Path, left: Option<&Copy>, now: WallTime) -> SimStore {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join("heldar.db");
        if let Some(left) = left {
            left.put(&path);
        }
        let url = DatabaseUrl::Sqlite(path.clone());
        let store = Store::open(StoreConfig { url, max_connections: 2, now }).await.unwrap();
        let mut opened = SimStore { store, path, copies: Vec::new(), at_end: Arc::default() };
        opened.committed(Commit::Full);
        opened
    }

    /// Notes that everything so far is committed.
    pub(crate) fn committed(&mut self, commit: Commit) {
        if commit == Commit::Full {
            self.copies.clear();
        }
        self.copies.push(Copy::of(&self.path));
    }

    /// Notes that everything so far is committed, if anything was since the last time.
    pub(crate) fn committed_if_any(&mut self, commit: Commit) {
        let now = Copy::of(&self.path);
        if self.copies.last() != Some(&now) {
            if commit == Commit::Full {
                self.copies.clear();
            }
            self.copies.push(now);
        }
    }

    /// What is being done at the moment commits fully synced in between: of what was before nothing can be undone.
    pub(crate) fn synced(&mut self) {
        self.copies.clear();
    }

    /// Notes the moment at which everything ends; called on whatever thread is at work then.
    pub(crate) fn end(&self) -> impl FnOnce() + Send + 'static {
        let (path, at_end) = (self.path.clone(), Arc::clone(&self.at_end));
        move || *at_end.lock().unwrap() = Some(Copy::of(&path))
    }

    fn last(&self) -> Copy {
        self.at_end.lock().unwrap().take().unwrap_or_else(|| Copy::of(&self.path))
    }

    /// What a killed process leaves.
    pub(crate) fn killed(self) -> Copy {
        self.last()
    }

    /// What a power cut leaves, and how many commits it undid.
    pub(crate) fn unplugged(mut self, dice: &mut Dice) -> (Copy, usize) {
        let last = self.last();
        self.copies.push(last);
        let at = usize::try_from(dice.below(self.copies.len() as u64)).unwrap();
        (self.copies[at].clone(), self.copies.len() - 1 - at)
    }

    /// What an orderly end leaves.
    pub(crate) async fn closed(self) -> Copy {
        self.store.close().await;
        Copy::of(&self.path)
    }
}
