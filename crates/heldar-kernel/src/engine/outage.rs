//! Whether the machine went down with the last process: what was not synced may be missing then.
//!
//! Owns: the note of the boot in which recovery was last done. Never: a decision about footage.

use heldar_base::{Scope, WallTime};
use heldar_disk::Outage;
use heldar_store::op::PutSetting;
use heldar_store::{Store, StoreError};

/// Key of the setting that tells the boot of the machine in which recovery was last done.
const BOOT: &str = "server_boot_id";

/// The boot of the machine that the last start was in, and the present one.
#[derive(Debug)]
pub struct Outages {
    last: Option<String>,
    now: Option<String>,
}

impl Outages {
    /// Reads what the last start noted.
    ///
    /// # Errors
    /// The store failed.
    pub async fn since(store: &Store) -> Result<Self, StoreError> {
        let last = store.settings(&Scope::All).await?.into_iter().find(|s| s.key == BOOT);
        Ok(Outages { last: last.map(|setting| setting.value), now: heldar_disk::boot_id() })
    }

    /// What went down with the last process at most.
    pub fn of(&self) -> Outage {
        match (&self.last, &self.now) {
            (Some(last), Some(now)) if last == now => Outage::Process,
            _ => Outage::Machine,
        }
    }

    /// Notes that recovery has dealt with what the last boot left.
    ///
    /// # Errors
    /// The store failed.
    pub async fn recovered(&self, store: &Store, now: WallTime) -> Result<(), StoreError> {
        match self.now.clone() {
            Some(value) if self.last.as_ref() != Some(&value) => {
                store.write(PutSetting { key: BOOT.to_owned(), value, now }).await
            }
            _ => Ok(()),
        }
    }
}
