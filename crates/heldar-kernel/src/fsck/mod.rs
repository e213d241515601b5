//! Index and disk compared, all of both.
//!
//! Owns: what is wrong between rows and files ([`Check`]), what a repair does about it ([`Repair`]), and the throttled
//! scrub of older days ([`scrub`]). Decisions about one file are those of `heldar_disk::fsck`; what start-up recovery can
//! do is done by it. Never: cuts or deletes what can still be read, or removes a row while no file at all is there.
//!
//! A check reads only, and may do so beside a server that runs: what changed while it looked is looked at again, and told
//! only if it is the same. A repair needs the data folder for itself.

mod check;
mod finding;
mod listing;
mod neighbours;
mod repair;
mod rows;
pub mod scrub;
mod settle;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heldar_base::{Scope, WallTime};
use heldar_config::Settings;
use heldar_disk::{Disk, Effort, FolderId, MARK, OsDisk};
use heldar_store::{Store, StoreConfig, StoreError};

use crate::engine::recovery::RecoveryError;
use crate::folders::lock_data_folder;
use crate::kernel::{RECORDINGS_FOLDER, StartFailure, database_url};

pub use check::Check;
pub use finding::{Checked, Finding, Kind, Mending, Remedy, Report};
pub use repair::{Outcome, Repair, Repaired};

/// Why a file that is not understood stays.
const UNKNOWN_FILE: &str = "what cannot be read is left alone";
/// Rounds of repair: what one brings to light the next takes up.
const ROUNDS: usize = 4;

/// Who else works on the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nobody: it is locked for this process.
    Nobody,
    /// A server.
    Server,
}

/// Whether to change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Look only.
    Check,
    /// Repair what can be repaired.
    Repair,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// A repair was asked for beside a server.
    #[error("a Heldar server runs on this data folder: stop it first, --repair needs the folder for itself")]
    ServerRuns,
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] StartFailure),
    /// The recordings folder is not there.
    #[error("there is no recordings folder {}: is its disk mounted?", .0.display())]
    NoRecordings(PathBuf),
    /// Another folder lies at the path of the recordings folder, which is on a disk of its own.
    #[error("{} is not the recordings folder of this store: is its disk mounted?", .0.display())]
    OtherFolder(PathBuf),
    /// The recordings folder cannot be listed.
    #[error("the recordings cannot be listed")]
    Disk(#[from] std::io::Error),
    /// The store cannot be read or written.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// A step of recovery failed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A blocking task failed.
    #[error("a task ended")]
    Task(#[from] tokio::task::JoinError),
}

/// All that came of a run.
#[derive(Debug)]
pub struct Run {
    /// Who else worked on the folder.
    pub others: Others,
    /// What was repaired or could not be, in order; empty without [`Intent::Repair`].
    pub repaired: Vec<Repaired>,
    /// What is wrong when the run ends.
    pub left: Report,
}

/// Checks the footage of an installation, and repairs it if asked to. Holds the lock of the data folder meanwhile, if no
/// server has it.
///
/// # Errors
/// [`FsckError`]. What was repaired by then is repaired.
pub async fn run(settings: &Settings, intent: Intent, now: WallTime) -> Result<Run, FsckError> {
    let config =
        StoreConfig { url: database_url(settings), max_connections: settings.database.max_connections, now };
    let recordings = &settings.storage.recordings_dir;
    if !settings.storage.data_dir.is_dir() || !recordings.is_dir() {
        return Err(FsckError::NoRecordings(recordings.clone()));
    }
    let (_lock, others) = match lock_data_folder(settings) {
        Ok(lock) => (Some(lock), Others::Nobody),
        Err(StartFailure::Locked) if intent == Intent::Check => (None, Others::Server),
        Err(StartFailure::Locked) => return Err(FsckError::ServerRuns),
        Err(error) => return Err(error.into()),
    };
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(recordings)?);
    // Reading takes nothing over, and refuses a store of another version before anything is changed.
    let store = Store::open_read_only(config.clone()).await?;
    if is_another_folder(&store, recordings).await? {
        return Err(FsckError::OtherFolder(recordings.clone()));
    }
    let check = Check::new(store.clone(), disk.clone(), others, Effort::EveryFragment);
    let found = check.run().await?;
    let found = match others {
        Others::Nobody => found,
        Others::Server => check.settle(found, SETTLE).await?,
    };
    store.close().await;
    if intent == Intent::Check || !found.can_be_repaired() {
        return Ok(Run { others, repaired: Vec::new(), left: found });
    }
    let store = Store::open(config).await?;
    let outcome = repair(&store, disk, found, now).await;
    store.close().await;
    let (repaired, left) = outcome?;
    Ok(Run { others, repaired, left })
}

/// True when the store remembers a folder on a disk of its own, and this one bears another mark or none.
async fn is_another_folder(store: &Store, recordings: &Path) -> Result<bool, FsckError> {
    let settings = store.settings(&Scope::All).await?;
    let remembered = settings.iter().find(|setting| setting.key == RECORDINGS_FOLDER);
    let remembered: Option<FolderId> = remembered.and_then(|setting| setting.value.parse().ok());
    let Some(remembered) = remembered.filter(|folder| folder.apart) else { return Ok(false) };
    let mark = std::fs::read_to_string(recordings.join(MARK)).unwrap_or_default();
    Ok(mark.trim() != remembered.id)
}

/// How long what a server is about to write is waited for before it counts as missing: the indexer looks every 200 ms
/// and rests for a second after the store was busy.
const SETTLE: Duration = Duration::from_secs(3);

async fn repair(
    store: &Store,
    disk: Arc<dyn Disk>,
    mut found: Report,
    now: WallTime,
) -> Result<(Vec<Repaired>, Report), FsckError> {
    let mut repaired = Vec::new();
    for _round in 0..ROUNDS {
        let mut work = Repair::new(store.clone(), disk.clone(), now);
        let done = work.run(&found).await?;
        let any = done.iter().any(|one| one.outcome == Outcome::Done);
        repaired.extend(done);
        found = Check::new(store.clone(), disk.clone(), Others::Nobody, Effort::EveryFragment).run().await?;
        if !any || !found.can_be_repaired() {
            break;
        }
    }
    Ok((repaired, found))
}
