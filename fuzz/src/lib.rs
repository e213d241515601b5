//! What the targets share: a WebRTC endpoint with a stream that has brought a picture.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{CameraId, Credential, MonoTime, PublicId, StreamId, StreamKind, WallTime};
use heldar_live::{Bus, Cut, Feeds, Newcomer, Seat, Transport, Viewers, Watch, WebRtc, WebRtcConfig};
use heldar_media::{AccessUnit, SyncKind, TrackKind, TrackParams, VideoCodec, VideoParams};
use tokio::runtime::Runtime;

/// `avcC` of constrained baseline, level 3.1.
const AVCC: &[u8] = &[1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 1, 0, 2, 0x68, 0xce];

/// An endpoint of WebRTC and its runtime.
pub struct Stage {
    pub runtime: Runtime,
    pub webrtc: WebRtc,
    viewers: Viewers,
    bus: Bus,
}

#[derive(Debug)]
struct Deaf;

impl Watch for Deaf {
    fn first_picture(&self, _transport: Transport, _seconds: f64) {}
    fn skipped(&self, _transport: Transport) {}
    fn closed(&self, _transport: Transport, _why: Option<Cut>) {}
}

impl Stage {
    /// Opens one.
    ///
    /// # Panics
    /// When the machine has no port left.
    pub fn new() -> Stage {
        let runtime = Runtime::new().expect("a runtime");
        let webrtc = runtime.block_on(async {
            WebRtc::bind(WebRtcConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).expect("a UDP port")
        });
        let bus = Bus::default();
        let params = Arc::new(TrackParams::Video(VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1.42c01f".to_owned(),
            width: 640,
            height: 360,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::from_static(AVCC),
        }));
        bus.publish(Arc::new(AccessUnit {
            track: TrackKind::Video,
            captured_at: WallTime(1_700_000_000_000_000),
            received_at: MonoTime(0),
            rtp_time: 0,
            sync: SyncKind::Closed,
            params,
            payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 1]),
            original: None,
        }));
        Stage { runtime, webrtc, viewers: Viewers::new(Arc::new(Deaf)), bus }
    }

    /// Answers an offer; the name of the session, if there is one.
    pub fn answer(&self, offer: &str) -> Option<String> {
        let _inside = self.runtime.enter();
        let feeds = Feeds { wanted: self.bus.clone(), other: Some(self.bus.clone()) };
        self.webrtc.answer(offer, feeds, |_| self.seat()).ok().map(|answer| answer.resource)
    }

    fn seat(&self) -> Seat {
        self.viewers.admit(Newcomer {
            id: PublicId::new("lvs", 1),
            stream: StreamId::new(CameraId::new("gate").expect("an id"), StreamKind::Main),
            transport: Transport::Whep,
            principal: "system".to_owned(),
            credential: Credential::Nothing,
            remote: Ipv4Addr::LOCALHOST.into(),
            at: WallTime(0),
        })
    }
}

impl Default for Stage {
    fn default() -> Self {
        Stage::new()
    }
}
