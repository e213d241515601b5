//! What ingest costs: batches of one detection and of many, as fast as they go and at a given rate.
//!
//! `cargo run --release -p heldar-store --example ingest -- [SECONDS] [URL]`; by default 10 seconds for each of the four
//! runs, in a SQLite file that is removed. Without pacing 256 posters wait for their answers; paced batches come whether
//! or not those before are answered.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it prints and stops at the first failure")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heldar_base::{CameraId, PublicId, Scope, StreamKind, WallTime};
use heldar_store::op::{CreateCamera, StoreBatch};
use heldar_store::{
    AiTask, BatchStored, CameraFields, DatabaseUrl, DetectionBox, DetectionFilter, DeviceTls, NewBatch,
    NewDetection, Producer, RecordMode, RtspTransport, Share, Store, StoreConfig,
};

/// 2026-01-01T00:00:00Z.
const T0: i64 = 1_767_225_600_000_000;
const CAMERAS: i64 = 64;
const POSTERS: usize = 256;
const TICK: Duration = Duration::from_millis(5);

/// What is posted, and how fast.
#[derive(Clone, Copy)]
struct Load {
    /// Detections of a batch.
    detections: i64,
    /// Batches a second; `None`: as many as go.
    rate: Option<u64>,
}

fn camera(number: i64) -> CameraId {
    CameraId::new(&format!("camera_{:02}", number % CAMERAS)).unwrap()
}

async fn create_cameras(store: &Store) {
    for number in 0..CAMERAS {
        let fields = CameraFields {
            name: format!("Camera {number}"),
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
        };
        store.write(CreateCamera { id: camera(number), fields, now: WallTime(T0) }).await.unwrap();
    }
}

/// Batch number `number`: cameras take turns; tracks last some pictures.
fn batch(number: i64, detections: i64) -> NewBatch {
    let task = PublicId::new(AiTask::PREFIX, u128::from((number % CAMERAS).unsigned_abs()) + 1);
    let time = WallTime(T0 + number * 1000);
    let seen = (0..detections).map(|place| NewDetection {
        timestamp: time,
        label: Some(if place % 3 == 0 { "car" } else { "person" }.to_owned()),
        confidence: Share::from_ppm(u32::try_from(number * 7919 % 1_000_000).unwrap()),
        bbox: DetectionBox::new([0.123_456, 0.2, 0.3, 0.25]),
        track_id: Some((number / CAMERAS / 20 * 100 + place).to_string()),
        attributes: None,
    });
    NewBatch {
        camera: camera(number),
        task_type: "detection".to_owned(),
        task: Some(task),
        frame_id: Some(format!("w:{task}:{}", time.0 / 1000)),
        part: 0,
        ticketed: true,
        late: false,
        producer: Producer::Worker {
            credential: "key_0123456789abcdef0123456789abcdef".to_owned(),
            worker: Some("worker.example:4711".to_owned()),
            lease: Some("lse_0123456789abcdef0123456789abcdef".to_owned()),
        },
        captured_at: time,
        created_at: time,
        detections: seen.collect(),
        event: None,
    }
}

/// Posts one batch and notes how long its answer took.
async fn post(store: Store, number: i64, detections: i64, times: Arc<Mutex<Vec<Duration>>>) {
    let batch = batch(number, detections);
    let begun = Instant::now();
    let stored = store.write(StoreBatch { batch }).await.unwrap();
    times.lock().unwrap().push(begun.elapsed());
    assert!(matches!(stored, BatchStored::Stored { .. }), "{stored:?}");
}

