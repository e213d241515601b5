//! A camera's recorder, without the camera: footage that lies on the disk and in the store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_base::{CameraId, EndReason, Interval, Micros, StreamId, StreamKind, WallTime};
use heldar_disk::Muxer;
use heldar_kernel::kernel::Kernel;
use heldar_media::{TrackParams, VideoCodec, VideoParams};
use heldar_recorder::{Fragment, Order, Run, Sample, SegmentTracks, Serial};
use heldar_store::op::{AppendWanted, EnsureStream};

pub(crate) struct Tape;

impl Tape {
    /// Records so many seconds, a fragment of one picture and so many bytes each.
    pub(crate) async fn record(
        kernel: &Arc<Kernel>,
        camera: &CameraId,
        start: WallTime,
        seconds: i64,
        picture_bytes: usize,
    ) {
        let stream = StreamId::new(camera.clone(), StreamKind::Main);
        kernel.numbers.ensure(&kernel.store, &stream).await.unwrap();
        kernel.store.write(EnsureStream { stream: stream.clone() }).await.unwrap();
        kernel.store.write(AppendWanted { camera: camera.clone(), at: start, reason: None }).await.unwrap();
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
        let tracks = SegmentTracks { video: Arc::new(video), audio: None };
        let mut muxer = Muxer::new(stream.clone(), Arc::new(AtomicU64::new(1 << 40)));
        let at = |seconds: i64| start + Micros::from_secs(seconds);
        let mut payload = vec![0x88; picture_bytes.max(6)];
        let unit_bytes = u32::try_from(payload.len() - 4).unwrap();
        payload[..4].copy_from_slice(&unit_bytes.to_be_bytes());
        payload[4] = 0x65;
        let payload = Bytes::from(payload);
        let fragment = |n: i64| Fragment {
            interval: Interval::new(at(n), at(n + 1)),
            sync: true,
            video: Run {
                base_decode_time: u64::try_from(n).unwrap() * 90_000,
                samples: vec![Sample {
                    duration: 90_000,
                    composition_offset: 0,
                    sync: true,
                    payload: payload.clone(),
                }],
            },
            audio: None,
        };
        let serial = Serial(1);
        let begin = Order::Begin { serial, start, tracks, dependent: false, fragment: fragment(0) };
        let rest = (1..seconds).map(|n| Order::Append { serial, hole: None, fragment: fragment(n) });
        let seal = Order::Seal { serial, end: at(seconds), reason: EndReason::Rotated, cause: None };
        for order in std::iter::once(begin).chain(rest).chain([seal]) {
            muxer.submit(order, &kernel.writer).unwrap();
            // The queue is bounded.
            while kernel.writer.stats().queued_bytes.load(std::sync::atomic::Ordering::Relaxed) > 4 << 20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let begun = Instant::now();
        let stored = async || {
            let (segments, _) =
                kernel.newest_segments(&heldar_base::Scope::All, &stream, None, 10).await.unwrap();
            segments
                .iter()
                .any(|segment| segment.start() == start && !segment.open && segment.end == at(seconds))
        };
        while !stored().await || !kernel.live.of_stream(&stream).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the footage is not stored");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
