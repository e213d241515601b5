//! Metrics of cameras, streams, recorder, disk and process.
//!
//! Owns: their names and labels (auth-system.md 7), and the copying of maintained figures into them at a scrape. Never: asks
//! the store or the recordings folder.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use heldar_base::{CameraId, Cause, Clock as _, Micros, Scope, WallTime};
use heldar_disk::DiskSpace;
use heldar_http::metrics::{Counter, Family, Gauge, Registry};
use heldar_recorder::CameraState;
use heldar_store::Condition;

use super::process::Process;
use crate::engine::supervisor::StatusView;
use crate::kernel::Kernel;

/// A stream is up while its newest picture is no older.
const UP: Micros = Micros::from_secs(10);

type Gauges<const N: usize> = Arc<Family<Gauge, N>>;
type Counters<const N: usize> = Arc<Family<Counter, N>>;

/// Handles on all of them.
pub(super) struct Meters {
    /// One scrape at a time, so that series that vanish do not come back.
    turn: Mutex<()>,
    cameras_total: Arc<Gauge>,
    cameras_recording: Arc<Gauge>,
    segments: Arc<Gauge>,
    bytes: Arc<Gauge>,
    disk_total: Gauges<0>,
    disk_free: Gauges<0>,
    disk_used: Gauges<0>,
    up: Gauges<2>,
    recording: Gauges<1>,
    state: Gauges<2>,
    reconnects: Counters<1>,
    segments_written: Counters<1>,
    bitrate: Gauges<1>,
    last_segment_age: Gauges<1>,
    stream_up: Gauges<2>,
    stream_bytes: Counters<2>,
    stream_pictures: Counters<2>,
    stream_lost: Counters<2>,
    stream_age: Gauges<2>,
    pub(super) stream_ends: Counters<2>,
    missing: Counters<2>,
    stream_restarts: Arc<Counter>,
    recorder_bytes: Arc<Counter>,
    recorder_fragments: Arc<Counter>,
    recorder_queue: Arc<Gauge>,
    store_up: Arc<Gauge>,
    store_bytes: Gauges<0>,
    store_wal: Gauges<0>,
    store_queue: Arc<Gauge>,
    cpu: Arc<Counter>,
    resident: Gauges<0>,
    fds: Gauges<0>,
    start: Arc<Gauge>,
    config_warnings: Arc<Gauge>,
    tls_not_after: Gauges<0>,
    ai_tasks: Arc<Gauge>,
    detections: Arc<Gauge>,
}

