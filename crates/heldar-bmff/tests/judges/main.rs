//! What this crate writes, judged by ffmpeg, ffprobe, GStreamer and mediainfo over real coded media.

mod recorded_files;
mod sessions;
mod support;
mod virtual_files;
