//! Small pictures of sync samples, and many of them side by side.
//!
//! Owns: which sync sample stands for a part of a window, a bounded cache of decoded tiles, and the picture that is put
//! together from them. Tiles of a segment go with the segment: whoever may not see the footage cannot name its tiles, as
//! each request finds its sync samples in the index first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use heldar_base::{Interval, Micros, Scope, SegmentId, StreamId, WallTime};
use heldar_bmff::{Still, sync_stills};
use heldar_decode::wire::{Format, Output};
use heldar_store::TimeRange;

use super::recorded::Coded;
use super::{ShotError, Stills};
use crate::footage::{FootageError, SegmentInfo};
use crate::kernel::Kernel;

/// Bytes of tiles that are kept.
const CACHE_BYTES: usize = 32 << 20;
/// Tiles found or made at the same time.
const AT_ONCE: usize = 4;
/// Segments looked at on each side of the middle of a part.
const NEIGHBOURS: u32 = 2;
/// Quality of the picture that is put together.
const QUALITY: u8 = 80;
/// Black, in levels as JPEG has them: luma, then both colours.
const BLACK: [u8; 3] = [0, 128, 128];

/// The sync sample that stands for a part of a window.
pub struct Tile {
    /// When it was captured.
    pub captured_at: WallTime,
    /// Displayed size of its stream.
    pub size: (u32, u32),
    segment: SegmentId,
    coded: Coded,
}

/// A decoded tile: its size and its planes.
#[derive(Debug)]
struct Made {
    width: u16,
    height: u16,
    planes: Vec<u8>,
}

type Key = (SegmentId, WallTime, u16);

/// Tiles that were made lately.
#[derive(Debug, Default)]
pub struct TileCache {
    tiles: Mutex<VecDeque<(Key, Arc<Made>)>>,
}

impl TileCache {
    fn tiles(&self) -> MutexGuard<'_, VecDeque<(Key, Arc<Made>)>> {
        self.tiles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: Key) -> Option<Arc<Made>> {
        let mut tiles = self.tiles();
        let at = tiles.iter().position(|(known, _)| *known == key)?;
        let entry = tiles.remove(at)?;
        let made = entry.1.clone();
        tiles.push_front(entry);
        Some(made)
    }

    fn put(&self, key: Key, made: Arc<Made>) {
        let mut tiles = self.tiles();
        tiles.push_front((key, made));
        let mut bytes = 0;
        tiles.retain(|(_, made)| {
            bytes += made.planes.len();
            bytes <= CACHE_BYTES
        });
    }

    /// Forgets every tile: after each sweep, so that none outlives its footage for long.
    pub fn clear(&self) {
        self.tiles().clear();
    }
}

impl Stills {
    /// Tiles that were made lately.
    pub fn tiles(&self) -> &TileCache {
        &self.tiles
    }
}

impl Kernel {
    /// For each part of a window the sync sample nearest to its middle, if one lies inside.
    ///
    /// # Errors
    /// [`FootageError`].
    pub async fn tiles(
        &self,
        scope: &Scope,
        stream: &StreamId,
        parts: Vec<Interval>,
    ) -> Result<Vec<Option<Tile>>, FootageError> {
        let find = |part: Interval| self.tile(scope, stream, part);
        futures_util::stream::iter(parts).map(find).buffered(AT_ONCE).try_collect().await
    }

    async fn tile(
        &self,
        scope: &Scope,
        stream: &StreamId,
        part: Interval,
    ) -> Result<Option<Tile>, FootageError> {
        let middle = part.start + Micros((part.end - part.start).0 / 2);
        let mut near = self.newest_segments(scope, stream, Some(middle), NEIGHBOURS).await?.0;
        let later = TimeRange { from: Some(middle), to: Some(part.end) };
        near.extend(self.segments(scope, stream, later, None, NEIGHBOURS).await?.0);
        near.retain(|segment| segment.start() < part.end && segment.end > part.start);
        near.sort_by_key(|segment| (distance(segment.interval(), middle), segment.start()));
        near.dedup_by_key(|segment| segment.id);
        let mut best: Option<(Micros, Still, Tile)> = None;
        for segment in near {
            if best.as_ref().is_some_and(|(near, ..)| distance(segment.interval(), middle) >= *near) {
                break;
            }
            let table = match self.sample_table(&segment).await {
                Ok(table) => table,
                Err(FootageError::Store(error)) => return Err(FootageError::Store(error)),
                Err(error) => {
                    tracing::debug!(segment = %segment.id, %error, "left out of thumbnails");
                    continue;
                }
            };
            let inside = sync_stills(&table, segment.start(), part).into_iter();
            let Some(still) = inside.min_by_key(|still| (still.captured_at - middle).abs()) else { continue };
            let away = (still.captured_at - middle).abs();
            if best.as_ref().is_none_or(|(near, ..)| away < *near)
                && let Some(tile) = Tile::of(still.clone(), &table, &segment)
            {
                best = Some((away, still, tile));
            }
        }
        Ok(best.map(|(.., tile)| tile))
    }

