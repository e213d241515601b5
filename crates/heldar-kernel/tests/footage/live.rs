//! Footage on its way into the store: the answers are the same wherever a segment is known.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_base::{CameraId, Cause, Clock as _, EndReason, Interval, Micros, StreamId, StreamKind, WallTime};
use heldar_disk::Muxer;
use heldar_kernel::kernel::Kernel;
use heldar_media::{TrackParams, VideoCodec, VideoParams};
use heldar_recorder::{Fragment, Order, Run, Sample, SegmentTracks, Serial};
use heldar_store::op::AppendWanted;
use serde_json::{Value, json};

use crate::history::{create, stream_no};
use crate::ledger::time;
use crate::support::World;

/// A camera's recorder, without the camera: its orders go the whole way to the disk and into the store.
struct Tape {
    kernel: Arc<Kernel>,
    stream: StreamId,
    muxer: Muxer,
    tracks: SegmentTracks,
    serial: Serial,
    start: WallTime,
    end: WallTime,
}

impl Tape {
    async fn new(kernel: &Arc<Kernel>, camera: &CameraId, start: WallTime) -> Tape {
        stream_no(kernel, camera, StreamKind::Main).await;
        let wanted = AppendWanted { camera: camera.clone(), at: start, reason: None };
        kernel.store.write(wanted).await.unwrap();
        let stream = StreamId::new(camera.clone(), StreamKind::Main);
        let video = TrackParams::Video(VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1.64001f".to_owned(),
            width: 768,
            height: 576,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff, 0xe0, 0]),
        });
        Tape {
            kernel: kernel.clone(),
            muxer: Muxer::new(stream.clone(), Arc::new(AtomicU64::new(1 << 32))),
            stream,
            tracks: SegmentTracks { video: Arc::new(video), audio: None },
            serial: Serial(0),
            start,
            end: start,
        }
    }

    fn fragment(&self, seconds: i64) -> Fragment {
        let interval = Interval::new(self.end, self.end + Micros::from_secs(seconds));
        let ticks = |length: Micros| u64::try_from(length.to_ticks(90_000)).unwrap();
        let sample = Sample {
            duration: u32::try_from(ticks(interval.len())).unwrap(),
            composition_offset: 0,
            sync: true,
            payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
        };
        let base_decode_time = ticks(interval.start - self.start);
        Fragment { interval, sync: true, video: Run { base_decode_time, samples: vec![sample] }, audio: None }
    }

    async fn submit(&mut self, order: Order) {
        self.muxer.submit(order, &self.kernel.writer).unwrap();
    }

    /// Begins a segment and returns when its first fragment is on disk.
    async fn begin(&mut self, seconds: i64) {
        self.serial = Serial(self.serial.0 + 1);
        self.start = self.end;
        let fragment = self.fragment(seconds);
        self.end = fragment.interval.end;
        let (serial, start, tracks) = (self.serial, self.start, self.tracks.clone());
        self.submit(Order::Begin { serial, start, tracks, dependent: false, fragment }).await;
        self.on_disk().await;
    }

    /// Adds a fragment, after a hole if it has a length.
    async fn append(&mut self, hole: i64, seconds: i64) {
        let hole = (hole > 0).then(|| Interval::new(self.end, self.end + Micros::from_secs(hole)));
        self.end = hole.map_or(self.end, |hole| hole.end);
        let fragment = self.fragment(seconds);
        self.end = fragment.interval.end;
        self.submit(Order::Append { serial: self.serial, hole, fragment }).await;
        self.on_disk().await;
    }

    async fn seal(&mut self, reason: EndReason, cause: Option<Cause>) {
        self.submit(Order::Seal { serial: self.serial, end: self.end, reason, cause }).await;
        let (kernel, stream, start) = (self.kernel.clone(), self.stream.clone(), self.start);
        until(|| kernel.live.of_stream(&stream).iter().all(|s| s.start != start || !s.is_open())).await;
    }

    async fn on_disk(&self) {
        let (stream, start, end) = (&self.stream, self.start, self.end);
        // The store may have taken it over already, but only whole.
        let reached = |s: &heldar_kernel::engine::live_index::LiveSegment| s.start == start && s.end == end;
        until(|| self.kernel.live.of_stream(stream).iter().any(reached)).await;
    }

    /// Returns when the store knows everything.
    async fn stored(&self) {
        until(|| self.kernel.live.of_stream(&self.stream).is_empty()).await;
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not happen");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn list(world: &World, query: &str) -> Vec<Value> {
    let got = world.get(&format!("/api/v1/cameras/gate/segments{query}")).await.ok();
    got.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_is_there_from_its_first_fragment() {
    let world = World::start().await;
    let camera = create(&world.kernel, "gate").await;
    let base = (world.kernel.clock.wall() - Micros::from_hours(1)).floor_second();
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let mut tape = Tape::new(&world.kernel, &camera, base).await;
    tape.begin(1).await;
    let check = async |end: i64, open: bool, holes: Value| {
        for query in ["", "?limit=1", &format!("?from={base}")] {
            let segments = list(&world, query).await;
            assert_eq!(segments.len(), 1);
            let got = &segments[0];
            assert_eq!((time(&got["end_time"]), &got["open"]), (at(end), &json!(open)), "{query}");
            assert_eq!((&got["duration_s"], &got["holes"]), (&json!(end), &holes));
            let file = world.folder().join("recordings").join(got["path"].as_str().unwrap());
            let size = std::fs::metadata(file).unwrap().len();
            assert!(got["size_bytes"].as_u64().is_some_and(|told| 0 < told && told <= size), "{got}");
        }
        let got = world.get("/api/v1/cameras/gate/timeline").await.ok();
        assert_eq!(
            (time(&got["ranges"].as_array().unwrap().last().unwrap()["end"]), &got["open"]),
            (at(end), &json!(open))
        );
    };
    check(1, true, json!([])).await;
    tape.append(0, 2).await;
    check(3, true, json!([])).await;
    tape.append(4, 1).await;
    let hole = json!([{"start": at(3).to_string(), "end": at(7).to_string(), "cause": "stalled"}]);
    check(8, true, hole.clone()).await;
    tape.seal(EndReason::SessionLost, Some(Cause::Auth)).await;
    check(8, false, hole.clone()).await;

    // The same from memory, from the store, and after a restart.
    let window = format!("/api/v1/cameras/gate/coverage?from={base}&to={}&detail=true", at(20));
    let coverage = world.get(&window).await.ok();
    assert_eq!(coverage["missing"], json!({"stalled": 4, "auth": 12}));
    tape.stored().await;
    assert_eq!(world.get(&window).await.ok(), coverage);
    check(8, false, hole).await;
    let segments = list(&world, "").await;
    drop(tape);
    let window = format!("/api/v1/cameras/gate/coverage?from={base}&to={}&detail=true", at(8));
    let coverage = world.get(&window).await.ok();
    let world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    assert_eq!(world.get(&window).await.ok(), coverage);
    assert_eq!(list(&world, "").await, segments);
    world.kernel.stop().await;
}

/// What was told once stays told, while segments grow, rotate and move from memory into the store.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_vanishes_on_the_way() {
    const SEGMENTS: usize = 60;
    let world = World::start().await;
    let camera = create(&world.kernel, "gate").await;
    let base = (world.kernel.clock.wall() - Micros::from_hours(1)).floor_second();
    let mut tape = Tape::new(&world.kernel, &camera, base).await;
    let writer = tokio::spawn(async move {
        for _ in 0..SEGMENTS {
            tape.begin(1).await;
            for _ in 0..5 {
                tape.append(0, 1).await;
            }
            tape.seal(EndReason::Rotated, None).await;
        }
        tape
    });
    let mut told = base;
    let mut rounds = 0;
    while !writer.is_finished() {
        let newest = list(&world, "?limit=1").await;
        let Some(newest) = newest.last() else { continue };
        assert!(time(&newest["end_time"]) >= told, "{newest} after {told}");
        told = time(&newest["end_time"]);
        let coverage = world.get(&format!("/api/v1/cameras/gate/coverage?from={base}&to={told}")).await.ok();
        assert_eq!(coverage["missing"], json!({}), "up to {told}");
        assert_eq!(coverage["recorded_seconds"], coverage["window_seconds"]);
        let segments = list(&world, &format!("?from={base}")).await;
        assert!(time(&segments.last().unwrap()["end_time"]) >= told);
        let joined =
            |pair: &[Value]| pair[0]["end_time"] == pair[1]["start_time"] && pair[0]["open"] == json!(false);
        assert!(segments.windows(2).all(joined), "{segments:?}");
        rounds += 1;
    }
    let tape = writer.await.unwrap();
    assert!(rounds > 3, "{rounds}");
    tape.stored().await;
    assert_eq!(list(&world, "").await.len(), SEGMENTS);
    assert_eq!(time(&list(&world, "?limit=1").await[0]["end_time"]), tape.end);
}
