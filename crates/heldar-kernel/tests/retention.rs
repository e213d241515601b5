//! Retention against a real store and a real folder, with planted footage.

mod support;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::http::Method;
use heldar_base::{
    CameraId, Capability, Cause, Clock as _, EndReason, Interval, Micros, PublicId, Scope, SegmentId,
    StreamId, StreamKind, WallTime,
};
use heldar_disk::{Disk, DiskFile, DiskSpace, Entry, FileAccess, SegmentName};
use heldar_http::metrics::Registry;
use heldar_kernel::health::DiskGate;
use heldar_kernel::kernel::Kernel;
use heldar_kernel::retention::{Ground, Retention, RetentionConfig, SweepReport};
use heldar_store::op::{
    AppendEvents, AppendWanted, CreateCamera, DeleteCamera, EnsureParams, EnsureStream, InsertClip,
    MarkDeleting, Markable, PutSegment, Seal, UpdateCamera,
};
use heldar_store::{
    CameraFields, Clip, CodecParams, DeviceTls, EventFilter, GapFilter, GapOrder, NewEvent, RecordMode,
    RtspTransport, Severity, TimeRange, WriteOp,
};
use heldar_timeline::retention::{Condition, Reason};
use serde_json::{Value, json};
use support::{As, World};

/// No sweep but those of the test.
const ALONE: (&str, &str) = ("HELDAR_RETENTION_INTERVAL_S", "86400");
const LENGTH: Micros = Micros::from_secs(60);
const SIZE: u64 = 1000;

fn id(text: &str) -> CameraId {
    CameraId::new(text).unwrap()
}

fn main_of(camera: &str) -> StreamId {
    StreamId::new(id(camera), StreamKind::Main)
}

fn fields() -> CameraFields {
    CameraFields {
        name: "Gate".to_owned(),
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
        retention_hours: 24,
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
        enabled: false,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}

async fn camera(kernel: &Kernel, name: &str, change: impl FnOnce(&mut CameraFields)) {
    let mut fields = fields();
    change(&mut fields);
    kernel.store.write(CreateCamera { id: id(name), fields, now: kernel.clock.wall() }).await.unwrap();
}

async fn change(kernel: &Kernel, name: &str, change: impl FnOnce(&mut CameraFields)) {
    let stored = kernel.store.camera(&Scope::All, &id(name)).await.unwrap().unwrap();
    let mut fields = stored.fields;
    change(&mut fields);
    let op = UpdateCamera { id: stored.id, fields, revision: stored.revision, now: kernel.clock.wall() };
    kernel.store.write(op).await.unwrap();
}

/// Plants `count` segments of a minute, one behind the other, the first one beginning so long ago.
async fn plant(kernel: &Kernel, stream: &StreamId, ago: Micros, count: usize) -> Vec<SegmentId> {
    let start = (kernel.clock.wall() - ago).floor_second();
    let stream_no = kernel.store.write(EnsureStream { stream: stream.clone() }).await.unwrap();
    let params = CodecParams {
        codec: "h264".to_owned(),
        codec_string: "avc1.64001f".to_owned(),
        width: 768,
        height: 576,
        audio: None,
    };
    let params_no = kernel.store.write(EnsureParams { params }).await.unwrap();
    let mut ids = Vec::new();
    let mut ops: Vec<WriteOp> = Vec::new();
    for n in 0..count {
        let at = start + Micros(LENGTH.0 * i64::try_from(n).unwrap());
        let segment = SegmentId { stream_no, start: at };
        let path = SegmentName::new(stream.clone(), at, 1).relative_path();
        let path = kernel.settings.storage.recordings_dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![7; usize::try_from(SIZE).unwrap()]).unwrap();
        ops.push(
            PutSegment {
                id: segment,
                end: at + LENGTH,
                size_bytes: i64::try_from(SIZE).unwrap(),
                name_no: 1,
                params_no,
                dependent: false,
                seal: Some(Seal { reason: EndReason::Rotated, cause: None }),
                holes: Vec::new(),
                index: None,
                created_at: at,
            }
            .into(),
        );
        ids.push(segment);
    }
    kernel.store.write_all(ops).await.unwrap();
    ids
}

