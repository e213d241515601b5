//! Single pictures: of an instant of footage, of a running stream, and small ones for a timeline.
//!
//! Owns: which coded pictures must be decoded for the one that is asked for, and the decoder processes that do it. Never:
//! decodes itself; changes footage. A picture takes one of the slots for media jobs, so that nobody can have the machine
//! decode for him without end.

mod live;
mod recorded;
mod tiles;

use std::path::PathBuf;
use std::time::Duration;

use heldar_base::{Micros, SegmentId, WallTime};
use heldar_decode::wire::Image;
use heldar_decode::{Decoders, Options, StillError};
use tokio::sync::OwnedSemaphorePermit;

pub use live::LiveStillError;
pub(crate) use live::{FIRST_PICTURE, Unwritten};
pub use recorded::Absence;
pub use tiles::{Tile, TileCache};

use crate::footage::FootageError;
use crate::kernel::Kernel;

/// How long a picture waits for a slot.
pub(crate) const SLOT_WAIT: Duration = Duration::from_secs(10);
/// Memory of a decoder process in MiB: what a picture of 8192x4320 needs, with those it refers to.
const MEMORY_MB: u32 = 2048;
/// How long one coded picture may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Decoder processes for pictures at most.
const PROCESSES: usize = 4;

/// What makes pictures.
pub struct Stills {
    decoders: Decoders,
    tiles: TileCache,
}

impl Stills {
    /// Nothing runs yet.
    pub fn new(program: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = Options {
            program,
            processes: cores.min(PROCESSES),
            // Somebody waits for it; recording is to come first nevertheless.
            nice: 5,
            memory_mb: MEMORY_MB,
            deadline: DEADLINE,
        };
        Stills { decoders: Decoders::new(options), tiles: TileCache::default() }
    }
}

/// A picture, when it was captured, and where it is from.
#[derive(Clone, Debug)]
pub struct Shot {
    /// When it was captured.
    pub captured_at: WallTime,
    /// Where it was taken from.
    pub source: Source,
    /// In the form that was asked for.
    pub image: Image,
}

/// Where a picture was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A running session, the group of pictures that is held in memory.
    Group,
    /// A recorded file.
    Recording {
        /// Which.
        segment: SegmentId,
        /// When it is shown, counted from the beginning of the file.
        pts: Micros,
    },
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ShotError {
    /// Nothing was recorded then.
    #[error("no recorded footage at this instant")]
    NoFootage(Absence),
    /// Every slot is taken.
    #[error("every slot for media jobs is taken, try again")]
    NoSlot,
    /// Footage cannot be read.
    #[error(transparent)]
    Footage(#[from] FootageError),
    /// It cannot be decoded.
    #[error(transparent)]
    Decode(#[from] StillError),
}

impl Kernel {
    /// A slot for a media job, waited for.
    pub(crate) async fn media_slot(&self) -> Result<OwnedSemaphorePermit, ShotError> {
        let slot = tokio::time::timeout(SLOT_WAIT, self.jobs.clone().acquire_owned()).await;
        slot.ok().and_then(Result::ok).ok_or(ShotError::NoSlot)
    }
}
