//! What this crate says of coded media, against what ffmpeg and ffprobe make of it.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

mod clip;
mod parameters;
mod sound;
