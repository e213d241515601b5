//! What can keep test cameras from running.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mp4::Mp4Error;

/// What can keep test cameras from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no clip.
    #[error("{path} is no clip that can be looped")]
    Clip {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Mp4Error,
    },
    /// A port can't be listened on.
    #[error("{address} can't be listened on")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The program that encodes media failed.
    #[error("ffmpeg failed: {0}")]
    Ffmpeg(String),
    /// An option that makes no sense.
    #[error("{0}")]
    Option(String),
    /// The URLs can't be printed.
    #[error("the URLs can't be printed")]
    Output(#[source] io::Error),
}
