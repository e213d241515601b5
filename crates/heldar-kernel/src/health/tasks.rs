//! Background tasks that must not end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use heldar_http::metrics::{Counter, Family};

/// Rest before a task that ended is started again (auth-system.md 2.4).
const REST: Duration = Duration::from_secs(5);

/// Runs a task for good: when it ends or panics it is logged, counted and started again after 5 s.
pub async fn keep<F>(name: &'static str, restarts: &Family<Counter, 1>, mut start: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send,
{
    let restarted = restarts.with([name]);
    loop {
        match AssertUnwindSafe(start()).catch_unwind().await {
            Ok(()) => tracing::error!(task = name, "a background task ended"),
            Err(_panic) => tracing::error!(task = name, "a background task panicked"),
        }
        tokio::time::sleep(REST).await;
        restarted.inc();
    }
}
