//! Does Heldar record exactly what was sent? Test cameras and a camera that is not ours, judged by ffprobe and ffmpeg.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod exact;
mod gst;
mod judge;
mod modes;
mod reference;
mod rig;
mod sound;
#[path = "../support/mod.rs"]
mod support;
mod zoo;
