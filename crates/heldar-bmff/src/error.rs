//! What can be wrong with bytes or with what is asked.

use std::io;

/// Why bytes could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what they should be.
    #[error("{what} at byte {offset}")]
    Malformed {
        /// What was found or missing.
        what: &'static str,
        /// Where, counted from the start of the bytes that were given.
        offset: u64,
    },
    /// Valid as MP4, but nothing this recorder writes.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
    /// A number does not fit the field it has to be written to.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// The parts asked for are not in order of time.
    #[error("parts of one file are out of order or overlap")]
    Order,
    /// No picture that can be decoded lies in the window.
    #[error("no picture in the window")]
    NoPictures,
    /// The file could not be read; says nothing about its content.
    #[error("reading failed")]
    Io(#[from] io::Error),
}

/// Shorthand for the one most often needed.
pub(crate) fn malformed(what: &'static str, offset: u64) -> Error {
    Error::Malformed { what, offset }
}
