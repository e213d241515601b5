//! Everyone who watches live: who, how, since when, and the one place where a viewer is cut off.
//!
//! Owns: the list of viewers and their figures. Never: decides who may watch; whoever knows that a right has ended says so
//! here, and the viewer's own task ends it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{CameraId, Credential, PublicId, StreamId, StreamKind, WallTime};
use tokio::sync::watch;

/// What a viewer is fed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// WebRTC by WHEP.
    Whep,
    /// Fragmented MP4 over a WebSocket.
    WebSocket,
    /// HLS.
    Hls,
    /// RTSP.
    Rtsp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 4] = [Transport::Whep, Transport::WebSocket, Transport::Hls, Transport::Rtsp];

    /// Its name in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Whep => "whep",
            Transport::WebSocket => "ws",
            Transport::Hls => "hls",
            Transport::Rtsp => "rtsp",
        }
    }
}

/// Why a viewer is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// An administrator ended it.
    Ended,
    /// Its camera was switched off.
    CameraDisabled,
    /// Its camera was removed.
    CameraRemoved,
    /// The sign-in or key that it came with has ended.
    CredentialEnded,
    /// What it came with does not open this camera's live view any more.
    RightEnded,
    /// The server stops.
    Stopping,
}

impl Cut {
    /// Its name in metrics and in last words to viewers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cut::Ended => "ended",
            Cut::CameraDisabled => "camera_disabled",
            Cut::CameraRemoved => "camera_removed",
            Cut::CredentialEnded => "credential_ended",
            Cut::RightEnded => "right_ended",
            Cut::Stopping => "server_stopped",
        }
    }
}

/// One who is about to watch.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Names the viewer.
    pub id: PublicId,
    /// What it asked for.
    pub stream: StreamId,
    /// What it is fed over.
    pub transport: Transport,
    /// Who it is.
    pub principal: String,
    /// What it came with, whose end ends it.
    pub credential: Credential,
    /// Where it is.
    pub remote: IpAddr,
    /// Now.
    pub at: WallTime,
}

/// A viewer as others see it.
#[derive(Clone, Debug)]
pub struct ViewerInfo {
    /// Who and how.
    pub newcomer: Newcomer,
    /// Bytes handed to the kernel.
    pub bytes_sent: u64,
    /// Pieces left out because the viewer was too slow.
    pub dropped: u64,
    /// Coding of the sound it gets.
    pub audio: Option<&'static str>,
}

#[derive(Debug)]
struct Entry {
    newcomer: Newcomer,
    figures: Arc<Figures>,
    cut: watch::Sender<Option<Cut>>,
}

impl Entry {
    /// The first reason stays: what follows from it is not why the viewer has to go.
    fn cut(&self, why: Cut) {
        self.cut.send_if_modified(|cut| {
            let is_first = cut.is_none();
            cut.get_or_insert(why);
            is_first
        });
    }
}

#[derive(Debug, Default)]
struct Figures {
    bytes_sent: AtomicU64,
    dropped: AtomicU64,
    audio: Mutex<Option<&'static str>>,
    has_shown: AtomicBool,
}

/// What is told of viewers as they come and go.
pub trait Watch: Send + Sync + std::fmt::Debug {
    /// The first picture went out, so many seconds after the viewer came.
    fn first_picture(&self, transport: Transport, seconds: f64);
    /// A viewer was moved ahead.
    fn skipped(&self, transport: Transport);
    /// A viewer is gone: cut off, or by itself.
    fn closed(&self, transport: Transport, why: Option<Cut>);
}

/// All viewers; clones share the list.
#[derive(Clone, Debug)]
pub struct Viewers {
    entries: Arc<Mutex<BTreeMap<PublicId, Entry>>>,
    watch: Arc<dyn Watch>,
}

impl Viewers {
    /// Nobody yet.
    pub fn new(watch: Arc<dyn Watch>) -> Self {
        Viewers { entries: Arc::default(), watch }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<PublicId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a viewer in; it is one as long as the seat lives.
    pub fn admit(&self, newcomer: Newcomer) -> Seat {
        let (cut, is_cut) = watch::channel(None);
        let figures = Arc::<Figures>::default();
        let (id, transport) = (newcomer.id, newcomer.transport);
        self.entries().insert(id, Entry { newcomer, figures: figures.clone(), cut });
        Seat { viewers: self.clone(), id, transport, figures, cut: is_cut, came: std::time::Instant::now() }
    }

    /// Everyone, in order of their ids.
    pub fn list(&self) -> Vec<ViewerInfo> {
        let info = |entry: &Entry| ViewerInfo {
            newcomer: entry.newcomer.clone(),
            bytes_sent: entry.figures.bytes_sent.load(Ordering::Relaxed),
            dropped: entry.figures.dropped.load(Ordering::Relaxed),
            audio: *entry.figures.audio.lock().unwrap_or_else(PoisonError::into_inner),
        };
        self.entries().values().map(info).collect()
    }

    /// How many there are on a transport.
    pub fn count(&self, transport: Transport) -> usize {
        self.entries().values().filter(|entry| entry.newcomer.transport == transport).count()
    }

    /// Cuts one off; tells whose it was.
    pub fn cut(&self, id: PublicId, why: Cut) -> Option<Newcomer> {
        let entries = self.entries();
        let entry = entries.get(&id)?;
        entry.cut(why);
        Some(entry.newcomer.clone())
    }

    /// Cuts those off for whom there is a reason by now.
    pub fn cut_where(&self, why: impl Fn(&Newcomer) -> Option<Cut>) {
        for entry in self.entries().values() {
            if let Some(why) = why(&entry.newcomer) {
                entry.cut(why);
            }
        }
    }

    /// Cuts everyone off who watches a camera.
    pub fn cut_camera(&self, camera: &CameraId, why: Cut) {
        for entry in self.entries().values().filter(|entry| entry.newcomer.stream.camera == *camera) {
            entry.cut(why);
        }
    }

    /// Cuts everyone off who watches one stream of a camera.
    pub fn cut_stream(&self, camera: &CameraId, kind: StreamKind, why: Cut) {
        let is_it = |stream: &StreamId| stream.camera == *camera && stream.kind == kind;
        for entry in self.entries().values().filter(|entry| is_it(&entry.newcomer.stream)) {
            entry.cut(why);
        }
    }

    /// Cuts everyone off.
    pub fn cut_all(&self, why: Cut) {
        for entry in self.entries().values() {
            entry.cut(why);
        }
    }
}

/// A viewer's place in the list, held by whoever feeds it.
#[derive(Debug)]
pub struct Seat {
    viewers: Viewers,
    id: PublicId,
    transport: Transport,
    figures: Arc<Figures>,
    cut: watch::Receiver<Option<Cut>>,
    came: std::time::Instant,
}

impl Seat {
    /// Names the viewer.
    pub fn id(&self) -> PublicId {
        self.id
    }

