//! Footage as files: what they are called, how they are written, synced, read back and recovered.
//!
//! Owns: the recordings folder, the writer thread and the sync thread of a file system. Never: SQL, HTTP, tokio. The
//! order of disk and store steps is numbered in `docs/design/commit-protocol.md`; code cites the numbers.

mod disk;
mod examine;
pub mod fsck;
mod identity;
mod lost_pages;
mod mux;
mod naming;
mod writer;

pub use disk::{
    Disk, DiskFile, DiskSpace, Entry, FileAccess, OsDisk, boot_id, free_bytes, make_folder, uptime,
};
pub use examine::{Effort, Ending, Examined, Footage, Outage, examine, mend, time_of};
pub use identity::{FolderId, FolderIdError, MARK, Recognised};
pub use mux::{FragmentAdded, Muxer, NotTaken, NotTakenWhy, SegmentEnd, SegmentShape, SegmentStart, Tag};
pub use naming::{NameError, SegmentName};
pub use writer::{
    Completion, DiskFault, FaultKind, Refused, Room, SegmentKey, SegmentWriter, Step, SyncSide, WriteSide,
    WriterConfig, WriterStats,
};
