//! Coded media as it flows through Heldar: access units, codec parameters, time of capture.
//!
//! Owns: what a picture or audio frame is, how parameter sets are read, when a picture was taken. Never: tokio, a clock,
//! a file, a socket. Input comes from cameras and is hostile: no input reaches a panic.
#![forbid(unsafe_code)]

mod params;
mod unit;

pub use params::{AudioCodec, AudioParams, TrackParams, VideoCodec, VideoParams};
pub use unit::{AccessUnit, SyncKind, TrackKind};
