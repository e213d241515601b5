//! One run of this build: a fresh server, its cameras added through the API, and a look at its ledger afterwards.

use std::time::{Duration, Instant};

use heldar_base::WallTime;
use serde_json::Value;

use super::report::{Loss, Run, Side};
use super::{Options, Window, now};
use crate::bench::cameras::TestCameras;
use crate::bench::clips::Clip;
use crate::bench::folder::{TempFolder, bytes_below};
use crate::bench::server::{Server, camera_id};
use crate::complain;

/// Time within which footage received in the window is on disk and in the answers.
const SETTLED: Duration = Duration::from_secs(15);

pub(super) async fn run(
    options: &Options,
    clip: &Clip,
    cameras: &mut TestCameras,
    number: u32,
) -> Result<Run, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut server = Server::start(folder.path(), &[]).await?;
    server.add_cameras(&cameras.urls, clip).await?;
    server.all_recording(cameras.urls.len(), options.warm_up()).await?;
    tokio::time::sleep(options.settle()).await;

    let bytes = bytes_below(&server.recordings())?;
    complain(&format!("run {number} heldar: process {} is measured from now on\n", server.id()));
    let window = Window::open(server.usage()?, cameras)?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let run = window.close(&server.usage()?, cameras, number)?;
    let to = now();

    let recorded = bytes_below(&server.recordings())?.saturating_sub(bytes);
    let loss = loss(&mut server, cameras.urls.len(), window.from, to).await?;
    server.stop().await?;
    Ok(Run { of: Side::Heldar, recorded_mib: recorded as f64 / 1_048_576.0, loss: Some(loss), ..run })
}

/// What the server says is missing in a window. Pictures of its end may still be on their way to the disk at first.
async fn loss(server: &mut Server, cameras: usize, from: WallTime, to: WallTime) -> Result<Loss, String> {
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
