//! Fragmented MP4, bytes in and bytes out.