    /// Puts tiles side by side, each in a cell of the given size, as JPEG; it takes a slot for media jobs.
    ///
    /// # Errors
    /// [`ShotError`]; a tile that cannot be decoded stays black.
    pub async fn sprite(
        &self,
        tiles: Vec<(u16, u16, Tile)>,
        cell: (u16, u16),
        size: (u16, u16),
    ) -> Result<Vec<u8>, ShotError> {
        let _slot = self.media_slot().await?;
        let mut canvas = Canvas::new(size);
        let make = |(x, y, tile)| async move { (x, y, self.make(tile, cell.0).await) };
        let mut made = futures_util::stream::iter(tiles).map(make).buffer_unordered(AT_ONCE);
        while let Some((x, y, made)) = made.next().await {
            match made {
                Ok(made) => canvas.put(&made, (x, y), cell),
                Err(ShotError::Decode(heldar_decode::StillError::Malformed(why))) => {
                    tracing::debug!(%why, "a thumbnail stays black");
                }
                Err(ShotError::Footage(error @ (FootageError::File(_) | FootageError::Damaged(_)))) => {
                    tracing::debug!(%error, "a thumbnail stays black");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.stills.decoders.encode(size, QUALITY, &canvas.planes.concat()).await?)
    }

    async fn make(&self, tile: Tile, width: u16) -> Result<Arc<Made>, ShotError> {
        let key = (tile.segment, tile.captured_at, width);
        if let Some(made) = self.stills.tiles.get(key) {
            return Ok(made);
        }
        let image = self.shot(tile.coded, Output { format: Format::Planar, width, crop: None }).await?.image;
        let made = Arc::new(Made { width: image.width, height: image.height, planes: image.data });
        self.stills.tiles.put(key, made.clone());
        Ok(made)
    }
}

/// How far an instant lies outside an interval.
fn distance(interval: Interval, at: WallTime) -> Micros {
    (interval.start - at).max(at - interval.end).max(Micros::ZERO)
}

impl Tile {
    fn of(still: Still, table: &heldar_bmff::SampleTable, segment: &SegmentInfo) -> Option<Self> {
        let captured_at = still.captured_at;
        let coded = Coded::alone(still, table, segment)?;
        let size = (coded.params.width, coded.params.height);
        Some(Tile { captured_at, size, segment: segment.id, coded })
    }

    /// Tells it from every other.
    pub fn name(&self) -> String {
        format!("{}@{}", self.segment, self.captured_at.0)
    }
}

/// A picture in the making.
struct Canvas {
    size: (usize, usize),
    planes: [Vec<u8>; 3],
}

impl Canvas {
    fn new((width, height): (u16, u16)) -> Self {
        let size = (usize::from(width), usize::from(height));
        let chroma = size.0.div_ceil(2) * size.1.div_ceil(2);
        let plane = |at: usize, len: usize| vec![BLACK[at]; len];
        Canvas { size, planes: [plane(0, size.0 * size.1), plane(1, chroma), plane(2, chroma)] }
    }

    /// Copies a tile into a cell; what does not fit is cut off, what is left over stays black. Cells lie on even pixels.
    fn put(&mut self, made: &Made, (x, y): (u16, u16), cell: (u16, u16)) {
        let (width, height) = (usize::from(made.width), usize::from(made.height));
        let (wide, high) = (width.min(cell.0.into()), height.min(cell.1.into()));
        let mut rest = &made.planes[..];
        for (at, plane) in self.planes.iter_mut().enumerate() {
            let half = |side: usize| if at == 0 { side } else { side.div_ceil(2) };
            let (stride, to_stride) = (half(width), half(self.size.0));
            let Some((source, others)) = rest.split_at_checked(stride * half(height)) else { return };
            rest = others;
            let (left, top) = (half(x.into()), half(y.into()));
            for row in 0..half(high) {
                let from = row * stride..row * stride + half(wide);
                let to = (top + row) * to_stride + left;
                if let (Some(from), Some(to)) = (source.get(from), plane.get_mut(to..to + half(wide))) {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_in_their_cells_and_nowhere_else() {
        let mut canvas = Canvas::new((8, 4));
        // Larger than its cell.
        let made = Made { width: 6, height: 4, planes: vec![200; 24 + 12] };
        canvas.put(&made, (4, 2), (4, 2));
        let luma = &canvas.planes[0];
        let lit: Vec<usize> = (0..32).filter(|at| luma[*at] == 200).collect();
        assert_eq!(lit, [20, 21, 22, 23, 28, 29, 30, 31]);
        assert_eq!(canvas.planes[1], [128, 128, 128, 128, 128, 128, 200, 200]);
        // A tile that lies is left out.
        canvas.put(&Made { width: 60, height: 40, planes: vec![9; 5] }, (0, 0), (4, 2));
        assert!(!canvas.planes[0].contains(&9));
    }

    #[test]
    fn the_cache_is_bounded_and_can_be_emptied() {
        let cache = TileCache::default();
        let segment = |second: i64| SegmentId { stream_no: 1, start: WallTime(second) };
        let made = || Arc::new(Made { width: 640, height: 360, planes: vec![0; 640 * 360 * 3 / 2] });
        for second in 0..200 {
            cache.put((segment(second), WallTime(second), 640), made());
        }
        let kept = cache.tiles().len();
        assert!(kept * 640 * 360 * 3 / 2 <= CACHE_BYTES && kept > 90, "{kept}");
        assert!(cache.get((segment(199), WallTime(199), 640)).is_some());
        cache.clear();
        assert!(cache.get((segment(199), WallTime(199), 640)).is_none());
    }
}
