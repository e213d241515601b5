//! The newest picture of a running stream, and of one that is started for it.

use std::sync::Arc;
use std::time::Duration;

use heldar_base::{ReasonClass, StreamId, StreamKind, WallTime};
use heldar_decode::still;
use heldar_decode::wire::Output;
use heldar_ingest::SessionError;
use heldar_live::{Received, Units};
use heldar_media::{AccessUnit, TrackKind, VideoParams};
use heldar_store::Camera;
use tokio::time::{Instant, timeout_at};

use super::{Shot, ShotError, Source};
use crate::kernel::Kernel;
use crate::live::NotWatchable;

/// How long a stream that does not run yet may take to show a picture.
pub(crate) const FIRST_PICTURE: Duration = Duration::from_secs(9);

/// Why there is no live picture.
#[derive(Debug, thiserror::Error)]
pub enum LiveStillError {
    /// The camera cannot be watched.
    #[error("the camera cannot be watched")]
    NotWatchable(NotWatchable),
    /// The camera does not deliver.
    #[error("the camera does not deliver pictures")]
    Camera(Option<SessionError>),
    /// No picture can be made.
    #[error(transparent)]
    Shot(#[from] ShotError),
}

/// What memory has of a recorded picture.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The picture.
    Shot(Shot),
    /// It is not held any more, so that its fragment is on its way to the file.
    BeingWritten,
    /// Nothing is known of it.
    NotThere,
}

/// A stream that is followed and has shown a picture.
pub(crate) struct Followed {
    stream: StreamId,
    units: Units,
    /// From the newest sync sample on.
    group: Vec<Arc<AccessUnit>>,
}

impl Kernel {
    /// The newest picture of a camera; it takes a slot for media jobs. A stream that does not run is started as for a
    /// viewer.
    ///
    /// # Errors
    /// [`LiveStillError`].
    pub async fn live_shot(
        &self,
        camera: &Camera,
        kind: Option<StreamKind>,
        output: Output,
    ) -> Result<Shot, LiveStillError> {
        let followed = self.first_picture(camera, kind, Instant::now() + FIRST_PICTURE).await?;
        let _slot = self.media_slot().await?;
        self.newest_picture(followed, output).await
    }

    /// Follows a camera, and waits for its first picture without a slot: a camera that does not answer keeps nobody from
    /// his. A stream that does not run is started as for a viewer.
    ///
    /// # Errors
    /// [`LiveStillError`].
    pub(crate) async fn first_picture(
        &self,
        camera: &Camera,
        kind: Option<StreamKind>,
        deadline: Instant,
    ) -> Result<Followed, LiveStillError> {
        let view = self.view(camera, kind).map_err(LiveStillError::NotWatchable)?;
        let runs = |flows: bool, stream: &StreamId| flows && self.ingest.get(stream).is_some();
        let flows = |feed: &heldar_live::Feed| feed.bus().tracks().borrow().flows;
        // A stream that runs saves a session, where the caller has no wish of his own.
        let other = view.other.as_ref().filter(|(stream, feed)| kind.is_none() && runs(flows(feed), stream));
        let (stream, feed) = match other {
            Some((stream, feed)) if !flows(&view.feed) => (stream, feed),
            _ => (&view.stream, &view.feed),
        };
        self.demand(stream);
        let mut units = feed.bus().follow();
        let mut group = Vec::new();
        gather(&mut units, &mut group, deadline).await;
        match group.is_empty() {
            true => Err(LiveStillError::Camera(self.last_error(stream))),
            false => Ok(Followed { stream: stream.clone(), units, group }),
        }
    }

    /// The newest picture of what is followed, for a caller who has a slot.
    ///
    /// # Errors
    /// [`LiveStillError`].
    pub(crate) async fn newest_picture(
        &self,
        followed: Followed,
        output: Output,
    ) -> Result<Shot, LiveStillError> {
        let Followed { stream, mut units, mut group } = followed;
        gather(&mut units, &mut group, Instant::now() + FIRST_PICTURE).await;
        let Some(params) = group.last().and_then(|unit| unit.params.video().cloned()) else {
            return Err(LiveStillError::Camera(self.last_error(&stream)));
        };
        let (captured_at, wanted) = newest(&group);
        Ok(self.of_group(&params, &group, (captured_at, wanted), output).await?)
    }

