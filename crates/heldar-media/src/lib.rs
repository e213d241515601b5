//! Coded media as it flows through Heldar: access units, codec parameters, time of capture.
//!
//! Owns: what a picture or audio frame is, how parameter sets are read, when a picture was taken. Never: tokio, a clock,
//! a file, a socket. Input comes from cameras and is hostile: no input reaches a panic.
#![forbid(unsafe_code)]

pub mod aac;
pub mod bits;
mod capture;
mod decode_times;
pub mod g711;
pub mod h264;
pub mod h265;
mod interval;
pub mod nal;
pub mod opus;
mod param_sets;
mod params;
mod picture;
mod record;
mod reorder;
mod rtp_clock;
#[cfg(test)]
mod test_bits;
mod tracker;
mod unit;
mod vui;

pub use capture::{CaptureClock, ClockStep, Reading, spacing};
pub use decode_times::DecodeTimes;
pub use interval::IntervalEstimator;
pub use params::{AudioCodec, AudioParams, TrackParams, VideoCodec, VideoParams};
pub use picture::{Leading, NoPicture, Picture, read_picture};
pub use record::RecordError;
pub use reorder::{PresentationFront, ReorderLimit, ReorderObserver, StartGate};
pub use rtp_clock::{RtpStep, RtpUnroller};
pub use tracker::{ParamChange, ParamTracker};
pub use unit::{AccessUnit, SyncKind, TrackKind};
pub use vui::Vui;
