//! What zone events cost: appending them as the zone engine does, and reads over many of one camera.
//!
//! `cargo bench -p heldar-store --bench zones -- [ZONE EVENTS] [URL]`; by default a million in a SQLite file that is removed;
//! `postgres` for a URL is a server of its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints and stops at the first failure"
)]

use std::time::Instant;

use heldar_base::{CameraId, Interval, Micros, PublicId, Scope, StreamKind, WallTime};
use heldar_store::op::{
    AppendZoneEvents, CreateCamera, OldZoneEvents, RemoveZoneEvents, SaveZoneState, WriteOp,
};
use heldar_store::{
    CameraFields, DatabaseUrl, DetectionBox, DeviceTls, NewEvent, NewZoneEvent, RecordMode, RtspTransport,
    Severity, Share, Store, StoreConfig, TimeRange, Zone, ZoneBucketFilter, ZoneEvent, ZoneEventFilter,
    ZoneEventId, ZoneEventOrder, ZoneSource, ZoneState,
};
use heldar_testkit::PostgresCluster;
use serde_json::json;

/// 2026-01-01T00:00:00Z.
const T0: i64 = 1_767_225_600_000_000;
/// Between two zone events.
const STEP: i64 = 500_000;
const DAY: i64 = 86_400_000_000;
const ZONES: u64 = 20;
/// Each with what the feed is told.
const IN_FEED: u64 = 2000;

fn camera() -> CameraId {
    CameraId::new("street").unwrap()
}

fn zone(number: u64) -> PublicId {
    PublicId::new(Zone::PREFIX, u128::from(number % ZONES) << 64)
}

fn fields() -> CameraFields {
    CameraFields {
        name: "Street".to_owned(),
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
        capabilities: json!({}),
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

fn zone_event(number: u64) -> ZoneEvent {
    let time = WallTime(T0 + i64::try_from(number).unwrap() * STEP);
    let ppm = |factor: u64| Share::from_ppm(u32::try_from(number * factor % 1_000_000).unwrap()).unwrap();
    let [x, y, w, h] = [ppm(7919), ppm(6007), ppm(5003), ppm(4001)];
    // A loiterer among ten thousand.
    let event_type = match number {
        _ if number % 10_000 == 5000 => "loiter",
        _ if number % 2 == 1 => "exit",
        _ => "enter",
    };
    ZoneEvent {
        id: ZoneEventId { timestamp: time, bits: number.wrapping_mul(0x9E37_79B9_7F4A_7C15) },
        camera: camera(),
        zone: zone(number),
        zone_name: format!("zone {}", number % ZONES),
        event_type: event_type.to_owned(),
        task_type: Some("detection".to_owned()),
        track_id: Some((number / 2).to_string()),
        label: Some(if number.is_multiple_of(7) { "car" } else { "person" }.to_owned()),
        dwell: (event_type == "exit").then_some(Micros(12_345_678)),
        confidence: Some(x),
        anchor: Some([y, h]),
        bbox: Some(DetectionBox { x, y, w, h }),
        direction_deg: Some(91.23),
        speed: Some(0.123_456),
        reason: (event_type == "exit").then(|| "left".to_owned()),
        source: Some(ZoneSource { seq: 1_000_000 + i64::try_from(number).unwrap(), position: Some(1) }),
        has_evidence: event_type != "exit",
        created_at: time + Micros(40_000),
    }
}

fn event(number: u64, about: &ZoneEvent) -> NewEvent {
    NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012x}"),
        camera: Some(about.camera.clone()),
        event_type: format!("zone_{}", about.event_type),
        severity: Severity::Info,
        timestamp: about.id.timestamp,
        created_at: about.created_at,
        payload: json!({"zone_id": about.zone, "zone": about.zone_name, "track_id": about.track_id}),
    }
}

async fn append(store: &Store, count: u64) {
    let begun = Instant::now();
    for first in (0..count).step_by(500) {
        let events = (first..(first + 500).min(count))
            .map(|number| NewZoneEvent { zone_event: zone_event(number), event: None })
            .collect();
        store.write(AppendZoneEvents { events }).await.unwrap();
    }
    println!("append: {:.0} a second, 500 in a commit", count as f64 / begun.elapsed().as_secs_f64());
}

