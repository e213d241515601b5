//! G.711 (ITU-T G.711), which cameras send and no player takes in MP4.

use bytes::Bytes;

/// Samples per second (RFC 3551 4.5.14).
pub const SAMPLE_RATE: u32 = 8_000;

/// Which companding law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// µ-law, North America and Japan.
    Mu,
    /// A-law, elsewhere.
    A,
}

/// Sound as the camera sent it, one byte a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// How the samples are coded.
    pub law: Law,
    /// The samples of one access unit.
    pub samples: Bytes,
}
