//! Cameras and sites as configured: who may be made, changed and removed, and how the engine learns of it.
//!
//! Owns: the rules of their fields, the sealing of their secrets, the audit row of each change, what sessions have shown of
//! streams, the test of a stream. Never: HTTP, SQL, a decision about recording.
//!
//! Invariants
//! 1. The store comes first: the engine is told of a change after its commit, and of every change that was committed.
//! 2. One change at a time: what the engine is told last is what was committed last.
//! 3. A change and its audit row are one commit; what changes nothing writes nothing and interrupts nothing.
//! 4. A change once begun runs to its end, whoever waits for it.

mod author;
mod cameras;
mod error;
mod fields;
mod observed;
mod probe;
mod schedules;
mod secret_fields;
mod sites;
mod urls;

use std::sync::Arc;

use heldar_base::Clock as _;

pub use author::{Author, Target};
pub use cameras::{Footage, change_camera, create_camera, delete_camera};
pub use error::{FieldError, FieldFault, RegistryError};
pub use fields::CameraChanges;
pub use observed::{Observations, Seen};
pub use probe::{Probe, ProbeFailure, Probes, Reached, probe};
pub(crate) use schedules::time_of_day;
pub use schedules::{change_schedule, create_schedule, delete_schedule};
pub use sites::{SiteChanges, change_site, create_site, delete_site};
pub use urls::CameraUrls;

use crate::kernel::Kernel;

/// The parts of the registry that last as long as the process.
#[derive(Debug, Default)]
pub struct Registry {
    /// Held from reading what is stored to telling the engine (invariant 2).
    turn: tokio::sync::Mutex<()>,
    /// What sessions have shown.
    pub observed: Observations,
    /// Stream tests that run.
    pub probes: Probes,
}

/// Seals every secret with the current key. Answers with the id of the key and how many values it seals.
///
/// # Errors
/// As [`crate::secrets::Sealer::rekey`].
pub async fn rekey(kernel: &Arc<Kernel>, author: Author) -> Result<(String, usize), RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let now = kernel.clock.wall();
        Ok(kernel.sealer.rekey(&kernel.store, &author, now).await?)
    })
    .await
}

/// Runs a change on a task of its own (invariant 4).
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
) -> Result<T, RegistryError> {
    tokio::spawn(change).await.unwrap_or(Err(RegistryError::Broken))
}

/// Keeps what sessions show of streams up to date until it is dropped.
pub async fn observe(kernel: Arc<Kernel>) {
    observed::run(&kernel).await;
}
