//! `heldar bench index`: how fast a server starts and answers over a large index.
//!
//! Owns: the rows that it fills a store with, through the store's own operations: segments of a minute with fragments of
//! a second, as 1 Mbit/s with a sync sample every 2 s leaves them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heldar_base::{CameraId, EndReason, Micros, SegmentId, StreamId, StreamKind, WallTime};
use heldar_bmff::{FragmentIndex, IndexEntry};
use heldar_disk::SegmentName;
use heldar_store::op::{EnsureParams, EnsureStream, PutSegment, Seal, WriteOp};
use heldar_store::{CodecParams, Store};
use serde::Serialize;
use serde_json::json;

use super::folder::{TempFolder, bytes_below};
use super::footage::open_store;
use super::server::{Server, camera_id};
use super::stats::{Spread, median, quantile, table};
use super::usage::MachineInfo;
use super::{Verdict, now, print_json, with_cause};
use crate::{complain, say};

/// Length of a segment in microseconds.
const MINUTE: i64 = 60_000_000;
/// Minutes whose segments of all cameras share a commit.
const MINUTES_AT_ONCE: i64 = 16;
/// Fragments of a segment.
const FRAGMENTS: u64 = 60;
/// Bytes in front of the first fragment.
const INIT: u64 = 780;
/// Starts that are timed.
const STARTS: usize = 5;

/// Footage that is in the index alone is not to be tidied away.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[("HELDAR_MIN_FREE_DISK_GB", "0"), ("HELDAR_MAX_RECORDINGS_GB", "1000000")];

#[derive(clap::Args)]
pub(super) struct Options {
    /// Segments in the index, all cameras together
    #[arg(long, default_value_t = 3_000_000, value_parser = clap::value_parser!(i64).range(1000..=50_000_000))]
    segments: i64,
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
    cameras: u32,
    fill_s: f64,
    database_bytes_per_segment: f64,
    /// From starting the process to its first answer; the first start follows the filling.
    ready_ms: Vec<f64>,
    server_rss_mib: f64,
    answers: Vec<Answers>,
}

#[derive(Serialize)]
struct Answers {
    of: &'static str,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Size of the last answer's body.
    bytes: usize,
}

