//! What commands need of a data folder that no server works on.
//!
//! Owns: the order in which they take it. Never: a camera, a recording, a listener.

use std::fs::File;
use std::sync::Arc;

use heldar_base::Clock as _;
use heldar_config::Settings;
use heldar_http::metrics::Registry;
use heldar_ingest::SystemClock;
use heldar_store::Store;

use crate::accounts::Accounts;
use crate::folders::lock_data_folder;
use crate::kernel::{StartFailure, open_store};
use crate::secrets::Sealer;

/// A store with its accounts, as long as no server has it.
pub struct Offline {
    /// The store.
    pub store: Store,
    /// People, keys and sign-ins.
    pub accounts: Arc<Accounts>,
    /// Seals and opens secrets.
    pub sealer: Sealer,
    /// The clock.
    pub clock: SystemClock,
    lock: File,
}

impl Offline {
    /// Takes the data folder and opens its store.
    ///
    /// # Errors
    /// [`StartFailure::Locked`] while a server has it; the store, the keys.
    pub async fn open(settings: &Settings) -> Result<Self, StartFailure> {
        let clock = SystemClock::new();
        let lock = lock_data_folder(settings)?;
        let store = open_store(settings, clock.wall()).await?;
        let sealer = Sealer::open(&settings.secrets, &store, clock.wall()).await?;
        let accounts = Accounts::open(settings, &store, clock, &Registry::new()).await?;
        Ok(Offline { store, accounts, sealer, clock, lock })
    }

    /// Gives all of it back.
    pub async fn close(self) {
        self.store.close().await;
        drop(self.lock);
    }
}
