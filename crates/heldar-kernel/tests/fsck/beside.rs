//! Beside a server that runs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use heldar_base::{Clock as _, EndReason, Interval, Micros, StreamId, WallTime};
use heldar_disk::Muxer;
use heldar_kernel::fsck::{FsckError, Intent, Kind, Others};
use heldar_kernel::kernel::Kernel;
use heldar_media::{TrackParams, VideoCodec, VideoParams};
use heldar_recorder::{Fragment, Order, Run, Sample, SegmentTracks, Serial};

use crate::ground::{Ground, fsck, gate};
use crate::support::World;

const ALONE: &[(&str, &str)] = &[("HELDAR_RETENTION_INTERVAL_S", "86400")];

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_needs_the_folder_for_itself() {
    let ground = Ground::new(None).await;
    ground.remove(&ground.path(1));
    let world = World::start_in(ground.into_folder(), ALONE).await;
    let settings = world.kernel.settings.clone();
    let refused = fsck(&settings, Intent::Repair).await;
    assert!(matches!(refused, Err(FsckError::ServerRuns)), "{refused:?}");
    // Looking is allowed, finds what stays, and takes nothing over.
    let looked = fsck(&settings, Intent::Check).await.unwrap();
    assert_eq!(looked.others, Others::Server);
    let kinds: Vec<Kind> = looked.left.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::MissingFile]);
    world.kernel.store.write_all(Vec::new()).await.unwrap();
    world.kernel.stop().await;
    let alone = fsck(&settings, Intent::Repair).await.unwrap();
    assert_eq!((alone.others, alone.left.findings.len(), alone.repaired.len()), (Others::Nobody, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_it_records() {
    let world = World::start_in(Ground::new(None).await.into_folder(), ALONE).await;
    let (kernel, settings) = (world.kernel.clone(), world.kernel.settings.clone());
    let now = kernel.clock.wall();
    let mut tape = Tape::new(&kernel, gate(), now - Micros::from_secs(40_000));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let recording = tokio::spawn(async move {
        let mut segments = 0;
        while !*stopped.borrow() {
            tape.segment().await;
            segments += 1;
        }
        segments
    });
    for _ in 0..2 {
        let looked = fsck(&settings, Intent::Check).await.unwrap();
        assert_eq!(looked.others, Others::Server);
        assert!(looked.left.findings.is_empty(), "{:#?}", looked.left.findings);
    }
    stop.send(true).unwrap();
    assert!(recording.await.unwrap() > 10);
    kernel.stop().await;
    let alone = fsck(&settings, Intent::Check).await.unwrap();
    assert!(alone.left.findings.is_empty(), "{:#?}", alone.left.findings);
    assert!(alone.left.checked.segments > 18, "{:?}", alone.left.checked);
}

/// A recorder without a camera: its orders go the whole way to the disk and into the store.
struct Tape {
    kernel: Arc<Kernel>,
    muxer: Muxer,
    tracks: SegmentTracks,
    serial: Serial,
    at: WallTime,
}

impl Tape {
    fn new(kernel: &Arc<Kernel>, stream: StreamId, at: WallTime) -> Tape {
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
            muxer: Muxer::new(stream, Arc::new(AtomicU64::new(1 << 32))),
            tracks: SegmentTracks { video: Arc::new(video), audio: None },
            serial: Serial(0),
            at,
        }
    }

    /// Four fragments of a second, each one on disk before the next.
    async fn segment(&mut self) {
        self.serial = Serial(self.serial.0 + 1);
        let (serial, start) = (self.serial, self.at);
        for number in 0..4 {
            let interval = Interval::new(self.at, self.at + Micros::from_secs(1));
            self.at = interval.end;
            let sample = Sample {
                duration: 90_000,
                composition_offset: 0,
                sync: true,
                payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
            };
            let video = Run { base_decode_time: number * 90_000, samples: vec![sample] };
            let fragment = Fragment { interval, sync: true, video, audio: None };
            let tracks = self.tracks.clone();
            let order = match number {
                0 => Order::Begin { serial, start, tracks, dependent: false, fragment },
                _ => Order::Append { serial, hole: None, fragment },
            };
            self.muxer.submit(order, &self.kernel.writer).unwrap();
            // As cameras do: one after the other.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let (end, reason) = (self.at, EndReason::Rotated);
        self.muxer.submit(Order::Seal { serial, end, reason, cause: None }, &self.kernel.writer).unwrap();
    }
}