/// Fills an index, then starts and asks servers over it.
pub(super) async fn run(options: Options) -> Result<Verdict, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let data = folder.path().join("data");
    let mut server = Server::start(folder.path(), SETTINGS).await?;
    for number in 0..options.cameras as usize {
        server.add_silent_camera(&camera_id(number)).await?;
    }
    server.stop().await?;

    let world = World::new(options.cameras, options.segments);
    let begun = Instant::now();
    let store = open_store(&data).await?;
    let filled = world.fill(&store).await;
    store.close().await;
    filled?;
    world.make_newest_files(&data.join("recordings"))?;
    let fill_s = begun.elapsed().as_secs_f64();
    let database = bytes_below(&data)? - bytes_below(&data.join("recordings"))?;

    let mut ready_ms = Vec::new();
    let mut server = loop {
        let server = Server::start(folder.path(), SETTINGS).await?;
        ready_ms.push(server.ready.as_secs_f64() * 1e3);
        if ready_ms.len() > STARTS {
            break server;
        }
        server.stop().await?;
    };
    let answers = world.ask(&mut server, options.requests).await?;
    let server_rss_mib = server.usage()?.rss_kib as f64 / 1024.0;
    server.stop().await?;
    let report = Report {
        machine: MachineInfo::read(),
        segments: world.minutes * i64::from(options.cameras),
        cameras: options.cameras,
        fill_s,
        database_bytes_per_segment: database as f64 / (world.minutes * i64::from(options.cameras)) as f64,
        ready_ms,
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

/// What is in the index: every camera has a segment for every minute up to now.
pub(super) struct World {
    /// Every camera.
    pub(super) cameras: Vec<CameraId>,
    minutes: i64,
    begin: WallTime,
}

impl World {
    /// So many cameras with so many segments together.
    pub(super) fn new(cameras: u32, segments: i64) -> World {
        let minutes = (segments / i64::from(cameras)).max(1);
        let names = (0..cameras as usize).map(camera_id);
        let cameras: Vec<CameraId> = names.filter_map(|id| CameraId::new(&id).ok()).collect();
        World { cameras, minutes, begin: now() - Micros((minutes + 1) * MINUTE) }
    }

    /// Start of a segment; cameras do not rotate together.
    fn start(&self, camera: usize, minute: i64) -> WallTime {
        let stagger = (camera as i64 * 900_007) % MINUTE;
        self.begin + Micros(minute * MINUTE + stagger)
    }

    /// Puts the segments into a store that knows the cameras.
    ///
    /// # Errors
    /// The store refuses one.
    pub(super) async fn fill(&self, store: &Store) -> Result<(), String> {
        let params = CodecParams {
            codec: "h264".into(),
            codec_string: "avc1.64001f".into(),
            width: 768,
            height: 576,
            audio: None,
        };
        let params_no = store.write(EnsureParams { params }).await.map_err(with_cause)?;
        let mut streams = Vec::new();
        for camera in &self.cameras {
            let stream = StreamId::new(camera.clone(), StreamKind::Main);
            streams.push(store.write(EnsureStream { stream }).await.map_err(with_cause)?);
        }
        let mut spread = Spread(1);
        let mut told = Instant::now();
        for first in (0..self.minutes).step_by(MINUTES_AT_ONCE as usize) {
            let mut ops: Vec<WriteOp> = Vec::new();
            for minute in first..(first + MINUTES_AT_ONCE).min(self.minutes) {
                for (camera, stream_no) in streams.iter().enumerate() {
                    let start = self.start(camera, minute);
                    ops.push(segment(*stream_no, start, params_no, &mut spread)?.into());
                }
            }
            store.write_all(ops).await.map_err(with_cause)?;
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                complain(&format!("filling: {} %\n", 100 * first / self.minutes));
            }
        }
        Ok(())
    }

    /// A start compares the files of each camera's newest day with the index, so these are there, though empty.
    ///
    /// # Errors
    /// One cannot be made.
    pub(super) fn make_newest_files(&self, recordings: &Path) -> Result<(), String> {
        for (number, camera) in self.cameras.iter().enumerate() {
            let stream = StreamId::new(camera.clone(), StreamKind::Main);
            let day = SegmentName::day(self.start(number, self.minutes - 1));
            let name = |minute| SegmentName::new(stream.clone(), self.start(number, minute), 1);
            let folder = recordings.join(camera.as_str()).join(&day);
            std::fs::create_dir_all(&folder).map_err(with_cause)?;
            for minute in (0..self.minutes).rev() {
                let name = name(minute);
                if SegmentName::day(name.second) != day {
                    break;
                }
                std::fs::File::create(folder.join(name.file_name())).map_err(with_cause)?;
            }
        }
        Ok(())
    }

    /// A window of this many minutes that lies in the index, of some camera.
    fn window(&self, spread: &mut Spread, minutes: i64) -> (&CameraId, WallTime, WallTime) {
        let camera = spread.below(self.cameras.len() as u64) as usize;
        let latest = (self.minutes - minutes).max(1).unsigned_abs();
        let from = self.begin + Micros(spread.below(latest).cast_signed() * MINUTE + 17_000_000);
        (&self.cameras[camera], from, from + Micros(minutes * MINUTE))
    }

    async fn ask(&self, server: &mut Server, requests: u32) -> Result<Vec<Answers>, String> {
        let mut spread = Spread(7);
        let day = 1440.min(self.minutes);
        let mut timeline = Times::default();
        let mut several = Times::default();
        let mut session = Times::default();
        let mut playlist = Times::default();
        for _ in 0..requests {
            let (camera, from, to) = self.window(&mut spread, day);
            let path = format!("/api/v1/cameras/{camera}/timeline?from={from}&to={to}");
            timeline.add(&server.api.get(&path).await?)?;

            let (_, from, to) = self.window(&mut spread, day);
            let four: Vec<&str> = self.cameras.iter().take(4).map(CameraId::as_str).collect();
            let path = format!("/api/v1/timeline?cameras={}&from={from}&to={to}", four.join(","));
            several.add(&server.api.get(&path).await?)?;

            let (camera, from, to) = self.window(&mut spread, 60.min(self.minutes));
            let path = format!("/api/v1/cameras/{camera}/playback/sessions");
            let answer = server.api.post(&path, &json!({ "from": from, "to": to })).await?;
            session.add(&answer)?;
            let path = answer.json()["playlist_url"].as_str().unwrap_or_default().to_owned();
            playlist.add(&server.api.get(&path).await?)?;
        }
        Ok(vec![
            timeline.answers("timeline of a day"),
            several.answers("timeline of a day, 4 cameras"),
            session.answers("playback session, an hour"),
            playlist.answers("its playlist"),
        ])
    }
}

