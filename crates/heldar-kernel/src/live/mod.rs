//! Live view: which streams somebody watches, who watches, and the tokens that open a view.
//!
//! Owns: the demand for streams that nobody records, from a viewer's wish to some time after the last one has gone; the
//! list of viewers; the rule which stream a name stands for. Never: pulls a camera itself, the stream's one session does.

mod demand;
mod hls;
mod meters;
mod name;
mod peers;
mod restream;
mod rights;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use heldar_base::{CameraId, Clock as _, PublicId, StreamId, StreamKind};
use heldar_config::Settings;
use heldar_http::metrics::Registry;
use heldar_ingest::SystemClock;
use heldar_live::{Cut, Feed, Viewers, WebRtc, WebRtcConfig};
use heldar_store::{Camera, Store};

use demand::Demand;
pub use demand::run;
pub use hls::HlsKey;
use hls::HlsViewers;
use meters::Meters;
pub use name::LiveName;
pub use peers::is_private;
use restream::Restream;
pub use rights::cut_without_right;
pub(crate) use token::KEY as TOKEN_KEY;
pub use token::{LiveTokens, TokenFault};

use crate::engine::journal::random_bits;
use crate::kernel::Kernel;
use crate::secrets::{Sealer, SecretError};

/// Everything that live view keeps beside the streams.
#[derive(Debug)]
pub struct Watching {
    /// Everyone who watches.
    pub viewers: Viewers,
    /// What opens a view.
    pub tokens: LiveTokens,
    /// Those who fetch playlists.
    pub hls: HlsViewers,
    demand: Demand,
    meters: Arc<Meters>,
    rtsp_port: std::sync::OnceLock<u16>,
    restream: Arc<Restream>,
    webrtc: std::sync::OnceLock<WebRtc>,
}

/// Why a camera cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWatchable {
    /// It is switched off.
    Disabled,
    /// The stream has no address.
    NoStreamUrl,
}

/// A camera's stream that is to be watched, and the other one.
#[derive(Clone, Debug)]
pub struct View {
    /// What was asked for.
    pub stream: StreamId,
    /// Its pictures.
    pub feed: Feed,
    /// The camera's other stream, where it has an address.
    pub other: Option<(StreamId, Feed)>,
}

impl Watching {
    /// Nobody watches yet.
    ///
    /// # Errors
    /// The key of live tokens cannot be read or made.
    pub async fn open(
        settings: &Settings,
        store: &Store,
        sealer: &Sealer,
        clock: SystemClock,
        metrics: &Registry,
    ) -> Result<Self, SecretError> {
        let meters = Arc::new(Meters::new(metrics));
        Ok(Watching {
            viewers: Viewers::new(meters.clone()),
            tokens: LiveTokens::open(settings.live.token_ttl, store, sealer, clock).await?,
            hls: HlsViewers::default(),
            demand: Demand::new(settings.live.idle_close),
            meters,
            rtsp_port: std::sync::OnceLock::new(),
            restream: Arc::default(),
            webrtc: std::sync::OnceLock::new(),
        })
    }

    /// Whether a stream is to run for viewers.
    pub fn wants(&self, camera: &Camera, kind: StreamKind) -> bool {
        let stream = StreamId::new(camera.id.clone(), kind);
        self.demand.wants(&stream) || (camera.fields.live_warm && kind == warm(camera))
    }

    /// A camera was removed: whoever watches it is cut off.
    pub fn camera_removed(&self, camera: &CameraId) {
        self.demand.forget(camera);
        self.viewers.cut_camera(camera, Cut::CameraRemoved);
    }

    /// Port of the RTSP server, while there is one.
    pub fn rtsp_port(&self) -> Option<u16> {
        self.rtsp_port.get().copied()
    }

    /// Playback over WebRTC, while its port is open.
    pub fn webrtc(&self) -> Option<&WebRtc> {
        self.webrtc.get()
    }

    /// Names a viewer.
    pub fn viewer_id() -> PublicId {
        PublicId::new("lvs", random_bits())
    }

    /// Copies what is counted elsewhere into the metrics.
    pub fn scrape(&self) {
        self.meters.scrape(&self.viewers);
    }
}

/// The stream that is kept ready: what viewers get who name none. A sub stream that only a vendor's template may have is
/// not taken for that; a stream that does not exist would be tried for ever.
fn warm(camera: &Camera) -> StreamKind {
    if camera.fields.sub_stream_url.is_some() { StreamKind::Sub } else { camera.fields.record_stream }
}

impl Kernel {
    /// Opens the UDP port of WebRTC on an address. A port that cannot be had costs viewers this one transport, never a
    /// recording.
    pub fn open_webrtc(&self, address: IpAddr) {
        let live = &self.settings.live;
        let bind = SocketAddr::new(address, live.webrtc_port);
        let config = WebRtcConfig {
            public_addresses: live.webrtc_public_addresses.clone(),
            ..WebRtcConfig::new(bind)
        };
        match WebRtc::bind(config) {
            Ok(webrtc) => {
                tracing::info!(address = %webrtc.local_addr(), "WebRTC listens on UDP");
                // Opened once, at the start.
                let _first = self.watching.webrtc.set(webrtc);
            }
            Err(error) => tracing::error!(
                address = %bind,
                %error,
                "no WebRTC: its UDP port cannot be opened; end what uses it, or set HELDAR_WEBRTC_UDP_PORT to another"
            ),
        }
    }

    /// The streams behind a name of a live view (media.md 11.1).
    ///
    /// # Errors
    /// [`NotWatchable`].
    pub fn view(&self, camera: &Camera, kind: Option<StreamKind>) -> Result<View, NotWatchable> {
        if !camera.fields.enabled {
            return Err(NotWatchable::Disabled);
        }
        let has = |kind| self.source(camera, kind).is_ok();
        let kind = match kind {
            Some(kind) => kind,
            None if has(StreamKind::Sub) => StreamKind::Sub,
            None => camera.fields.record_stream,
        };
        let find = |kind| {
            let stream = StreamId::new(camera.id.clone(), kind);
            let handle = self.ingest.get(&stream).filter(|_| has(kind));
            handle.map(|handle| (stream, handle.feed))
        };
        let (stream, feed) = find(kind).ok_or(NotWatchable::NoStreamUrl)?;
        let other = match kind {
            StreamKind::Main => StreamKind::Sub,
            StreamKind::Sub => StreamKind::Main,
        };
        Ok(View { stream, feed, other: find(other) })
    }

    /// What a stream carries, measured, in bits per second.
    pub fn bits_per_second(&self, stream: &StreamId) -> Option<u64> {
        let view = self.supervisor.view(&stream.camera)?;
        let is_measured = self.ingest.get(stream).is_some_and(|handle| handle.settings().take.is_some());
        let kilobits = view.bitrate_kbps.filter(|_| is_measured)?;
        Some((kilobits * 1000.0) as u64).filter(|bits| *bits > 0)
    }

    /// Whether a stream is wanted. Who ends a camera ends its streams first and cuts off its viewers then; so whoever is
    /// listed and finds the stream running will be cut, and nobody slips through who was let in a moment earlier.
    pub fn still_runs(&self, stream: &StreamId) -> bool {
        self.ingest.get(stream).is_some_and(|handle| handle.settings().run())
    }

    /// Somebody wants to watch a stream: it runs from now on, and for a while after the last viewer has gone.
    pub fn demand(&self, stream: &StreamId) {
        if self.watching.demand.note(stream, self.clock.mono()) {
            self.ingest.set_live(stream, true);
        }
    }
}
