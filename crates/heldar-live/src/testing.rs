//! Pictures for tests.

use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{MonoTime, WallTime};
use heldar_media::{AccessUnit, SyncKind, TrackKind, TrackParams, VideoCodec, VideoParams};

/// A picture of so many bytes.
pub(crate) fn picture(ms: i64, sync: bool, len: usize) -> Arc<AccessUnit> {
    let params = VideoParams {
        codec: VideoCodec::H264,
        codec_string: "avc1.42c01f".to_owned(),
        width: 640,
        height: 360,
        pixel_aspect: None,
        nominal_interval: None,
        reorder_depth: 0,
        config: Bytes::from_static(&[
            1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 1, 0, 2, 0x68, 0xce,
        ]),
    };
    Arc::new(AccessUnit {
        track: TrackKind::Video,
        captured_at: WallTime(ms * 1000),
        received_at: MonoTime(0),
        rtp_time: ms * 90,
        sync: if sync { SyncKind::Closed } else { SyncKind::None },
        params: Arc::new(TrackParams::Video(params)),
        payload: Bytes::from(vec![0; len]),
        original: None,
    })
}
