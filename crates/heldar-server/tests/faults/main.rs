//! The real binary under the faults of normal days: killed, without room, with a wrong clock, without its database, next to
//! a second server, with cameras that fail.
//!
//! Everything here runs `heldar serve` by environment variables alone, as an operator does, and judges its files with
//! ffprobe and ffmpeg. `HELDAR_SOAK=1` runs the full counts; figures go to the file that `HELDAR_SOAK_FIGURES` names.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod cameras;
mod clock;
mod databases;
mod kills;
mod owners;
mod storage;
mod support;
