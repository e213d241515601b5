//! Webhooks with real receivers on loopback: order, failures, replays, restarts, forms for phones, and the API.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod api;
mod failures;
mod forms;
mod order;
mod receiver;
mod rig;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::time::Duration;

/// No single step takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{what} did not come to be"))
}
