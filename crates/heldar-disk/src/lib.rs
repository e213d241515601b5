//! Segment files, writer thread, recovery, fsck.