/// Posts batches for a while; the number of the next one, and how long each answer took.
async fn run(store: &Store, first: i64, load: Load, length: Duration) -> (i64, Vec<Duration>) {
    let next = Arc::new(AtomicI64::new(first));
    let times = Arc::new(Mutex::new(Vec::new()));
    let end = Instant::now() + length;
    let mut posts = tokio::task::JoinSet::new();
    match load.rate {
        None => {
            for _ in 0..POSTERS {
                let (store, next, times) = (store.clone(), Arc::clone(&next), Arc::clone(&times));
                posts.spawn(async move {
                    while Instant::now() < end {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        post(store.clone(), number, load.detections, Arc::clone(&times)).await;
                    }
                });
            }
        }
        Some(rate) => {
            let mut ticks = tokio::time::interval(TICK);
            let begun = Instant::now();
            let mut sent = 0;
            while Instant::now() < end {
                ticks.tick().await;
                let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
                for _ in sent..due {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    posts.spawn(post(store.clone(), number, load.detections, Arc::clone(&times)));
                }
                sent = due;
                while posts.try_join_next().is_some() {}
            }
        }
    }
    posts.join_all().await;
    let times = std::mem::take(&mut *times.lock().unwrap());
    (next.load(Ordering::Relaxed), times)
}

/// Watches the length of the log of a SQLite file until it is told to stop; the longest in bytes.
fn watch_log(url: &DatabaseUrl, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let log = match url {
        DatabaseUrl::Sqlite(path) => PathBuf::from(format!("{}-wal", path.display())),
        DatabaseUrl::Postgres(_) => PathBuf::new(),
    };
    std::thread::spawn(move || {
        let mut longest = 0;
        while !stop.load(Ordering::Relaxed) {
            longest = longest.max(std::fs::metadata(&log).map_or(0, |meta| meta.len()));
            std::thread::sleep(Duration::from_millis(20));
        }
        longest
    })
}

fn millis(times: &[Duration], share: f64) -> f64 {
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

async fn measure(store: &Store, url: &DatabaseUrl, first: i64, load: Load, length: Duration) -> i64 {
    let stop = Arc::new(AtomicBool::new(false));
    let log = watch_log(url, Arc::clone(&stop));
    let before = store.size().await.unwrap().used_bytes;
    let begun = Instant::now();
    let (next, mut times) = run(store, first, load, length).await;
    let elapsed = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let longest = log.join().unwrap();
    let bytes = store.size().await.unwrap().used_bytes - before;
    times.sort_unstable();
    let batches = times.len() as f64;
    let pace =
        load.rate.map_or_else(|| "as fast as it goes".to_owned(), |rate| format!("at {rate} a second"));
    println!("{} detections a batch, {pace}:", load.detections);
    println!(
        "  {:.0} batches/s, {:.0} detections/s, {:.0} bytes per detection",
        batches / elapsed,
        batches * load.detections as f64 / elapsed,
        bytes as f64 / (batches * load.detections as f64)
    );
    println!(
        "  answered in {:.2} ms (median), {:.2} ms (p99), {:.2} ms (longest); log up to {:.1} MiB",
        millis(&times, 0.5),
        millis(&times, 0.99),
        millis(&times, 1.0),
        longest as f64 / f64::from(1 << 20)
    );
    next
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let length = Duration::from_secs_f64(args.next().map_or(10.0, |text| text.parse().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let text = args.next().unwrap_or_else(|| format!("sqlite://{}/ingest.db", folder.path().display()));
    let url: DatabaseUrl = text.parse().unwrap();
    let store = Store::open(StoreConfig { url: url.clone(), max_connections: 4, now: WallTime(T0) });
    let store = store.await.unwrap();
    create_cameras(&store).await;
    let mut next = 0;
    for (detections, rate) in [(1, None), (1, Some(8000)), (100, None), (100, Some(1000))] {
        next = measure(&store, &url, next, Load { detections, rate }, length).await;
    }
    let totals = store.perception_totals(&Scope::All).await.unwrap().unwrap();
    println!("{} batches with {} detections are stored", totals.batches, totals.detections);
    let one = DetectionFilter { cameras: Some([camera(0)].into()), ..DetectionFilter::default() };
    for (name, which) in [("a camera", one), ("all cameras", DetectionFilter::default())] {
        let begun = Instant::now();
        let page = store.detections(&Scope::All, &which, None, 100).await.unwrap();
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        println!("the newest {} detections of {name}: {took:.2} ms", page.rows.len());
    }
    store.close().await;
}