async fn left(kernel: &Kernel, stream: &StreamId) -> Vec<SegmentId> {
    let page = kernel.store.segments(&Scope::All, stream, TimeRange::default(), None, 5000).await.unwrap();
    page.rows.into_iter().map(|segment| segment.id).collect()
}

fn file(kernel: &Kernel, stream: &StreamId, segment: SegmentId) -> std::path::PathBuf {
    let name = SegmentName::new(stream.clone(), segment.start, 1);
    kernel.settings.storage.recordings_dir.join(name.relative_path())
}

fn files(kernel: &Kernel) -> usize {
    let mut folders = vec![kernel.settings.storage.recordings_dir.clone()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { count += 1 }
        }
    }
    count
}

/// Stored totals are what is there, and every segment has its file.
async fn consistent(kernel: &Kernel) {
    let mut all = 0;
    for stream in kernel.store.streams(&Scope::All).await.unwrap() {
        let ids = left(kernel, &stream.id).await;
        let totals = (stream.totals.segment_count, stream.totals.total_bytes);
        let count = i64::try_from(ids.len()).unwrap();
        assert_eq!(totals, (count, count * i64::try_from(SIZE).unwrap()), "{}", stream.id);
        for segment in &ids {
            assert!(file(kernel, &stream.id, *segment).is_file());
        }
        all += ids.len();
    }
    assert_eq!(files(kernel), all);
    let marked = kernel.store.deleting_segments(&Scope::All, None, 10).await.unwrap();
    assert!(marked.rows.is_empty());
}

async fn events(kernel: &Kernel) -> Vec<(String, String, Value)> {
    kernel.journal.flush(&kernel.store).await.unwrap();
    let page = kernel.store.events(&Scope::All, &EventFilter::default(), None, 100).await.unwrap();
    let one = |row: heldar_store::Event| {
        (row.event.event_type, row.event.severity.as_str().to_owned(), row.event.payload)
    };
    page.rows.into_iter().map(one).collect()
}

fn hours(n: i64) -> Micros {
    Micros::from_hours(n)
}

fn minutes(n: i64) -> Micros {
    Micros::from_secs(60 * n)
}

async fn limit(world: &World, body: &Value) -> Value {
    world.send(As::System, Method::PUT, "/api/v1/system/retention", Some(body)).await.ok()
}

/// GiB of a number of planted segments.
fn gb_of(segments: u64) -> f64 {
    (segments * SIZE) as f64 / f64::from(1u32 << 30)
}