impl Meters {
    pub(super) fn new(r: &Registry, restarts: &Family<Counter, 1>) -> Self {
        r.gauges("heldar_build_info", "The running version.", ["version"])
            .with([env!("CARGO_PKG_VERSION")])
            .set(1.0);
        Meters {
            ai_tasks: r.gauge("heldar_ai_tasks_enabled", "AI tasks that are worked on."),
            detections: r.gauge("heldar_detections_stored", "Detections in the store."),
            turn: Mutex::new(()),
            cameras_total: r.gauge("heldar_cameras_total", "Registered cameras."),
            cameras_recording: r.gauge("heldar_cameras_recording", "Enabled cameras that truly write."),
            segments: r.gauge("heldar_segments_total", "Segments in the index."),
            bytes: r.gauge("heldar_recordings_bytes", "Bytes of all segments."),
            disk_total: r.gauges("heldar_disk_total_bytes", "Size of the file system of the recordings.", []),
            disk_free: r.gauges("heldar_disk_free_bytes", "Bytes of it that may still be used.", []),
            disk_used: r.gauges("heldar_disk_used_percent", "Share of it that is used.", []),
            up: r.gauges("heldar_camera_up", "1 while the camera records.", ["camera", "state"]),
            recording: r.gauges("heldar_camera_recording", "1 while the camera records.", ["camera"]),
            state: r.gauges("heldar_camera_state", "1 for the state of the camera.", ["camera", "state"]),
            reconnects: r.counters("heldar_camera_reconnects_total", "Sessions lost.", ["camera"]),
            segments_written: r.counters(
                "heldar_camera_segments_written_total",
                "Segments sealed.",
                ["camera"],
            ),
            bitrate: r.gauges("heldar_camera_bitrate_kbps", "Measured rate of the stream.", ["camera"]),
            last_segment_age: r.gauges(
                "heldar_camera_last_segment_age_seconds",
                "Time since the newest footage on disk.",
                ["camera"],
            ),
            stream_up: r.gauges("heldar_stream_up", "1 while pictures arrive.", ["camera", "stream"]),
            stream_bytes: r.counters("heldar_stream_bytes_total", "Payload received.", ["camera", "stream"]),
            stream_pictures: r.counters(
                "heldar_stream_pictures_total",
                "Pictures received.",
                ["camera", "stream"],
            ),
            stream_lost: r.counters(
                "heldar_stream_packets_lost_total",
                "RTP packets lost.",
                ["camera", "stream"],
            ),
            stream_age: r.gauges(
                "heldar_stream_last_picture_age_seconds",
                "Time since the newest picture.",
                ["camera", "stream"],
            ),
            stream_ends: r.counters(
                "heldar_stream_ends_total",
                "Sessions that ended or were not obtained.",
                ["camera", "reason"],
            ),
            missing: r.counters(
                "heldar_recorder_missing_seconds_total",
                "Wanted time without footage, in holes over 3 s.",
                ["camera", "cause"],
            ),
            stream_restarts: restarts.with(["stream"]),
            recorder_bytes: r.counter("heldar_recorder_bytes_total", "Bytes written to segment files."),
            recorder_fragments: r.counter("heldar_recorder_fragments_total", "Fragments written."),
            recorder_queue: r.gauge("heldar_recorder_queue", "Bytes that wait to be written."),
            store_up: r.gauge("heldar_store_up", "1 while the store commits."),
            store_bytes: r.gauges("heldar_store_bytes", "Bytes in use by the database.", []),
            store_wal: r.gauges("heldar_store_wal_bytes", "Bytes of the write-ahead log (SQLite).", []),
            store_queue: r.gauge("heldar_store_write_queue", "Writes that wait for their commit."),
            cpu: r.counter("process_cpu_seconds_total", "CPU time of the process."),
            resident: r.gauges("process_resident_memory_bytes", "Resident memory of the process.", []),
            fds: r.gauges("process_open_fds", "Open file descriptors of the process.", []),
            start: r.gauge("process_start_time_seconds", "When the process started, since 1970."),
            config_warnings: r.gauge("heldar_config_warnings", "Warnings about the configuration."),
            tls_not_after: r.gauges(
                "heldar_tls_not_after_timestamp_seconds",
                "When the certificate in service ends.",
                [],
            ),
        }
    }