    /// The picture of a recorded stream that was on screen at an instant, exactly, while its fragment is in memory only; it
    /// takes a slot for media jobs.
    ///
    /// # Errors
    /// [`ShotError`].
    pub(crate) async fn unwritten_shot(
        &self,
        stream: &StreamId,
        at: WallTime,
        output: Output,
    ) -> Result<Unwritten, ShotError> {
        let is_recorded = |take: heldar_recorder::Take| at < take.until;
        let handle = self.ingest.get(stream).filter(|handle| handle.settings().take.is_some_and(is_recorded));
        let Some(handle) = handle else {
            return Ok(Unwritten::NotThere);
        };
        let mut units = handle.feed.bus().follow();
        let mut group = Vec::new();
        gather(&mut units, &mut group, Instant::now()).await;
        let Some(params) = group.last().and_then(|unit| unit.params.video().cloned()) else {
            return Ok(Unwritten::NotThere);
        };
        match on_screen(&group, at, params.reorder_depth) {
            OnScreen::Picture(captured_at, place) => {
                let _slot = self.media_slot().await?;
                self.of_group(&params, &group, (captured_at, place), output).await.map(Unwritten::Shot)
            }
            OnScreen::Before => Ok(Unwritten::BeingWritten),
            OnScreen::After => Ok(Unwritten::NotThere),
        }
    }

    /// Decodes the picture at a place of a group.
    async fn of_group(
        &self,
        params: &VideoParams,
        group: &[Arc<AccessUnit>],
        (captured_at, place): (WallTime, i64),
        output: Output,
    ) -> Result<Shot, ShotError> {
        let units = (0..).zip(group.iter().map(|unit| unit.payload.clone())).collect();
        let decoders = &self.stills.decoders;
        let picture = still(decoders, params, params.reorder_depth, units, place, vec![output]).await?;
        let image = picture.images.into_iter().next();
        let image = image.ok_or_else(|| heldar_decode::StillError::Malformed("no picture".to_owned()))?;
        Ok(Shot { captured_at, source: Source::Group, image })
    }

    /// Why a stream did not deliver, as far as it is known.
    fn last_error(&self, stream: &StreamId) -> Option<SessionError> {
        let view = self.supervisor.view(&stream.camera)?;
        let trouble = view.trouble?;
        Some(SessionError::new(trouble.class, &trouble.detail))
    }
}

/// What the group in memory has for an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnScreen {
    /// A picture: when it was captured, and its place.
    Picture(WallTime, i64),
    /// The group begins later.
    Before,
    /// The instant may belong to a picture that is still to come.
    After,
}

/// The picture of a group that is on screen at an instant, once no picture can come that is shown between the two: so many
/// later ones are there that a further one would come too late to be reordered.
fn on_screen(group: &[Arc<AccessUnit>], at: WallTime, reorder_depth: u8) -> OnScreen {
    let later = group.iter().filter(|unit| unit.captured_at > at).count();
    if later <= usize::from(reorder_depth) {
        return OnScreen::After;
    }
    // Leading pictures of an open group cannot be decoded without the group before.
    let Some(sync) = group.first().map(|unit| unit.captured_at) else { return OnScreen::After };
    let shown = (0i64..).zip(group).filter(|(_, unit)| (sync..=at).contains(&unit.captured_at));
    match shown.max_by_key(|(_, unit)| unit.captured_at) {
        Some((place, unit)) => OnScreen::Picture(unit.captured_at, place),
        None => OnScreen::Before,
    }
}

/// Brings a group up to date: the pictures from the newest sync sample up to the newest picture, waiting for the first.
async fn gather(units: &mut Units, group: &mut Vec<Arc<AccessUnit>>, deadline: Instant) {
    loop {
        let received = if group.is_empty() {
            match timeout_at(deadline, units.recv()).await {
                Ok(received) => received,
                Err(_elapsed) => return,
            }
        } else {
            match units.try_recv() {
                Some(received) => received,
                None => return,
            }
        };
        match received {
            Received::Piece(unit) if unit.track == TrackKind::Video => {
                let is_new = group.last().is_some_and(|last| !Arc::ptr_eq(&last.params, &unit.params));
                if unit.sync.is_sync() || is_new {
                    group.clear();
                }
                group.push(unit);
            }
            Received::Piece(_sound) => {}
            Received::Lagged(_) | Received::Interrupted => group.clear(),
            Received::Closed => return,
        }
    }
}

/// When the newest picture of a group was captured, and its place; leading pictures of an open group do not count.
fn newest(group: &[Arc<AccessUnit>]) -> (WallTime, i64) {
    let newest = (0i64..).zip(group).max_by_key(|(_, unit)| unit.captured_at);
    newest.map_or((WallTime::EPOCH, 0), |(place, unit)| (unit.captured_at, place))
}

impl LiveStillError {
    /// The class of a camera's failure.
    pub fn reason(&self) -> Option<ReasonClass> {
        match self {
            LiveStillError::Camera(error) => error.as_ref().map(|error| error.class),
            LiveStillError::NotWatchable(_) | LiveStillError::Shot(_) => None,
        }
    }
}
