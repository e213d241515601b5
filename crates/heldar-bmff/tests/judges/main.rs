//! What this crate writes, judged by ffmpeg, ffprobe, GStreamer and mediainfo over real coded media.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod recorded_files;
mod sessions;
mod support;
mod virtual_files;
