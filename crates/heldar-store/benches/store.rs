//! What the store costs: writing segments as a recorder does, and reads over a large index.
//!
//! `cargo bench -p heldar-store -- [SEGMENTS] [URL]`; by default 100 000 segments in a SQLite file that is removed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints and stops at the first failure"
)]

use std::time::Instant;

use heldar_base::{CameraId, EndReason, Interval, Micros, Scope, SegmentId, StreamId, StreamKind, WallTime};
use heldar_store::op::{AppendEvents, CreateCamera, EnsureParams, EnsureStream, PutSegment, Seal, WriteOp};
use heldar_store::{
    CameraFields, CodecParams, DatabaseUrl, DeviceTls, EventFilter, NewEvent, RecordMode, RtspTransport,
    Severity, Store, StoreConfig, TimeRange,
};

/// 2026-01-01T00:00:00Z.
const T0: i64 = 1_767_225_600_000_000;
const CAMERAS: i64 = 64;
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1440 * MINUTE;
/// Bytes of a fragment index of one minute.
const INDEX: usize = 400;

fn fields(name: &str) -> CameraFields {
    CameraFields {
        name: name.to_owned(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: None,
        sub_stream_url: None,
        record_stream: StreamKind::Main,
        record_sub: false,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: serde_json::json!({}),
        record_enabled: true,
        segment_seconds: 60,
        retention_hours: 720,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: None,
        record_audio: false,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: 10,
        post_roll_seconds: 30,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: true,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}

struct World {
    store: Store,
    streams: Vec<(StreamId, i64)>,
    params_no: i64,
}

impl World {
    async fn new(store: Store) -> World {
        let params = CodecParams {
            codec: "h264".into(),
            codec_string: "avc1.64001f".into(),
            width: 768,
            height: 576,
            audio: None,
        };
        let params_no = store.write(EnsureParams { params }).await.unwrap();
        let mut streams = Vec::new();
        for number in 0..CAMERAS {
            let id = CameraId::new(&format!("camera_{number:02}")).unwrap();
            store
                .write(CreateCamera { id: id.clone(), fields: fields("x"), now: WallTime(T0) })
                .await
                .unwrap();
            let stream = StreamId::new(id, StreamKind::Main);
            let stream_no = store.write(EnsureStream { stream: stream.clone() }).await.unwrap();
            streams.push((stream, stream_no));
        }
        World { store, streams, params_no }
    }

    /// Minute `minute` of a stream, written up to `end` microseconds into it.
    fn segment(&self, stream_no: i64, minute: i64, end: i64, sealed: bool) -> PutSegment {
        let start = T0 + minute * MINUTE + stream_no * 900_000;
        let filled = usize::try_from(end * 400 / MINUTE).unwrap().min(INDEX);
        // Not compressible, as deltas of sizes are not.
        let mut state = u64::try_from(start).unwrap();
        let index = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        PutSegment {
            id: SegmentId { stream_no, start: WallTime(start) },
            end: WallTime(start + end),
            size_bytes: end / 8,
            name_no: 1,
            params_no: self.params_no,
            dependent: false,
            seal: sealed.then_some(Seal { reason: EndReason::Rotated, cause: None }),
            holes: Vec::new(),
            index: Some(index.take(filled).collect()),
            created_at: WallTime(start),
        }
    }
}

/// CPU time of this process in seconds, and its resident memory in MiB.
fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // proc(5): fields behind the program's name; user and system time in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (ticks / 100.0, resident.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0)
}

/// Runs a read many times; prints its median and 99th percentile.
async fn time(name: &str, mut read: impl AsyncFnMut(usize) -> usize) {
    let mut times = Vec::new();
    let mut rows = 0;
    for turn in 0..200 {
        let begun = Instant::now();
        rows = read(turn).await;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    println!("{name}: {rows} rows, median {:.2} ms, p99 {:.2} ms", times[100], times[197]);
}

/// 64 recorders at once: a row at the first fragment, one at each sync of 5 s, one at the end.
async fn record(world: &World, minutes: i64) {
    let (begun, (cpu, _)) = (Instant::now(), usage());
    let mut writes = 0;
    for minute in 0..minutes {
        for sync in 1..=12 {
            let tasks: Vec<_> = world
                .streams
                .iter()
                .map(|(_, stream_no)| {
                    let put = world.segment(*stream_no, minute, sync * MINUTE / 12, sync == 12);
                    let store = world.store.clone();
                    tokio::spawn(async move { store.write(put).await.unwrap() })
                })
                .collect();
            writes += tasks.len();
            for task in tasks {
                task.await.unwrap();
            }
        }
    }
    let (elapsed, spent) = (begun.elapsed().as_secs_f64(), usage().0 - cpu);
    let camera_minutes = (CAMERAS * minutes) as f64;
    println!(
        "record: {writes} writes, {:.0} a second, {:.2} ms of CPU for a camera-minute",
        writes as f64 / elapsed,
        spent * 1000.0 / camera_minutes
    );
}

/// Adds sealed segments up to a number, many in one commit.
async fn fill(world: &World, segments: i64, from: i64) -> i64 {
    let (begun, (cpu, _)) = (Instant::now(), usage());
    let minutes = segments / CAMERAS;
    for minute in from..minutes {
        let ops: Vec<WriteOp> =
            world.streams.iter().map(|(_, no)| world.segment(*no, minute, MINUTE, true).into()).collect();
        world.store.write_all(ops).await.unwrap();
    }
    let added = ((minutes - from) * CAMERAS) as f64;
    let (elapsed, spent) = (begun.elapsed().as_secs_f64(), usage().0 - cpu);
    println!(
        "fill: {added} segments, {:.0} a second, {:.1} us of CPU each",
        added / elapsed,
        spent * 1e6 / added
    );
    minutes
}

async fn append_events(world: &World, count: usize) {
    let (begun, (cpu, _)) = (Instant::now(), usage());
    for first in (0..count).step_by(500) {
        let events = (first..first + 500)
            .map(|number| NewEvent {
                id: format!("00000000-0000-4000-8000-{number:012x}"),
                camera: Some(world.streams[number % world.streams.len()].0.camera.clone()),
                event_type: "camera_offline".into(),
                severity: if number % 10 == 0 { Severity::Warning } else { Severity::Info },
                timestamp: WallTime(T0 + i64::try_from(number).unwrap() * 1_000_000),
                created_at: WallTime(T0),
                payload: serde_json::json!({"ran_seconds": 12.5, "detail": "closed"}),
            })
            .collect();
        world.store.write(AppendEvents { events }).await.unwrap();
    }
    let (elapsed, spent) = (begun.elapsed().as_secs_f64(), usage().0 - cpu);
    println!(
        "events: {count}, {:.0} a second, {:.1} us of CPU each",
        count as f64 / elapsed,
        spent * 1e6 / count as f64
    );
}

async fn read(world: &World, minutes: i64) {
    let (store, all) = (&world.store, Scope::All);
    let stream = |turn: usize| &world.streams[turn % world.streams.len()].0;
    let day = |turn: usize| {
        let days = (minutes / 1440).max(1);
        let from = WallTime(T0 + (i64::try_from(turn).unwrap() % days) * DAY);
        Interval::new(from, from + Micros(DAY))
    };
    time("timeline of a day", async |turn| {
        store.segment_spans(&all, stream(turn), day(turn).into(), None, 5000).await.unwrap().rows.len()
    })
    .await;
    time("segments of a day", async |turn| {
        store.segments(&all, stream(turn), day(turn).into(), None, 5000).await.unwrap().rows.len()
    })
    .await;
    time("index of two hours", async |turn| {
        let from = day(turn).start;
        let range = TimeRange { from: Some(from), to: Some(from + Micros(120 * MINUTE)) };
        store.segment_indexes(&all, stream(turn), range, None, 5000).await.unwrap().rows.len()
    })
    .await;
    time("segment by id", async |turn| {
        let minute = i64::try_from(turn).unwrap() * 37 % minutes;
        let id = world.segment(world.streams[turn % 64].1, minute, 0, true).id;
        usize::from(store.segment(&all, id).await.unwrap().is_some())
    })
    .await;
    time("newest 500", async |turn| {
        store.newest_segments(&all, stream(turn), None, 500).await.unwrap().rows.len()
    })
    .await;
    time("totals", async |_| store.streams(&all).await.unwrap().len()).await;
    time("write rates", async |_| {
        store.write_rates(&all, WallTime(T0 + minutes * MINUTE)).await.unwrap().len()
    })
    .await;
    time("200 events", async |_| {
        store.events(&all, &EventFilter::default(), None, 200).await.unwrap().rows.len()
    })
    .await;
    let few = Scope::Cameras(world.streams.iter().take(3).map(|(stream, _)| stream.camera.clone()).collect());
    time("200 events of three cameras", async |_| {
        store.events(&few, &EventFilter::default(), None, 200).await.unwrap().rows.len()
    })
    .await;
}

async fn open(url: &DatabaseUrl) -> Store {
    let begun = Instant::now();
    let store =
        Store::open(StoreConfig { url: url.clone(), max_connections: 8, now: WallTime(T0) }).await.unwrap();
    let all = Scope::All;
    let open = store.open_segments(&all, None, 100).await.unwrap().rows.len();
    let deleting = store.deleting_segments(&all, None, 100).await.unwrap().rows.len();
    store.streams(&all).await.unwrap();
    println!("opened in {:.1} ms ({open} open, {deleting} deleting)", begun.elapsed().as_secs_f64() * 1000.0);
    store
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let segments: i64 = args.next().map_or(100_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let text = args.next().unwrap_or_else(|| format!("sqlite://{}/bench.db", folder.path().display()));
    let url: DatabaseUrl = text.parse().unwrap();

    let world = World::new(open(&url).await).await;
    let begun = 100.min(segments / CAMERAS);
    let before = world.store.size().await.unwrap().used_bytes;
    record(&world, begun).await;
    let minutes = fill(&world, segments, begun).await;
    let used = world.store.size().await.unwrap().used_bytes - before;
    println!("{:.0} bytes of database for a segment", used as f64 / (minutes * CAMERAS) as f64);
    append_events(&world, 200_000).await;
    read(&world, minutes).await;
    println!("resident memory {:.1} MiB", usage().1);
    world.store.close().await;
    open(&url).await.close().await;
    open(&url).await.close().await;
}
