//! The folders that a server works on, made or found at its start.
//!
//! Owns: which folder is the recordings folder, as the store remembers it. Never: looks into it.

use std::sync::Arc;

use heldar_base::{Scope, WallTime};
use heldar_config::Settings;
use heldar_disk::{Disk, FolderId, OsDisk, Recognised, make_folder};
use heldar_store::Store;
use heldar_store::op::PutSetting;

use crate::engine::journal::random_bits;
use crate::kernel::{RECORDINGS_FOLDER, StartFailure};

/// Takes the data folder for this process: one owner at a time, whatever database it uses.
///
/// # Errors
/// Another process has it, or it cannot be made.
pub(crate) fn lock_data_folder(settings: &Settings) -> Result<std::fs::File, StartFailure> {
    let folder = |source| StartFailure::Folder { what: "data", source };
    make_folder(&settings.storage.data_dir).map_err(folder)?;
    let path = settings.storage.data_dir.join("lock");
    let file =
        std::fs::File::options().create(true).truncate(false).write(true).open(path).map_err(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartFailure::Locked),
        Err(std::fs::TryLockError::Error(error)) => Err(folder(error)),
    }
}

/// Makes the data folder and those of clips and snapshots.
///
/// # Errors
/// One cannot be made.
pub(crate) fn make_folders(settings: &Settings) -> Result<(), StartFailure> {
    let folder = |what| move |source| StartFailure::Folder { what, source };
    make_folder(&settings.storage.data_dir).map_err(folder("data"))?;
    make_folder(&settings.storage.clips_dir).map_err(folder("clips"))?;
    make_folder(&settings.storage.snapshots_dir).map_err(folder("snapshots"))
}

/// Opens the recordings folder, and remembers which it is. One whose disk is not there is waited for: the server starts
/// without it, and nothing is recorded into whatever lies at its path meanwhile.
///
/// # Errors
/// The folder can neither be found nor made; the store fails.
pub(crate) async fn open_disk(
    settings: &Settings,
    store: &Store,
    now: WallTime,
) -> Result<Arc<dyn Disk>, StartFailure> {
    let storage = &settings.storage;
    let settings = store.settings(&Scope::All).await?;
    let remembered = settings.iter().find(|setting| setting.key == RECORDINGS_FOLDER);
    let remembered: Option<FolderId> = remembered.and_then(|setting| setting.value.parse().ok());
    let fresh = format!("{:032x}", random_bits());
    let (disk, recognised) =
        OsDisk::recognise(&storage.recordings_dir, &storage.data_dir, remembered.as_ref(), &fresh)
            .map_err(|source| StartFailure::Folder { what: "recordings", source })?;
    match recognised {
        Recognised::Known => {}
        Recognised::Absent => {
            tracing::error!("the disk of the recordings folder is not there; recording waits for it");
        }
        Recognised::New(folder) => {
            if remembered.is_some() {
                tracing::warn!("the recordings folder is another one than before");
            }
            let value = folder.to_string();
            store.write(PutSetting { key: RECORDINGS_FOLDER.to_owned(), value, now }).await?;
        }
    }
    Ok(Arc::new(disk))
}
