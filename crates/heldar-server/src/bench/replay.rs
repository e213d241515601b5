//! `heldar bench replay`: zones over a whole day of one camera's detections, among those of others.
//!
//! Owns: the day that it fills a store with: a picture every 200 ms with one person in it, who walks from side to side.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use heldar_base::{CameraId, Micros, WallTime};
use heldar_store::op::{StoreBatch, WriteOp};
use heldar_store::{DetectionBox, NewDetection, Share, Store};
use serde::Serialize;
use serde_json::json;

use super::detections::stored;
use super::folder::TempFolder;
use super::footage::open_store;
use super::server::{Server, camera_id};
use super::stats::{markdown, median};
use super::usage::MachineInfo;
use super::{Verdict, now, print_json, with_cause};
use crate::{complain, say};

/// Between two pictures of a camera.
const PERIOD: Micros = Micros::from_millis(200);
/// Batches that share a commit.
const AT_ONCE: i64 = 512;
/// Pictures in which somebody walks across.
const WALK: i64 = 150;
/// Longest answer that is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Detections of each camera; 432000 are a day
    #[arg(long, default_value_t = 432_000, value_parser = clap::value_parser!(i64).range(1000..=432_000))]
    detections: i64,
    /// Cameras that have so many, one of which is replayed
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    cameras: u32,
    /// Zones, each with twelve corners
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    zones: u32,
    /// Replays
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print JSON; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Where temporary folders are made
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    machine: MachineInfo,
    cameras: u32,
    zones: u32,
    detections: u64,
    events: u64,
    seconds: Vec<f64>,
    server_rss_mib: f64,
    server_peak_mib: f64,
}

/// Fills a store, then replays a day of it.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let settings = [("HELDAR_MAX_DB_GB", "0")];
    let mut server = Server::start(folder.path(), &settings).await?;
    let cameras: Vec<CameraId> = (0..options.cameras as usize)
        .map(|number| CameraId::new(&camera_id(number)).map_err(with_cause))
        .collect::<Result<_, _>>()?;
    for camera in &cameras {
        server.add_silent_camera(camera.as_str()).await?;
    }
    server.stop().await?;
    let store = open_store(&folder.path().join("data")).await?;
    let begin = now() - Micros(PERIOD.0 * options.detections);
    let filled = fill(&store, &cameras, options.detections, begin).await;
    store.close().await;
    filled?;

    let mut server = Server::start(folder.path(), &settings).await?;
    let zones: Vec<_> = (0..options.zones).map(super::ingest::zone).collect();
    let to = begin + Micros(PERIOD.0 * options.detections);
    let body = json!({
        "camera_id": cameras.first(), "from": begin.to_string(), "to": to.to_string(), "zones": zones, "limit": 10,
    });
    let mut client = server.client(PATIENCE);
    let (mut seconds, mut answer) = (Vec::new(), serde_json::Value::Null);
    for _ in 0..options.runs {
        let replayed = client.post("/api/v1/zones/replay", &body).await?;
        seconds.push(replayed.took.as_secs_f64());
        answer = replayed.success()?;
    }
    let usage = server.usage()?;
    server.stop().await?;
    let counts = answer["counts"].as_object().into_iter().flat_map(|zones| zones.values());
    let counts = counts.filter_map(|types| types.as_object()).flat_map(|types| types.values());
    let report = Report {
        machine: MachineInfo::read(),
        cameras: options.cameras,
        zones: options.zones,
        detections: answer["detections"].as_u64().unwrap_or(0),
        events: counts.filter_map(serde_json::Value::as_u64).sum(),
        seconds,
        server_rss_mib: usage.rss_kib as f64 / 1024.0,
        server_peak_mib: usage.peak_kib as f64 / 1024.0,
    };
    if options.json {
        print_json(&report)?
    } else {
        say(&report.text())
    }
    let is_whole = report.detections == options.detections.unsigned_abs();
    Ok(if is_whole { Verdict::Valid } else { Verdict::Broken })
}

/// Stores so many detections of each camera, in the order in which they would have come.
async fn fill(store: &Store, cameras: &[CameraId], pictures: i64, begin: WallTime) -> Result<(), String> {
    let all = pictures * cameras.len() as i64;
    let mut told = Instant::now();
    for first in (0..all).step_by(AT_ONCE as usize) {
        let ops = (first..(first + AT_ONCE).min(all)).map(|number| {
            let (picture, camera) =
                (number / cameras.len() as i64, number.unsigned_abs() as usize % cameras.len());
            let at = begin + Micros(PERIOD.0 * picture);
            WriteOp::from(StoreBatch {
                batch: stored(&cameras[camera], camera, at, vec![walker(picture, at)]),
            })
        });
        store.write_all(ops.collect()).await.map_err(with_cause)?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            complain(&format!("filling: {} %\n", 100 * first / all));
        }
    }
    Ok(())
}

/// Somebody who walks from left to right, and the next one back, each as somebody else.
fn walker(picture: i64, at: WallTime) -> NewDetection {
    let (walk, step) = (picture / WALK, picture % WALK);
    let share = step as f64 / WALK as f64;
    let x = if walk % 2 == 0 { share } else { 1.0 - share };
    NewDetection {
        timestamp: at,
        label: Some("person".to_owned()),
        confidence: Share::from_ppm(900_000),
        bbox: DetectionBox::new([x * 0.9, 0.2, 0.1, 0.3]),
        track_id: Some(walk.to_string()),
        attributes: None,
    }
}

impl Report {
    fn text(&self) -> String {
        let seconds = |s: f64| format!("{s:.2} s");
        let shortest = self.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let longest = self.seconds.iter().copied().fold(0.0, f64::max);
        let rows = [
            ["a day of one camera", "shortest", "median", "longest"].map(str::to_owned).to_vec(),
            vec![
                format!("{} detections, {} events", self.detections, self.events),
                seconds(shortest),
                seconds(median(&self.seconds)),
                seconds(longest),
            ],
        ];
        format!(
            "\n{}\n{} cameras, {} zones, {} replays; server {:.0} MiB, peak {:.0} MiB\n\n{}",
            self.machine.line(),
            self.cameras,
            self.zones,
            self.seconds.len(),
            self.server_rss_mib,
            self.server_peak_mib,
            markdown(&rows),
        )
    }
}
