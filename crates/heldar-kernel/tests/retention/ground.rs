//! Planted footage, and what is to be true of it.

use std::path::PathBuf;

use heldar_base::{CameraId, Clock as _, EndReason, Micros, Scope, SegmentId, StreamId, StreamKind};
use heldar_disk::SegmentName;
use heldar_kernel::kernel::Kernel;
use heldar_kernel::retention::SweepReport;
use heldar_store::op::{CreateCamera, EnsureParams, EnsureStream, PutSegment, Seal, UpdateCamera};
use heldar_store::{
    CameraFields, CodecParams, DeviceTls, EventFilter, Gap, GapFilter, GapOrder, RecordMode, RtspTransport,
    TimeRange, WriteOp,
};
use serde_json::{Value, json};

/// No sweep but those of the test.
pub(crate) const ALONE: (&str, &str) = ("HELDAR_RETENTION_INTERVAL_S", "86400");

pub(crate) const LENGTH: Micros = Micros::from_secs(60);

pub(crate) const SIZE: u64 = 1000;

pub(crate) fn id(text: &str) -> CameraId {
    CameraId::new(text).unwrap()
}

pub(crate) fn main_of(camera: &str) -> StreamId {
    StreamId::new(id(camera), StreamKind::Main)
}

pub(crate) fn fields() -> CameraFields {
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

pub(crate) async fn camera(kernel: &Kernel, name: &str, change: impl FnOnce(&mut CameraFields)) {
    let mut fields = fields();
    change(&mut fields);
    kernel.store.write(CreateCamera { id: id(name), fields, now: kernel.clock.wall() }).await.unwrap();
}

pub(crate) async fn change(kernel: &Kernel, name: &str, change: impl FnOnce(&mut CameraFields)) {
    let stored = kernel.store.camera(&Scope::All, &id(name)).await.unwrap().unwrap();
    let mut fields = stored.fields;
    change(&mut fields);
    let op = UpdateCamera { id: stored.id, fields, revision: stored.revision, now: kernel.clock.wall() };
    kernel.store.write(op).await.unwrap();
}

/// Plants `count` segments of a minute, one behind the other, the first one beginning so long ago.
pub(crate) async fn plant(kernel: &Kernel, stream: &StreamId, ago: Micros, count: usize) -> Vec<SegmentId> {
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

pub(crate) async fn left(kernel: &Kernel, stream: &StreamId) -> Vec<SegmentId> {
    let page = kernel.store.segments(&Scope::All, stream, TimeRange::default(), None, 5000).await.unwrap();
    page.rows.into_iter().map(|segment| segment.id).collect()
}

pub(crate) fn file(kernel: &Kernel, stream: &StreamId, segment: SegmentId) -> PathBuf {
    let name = SegmentName::new(stream.clone(), segment.start, 1);
    kernel.settings.storage.recordings_dir.join(name.relative_path())
}

pub(crate) fn files(kernel: &Kernel) -> usize {
    let mut folders = vec![kernel.settings.storage.recordings_dir.clone()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // The mark of the folder itself is no footage.
            let is_footage = path.extension().is_some_and(|extension| extension == "mp4");
            if path.is_dir() { folders.push(path) } else { count += usize::from(is_footage) }
        }
    }
    count
}

/// Stored totals are what is there, and every segment has its file.
pub(crate) async fn consistent(kernel: &Kernel) {
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

pub(crate) async fn events(kernel: &Kernel) -> Vec<(String, String, Value)> {
    kernel.journal.flush(&kernel.store).await.unwrap();
    let page = kernel.store.events(&Scope::All, &EventFilter::default(), None, 100).await.unwrap();
    let one = |row: heldar_store::Event| {
        (row.event.event_type, row.event.severity.as_str().to_owned(), row.event.payload)
    };
    page.rows.into_iter().map(one).collect()
}

/// Gap rows of the camera `gate`.
pub(crate) async fn gaps(kernel: &Kernel) -> Vec<Gap> {
    let (gate, which) = (id("gate"), GapFilter::default());
    let page = kernel.store.gaps(&Scope::All, &gate, &which, GapOrder::OldestFirst, None, 100);
    page.await.unwrap().rows
}

pub(crate) fn hours(n: i64) -> Micros {
    Micros::from_hours(n)
}

pub(crate) fn minutes(n: i64) -> Micros {
    Micros::from_secs(60 * n)
}

/// Sweeps until there is nothing left to do, together with whatever sweeps by itself.
pub(crate) async fn settle(kernel: &Kernel) -> SweepReport {
    loop {
        let report = kernel.retention.sweep().await.unwrap();
        if report.deleted.segments() == 0 {
            return report;
        }
    }
}

/// GiB of a number of planted segments.
pub(crate) fn gb_of(segments: u64) -> f64 {
    (segments * SIZE) as f64 / f64::from(1u32 << 30)
}
