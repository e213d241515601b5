//! What runs: streams, segment index, supervision of cameras.

pub mod gather;
pub mod indexer;
pub mod ingest;
pub mod journal;
pub mod late;
pub mod live_index;
pub mod outage;
pub mod recovery;
pub mod stream;
pub mod supervisor;
