//! `heldar bench detections`: answers about the newest detections over a large store.
//!
//! Owns: the rows that it fills a store with, through the store's own operations: batches as workers leave them, spread over
//! the last day, beside an index of segments.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use heldar_base::{CameraId, Micros, PublicId, WallTime};
use heldar_store::op::{StoreBatch, WriteOp};
use heldar_store::{AiTask, DetectionBox, NewBatch, NewDetection, Producer, Share, Store};
use serde::Serialize;

use super::folder::{TempFolder, bytes_below};
use super::footage::open_store;
use super::index::{SETTINGS, World};
use super::server::{Server, camera_id};
use super::stats::{Spread, markdown, quantile};
use super::usage::MachineInfo;
use super::{Verdict, now, print_json, with_cause};
use crate::{complain, say};

/// Detections in a batch.
const IN_A_BATCH: i64 = 4;
/// Batches that share a commit.
const AT_ONCE: i64 = 512;
/// What is stored spans so much time.
const SPAN: Micros = Micros::from_secs(24 * 3600);
/// Pictures that a track lasts.
const TRACK: i64 = 20;
/// What an answer holds at most.
const LIMIT: usize = 100;
/// What is seen in a hundred detections: one label often, one seldom.
const LABELS: &[(&str, u64)] = &[("person", 60), ("car", 90), ("bicycle", 99), ("dog", 100)];
/// Labels that are asked for.
const OFTEN: &str = "car";
const SELDOM: &str = "dog";

#[derive(clap::Args)]
pub(super) struct Options {
    /// Segments in the index, all cameras together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1000..=50_000_000))]
    segments: i64,
    /// Detections in the store, all cameras together
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1000..=100_000_000))]
    detections: i64,
    /// Cameras
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=999))]
    cameras: u32,
    /// Requests of each kind
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    requests: u32,
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
    segments: i64,
    detections: i64,
    cameras: u32,
    fill_s: f64,
    database_mib: f64,
    server_rss_mib: f64,
    answers: Vec<Answers>,
}

/// How long answers of one kind took, until their last byte was here.
#[derive(Serialize)]
struct Answers {
    of: &'static str,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// CPU of the server for each.
    cpu_ms: f64,
    /// Detections in the last answer, and bytes of its body.
    rows: usize,
    bytes: usize,
}

/// Fills a store, then asks a server over it.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let data = folder.path().join("data");
    let settings = [SETTINGS, &[("HELDAR_MAX_DB_GB", "0")]].concat();
    let mut server = Server::start(folder.path(), &settings).await?;
    for number in 0..options.cameras as usize {
        server.add_silent_camera(&camera_id(number)).await?;
    }
    server.stop().await?;

    let world = World::new(options.cameras, options.segments);
    let begun = Instant::now();
    let store = open_store(&data).await?;
    let filled = async {
        world.fill(&store).await?;
        fill(&store, &world.cameras, options.detections).await
    };
    let filled = filled.await;
    store.close().await;
    let detections = filled?;
    world.make_newest_files(&data.join("recordings"))?;
    let fill_s = begun.elapsed().as_secs_f64();
    let database = bytes_below(&data)? - bytes_below(&data.join("recordings"))?;

    let mut server = Server::start(folder.path(), &settings).await?;
    let mut answers = Vec::new();
    for kind in KINDS {
        answers.push(kind.ask(&mut server, &world.cameras, options.requests).await?);
    }
    let server_rss_mib = server.usage()?.rss_kib as f64 / 1024.0;
    server.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        segments: options.segments,
        detections,
        cameras: options.cameras,
        fill_s,
        database_mib: database as f64 / 1_048_576.0,
        server_rss_mib,
        answers,
    };
    if options.json {
        print_json(&report)?;
    } else {
        say(&report.text());
    }
    Ok(Verdict::Valid)
}

/// Stores so many detections or a few more; how many.
async fn fill(store: &Store, cameras: &[CameraId], detections: i64) -> Result<i64, String> {
    let batches = (detections + IN_A_BATCH - 1) / IN_A_BATCH;
    let begin = now() - SPAN;
    let mut spread = Spread(5);
    let mut told = Instant::now();
    for first in (0..batches).step_by(AT_ONCE as usize) {
        let numbers = first..(first + AT_ONCE).min(batches);
        let ops = numbers.map(|number| {
            let at = begin + Micros(SPAN.0 / batches * number);
            WriteOp::from(StoreBatch { batch: batch(number, at, cameras, &mut spread) })
        });
        store.write_all(ops.collect()).await.map_err(with_cause)?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            complain(&format!("filling: {} %\n", 100 * first / batches));
        }
    }
    Ok(batches * IN_A_BATCH)
}

