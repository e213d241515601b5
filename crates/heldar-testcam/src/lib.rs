//! Test cameras: RTSP servers that loop clips without re-encoding, with faults on demand and a truth to compare with.
//!
//! Owns: reading clips, the loop that sends them, the generated scene and its number strip, faults, the zoo of camera
//! profiles, and HTTP for truth and faults. Speaks RTSP through `heldar_rtsp::server` only. Never re-encodes while it runs;
//! clips are encoded once by the system's ffmpeg and kept.
#![forbid(unsafe_code)]

mod assemble;
mod audio;
mod clip;
mod clock;
mod engine;
mod error;
pub mod fault;
mod feed;
mod host;
mod http;
mod log;
mod media;
pub mod mp4;
mod options;
pub mod profile;
mod run;
pub mod scene;
mod tricks;
mod truth;

pub use error::Error;
pub use heldar_rtsp::server::Account;
pub use media::{SEED, make_media};
pub use options::{Arguments, Options};
pub use run::{CameraInfo, Running, run, run_command, start};
