//! What a server's own ledger says is missing in a window.
//!
//! Owns: the wait for the end of the window to reach the disk, and the sum over cameras. Never: judges whether a loss is
//! one too many.

use std::time::{Duration, Instant};

use heldar_base::WallTime;
use serde::Serialize;
use serde_json::Value;

use super::server::{Server, camera_id};

/// Time within which footage received in the window is on disk and in the answers.
const SETTLED: Duration = Duration::from_secs(15);

/// All cameras together.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Loss {
    pub(super) window_seconds: f64,
    pub(super) recorded_seconds: f64,
    pub(super) missing_seconds: f64,
    /// Seconds by cause.
    pub(super) missing: Value,
    pub(super) gap_rows: usize,
}

impl Loss {
    /// Asks for it. Pictures of the window's end may still be on their way to the disk at first.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn of(
        server: &mut Server,
        cameras: usize,
        from: WallTime,
        to: WallTime,
    ) -> Result<Loss, String> {
        let begun = Instant::now();
        let path = format!("/api/v1/coverage?from={from}&to={to}");
        let totals = loop {
            let answer = server.api.get(&path).await?.success()?;
            let totals = answer["totals"].clone();
            let complete = totals["missing_seconds"].as_f64() == Some(0.0);
            if complete || begun.elapsed() > SETTLED {
                break totals;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let mut rows = 0;
        for number in 0..cameras {
            let path = format!("/api/v1/cameras/{}/recording-gaps?from={from}&to={to}", camera_id(number));
            rows += server.api.get(&path).await?.success()?.as_array().map_or(0, Vec::len);
        }
        let causes = totals["missing"].as_object().cloned().unwrap_or_default();
        Ok(Loss {
            window_seconds: totals["window_seconds"].as_f64().unwrap_or(0.0),
            recorded_seconds: totals["recorded_seconds"].as_f64().unwrap_or(0.0),
            missing_seconds: totals["missing_seconds"].as_f64().unwrap_or(f64::INFINITY),
            missing: Value::Object(causes),
            gap_rows: rows,
        })
    }

    /// Whether anything is missing.
    pub(super) fn any(&self) -> bool {
        self.missing_seconds > 0.0 || self.gap_rows > 0
    }

    /// In words, behind what the window was called.
    pub(super) fn line(&self, name: &str) -> String {
        format!(
            "{name}: {:.6} of {:.0} s missing ({}), {} gap rows\n",
            self.missing_seconds, self.window_seconds, self.missing, self.gap_rows
        )
    }
}
