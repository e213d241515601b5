//! The newest frames as files, for programs that read files (`HELDAR_FRAMES_MIRROR`).
//!
//! Owns: `<camera>/latest_<profile>.jpg` below the folder of frames, each replaced as a whole. Never: keeps decoding alive; a
//! frame that nobody else asked for does not come.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heldar_perception::ring::View;
use tokio::time::MissedTickBehavior;

use super::Key;
use crate::kernel::Kernel;

/// How often is looked for new frames.
const LOOK: Duration = Duration::from_millis(100);

/// Writes new frames until the server stops.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    let Some(folder) = kernel.settings.perception.mirror.clone() else { return std::future::pending().await };
    let mut written: HashMap<Key, u64> = HashMap::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let units: Vec<_> = {
            let units = kernel.perception.sampler.units();
            written.retain(|key, _| units.contains_key(key));
            units.iter().map(|(key, unit)| (key.clone(), unit.clone())).collect()
        };
        for (key, unit) in units {
            let newest = {
                let ring = unit.ring();
                ring.newest(View::Whole)
                    .and_then(|seq| Some((seq, ring.frame(seq)?.renditions.last()?.jpeg.clone())))
            };
            let Some((seq, jpeg)) = newest.filter(|(seq, _)| written.get(&key) != Some(seq)) else {
                continue;
            };
            let path = folder.join(key.0.as_str()).join(format!("latest_{}.jpg", key.1.as_str()));
            let result = tokio::task::spawn_blocking(move || replace(&path, &jpeg)).await;
            if let Ok(Err(error)) = result {
                tracing::warn!(camera = %key.0, %error, "a frame is not mirrored");
            }
            written.insert(key, seq);
        }
    }
}

/// Whoever reads the file sees the old picture or the new one.
fn replace(path: &Path, jpeg: &Bytes) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new: PathBuf = path.with_extension("jpg.part");
    std::fs::write(&new, jpeg)?;
    std::fs::rename(&new, path)
}