#[tokio::test(flavor = "multi_thread")]
async fn age_takes_what_is_past_it_and_leaves_one_gap_row() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let from = kernel.clock.wall() - hours(30);
    let wanted = AppendWanted { camera: id("gate"), at: from, reason: None };
    kernel.store.write(wanted).await.unwrap();
    let ids = plant(kernel, &stream, hours(30), 400).await;
    let report = kernel.retention.sweep().await.unwrap();
    // Ended more than 24 hours ago: those of the first six hours, less what began a second late.
    assert_eq!(report.deleted.get(Reason::Age).0, 360, "{report:?}");
    assert_eq!(left(kernel, &stream).await, ids[360..]);
    consistent(kernel).await;
    let gaps = async || {
        let which = GapFilter::default();
        let found = kernel.store.gaps(&Scope::All, &id("gate"), &which, GapOrder::OldestFirst, None, 100);
        found.await.unwrap().rows
    };
    let rows = gaps().await;
    assert_eq!(rows.len(), 1);
    let gap = &rows[0];
    let expect = (Cause::Retention, ids[0].start, ids[360].start, false);
    assert_eq!((gap.cause, gap.start, gap.end, gap.open), expect);

    // The row grows with what goes later; the ledger sums exactly and knows what became of it.
    change(kernel, "gate", |fields| fields.retention_hours = 23).await;
    kernel.retention.sweep().await.unwrap();
    let rows = gaps().await;
    assert_eq!((rows.len(), rows[0].id, rows[0].start), (1, gap.id, gap.start));
    assert_eq!(left(kernel, &stream).await.first().map(|first| first.start), Some(rows[0].end));
    let (from, to) = (ids[0].start, ids[399].start + LENGTH);
    let coverage = world.get(&format!("/api/v1/cameras/gate/coverage?from={from}&to={to}")).await.ok();
    let seconds = |name: &str| coverage[name].as_f64().unwrap();
    assert_eq!(seconds("window_seconds"), 400.0 * 60.0);
    assert_eq!(seconds("recorded_seconds") + seconds("missing_seconds"), seconds("window_seconds"));
    assert_eq!(coverage["missing"], json!({ "retention": seconds("missing_seconds") }));
    assert_eq!(seconds("lost_seconds"), 0.0);
    let told: Vec<_> = events(kernel).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((told[1].0.as_str(), told[1].1.as_str()), ("retention_delete", "info"));
    let expect =
        json!({ "deleted": 360, "reason": "age", "bytes": 360_000, "kept": { "motion": 0, "alert": 0 } });
    assert_eq!(told[1].2, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_keep_longer_and_their_gap_closes_later() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |fields| {
        fields.retention_hours = 1;
        fields.retention_alert_hours = Some(3);
    })
    .await;
    let stream = main_of("gate");
    let ids = plant(kernel, &stream, minutes(120), 60).await;
    let alert = |at: WallTime, severity, number: u32| NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012}"),
        camera: Some(id("gate")),
        event_type: "camera_offline".to_owned(),
        severity,
        timestamp: at,
        created_at: at,
        payload: json!({}),
    };
    let events = vec![
        alert(ids[10].start + Micros::from_secs(5), Severity::Warning, 1),
        alert(ids[20].start + Micros::from_secs(5), Severity::Info, 2),
    ];
    kernel.store.write(AppendEvents { events }).await.unwrap();
    let asked = json!({});
    let path = "/api/v1/system/retention/preview";
    let preview = world.send(As::System, Method::POST, path, Some(&asked)).await.ok();
    assert_eq!(preview["kept"]["alert"], json!({ "segments": 1, "bytes": SIZE }));
    kernel.retention.sweep().await.unwrap();
    assert_eq!(left(kernel, &stream).await, [ids[10], ids[59]]);
    // Nothing changes until its own age is reached.
    assert_eq!(kernel.retention.sweep().await.unwrap().deleted.segments(), 0);
    change(kernel, "gate", |fields| fields.retention_alert_hours = None).await;
    assert_eq!(kernel.retention.sweep().await.unwrap().deleted.get(Reason::Age).0, 1);
    let which = GapFilter::default();
    let rows = kernel.store.gaps(&Scope::All, &id("gate"), &which, GapOrder::OldestFirst, None, 100);
    let rows = rows.await.unwrap().rows;
    assert_eq!(rows.len(), 1, "both sides joined");
    assert_eq!((rows[0].start, rows[0].end), (ids[0].start, ids[59].start));
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_and_cap_take_the_oldest() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |fields| fields.storage_quota_bytes = Some(7_500)).await;
    camera(kernel, "yard", |_| {}).await;
    let gate = plant(kernel, &main_of("gate"), minutes(40), 20).await;
    let sub = StreamId::new(id("yard"), StreamKind::Sub);
    let yard = plant(kernel, &main_of("yard"), minutes(50), 20).await;
    let small = plant(kernel, &sub, minutes(50), 20).await;
    let report = kernel.retention.sweep().await.unwrap();
    // Down to the quota, no further.
    assert_eq!((report.deleted.get(Reason::Quota), report.deleted.segments()), ((13, 13_000), 13));
    assert_eq!(left(kernel, &main_of("gate")).await, gate[13..]);
    limit(&world, &json!({ "max_recordings_gb": gb_of(30) })).await;
    let report = settle(kernel).await;
    assert!(report.conditions.is_empty());
    // A cap of 30 is shared 7.5 to 22.5: the yard pays, both of its streams oldest first.
    assert_eq!(left(kernel, &main_of("gate")).await, gate[13..]);
    assert_eq!(left(kernel, &main_of("yard")).await, yard[9..]);
    assert_eq!(left(kernel, &sub).await, small[8..]);
    consistent(kernel).await;
    let told: BTreeSet<(String, String, String)> = events(kernel)
        .await
        .into_iter()
        .map(|(kind, severity, payload)| (kind, severity, payload["reason"].as_str().unwrap().to_owned()))
        .collect();
    let pressure = |reason: &str| ("disk_pressure".to_owned(), "warning".to_owned(), reason.to_owned());
    assert_eq!(told, [pressure("camera_quota"), pressure("size_cap")].into());
    assert_eq!(world.get("/api/v1/system/retention").await.ok()["limited_by"], "size_cap");
}

