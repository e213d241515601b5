//! A clip that cameras loop: tracks in memory, and the number of each picture.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use heldar_base::Micros;
use heldar_rtsp::server::Format;

use crate::Error;
use crate::mp4::{Movie, Mp4Track, Sample};
use crate::scene::Scene;

/// One track of a clip, looped by itself: its last sample is followed by its first.
#[derive(Clone, Debug)]
pub(crate) struct ClipTrack {
    pub(crate) track: Mp4Track,
    /// Number of each picture in presentation order; what is burned into generated clips. In decoding order.
    pub(crate) numbers: Vec<u32>,
    /// Largest composition offset: a picture is sent at most so long after it was captured.
    pub(crate) reorder_ticks: i64,
    /// What the pictures show, if it is known.
    pub(crate) scene: Option<Scene>,
}

impl ClipTrack {
    pub(crate) fn new(track: Mp4Track, scene: Option<Scene>) -> Self {
        let presented = |index: usize| {
            let sample = track.samples.get(index)?;
            Some(sample.decode_time.cast_signed() + sample.composition_offset)
        };
        let mut order: Vec<usize> = (0..track.samples.len()).collect();
        order.sort_by_key(|&index| presented(index));
        let first = order.first().and_then(|&index| presented(index)).unwrap_or(0);
        let mut numbers = vec![0; order.len()];
        for (rank, &index) in (0u32..).zip(&order) {
            numbers[index] = match (scene, presented(index)) {
                // An encoding may leave out pictures; their numbers are left out too.
                (Some(scene), Some(at)) => {
                    let since = Micros::from_ticks(at - first, track.timescale);
                    u32::try_from(since.to_ticks(scene.rate)).unwrap_or(rank)
                }
                _ => rank,
            };
        }
        let reorder_ticks = track.samples.iter().map(|sample| sample.composition_offset).max().unwrap_or(0);
        ClipTrack { track, numbers, reorder_ticks, scene }
    }

    pub(crate) fn format(&self) -> &Format {
        &self.track.format
    }

    pub(crate) fn sample(&self, index: usize) -> Option<&Sample> {
        self.track.samples.get(index)
    }

    /// Length of one loop, never zero.
    pub(crate) fn length(&self) -> Micros {
        let length = Micros::from_ticks(self.track.duration.cast_signed(), self.track.timescale);
        length.max(Micros(1))
    }

    /// Microseconds from the start of the first loop to when a sample of a later one is decoded.
    pub(crate) fn decoded_us(&self, loops: u64, index: usize) -> Option<i64> {
        let ticks = loops.checked_mul(self.track.duration.max(1))? + self.sample(index)?.decode_time;
        Some(Micros::from_ticks(ticks.cast_signed(), self.track.timescale).0)
    }

    /// RTP ticks from the start of the first loop to when a sample of a later one is presented.
    pub(crate) fn presented_ticks(&self, loops: u64, index: usize) -> Option<i64> {
        let sample = self.sample(index)?;
        let looped = i128::from(loops) * i128::from(self.track.duration);
        let presented = looped + i128::from(sample.decode_time) + i128::from(sample.composition_offset);
        let ticks =
            presented * i128::from(self.format().clock_rate()) / i128::from(self.track.timescale.max(1));
        i64::try_from(ticks).ok()
    }

    /// Pictures or frames per second, on average.
    pub(crate) fn rate(&self) -> f64 {
        self.track.samples.len() as f64 / self.length().as_secs_f64()
    }
}

/// Reads an MP4 file. `scene` is what its pictures show. Blocks.
///
/// # Errors
/// A file that can't be read or is no clip.
pub(crate) fn read(path: &Path, scene: Option<Scene>) -> Result<Vec<Arc<ClipTrack>>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let movie =
        Movie::parse(&Bytes::from(bytes)).map_err(|source| Error::Clip { path: path.to_owned(), source })?;
    let tracks = movie.tracks.into_iter().map(|track| {
        let scene = scene.filter(|_| track.format.is_video());
        Arc::new(ClipTrack::new(track, scene))
    });
    Ok(tracks.collect())
}
