//! One RTSP session: what a client has set up of one stream. It ends with its connection, by TEARDOWN or by silence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::host::Guest;
use super::manners::{KeepAlive, Manners};
use super::random;
use super::stream::Stream;
use super::udp::Udp;
use super::viewer::Viewer;

/// When a client was last heard of; shared by its connection and the sockets of the server.
#[derive(Debug)]
pub(super) struct Activity {
    origin: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Activity { origin: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    pub(super) fn touch(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    pub(super) fn silence(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// Where the packets of a track go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Into the connection.
    Interleaved,
    /// To the client's ports.
    Udp { rtp: SocketAddr, rtcp: SocketAddr },
}

/// A slot in a bounded number of something; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// One more, unless `max` are taken.
    pub(super) fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Slot> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now < max).then_some(now + 1))
            .ok()
            .map(|_| Slot(Arc::clone(count)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) struct Session {
    pub(super) id: String,
    pub(super) path: String,
    /// URL that track URLs are built on, for `RTP-Info`.
    pub(super) base: String,
    pub(super) stream: Arc<Stream>,
    pub(super) viewer: Arc<Viewer>,
    pub(super) routes: Vec<Option<Route>>,
    pub(super) manners: Arc<Manners>,
    pub(super) activity: Arc<Activity>,
    /// What the host keeps of it, from its first PLAY on.
    pub(super) guest: Option<Arc<dyn Guest>>,
    since: Instant,
    udp: Option<Arc<Udp>>,
    _slot: Slot,
}

impl Session {
    /// A session of `stream`; `None` if it admits no more.
    pub(super) fn open(
        stream: Arc<Stream>,
        path: &str,
        base: &str,
        udp: Option<Arc<Udp>>,
        slot: Slot,
    ) -> Option<Session> {
        let viewer = stream.attach()?;
        Some(Session {
            id: random::hex::<8>(),
            path: path.to_owned(),
            base: base.to_owned(),
            routes: Vec::new(),
            manners: stream.manners(),
            activity: Arc::new(Activity::new()),
            guest: None,
            since: Instant::now(),
            stream,
            viewer,
            udp,
            _slot: slot,
        })
    }

    /// Sends a track somewhere.
    pub(super) fn set_route(&mut self, track: usize, route: Route) {
        if let (Route::Udp { rtcp, .. }, Some(udp)) = (route, &self.udp) {
            udp.register(rtcp, Arc::clone(&self.activity));
        }
        if self.routes.len() <= track {
            self.routes.resize(track + 1, None);
        }
        if let Some(slot) = self.routes.get_mut(track) {
            *slot = Some(route);
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.manners.session_timeout.max(Duration::from_secs(1))
    }

    /// True when the client has been silent for too long. A tenth on top of what it was told covers its own timers. One
    /// that never plays ends all the same, for it keeps a stream running of which nobody is listed as a viewer.
    pub(super) fn is_expired(&self) -> bool {
        if self.guest.is_none() && self.since.elapsed() > self.timeout() {
            return true;
        }
        self.manners.keep_alive != KeepAlive::Connection
            && self.activity.silence() > self.timeout().mul_f32(1.1)
    }

    /// Notes traffic that is no request.
    pub(super) fn heard_traffic(&self) {
        if self.manners.keep_alive == KeepAlive::AnyTraffic {
            self.activity.touch();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stream.detach(&self.viewer);
        if let Some(udp) = &self.udp {
            for route in self.routes.iter().flatten() {
                if let Route::Udp { rtcp, .. } = route {
                    udp.forget(*rtcp);
                }
            }
        }
    }
}
