//! Footage as files: what they are called, how they are written, synced, read back and recovered.
//!
//! Owns: the recordings folder, the writer thread and the sync thread of a file system. Never: SQL, HTTP, tokio. The
//! order of disk and store steps is numbered in `docs/design/commit-protocol.md`; code cites the numbers.

mod disk;
mod naming;
mod writer;

pub use disk::{Disk, DiskFile, DiskSpace, Entry, FileAccess, OsDisk};
pub use naming::{NameError, SegmentName};
pub use writer::{
    Completion, DiskFault, FaultKind, Refused, SegmentKey, SegmentWriter, WriterConfig, WriterStats,
};