/// Cameras take turns; tracks last some pictures.
fn batch(number: i64, at: WallTime, cameras: &[CameraId], spread: &mut Spread) -> NewBatch {
    let (turn, camera) = (number / cameras.len() as i64, number.unsigned_abs() as usize % cameras.len());
    let seen = (0..IN_A_BATCH).map(|place| {
        let chance = spread.below(100);
        let label = LABELS.iter().find(|(_, below)| chance < *below).map(|(label, _)| (*label).to_owned());
        let confidence = u32::try_from(500_000 + spread.below(500_000)).ok().and_then(Share::from_ppm);
        let mut share = |most: u64| spread.below(most) as f64 / 1e6;
        NewDetection {
            timestamp: at,
            label,
            confidence,
            bbox: DetectionBox::new([share(700_000), share(700_000), share(300_000), share(300_000)]),
            track_id: Some((turn / TRACK * 100 + place).to_string()),
            attributes: None,
        }
    });
    stored(&cameras[camera], camera, at, seen.collect())
}

/// A batch as a worker leaves it; each camera has a task of its own.
pub(super) fn stored(
    camera: &CameraId,
    number: usize,
    at: WallTime,
    detections: Vec<NewDetection>,
) -> NewBatch {
    let task = PublicId::new(AiTask::PREFIX, number as u128 + 1);
    NewBatch {
        detections,
        camera: camera.clone(),
        task_type: "detection".to_owned(),
        task: Some(task),
        frame_id: Some(format!("w:{task}:{}", at.0.div_euclid(1000))),
        part: 0,
        ticketed: true,
        late: false,
        producer: Producer::Worker {
            credential: "key_0123456789abcdef0123456789abcdef".to_owned(),
            worker: Some("worker.example:4711".to_owned()),
            lease: Some("lse_0123456789abcdef0123456789abcdef".to_owned()),
        },
        captured_at: at,
        created_at: at,
        event: None,
    }
}

/// A kind of request.
struct Asking {
    name: &'static str,
    /// Of one camera, each in turn, or of all.
    one_camera: bool,
    label: Option<&'static str>,
}

const KINDS: &[Asking] = &[
    Asking { name: "of a camera", one_camera: true, label: None },
    Asking { name: "of a camera, a label of each third", one_camera: true, label: Some(OFTEN) },
    Asking { name: "of a camera, a label of each hundredth", one_camera: true, label: Some(SELDOM) },
    Asking { name: "across cameras", one_camera: false, label: None },
    Asking { name: "across cameras, a label of each third", one_camera: false, label: Some(OFTEN) },
    Asking { name: "across cameras, a label of each hundredth", one_camera: false, label: Some(SELDOM) },
];

impl Asking {
    fn path(&self, camera: &CameraId) -> String {
        let label = self.label.map_or_else(String::new, |label| format!("&label={label}"));
        match self.one_camera {
            true => format!("/api/v1/cameras/{camera}/detections?limit={LIMIT}{label}"),
            false => format!("/api/v1/detections?limit={LIMIT}{label}"),
        }
    }

    async fn ask(&self, server: &mut Server, cameras: &[CameraId], requests: u32) -> Result<Answers, String> {
        let mut ms = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        let before = server.usage()?;
        for camera in cameras.iter().cycle().take(requests as usize) {
            let answer = server.api.get(&self.path(camera)).await?;
            ms.push(answer.took.as_secs_f64() * 1e3);
            bytes = answer.body.len();
            rows = answer.success()?.as_array().map_or(0, Vec::len);
        }
        let after = server.usage()?;
        Ok(Answers {
            of: self.name,
            p50_ms: quantile(&ms, 0.5),
            p95_ms: quantile(&ms, 0.95),
            p99_ms: quantile(&ms, 0.99),
            max_ms: quantile(&ms, 1.0),
            cpu_ms: after.cpu_since(&before) * 1e3 / f64::from(requests),
            rows,
            bytes,
        })
    }
}

impl Report {
    fn text(&self) -> String {
        let names = ["the newest 100", "p50", "p95", "p99", "longest", "CPU", "rows", "bytes"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for Answers { of, p50_ms, p95_ms, p99_ms, max_ms, cpu_ms, rows: found, bytes } in &self.answers {
            let times = [p50_ms, p95_ms, p99_ms, max_ms, cpu_ms].map(|ms| format!("{ms:.2} ms"));
            let sizes = [found.to_string(), bytes.to_string()];
            rows.push(std::iter::once((*of).to_owned()).chain(times).chain(sizes).collect());
        }
        format!(
            "\n{}\n{} detections and {} segments of {} cameras, filled in {:.0} s: {:.0} MiB of database; {:.1} MiB \
             resident\n\n{}",
            self.machine.line(),
            self.detections,
            self.segments,
            self.cameras,
            self.fill_s,
            self.database_mib,
            self.server_rss_mib,
            markdown(&rows),
        )
    }
}