/// Sweeps until there is nothing left to do, together with whatever sweeps by itself.
async fn settle(kernel: &Kernel) -> SweepReport {
    loop {
        let report = kernel.retention.sweep().await.unwrap();
        if report.deleted.segments() == 0 {
            return report;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_names_what_the_next_sweep_removes() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    let names = ["east", "north", "west"];
    for (n, name) in names.into_iter().enumerate() {
        camera(kernel, name, |_| {}).await;
        plant(kernel, &main_of(name), hours(26) + minutes(30 * i64::try_from(n).unwrap()), 200 + 37 * n)
            .await;
    }
    let asked = json!({
        "max_recordings_gb": gb_of(260),
        "cameras": { "north": { "storage_quota_bytes": 60 * SIZE, "retention_hours": 25 } },
    });
    let path = "/api/v1/system/retention/preview";
    let before = files(kernel);
    let preview = world.send(As::System, Method::POST, path, Some(&asked)).await.ok();
    let present = world.send(As::System, Method::POST, path, None).await.ok();
    assert_eq!(files(kernel), before, "a preview deletes nothing");
    let more = preview["would_delete"]["segments"].as_i64().unwrap()
        - present["would_delete"]["segments"].as_i64().unwrap();
    assert_eq!(preview["compared_with_now"]["segments"], more);
    let stood: Vec<_> = [left(kernel, &main_of("east")).await, left(kernel, &main_of("north")).await]
        .into_iter()
        .chain([left(kernel, &main_of("west")).await])
        .collect();

    change(kernel, "north", |fields| {
        fields.retention_hours = 25;
        fields.storage_quota_bytes = Some(i64::try_from(60 * SIZE).unwrap());
    })
    .await;
    let key = heldar_kernel::retention::MAX_KEY.to_owned();
    let value = (260 * SIZE).to_string();
    let put = heldar_store::op::PutSetting { key, value, now: kernel.clock.wall() };
    kernel.store.write(put).await.unwrap();
    let report = kernel.retention.sweep().await.unwrap();
    for reason in Reason::ALL {
        let (segments, bytes) = report.deleted.get(reason);
        let planned = &preview["reasons"][reason.as_str()];
        assert_eq!(*planned, json!({ "segments": segments, "bytes": bytes }), "{reason:?}");
        assert_eq!(segments > 0, reason != Reason::FreeFloor, "{reason:?}");
    }
    for (n, name) in names.into_iter().enumerate() {
        let planned = &preview["cameras"][n];
        let left = left(kernel, &main_of(name)).await;
        let gone: Vec<_> = stood[n].iter().filter(|segment| !left.contains(segment)).collect();
        assert_eq!(planned["camera_id"], name);
        assert_eq!(planned["segments"], gone.len());
        let span = gone.first().map(|first| first.start.to_string());
        assert_eq!(planned["from"].as_str().map(str::to_owned), span, "{name}");
        let span = gone.last().map(|last| (last.start + LENGTH).to_string());
        assert_eq!(planned["to"].as_str().map(str::to_owned), span, "{name}");
    }
    let again = world.send(As::System, Method::POST, path, None).await.ok();
    assert_eq!(again["would_delete"]["segments"], 0);
    consistent(kernel).await;
}

/// The recordings folder with free space of its own making.
struct Spaced {
    inner: Arc<dyn Disk>,
    total: u64,
    free: AtomicU64,
    /// Removed files give nothing back.
    leaking: AtomicBool,
    /// Files cannot be removed.
    stuck: AtomicBool,
    /// What is asked before a file goes.
    witness: Box<dyn Fn(&str) + Send + Sync>,
}

impl Spaced {
    fn new(kernel: &Kernel, total: u64, free: u64) -> Self {
        Spaced {
            inner: kernel.disk.clone(),
            total,
            free: AtomicU64::new(free),
            leaking: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            witness: Box::new(|_| {}),
        }
    }
}

impl Disk for Spaced {
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create_new(path)
    }

    fn open(&self, path: &str, access: FileAccess) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(path, access)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.inner.sync_folder(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.inner.list(path)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        (self.witness)(path);
        let size = self.inner.open(path, FileAccess::Read).and_then(|file| file.len()).unwrap_or(0);
        self.inner.remove_file(path)?;
        if !self.leaking.load(Ordering::SeqCst) {
            self.free.fetch_add(size, Ordering::SeqCst);
        }
        Ok(())
    }

    fn remove_empty_folder(&self, path: &str) -> io::Result<bool> {
        self.inner.remove_empty_folder(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        Ok(DiskSpace { total: self.total, free: self.free.load(Ordering::SeqCst) })
    }

    fn probe(&self) -> io::Result<()> {
        self.inner.probe()
    }
}

/// Retention of the same store on another disk.
fn retention_on(kernel: &Kernel, disk: Arc<dyn Disk>, floor: u64) -> Retention {
    let mut settings = RetentionConfig::from(&kernel.settings);
    settings.limits.min_free_bytes = floor;
    let ground = Ground {
        store: kernel.store.clone(),
        disk,
        gate: DiskGate::default(),
        journal: kernel.journal.clone(),
        clock: kernel.clock,
        writer: kernel.writer.clone(),
        settings,
    };
    Retention::new(ground, &Registry::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_floor_takes_as_much_as_it_needs() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    camera(kernel, "yard", |_| {}).await;
    let gate = plant(kernel, &main_of("gate"), minutes(90), 40).await;
    let yard = plant(kernel, &main_of("yard"), minutes(70), 40).await;
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 5_000));
    let report = retention_on(kernel, disk.clone(), 35_500).sweep().await.unwrap();
    assert_eq!(report.deleted.get(Reason::FreeFloor), (31, 31_000));
    assert_eq!(report.conditions, []);
    // Oldest of all first: twenty of one, then in turns.
    assert_eq!(left(kernel, &main_of("gate")).await, gate[26..]);
    assert_eq!(left(kernel, &main_of("yard")).await, yard[5..]);
    consistent(kernel).await;
    let told = events(kernel).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.as_str()), ("disk_pressure", "critical"));
    assert_eq!((&told[0].2["reason"], &told[0].2["deleted"]), (&json!("free_floor"), &json!(31)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_that_cannot_be_reached_is_told_once() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let ids = plant(kernel, &main_of("gate"), minutes(90), 60).await;
    let reasons = async || -> Vec<String> {
        let told = events(kernel).await.into_iter();
        told.map(|(kind, _, payload)| format!("{kind} {}", payload["reason"].as_str().unwrap()))
            .rev()
            .collect()
    };

    // Deleting gives nothing back: one batch, and the sweep ends.
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 5_000));
    disk.leaking.store(true, Ordering::SeqCst);
    let retention = retention_on(kernel, disk.clone(), 900_000);
    let report = retention.sweep().await.unwrap();
    let deleted = report.deleted.get(Reason::FreeFloor).0;
    assert!(deleted > 0 && deleted < 60, "{report:?}");
    let vain = Condition::PruneNotRecoveringSpace { min_free_bytes: 900_000, deleted };
    assert!(report.conditions.contains(&vain), "{report:?}");
    let left_now = left(kernel, &main_of("gate")).await;
    assert_eq!(left_now, ids[usize::try_from(deleted).unwrap()..]);

    // It gives something back again, but all there is does not do.
    disk.leaking.store(false, Ordering::SeqCst);
    let report = retention.sweep().await.unwrap();
    assert_eq!(report.deleted.segments(), 60 - deleted);
    let report = retention.sweep().await.unwrap();
    assert_eq!(report.deleted.segments(), 0);
    disk.free.store(950_000, Ordering::SeqCst);
    retention.sweep().await.unwrap();
    let expect = [
        "disk_pressure prune_not_recovering_space",
        "disk_pressure free_floor",
        "disk_pressure_cleared prune_not_recovering_space",
        "disk_pressure_cleared free_floor",
    ];
    let told = reasons().await;
    let distinct: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(distinct, expect.into());
    assert_eq!(told.iter().filter(|text| *text == "disk_pressure free_floor").count(), 1, "{told:?}");

    // A floor at the size of the disk deletes nothing.
    plant(kernel, &main_of("gate"), minutes(20), 10).await;
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 5_000));
    let report = retention_on(kernel, disk, 1_000_000).sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.conditions.len()), (0, 1));
    assert_eq!(left(kernel, &main_of("gate")).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_after_its_row_is_marked_and_before_it_is_removed() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    plant(kernel, &stream, hours(26), 30).await;
    let (store, runtime) = (kernel.store.clone(), tokio::runtime::Handle::current());
    let wrong: Arc<AtomicU64> = Arc::default();
    let (count, seen) = (wrong.clone(), Arc::new(AtomicU64::new(0)));
    let looked = seen.clone();
    let mut disk = Spaced::new(kernel, 1_000_000, 500_000);
    disk.witness = Box::new(move |path| {
        let file = path.rsplit('/').next().unwrap();
        let name = SegmentName::parse(&id("gate"), file).unwrap();
        let (listed, marked) = runtime.block_on(async {
            let range = TimeRange::from(Interval::new(name.second, name.second + Micros(1)));
            let page = store.segments(&Scope::All, &main_of("gate"), range, None, 5).await.unwrap();
            let marked = store.deleting_segments(&Scope::All, None, 1000).await.unwrap();
            let listed = page.rows.iter().any(|row| row.id.start == name.second);
            (listed, marked.rows.iter().any(|row| row.id.start == name.second))
        });
        looked.fetch_add(1, Ordering::SeqCst);
        count.fetch_add(u64::from(listed || !marked), Ordering::SeqCst);
    });
    let report = retention_on(kernel, Arc::new(disk), 0).sweep().await.unwrap();
    assert_eq!(report.deleted.segments(), 30);
    assert_eq!((seen.load(Ordering::SeqCst), wrong.load(Ordering::SeqCst)), (30, 0));
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_removed_goes_with_a_later_sweep() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    plant(kernel, &main_of("gate"), hours(26), 10).await;
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 500_000));
    disk.stuck.store(true, Ordering::SeqCst);
    let retention = retention_on(kernel, disk.clone(), 0);
    let report = retention.sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.failed), (10, 10));
    assert_eq!((left(kernel, &main_of("gate")).await.len(), files(kernel)), (0, 10));
    disk.stuck.store(false, Ordering::SeqCst);
    let report = retention.sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.finished, report.failed), (0, 10, 0));
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_mark_and_unlink_is_finished_at_the_next_start() {
    let world = World::start_with(&[ALONE]).await;
    camera(&world.kernel, "gate", |_| {}).await;
    let ids = plant(&world.kernel, &main_of("gate"), hours(20), 10).await;
    let mark = MarkDeleting { ids: ids[..4].to_vec(), which: Markable::Sealed };
    assert_eq!(world.kernel.store.write(mark).await.unwrap().len(), 4);
    assert_eq!(files(&world.kernel), 10);
    let world = world.restart(&[ALONE]).await;
    assert_eq!(world.kernel.recovered.deleted, 4);
    assert_eq!(left(&world.kernel, &main_of("gate")).await, ids[4..]);
    consistent(&world.kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_stays_until_it_is_released() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let ids = plant(kernel, &stream, hours(26), 20).await;
    let window = Interval::new(ids[3].start, ids[6].start);
    let (lease, segments) = kernel.lease_footage(&Scope::All, &stream, window).await.unwrap();
    assert_eq!(segments.iter().map(|segment| segment.id).collect::<Vec<_>>(), ids[3..6]);
    kernel.retention.sweep().await.unwrap();
    assert_eq!(left(kernel, &stream).await, ids[3..6]);
    // Its camera is deleted: gone from every answer, and from disk when the job is done.
    kernel.store.write(DeleteCamera { id: id("gate") }).await.unwrap();
    let none = kernel.segments_in(&Scope::All, &stream, window).await.unwrap();
    assert!(none.is_empty());
    kernel.retention.sweep().await.unwrap();
    assert_eq!(files(kernel), 3);
    drop(lease);
    let report = kernel.retention.sweep().await.unwrap();
    assert_eq!((report.finished, files(kernel)), (3, 0));
    assert!(!kernel.settings.storage.recordings_dir.join("gate").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_never_loses_what_it_has_leased() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = world.kernel.clone();
    camera(&kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let ids = plant(&kernel, &stream, hours(40), 600).await;
    let whole = Interval::new(ids[0].start, ids[599].start + LENGTH);
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for reader in 0..4u64 {
        let (kernel, stop, stream) = (kernel.clone(), stop.clone(), stream.clone());
        readers.push(tokio::spawn(async move {
            let mut read = 0u64;
            let mut turn = reader;
            while !stop.load(Ordering::SeqCst) {
                // Around the oldest, where deletion works.
                let oldest = kernel.store.first_segment(&Scope::All, &stream).await.unwrap();
                let Some(oldest) = oldest else { break };
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let from = oldest.id.start + Micros(LENGTH.0 * i64::try_from(turn >> 61).unwrap());
                let window = Interval::new(from, (from + minutes(5)).min(whole.end));
                let (lease, segments) = kernel.lease_footage(&Scope::All, &stream, window).await.unwrap();
                for segment in &segments {
                    let path = file(&kernel, &stream, segment.id);
                    assert!(path.is_file(), "{} is leased and gone", segment.id);
                    tokio::task::yield_now().await;
                    assert!(path.is_file(), "{} went while it was leased", segment.id);
                    read += 1;
                }
                drop(lease);
                tokio::task::yield_now().await;
            }
            read
        }));
    }
    for hours in (20..40).rev() {
        change(&kernel, "gate", |fields| fields.retention_hours = hours).await;
        kernel.retention.sweep().await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut read = 0;
    for reader in readers {
        read += reader.await.unwrap();
    }
    assert!(read > 50, "{read} segments were read meanwhile");
    change(&kernel, "gate", |fields| fields.retention_hours = 1).await;
    settle(&kernel).await;
    assert!(left(&kernel, &stream).await.is_empty());
    consistent(&kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_removes_what_a_deleted_camera_left() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    camera(kernel, "yard", |_| {}).await;
    plant(kernel, &main_of("gate"), hours(3), 100).await;
    plant(kernel, &main_of("yard"), hours(3), 10).await;
    let stray = kernel.settings.storage.recordings_dir.join("gate/2020-01-01/20200101_000000.mp4");
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(stray, b"begun while the camera was being deleted").unwrap();
    kernel.store.write(DeleteCamera { id: id("gate") }).await.unwrap();
    kernel.retention.kick();
    let folder = kernel.settings.storage.recordings_dir.join("gate");
    for _ in 0..200 {
        if !folder.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!folder.exists());
    consistent(kernel).await;
    assert_eq!(left(kernel, &main_of("yard")).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn day_folders_go_when_they_are_empty() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let ids = plant(kernel, &main_of("gate"), hours(24 * 9), 5).await;
    plant(kernel, &main_of("gate"), minutes(20), 2).await;
    let folder = file(kernel, &main_of("gate"), ids[0]).parent().unwrap().to_owned();
    assert!(folder.is_dir());
    kernel.retention.sweep().await.unwrap();
    assert!(!folder.exists());
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clips_and_rows_go_with_age() {
    let world = World::start_with(&[ALONE, ("HELDAR_AUDIT_RETENTION_DAYS", "2")]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let now = kernel.clock.wall();
    let clip = async |number: u128, expires_at: Option<WallTime>, keep: bool| {
        let id = PublicId::new(Clip::PREFIX, number);
        let filename = format!("clip_{number:032x}.mp4");
        std::fs::write(kernel.settings.storage.clips_dir.join(&filename), b"clip").unwrap();
        let clip = Clip {
            id,
            camera: CameraId::new("gate").unwrap(),
            filename,
            download_name: "x.mp4".to_owned(),
            from: now - hours(3),
            to: now - hours(2),
            covered_us: 0,
            media_us: 0,
            lead_in_us: 0,
            gaps: Vec::new(),
            size_bytes: 4,
            segment_count: 1,
            sha256: "0".repeat(64),
            codecs: vec!["avc1.64001f".to_owned()],
            name: None,
            incident_id: None,
            keep,
            created_by: None,
            created_at: now - hours(50),
            expires_at,
        };
        kernel.store.write(InsertClip { clip }).await.unwrap();
    };
    clip(1, Some(now - hours(1)), false).await;
    clip(2, Some(now + hours(1)), false).await;
    clip(3, None, true).await;
    let event = |number: i64, at: WallTime| NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012}"),
        camera: None,
        event_type: "open_access".to_owned(),
        severity: Severity::Info,
        timestamp: at,
        created_at: at,
        payload: json!({}),
    };
    let old = (0..1200).map(|n| event(n, now - hours(49) - Micros(n)));
    let events_in: Vec<NewEvent> = old.chain([event(5000, now - hours(47))]).collect();
    kernel.store.write(AppendEvents { events: events_in }).await.unwrap();
    let report = kernel.retention.sweep().await.unwrap();
    assert_eq!((report.clips, report.rows), (1, 1200));
    let names: BTreeSet<String> = std::fs::read_dir(&kernel.settings.storage.clips_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expect = [2u32, 3].map(|number| format!("clip_{number:032x}.mp4"));
    assert_eq!(names, expect.into());
    assert_eq!(events(kernel).await.len(), 1);
    let clips = world.get("/api/v1/clips").await.ok();
    assert_eq!(clips.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_ask_for_what_makes_sense() {
    let world = World::start_with(&[ALONE]).await;
    let path = "/api/v1/system/retention/preview";
    let refused = async |body: Value| world.send(As::System, Method::POST, path, Some(&body)).await.error();
    let validation = (400, "validation".to_owned());
    assert_eq!(refused(json!({ "max_recordings_gb": 0 })).await, validation);
    assert_eq!(refused(json!({ "min_free_disk_gb": -1 })).await, validation);
    assert_eq!(refused(json!({ "cameras": { "nowhere": {} } })).await, validation);
    assert_eq!(refused(json!({ "cameras": { "No Camera": {} } })).await, validation);
    assert_eq!(refused(json!({ "horizon_hours": "soon" })).await, (422, "invalid_body".to_owned()));
    let limited = As::Limited(&[Capability::SystemRead], &["gate"]);
    assert_eq!(world.send(limited, Method::POST, path, Some(&json!({}))).await.status, 403);
    // A look ahead at the present write rate: what was written in a day fills the cap again.
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    plant(kernel, &main_of("gate"), minutes(120), 100).await;
    let asked = json!({ "max_recordings_gb": gb_of(150), "horizon_hours": 12 });
    let preview = world.send(As::System, Method::POST, path, Some(&asked)).await.ok();
    let cap = preview["reasons"]["size_cap"]["segments"].as_u64().unwrap();
    assert!(cap > 0 && preview["reasons"]["age"]["segments"] == 0, "{preview}");
    let at = WallTime::parse(preview["at"].as_str().unwrap()).unwrap();
    assert!((at - kernel.clock.wall() - hours(12)).abs() < minutes(1));
    assert_eq!(preview["warnings"][0]["code"], "before_its_age");
    assert_eq!(preview["warnings"][0]["camera_id"], "gate");
}
