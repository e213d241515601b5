//! The bus of one stream: its pictures and sound as they come, and what they are coded in.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use heldar_base::WallTime;
use heldar_media::g711::Law;
use heldar_media::{AccessUnit, AudioParams, TrackKind, TrackParams, VideoParams};
use tokio::sync::watch;

use crate::ring::{Follower, Piece, Ring};

impl Piece for Arc<AccessUnit> {
    fn is_start(&self) -> bool {
        self.track == TrackKind::Video && self.sync.is_sync()
    }

    fn size(&self) -> usize {
        self.payload.len()
    }

    fn captured_at(&self) -> WallTime {
        self.captured_at
    }
}

/// One who follows a stream's access units.
pub type Units = Follower<Arc<AccessUnit>>;

/// What a stream carries, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    /// Of its newest picture.
    pub video: Option<Arc<TrackParams>>,
    /// Of the sound that the present session, or the last, brings.
    pub audio: Option<Arc<TrackParams>>,
    /// One frame of coded silence for it.
    pub silence: Option<Bytes>,
    /// How the camera codes it, where it is converted.
    pub law: Option<Law>,
    /// Whether a session runs and has brought a picture.
    pub flows: bool,
}

impl Tracks {
    /// Parameters of its pictures.
    pub fn video(&self) -> Option<&VideoParams> {
        self.video.as_deref().and_then(TrackParams::video)
    }

    /// Parameters of its sound.
    pub fn audio(&self) -> Option<&AudioParams> {
        self.audio.as_deref().and_then(TrackParams::audio)
    }
}

/// The bus of one stream; clones share it.
#[derive(Clone, Debug)]
pub struct Bus {
    ring: Ring<Arc<AccessUnit>>,
    tracks: Arc<watch::Sender<Tracks>>,
}

impl Default for Bus {
    fn default() -> Self {
        Bus::new(Arc::default())
    }
}

impl Bus {
    /// A bus without pictures; `everywhere` counts the followers of all streams.
    pub fn new(everywhere: Arc<AtomicUsize>) -> Self {
        Bus { ring: Ring::new(everywhere), tracks: Arc::new(watch::Sender::new(Tracks::default())) }
    }

    /// A session begins, with this sound, a frame of silence for it, and what it was before it was converted.
    pub fn begin(&self, audio: Option<Arc<TrackParams>>, silence: Option<Bytes>, law: Option<Law>) {
        self.tracks.send_modify(|tracks| {
            tracks.audio = audio;
            tracks.silence = silence;
            tracks.law = law;
        });
    }

    /// Hands a unit to everyone.
    pub fn publish(&self, unit: Arc<AccessUnit>) {
        if unit.track == TrackKind::Video {
            self.tracks.send_if_modified(|tracks| {
                let is_same = tracks.video.as_ref().is_some_and(|known| Arc::ptr_eq(known, &unit.params));
                if is_same && tracks.flows {
                    return false;
                }
                tracks.video = Some(unit.params.clone());
                tracks.flows = true;
                true
            });
        }
        self.ring.publish(unit);
    }

    /// The session was lost: pictures that follow have nothing to do with those held.
    pub fn interrupt(&self) {
        self.tracks.send_if_modified(|tracks| std::mem::take(&mut tracks.flows));
        self.ring.interrupt();
    }

    /// The stream ends for good.
    pub fn close(&self) {
        self.ring.close();
    }

    /// Whether it has ended for good.
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    /// Follows the stream from its newest sync sample on.
    pub fn follow(&self) -> Units {
        self.ring.follow()
    }

    /// What it carries, as a value that can be awaited.
    pub fn tracks(&self) -> watch::Receiver<Tracks> {
        self.tracks.subscribe()
    }

    /// Its access units, to count who follows and what is held.
    pub fn ring(&self) -> &Ring<Arc<AccessUnit>> {
        &self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Received;
    use crate::testing::picture;

    #[test]
    fn what_a_stream_carries_is_known_from_its_first_picture_on() {
        let bus = Bus::default();
        let tracks = bus.tracks();
        assert!(tracks.borrow().video().is_none());
        bus.publish(picture(0, true, 10));
        assert!(tracks.borrow().flows && tracks.borrow().video().is_some());
        bus.interrupt();
        // Still what a viewer can be told, while the camera is away.
        assert!(!tracks.borrow().flows && tracks.borrow().video().is_some());
    }

    #[test]
    fn sound_is_no_place_to_start_at() {
        let bus = Bus::default();
        let unit = picture(0, true, 10);
        bus.publish(Arc::new(AccessUnit { track: TrackKind::Audio, ..AccessUnit::clone(&unit) }));
        assert!(!bus.ring().has_start());
        bus.publish(unit.clone());
        assert!(matches!(bus.follow().try_recv(), Some(Received::Piece(got)) if Arc::ptr_eq(&got, &unit)));
    }
}