fn segment(
    stream_no: i64,
    start: WallTime,
    params_no: i64,
    spread: &mut Spread,
) -> Result<PutSegment, String> {
    let mut index = FragmentIndex::new();
    let mut offset = INIT;
    for number in 0..FRAGMENTS {
        let sync = number % 2 == 0;
        // A second of 1 Mbit/s; the half with the sync sample is the larger.
        let len = if sync { 110_000 + spread.below(50_000) } else { 85_000 + spread.below(40_000) };
        let start_ticks = number * 90_000;
        let entry = IndexEntry { offset, start_ticks, sync };
        offset += len;
        index.push(entry, offset, start_ticks + 90_000).map_err(with_cause)?;
    }
    Ok(PutSegment {
        id: SegmentId { stream_no, start },
        end: start + Micros(MINUTE),
        size_bytes: offset.cast_signed() + 12_000,
        name_no: 1,
        params_no,
        dependent: false,
        seal: Some(Seal { reason: EndReason::Rotated, cause: None }),
        holes: Vec::new(),
        index: Some(index.encode()),
        created_at: start,
    })
}

/// How long answers of one kind took.
#[derive(Default)]
struct Times {
    ms: Vec<f64>,
    bytes: usize,
}

impl Times {
    /// Only what succeeds counts.
    fn add(&mut self, answer: &super::http::Answer) -> Result<(), String> {
        if answer.status != 200 {
            answer.success()?;
            return Err(format!("status {} where 200 is due", answer.status));
        }
        self.ms.push(answer.took.as_secs_f64() * 1e3);
        self.bytes = answer.body.len();
        Ok(())
    }

    fn answers(&self, of: &'static str) -> Answers {
        Answers {
            of,
            p50_ms: quantile(&self.ms, 0.5),
            p99_ms: quantile(&self.ms, 0.99),
            max_ms: quantile(&self.ms, 1.0),
            bytes: self.bytes,
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let names = ["answer", "p50 ms", "p99 ms", "max ms", "bytes"];
        let mut rows = vec![names.map(str::to_owned).to_vec()];
        for Answers { of, p50_ms, p99_ms, max_ms, bytes } in &self.answers {
            let figures = [p50_ms, p99_ms, max_ms].map(|ms| format!("{ms:.2}"));
            rows.push(std::iter::once((*of).to_owned()).chain(figures).chain([bytes.to_string()]).collect());
        }
        let (first, warm) = self.ready_ms.split_first().unwrap_or((&0.0, &[]));
        format!(
            "\n{}\n{} segments of {} cameras, {:.0} bytes of database each, filled in {:.0} s\nready after {:.0} ms, the first \
             time after filling {first:.0} ms; {:.1} MiB resident\n{}",
            self.machine.line(),
            self.segments,
            self.cameras,
            self.database_bytes_per_segment,
            self.fill_s,
            median(warm),
            self.server_rss_mib,
            table(&rows),
        )
    }
}