    /// So many bytes were handed to the kernel.
    pub fn sent(&self, bytes: usize) {
        self.figures.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A picture went out.
    pub fn shown(&self) {
        if !self.figures.has_shown.swap(true, Ordering::Relaxed) {
            self.viewers.watch.first_picture(self.transport, self.came.elapsed().as_secs_f64());
        }
    }

    /// So many pieces were left out.
    pub fn skipped(&self, pieces: u64) {
        self.figures.dropped.fetch_add(pieces, Ordering::Relaxed);
        self.viewers.watch.skipped(self.transport);
    }

    /// The coding of the sound that is sent along.
    pub fn audio(&self, coding: Option<&'static str>) {
        *self.figures.audio.lock().unwrap_or_else(PoisonError::into_inner) = coding;
    }

    /// Resolves when the viewer is cut off.
    pub async fn is_cut(&mut self) -> Cut {
        resolve(&mut self.cut).await
    }

    /// Tells of the cut while the seat itself is in use elsewhere.
    pub fn watch_cut(&self) -> CutWatch {
        CutWatch(self.cut.clone())
    }

    /// Why the viewer is cut off, if it is.
    pub fn cut(&self) -> Option<Cut> {
        *self.cut.borrow()
    }
}

/// Tells when a viewer is cut off.
#[derive(Clone, Debug)]
pub struct CutWatch(watch::Receiver<Option<Cut>>);

impl CutWatch {
    /// Why the viewer is cut off, if it is.
    pub fn cut(&self) -> Option<Cut> {
        *self.0.borrow()
    }

    /// Resolves when the viewer is cut off.
    pub async fn is_cut(&mut self) -> Cut {
        resolve(&mut self.0).await
    }
}

async fn resolve(cut: &mut watch::Receiver<Option<Cut>>) -> Cut {
    loop {
        if let Some(why) = *cut.borrow_and_update() {
            return why;
        }
        if cut.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.viewers.entries().remove(&self.id);
        self.viewers.watch.closed(self.transport, self.cut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[derive(Debug, Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Watch for Notes {
        fn first_picture(&self, transport: Transport, _seconds: f64) {
            self.0.lock().unwrap().push(format!("{} shows", transport.as_str()));
        }

        fn skipped(&self, transport: Transport) {
            self.0.lock().unwrap().push(format!("{} skips", transport.as_str()));
        }

        fn closed(&self, transport: Transport, why: Option<Cut>) {
            let why = why.map_or("by itself", Cut::as_str);
            self.0.lock().unwrap().push(format!("{} ends {why}", transport.as_str()));
        }
    }

    fn newcomer(number: u128, camera: &str, transport: Transport) -> Newcomer {
        Newcomer {
            id: PublicId::new("lvs", number),
            stream: StreamId::new(CameraId::new(camera).unwrap(), StreamKind::Main),
            transport,
            principal: "system".to_owned(),
            credential: heldar_base::Credential::Nothing,
            remote: Ipv4Addr::LOCALHOST.into(),
            at: WallTime(0),
        }
    }

    #[tokio::test]
    async fn viewers_are_listed_counted_and_cut_off() {
        let notes = Arc::new(Notes::default());
        let viewers = Viewers::new(notes.clone());
        let mut whep = viewers.admit(newcomer(1, "gate", Transport::Whep));
        let mut ws = viewers.admit(newcomer(2, "yard", Transport::WebSocket));
        whep.sent(7);
        whep.shown();
        whep.shown();
        whep.audio(Some("opus"));
        ws.skipped(3);
        let list = viewers.list();
        assert_eq!((list[0].bytes_sent, list[0].audio, list[1].dropped), (7, Some("opus"), 3));
        assert_eq!(viewers.count(Transport::Whep), 1);
        assert!(viewers.cut(PublicId::new("lvs", 9), Cut::Ended).is_none());
        viewers.cut_camera(&CameraId::new("yard").unwrap(), Cut::CameraRemoved);
        // What is removed is also stopped.
        viewers.cut_camera(&CameraId::new("yard").unwrap(), Cut::CameraDisabled);
        assert_eq!((ws.is_cut().await, whep.cut()), (Cut::CameraRemoved, None));
        assert!(viewers.cut(PublicId::new("lvs", 1), Cut::Ended).is_some());
        assert_eq!(whep.is_cut().await, Cut::Ended);
        drop(ws);
        drop(whep);
        assert!(viewers.list().is_empty());
        let expect = ["whep shows", "ws skips", "ws ends camera_removed", "whep ends ended"];
        assert_eq!(*notes.0.lock().unwrap(), expect);
    }
}
