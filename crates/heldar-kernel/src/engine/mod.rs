//! What runs: streams, segment index, supervision of cameras.

pub mod ingest;
pub mod live_index;
pub mod stream;