    /// Brings every figure up to date.
    pub(super) fn scrape(&self, kernel: &Kernel) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = kernel.clock.wall();
        self.cameras(now, &kernel.supervisor.views());
        self.streams(now, kernel);
        self.missing(&kernel.supervisor.missing());
        self.stream_restarts.raise_to(kernel.ingest.restarts() as f64);
        self.stored(kernel);
        self.process(kernel);
        let stats = kernel.writer.stats();
        self.recorder_bytes.raise_to(stats.written_bytes.load(Relaxed) as f64);
        self.recorder_fragments.raise_to(stats.fragments.load(Relaxed) as f64);
        self.recorder_queue.set(stats.queued_bytes.load(Relaxed) as f64);
    }

    fn cameras(&self, now: WallTime, views: &[(CameraId, StatusView)]) {
        let recording = views.iter().filter(|(_, view)| view.state == CameraState::Recording).count();
        self.cameras_total.set(views.len() as f64);
        self.cameras_recording.set(recording as f64);
        let known = |camera: &str| views.iter().find(|(id, _)| id.as_str() == camera).map(|(_, view)| view);
        self.up.retain(|[camera, state]| known(camera).is_some_and(|view| view.state.as_str() == state));
        self.state.retain(|[camera, _]| known(camera).is_some());
        self.recording.retain(|[camera]| known(camera).is_some());
        self.stream_ends.retain(|[camera, _]| known(camera).is_some());
        self.missing.retain(|[camera, _]| known(camera).is_some());
        self.reconnects.retain(|[camera]| known(camera).is_some());
        self.segments_written.retain(|[camera]| known(camera).is_some());
        self.bitrate.retain(|[camera]| known(camera).is_some_and(|view| view.bitrate_kbps.is_some()));
        self.last_segment_age
            .retain(|[camera]| known(camera).is_some_and(|view| view.last_segment_at.is_some()));
        for (camera, view) in views {
            self.camera(now, camera.as_str(), view);
        }
    }

    fn camera(&self, now: WallTime, camera: &str, view: &StatusView) {
        let recording = truth(view.state == CameraState::Recording);
        self.up.with([camera, view.state.as_str()]).set(recording);
        self.recording.with([camera]).set(recording);
        for state in CameraState::ALL {
            self.state.with([camera, state.as_str()]).set(truth(state == view.state));
        }
        self.reconnects.with([camera]).raise_to(view.reconnect_count as f64);
        self.segments_written.with([camera]).raise_to(view.segments_written as f64);
        if let Some(kbps) = view.bitrate_kbps {
            self.bitrate.with([camera]).set(kbps);
        }
        if let Some(at) = view.last_segment_at {
            self.last_segment_age.with([camera]).set((now - at).max(Micros::ZERO).as_secs_f64());
        }
    }

    fn missing(&self, missing: &[(CameraId, Cause, Micros)]) {
        for (camera, cause, missing) in missing {
            self.missing.with([camera.as_str(), cause.as_str()]).raise_to(missing.as_secs_f64());
        }
    }

    fn streams(&self, now: WallTime, kernel: &Kernel) {
        let streams = kernel.ingest.all();
        let known = |camera: &str, kind: &str| {
            streams.iter().any(|(id, _)| id.camera.as_str() == camera && id.kind.as_str() == kind)
        };
        self.stream_up.retain(|[camera, kind]| known(camera, kind));
        self.stream_bytes.retain(|[camera, kind]| known(camera, kind));
        self.stream_pictures.retain(|[camera, kind]| known(camera, kind));
        self.stream_lost.retain(|[camera, kind]| known(camera, kind));
        self.stream_age.retain(|[camera, kind]| known(camera, kind));
        for (id, handle) in &streams {
            let labels = [id.camera.as_str(), id.kind.as_str()];
            let figures = &handle.figures;
            let newest = Some(figures.newest_us.load(Relaxed)).filter(|us| *us > 0).map(WallTime);
            let age = newest.map(|at| (now - at).max(Micros::ZERO));
            self.stream_up.with(labels).set(truth(age.is_some_and(|age| age <= UP)));
            self.stream_bytes.with(labels).raise_to(figures.bytes.load(Relaxed) as f64);
            self.stream_pictures.with(labels).raise_to(figures.pictures.load(Relaxed) as f64);
            self.stream_lost.with(labels).raise_to(figures.lost.load(Relaxed) as f64);
            if let Some(age) = age {
                self.stream_age.with(labels).set(age.as_secs_f64());
            }
        }
    }

    fn stored(&self, kernel: &Kernel) {
        let totals = kernel.health.totals();
        let sums = totals.sums(&Scope::All);
        self.segments.set(sums.segments as f64);
        self.bytes.set(sums.bytes as f64);
        self.detections.set(totals.detections as f64);
        self.ai_tasks.set(kernel.perception.active_tasks().len() as f64);
        show(&self.store_bytes, totals.size.map(|size| size.used_bytes as f64));
        show(&self.store_wal, kernel.health.log_bytes().map(|bytes| bytes as f64));
        self.store_queue.set(kernel.store.queued_writes() as f64);
        let space = kernel.health.space();
        show(&self.disk_total, space.map(|space| space.total as f64));
        show(&self.disk_free, space.map(|space| space.free as f64));
        show(&self.disk_used, space.map(used_percent));
        let up = kernel.store.health().borrow().condition == Condition::Up;
        self.store_up.set(truth(up));
    }

    fn process(&self, kernel: &Kernel) {
        let process = Process::read();
        self.cpu.raise_to(process.cpu_seconds);
        show(&self.resident, process.resident_bytes);
        show(&self.fds, process.open_fds);
        self.start.set(kernel.started_at.0 as f64 / 1e6);
        let certificate = kernel.certificates.get().map(|certificates| certificates.view().facts);
        show(&self.tls_not_after, certificate.map(|facts| (facts.not_after - WallTime::EPOCH).as_secs_f64()));
        self.config_warnings.set(kernel.health.configuration().warnings().count() as f64);
    }
}

/// Share of a file system that is used, in percent with two decimals.
pub fn used_percent(space: DiskSpace) -> f64 {
    if space.total == 0 {
        return 0.0;
    }
    let used = space.total.saturating_sub(space.free);
    (used as f64 / space.total as f64 * 10_000.0).round() / 100.0
}

/// Sets a gauge that is left out when there is nothing to show.
fn show(family: &Family<Gauge, 0>, value: Option<f64>) {
    match value {
        Some(value) => family.with([]).set(value),
        None => family.retain(|[]| false),
    }
}

fn truth(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}