/// As the engine writes: state and one zone event with its event in a commit of their own.
async fn append_singly(store: &Store, first: u64) {
    let begun = Instant::now();
    for number in first..first + IN_FEED {
        let zone_event = zone_event(number);
        let at = zone_event.created_at;
        let state =
            ZoneState { camera: camera(), seq: 0, ticked_at: at, saved_at: at, bytes: vec![7; 20_000] };
        let event = Some(event(number, &zone_event));
        let append = AppendZoneEvents { events: vec![NewZoneEvent { zone_event, event }] };
        let ops: Vec<WriteOp> = vec![SaveZoneState { state }.into(), append.into()];
        store.write_all(ops).await.unwrap();
    }
    let each = begun.elapsed().as_secs_f64() * 1000.0 / IN_FEED as f64;
    println!("state of 20 kB, zone event and event in one durable commit: {each:.2} ms");
}

/// Runs a read many times; prints its median and 99th percentile.
async fn time(name: &str, turns: usize, mut read: impl AsyncFnMut(u64) -> usize) {
    let (mut times, mut rows) = (Vec::new(), 0);
    for turn in 0..turns {
        let begun = Instant::now();
        rows = read(turn as u64).await;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let (median, p99) = (times[turns / 2], times[(turns * 99 / 100).min(turns - 1)]);
    println!("{name}: {rows} rows, median {median:.2} ms, p99 {p99:.2} ms");
}

async fn read(store: &Store, count: u64) {
    let all = ZoneEventFilter::default;
    let newest = async |which: ZoneEventFilter| {
        store.zone_events(&Scope::All, &which, None, 100).await.unwrap().rows.len()
    };
    let of = || ZoneEventFilter { camera: Some(camera()), ..all() };
    time("newest 100 of the camera", 200, async |_| newest(of()).await).await;
    time("oldest 100 of the camera", 200, async |_| {
        newest(ZoneEventFilter { order: ZoneEventOrder::OldestFirst, ..of() }).await
    })
    .await;
    time("newest 100 before some instant", 200, async |turn| {
        let to = WallTime(T0 + i64::try_from(turn * 37 % 200 * (count / 200)).unwrap() * STEP + 1000 * STEP);
        newest(ZoneEventFilter { range: TimeRange { from: None, to: Some(to) }, ..of() }).await
    })
    .await;
    time("newest 100 of a zone", 200, async |turn| {
        newest(ZoneEventFilter { zone: Some(zone(turn)), ..of() }).await
    })
    .await;
    let typed = |event_type: &str| ZoneEventFilter { event_type: Some(event_type.to_owned()), ..of() };
    time("newest 100 exits", 200, async |_| newest(typed("exit")).await).await;
    time("newest 100 of a rare type", 200, async |_| newest(typed("loiter")).await).await;
    time("newest 100 of a label", 200, async |_| {
        newest(ZoneEventFilter { label: Some("car".to_owned()), ..of() }).await
    })
    .await;
    time("all of a track", 200, async |_| {
        newest(ZoneEventFilter { track_id: Some("7".to_owned()), ..of() }).await
    })
    .await;
    time("one by id", 200, async |turn| {
        let id = zone_event(turn * (count / 200)).id;
        usize::from(store.zone_event(&Scope::All, id).await.unwrap().is_some())
    })
    .await;
    let end = WallTime(T0 + i64::try_from(count).unwrap() * STEP);
    for (name, from) in
        [("counts of a day by hour", end - Micros(DAY)), ("counts of all by hour", WallTime(T0))]
    {
        let which = ZoneBucketFilter {
            camera: camera(),
            window: Interval::new(from, end),
            bucket: Micros::from_hours(1),
            zone: None,
            label: None,
        };
        time(name, 5, async |_| store.zone_buckets(&Scope::All, &which).await.unwrap().buckets.len()).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let count: u64 = args.next().map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = None;
    let text = match args.next().as_deref() {
        None => format!("sqlite://{}/bench.db", folder.path().display()),
        Some("postgres") => cluster.insert(PostgresCluster::start().unwrap()).create_database().unwrap(),
        Some(url) => url.to_owned(),
    };
    let url: DatabaseUrl = text.parse().unwrap();
    let store = Store::open(StoreConfig { url, max_connections: 4, now: WallTime(T0) }).await.unwrap();
    store.write(CreateCamera { id: camera(), fields: fields(), now: WallTime(T0) }).await.unwrap();

    let before = store.size().await.unwrap().used_bytes;
    append(&store, count).await;
    let used = store.size().await.unwrap().used_bytes - before;
    println!("{:.0} bytes of database for a zone event", used as f64 / count as f64);
    append_singly(&store, count).await;
    read(&store, count).await;
    let begun = Instant::now();
    let which = OldZoneEvents::Before(WallTime(T0 + 5000 * STEP));
    for _ in 0..10 {
        store.write(RemoveZoneEvents { which, limit: 500 }).await.unwrap();
    }
    println!("removal of 500: {:.2} ms", begun.elapsed().as_secs_f64() * 100.0);
    store.close().await;
}
